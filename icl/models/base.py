"""A learner: a network between a layout and a head. Every architecture is a `ModelConfig` that builds one."""

from collections.abc import Callable
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray, Shaped

from function_classes import doors
from function_classes.base import FunctionClass, NotAvailable, Prediction, Prompt
from function_classes.fields import Fields, setting
from function_classes.registry import Registry
from icl import layouts
from icl.layouts import Layout, Signature
from icl.models.heads import Head, HeadConfig, Mean


class ModelConfig(Fields):
    """Which learner: architecture, layout, and how many points its positions can hold."""

    registry: ClassVar[Registry] = Registry("model", "icl.models", "icl.models")
    # Whether its networks have blocks that can be computed again for the gradient (`icl.models.stacked.recomputing`).
    rematerializes: ClassVar[bool] = False

    layout: Layout = setting(layouts.Paired(), "how examples become tokens")
    max_points: int | None = setting(
        None,
        "longest prompt the positions can hold; none: 64 points, or the task's if more",
        at_least=1,
        at_most=1_000_000,
    )

    @property
    def head(self) -> HeadConfig:
        """What the outputs mean."""
        return Mean()

    @property
    def metric(self) -> str | None:
        """What training minimizes; None: the main metric of the outputs' kind."""
        return self.head.metric

    def refuses(self, task: FunctionClass) -> list[tuple[str, str]]:
        """(path below model, reason) for everything that cannot work with this function class."""
        reason = self.layout.refuses(Signature.of(task))
        found = [("layout", reason)] if reason else []
        unread = self.head.refuses(task)
        found += [("head", unread)] if unread else []
        if self.max_points is not None and self.max_points < task.points:
            found.append(("max_points", f"must be at least the task's {task.points} points, got {self.max_points}"))
        return found

    @classmethod
    def usual_layout(cls, signature: Signature) -> Layout:
        """The layout of a run that names none."""
        return layouts.default(signature)

    def make(self, task: FunctionClass, *, key: PRNGKeyArray) -> "Learner":
        raise NotImplementedError

    def prompt_bytes(self, task: FunctionClass, remat: bool = False) -> int:
        """Bytes that training on one prompt takes at the very least: its tokens, in float32. With `remat` what is kept
        of a block is what entered it."""
        signature = Signature.of(task)
        return 4 * self.layout.length(task.points, signature) * self.layout.features(signature)


class Learner(eqx.Module):
    """A predictor with a trainable network: tokens of the prompt, network, outputs read as predictions."""

    tap_through: ClassVar[tuple[str, ...]] = ("network",)

    network: Any
    layout: Layout
    signature: Signature = eqx.field(static=True)
    head: Head
    max_points: int | None = eqx.field(static=True, default=None)
    # What holds no more points than that: the table of positions, or mixers by name.
    tables: tuple[str, ...] = eqx.field(static=True, default=())

    def __call__(self, prompt: Prompt) -> Prediction:
        """Predictions for every position of one prompt, in as many passes as the layout needs. Raises NotAvailable
        beyond the positions the network holds, and for what is no prompt of the class it was made for."""
        doors.prompt(prompt, "this model", *self.signature)
        self._check(prompt.points)
        if self.trained(prompt.points) is not None:
            outputs = jax.lax.map(lambda k: self._single(prompt, k), jnp.arange(prompt.points))
            return self._read(outputs, prompt.points)
        tokens = self.layout.tokens(prompt, self.signature)
        outputs = self.network(tokens, *self._static(prompt.points))
        return self._read(outputs, prompt.points)

    def batched(self, prompts: Prompt) -> Prediction:
        """The same for prompts stacked along a first axis, in the one pass that training makes: where `trained` is not
        None, outputs at other positions are 0."""
        points = prompts.ys.shape[1]
        self._check(points)
        tokens = jax.vmap(lambda p: self.layout.tokens(p, self.signature))(prompts)
        outputs = self.network.batched(tokens, *self._static(points))
        trained = self.trained(points)
        if trained is not None:
            outputs = outputs * jnp.asarray(trained, outputs.dtype)[None, :, None]
        return jax.vmap(lambda o: self._read(o, points))(outputs)

    @property
    def in_training(self) -> Callable[[Prompt, Int[Array, ""]], Prediction] | None:
        """Predictions of a batch, stacked along a first axis, whose losses are averaged at a training step; None where
        training sees what `batched` gives."""
        return self._in_training if hasattr(self.network, "in_training") else None

    def _in_training(self, prompts: Prompt, step: Int[Array, ""]) -> Prediction:
        points = prompts.ys.shape[1]
        tokens = jax.vmap(lambda p: self.layout.tokens(p, self.signature))(prompts)
        outputs = self.network.in_training(tokens, *self._static(points), step)
        trained = self.trained(points)
        if trained is not None:
            outputs = outputs * jnp.asarray(trained, outputs.dtype)[None, None, :, None]
        return jax.vmap(jax.vmap(lambda o: self._read(o, points)))(outputs)

    def trained(self, points: int) -> np.ndarray | None:
        """(P,) booleans: the positions that `batched` predicts and a loss may count; None: all."""
        return self.layout.predicted(points, self.signature)

    @property
    def predict_at(self) -> Callable[[Prompt, Int[Array, ""] | int, Shaped[Array, "N *x"]], Prediction] | None:
        """Many queries for one context, where a pass predicts one position: then one pass for each. None elsewhere."""
        return self._predict_at if self.layout.predicted(1, self.signature) is not None else None

    def _predict_at(self, prompt: Prompt, k: Int[Array, ""] | int, xs: Shaped[Array, "N *x"]) -> Prediction:
        self._check(prompt.points)

        def one(x: Shaped[Array, "*x"]) -> Prediction:
            changed = Prompt(prompt.xs.at[k].set(x.astype(prompt.xs.dtype)), prompt.ys)
            outputs = self._single(changed, jnp.asarray(k, jnp.int32))
            return jax.tree.map(lambda leaf: leaf[0], self._read(outputs[None], 1))

        return jax.vmap(one)(jnp.asarray(xs))

    def _single(self, prompt: Prompt, k: Int[Array, ""]) -> Float[Array, "O"]:
        """The output at position k, from a pass of its own."""
        tokens, position_ids, visible = self.layout.single(prompt, self.signature, k)
        return self.network(tokens, position_ids, visible, (tokens.shape[0] - 1,))[0]

    @property
    def log_predictive(self) -> Callable[[Prompt], Float[Array, "P *s"]] | None:
        """log p(y_k | ...) of what is shown, summed over the entries of y. None: a squared-error head has none."""
        return self._log_predictive if self.head.states_density else None

    def _log_predictive(self, prompt: Prompt) -> Float[Array, "P *s"]:
        logs = self.head.log_density(self(prompt), prompt.ys, self.signature.y)
        return jnp.sum(logs.reshape(*self._lead(prompt.points), -1), -1)

    def _check(self, points: int) -> None:
        if self.max_points is not None and points > self.max_points:
            longer = f"train with model.max_points={points}"
            mixers = [name for name in self.tables if name != "positions"]
            longer += ", or with mixers of any length" if mixers else " or model.positions=none"
            raise NotAvailable(
                f"this model's {' and '.join(self.tables)} hold {self.max_points} points, the prompt has {points}; "
                f"{longer} to evaluate longer prompts"
            )

    def _static(self, points: int) -> tuple[np.ndarray, np.ndarray | None, tuple[int, ...] | None]:
        """Position ids, visibility, and the rows that are read (None where all are)."""
        signature = self.signature
        read = self.layout.read(points, signature).reshape(-1)
        read = np.unique(read) if self.trained(points) is not None else read
        everything = len(read) == self.layout.length(points, signature)
        rows = None if everything else tuple(int(row) for row in read)
        return self.layout.position_ids(points, signature), self.layout.visible(points, signature), rows

    def _read(self, outputs: Float[Array, "R O"], points: int) -> Prediction:
        outputs = outputs if outputs.dtype == jnp.float64 else outputs.astype(jnp.float32)
        return self.head.read(outputs, self.signature.y, self._lead(points))

    def _lead(self, points: int) -> tuple[int, ...]:
        """The shape of what is predicted: positions, and steps where there are several."""
        return (points,) if self.signature.steps == 1 else (points, self.signature.steps)
