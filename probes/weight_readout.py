"""Where does a network hold the weights it has inferred? The posterior mean of w, decoded from the residual stream.

Akyurek et al. 2022 decode the least-squares weights. With label noise the network's best estimate is the posterior
mean, which without noise is least squares; so that is the target here.
"""

from jaxtyping import Array, Float

from function_classes.base import FunctionClass, Prompt
from function_classes.linear import LinearRegression
from probes.base import Probe
from probes.readout import Readout


@Probe.registry.add("weight-readout", papers=("akyurek-2022",))
class WeightReadout(Readout):
    """Target after k examples: w_k = (X'X + noise_std^2 / weight_std^2 I)^{-1} X'y, the Bayes estimate."""

    question = "From which layer on can the inferred weights be decoded from the residual stream?"
    what = "weights"

    def target(self, task: FunctionClass, prompt: Prompt) -> Float[Array, "P D"]:
        assert isinstance(task, LinearRegression)
        return task.posterior(prompt).weights

    def refuses(self, task: FunctionClass) -> str | None:
        if not isinstance(task, LinearRegression):
            return f"needs a class with a posterior over linear weights, and {task.name} has none"
        return super().refuses(task)
