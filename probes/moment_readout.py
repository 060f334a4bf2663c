"""Where does a network hold the moment X'y? Decoded from the residual stream, as in Akyurek et al. 2022."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from function_classes.base import FunctionClass, Prompt
from probes.base import Probe
from probes.readout import Readout


@Probe.registry.add("moment-readout", papers=("akyurek-2022",))
class MomentReadout(Readout):
    """Target after k examples: (1/k) sum_{i<k} y_i x_i."""

    question = "From which layer on can the moment vector X'y be decoded from the residual stream?"
    what = "moment"

    def target(self, task: FunctionClass, prompt: Prompt) -> Float[Array, "P D"]:
        products = jnp.cumsum(prompt.ys[:, None] * prompt.xs, 0)
        seen = jnp.arange(1, prompt.points).astype(products.dtype)
        return jnp.concatenate([jnp.zeros_like(products[:1]), products[:-1] / seen[:, None]])
