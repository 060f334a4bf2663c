"""The compiled part of training: `chunk` runs any number of steps, one trace for a whole run.

Nothing depends on history but the state: prompt i of step t is drawn from fold_in(seed, stream, t, i), the learning
rate is a function of the step, and a chunk from a to c equals chunks from a to b and b to c bit for bit.
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PyTree

from function_classes.base import Prediction, Predictor, Prompt
from icl import prng, scoring
from icl.config import Config
from icl.models.base import Learner
from icl.models.outline import Outline, begin
from icl.programs import options
from icl.training import teaching, validation
from icl.training.keys import program_key as program_key
from icl.training.state import Data as Data
from icl.training.state import State as State
from icl.training.validation import Validation


class Program:
    """One compiled training program for every member of an ensemble whose `program_key` is this one's.

    Members lie along a first axis of all states. The devices of this process share the members; what one device has
    runs one after another on a CPU, elsewhere side by side (`packing`). A member that is alone shares out its batch
    instead, where it divides evenly. The numbers of a member depend on all this in their last bits only.
    """

    def __init__(self, config: Config, packing: str | None = None, devices: int | None = None):
        self.config = config
        self.packing = packing or self.usual_packing()
        self.traces = 0
        self.devices = jax.local_devices()[:devices]
        self.mesh = jax.sharding.Mesh(np.asarray(self.devices), ("batch",))
        self.outline = Outline.of(config.model, config.task, config.training.remat)
        self.paths, self.parameters = self.outline.paths, self.outline.parameters
        self._start = jax.jit(self._members(self._start_one), compiler_options=options())
        self._validate = jax.jit(self._members(self._validate_one), compiler_options=options())
        self._chunk = jax.jit(self._run_chunk, donate_argnums=0)

    def data(self, configs: list[Config]) -> Data:
        """The members' numbers, stacked. `limit` and `teacher` are filled in by `prepare`."""

        def one(config: Config) -> Data:
            training = config.training
            task, optimizer, schedule = jax.tree.map(np.float32, (config.task, training.optimizer, training.schedule))
            # NumPy scalars, of one member; they become the arrays that `Data` promises when members are stacked.
            numbers: dict[str, Any] = {
                "seed": np.uint32(config.seed),
                "rate": np.float32(config.rate),
                "clip": None if training.clip is None else np.float32(training.clip),
                "steps": np.int32(training.steps),
                "limit": np.float32(np.inf),
            }
            return Data(task, optimizer, schedule, **numbers)

        return jax.tree.map(lambda *leaves: np.stack(leaves), *map(one, configs))

    def shapes(self, data: Data) -> State:
        """Shapes and types of `start(data)`; nothing is computed."""
        return jax.eval_shape(self._members(self._start_one), data)

    def start(self, data: Data) -> State:
        """Fresh weights and optimizer state for every member."""
        return self._start(data)

    def prepare(self, configs: list[Config], data: Data) -> tuple[Validation, Data]:
        """Every member's validation prompts with what Bayes or the teacher loses on them, and the data with the teacher
        and the loss above which a member counts as diverged."""
        teachers = [teaching.settle(c.training.teacher, c.task) for c in configs]
        watched = validation.fixed(configs, teachers)
        limit = validation.limits(configs, watched.prompts)
        return watched, data._replace(limit=limit, teacher=validation.stack(teachers))

    def chunk(self, state: State, start: int, stop: int, data: Data) -> State:
        """Steps start..stop-1. The state is donated: keep no reference to it."""
        if (mesh := self._mesh(len(state.step))) is not None:
            state = jax.device_put(state, jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec()))
        state = self._chunk(state, np.int32(start), np.int32(stop), data)
        if self.traces > 1:
            raise RuntimeError(f"the training program was traced {self.traces} times; one is the promise")
        return state

    @staticmethod
    def usual_packing() -> str:
        return "map" if jax.default_backend() == "cpu" else "vmap"

    @staticmethod
    def split(config: Config, members: int, devices: int) -> int:
        """Parts of a member's batch that are computed at the same time: one where members share the devices, or where
        it does not divide evenly."""
        batch = config.training.batch // config.training.accumulate
        return devices if members == 1 and batch % devices == 0 else 1

    def _mesh(self, members: int) -> jax.sharding.Mesh | None:
        """The devices of a program of so many members; None where it is the first one alone."""
        if members > 1 and len(self.devices) > 1:
            return jax.sharding.Mesh(np.asarray(self.devices[:members]), ("members",))
        return self.mesh if self.split(self.config, members, len(self.devices)) > 1 else None

    def validate(self, params: PyTree, validation: Validation, constants: PyTree = None) -> dict[str, np.ndarray]:
        """Loss on the validation prompts, its excess over Bayes or the teacher, for every member."""
        return jax.tree.map(np.asarray, self._validate(params, validation, constants))

    def learner(self, params: PyTree, constants: PyTree = None) -> Any:
        """The predictor with these weights and constants (one member's); None: the constants it began with."""
        return self.outline.learner(params, constants)

    def _members(self, function):
        """`function(*of one member, *shared)` over the members' axis of its arguments, the keyword `shared` aside."""

        def run(*args, shared: tuple[Any, ...] = ()):
            members = jax.tree.leaves(args)[0].shape[0]
            if members == 1:
                one = function(*jax.tree.map(lambda a: a[0], args), *shared)
                return jax.tree.map(lambda a: jnp.asarray(a)[None], one)

            def packed(args, shared):
                if self.packing == "vmap":
                    return jax.vmap(lambda *a: function(*a, *shared))(*args)
                return jax.lax.map(lambda a: function(*a, *shared), args)

            if (mesh := self._mesh(members)) is None:
                return packed(args, shared)
            # Where they do not come out even, the last member is computed more than once.
            index = np.minimum(np.arange(-(-members // mesh.size) * mesh.size), members - 1)
            each, alike = jax.sharding.PartitionSpec("members"), jax.sharding.PartitionSpec()
            spread = jax.shard_map(packed, mesh=mesh, in_specs=(each, alike), out_specs=each, check_vma=False)
            found = spread(jax.tree.map(lambda a: jnp.asarray(a)[index], args), shared)
            return jax.tree.map(lambda a: a[:members], found)

        return run

    def _start_one(self, data: Data) -> State:
        learner = begin(self.config.model, data.task, data.seed, self.config.training.remat)
        params, constants, _ = self.outline.anatomy.split(learner)
        zero = jnp.zeros((), jnp.int32)
        optimizer = data.optimizer.transform().init(params)
        return State(params, optimizer, zero, jnp.zeros(()), zero, jnp.asarray(True), zero - 1, constants)

    def _predict(self, learner: Predictor, prompts: Prompt) -> Prediction:
        return learner.batched(prompts) if isinstance(learner, Learner) else jax.vmap(learner)(prompts.hide())

    def _loss(self, predictions: Prediction, prompts: Prompt, weights) -> Float[Array, ""]:
        space, steps, metric = self.config.task.y_space, self.config.task.steps, self.config.model.metric
        losses = jax.vmap(lambda prediction, prompt: scoring.loss(prediction, prompt, space, steps, metric))
        return self._mean(losses(predictions, prompts), prompts, weights)

    def _mean(self, losses: Float[Array, "B P S"], prompts: Prompt, weights) -> Float[Array, ""]:
        return scoring.mean_loss(losses, scoring.only(self._trained(prompts.ys.shape[1]), weights, prompts))

    def _trained(self, points: int) -> np.ndarray | None:
        """The positions that one pass of the learner predicts: (P,) booleans, None for all."""
        learner = self.outline.static
        return learner.trained(points) if isinstance(learner, Learner) else None

    def _validate_one(self, params: PyTree, validation: Validation, constants: PyTree) -> dict[str, Float[Array, ""]]:
        prompts = validation.prompts
        loss = self._loss(self._predict(self.learner(params, constants), prompts), prompts, prompts.scored)
        if validation.floor is None:
            return {"validation_loss": loss}
        return {"validation_loss": loss, "excess": loss - self._mean(validation.floor, prompts, prompts.scored)}

    def _batch(self, task: Any, seed: Array, step: Array, first: Any, count: int) -> Prompt:
        """Prompts first..first+count-1 of a step; a prompt depends on its index, not on the batch size."""
        key = jax.random.fold_in(prng.stream(seed, "training"), step)
        index = first + jnp.arange(count)
        return jax.vmap(lambda i: task.sample(jax.random.fold_in(key, i)))(index)

    def _shard(self, prompts: Prompt) -> Prompt:
        """A batch shared out over the devices, unless they share the members: then each has whole batches."""
        if not jax.sharding.get_abstract_mesh().empty or self.split(self.config, 1, len(self.devices)) == 1:
            return prompts
        spec = jax.sharding.NamedSharding(self.mesh, jax.sharding.PartitionSpec("batch"))
        return jax.lax.with_sharding_constraint(prompts, spec)

    def _gradient(self, state: State, step: Array, data: Data) -> tuple[Float[Array, ""], PyTree]:
        training = self.config.training
        curriculum, parts, task = training.curriculum, training.accumulate, training.curriculum.task(data.task, step)

        def part(index: Any) -> tuple[Float[Array, ""], PyTree]:
            count = training.batch // parts
            shown = self._shard(self._batch(task, data.seed, step, index * count, count))
            prompts = teaching.taught(shown, data.teacher, data.task.y_space)

            def loss(params: PyTree) -> Float[Array, ""]:
                learner, weights = self.learner(params, state.constants), curriculum.weights(prompts, step)
                several = getattr(learner, "in_training", None)
                if several is None:
                    return self._loss(self._predict(learner, shown), prompts, weights)
                return jnp.mean(jax.vmap(lambda p: self._loss(p, prompts, weights))(several(shown, step)))

            return jax.value_and_grad(loss)(state.params)

        if parts == 1:
            return part(0)
        zero = jax.tree.map(jnp.zeros_like, jax.eval_shape(part, 0))
        add = lambda i, total: jax.tree.map(jnp.add, total, part(i))  # noqa: E731
        return jax.tree.map(lambda a: a / parts, jax.lax.fori_loop(0, parts, add, zero))

    def _step(self, step: Array, state: State, data: Data) -> State:
        loss, gradient = self._gradient(state, step, data)
        flat, _ = ravel_pytree(gradient)
        healthy = jnp.isfinite(loss) & (loss < data.limit) & jnp.all(jnp.isfinite(flat))

        def move(state: State) -> State:
            direction, optimizer = data.optimizer.transform().update(
                self._clip(gradient, flat, data), state.optimizer, state.params
            )
            rate = data.rate * data.schedule.factor(step, data.steps)
            params = jax.tree.map(lambda p, d: p - (rate * d).astype(p.dtype), state.params, direction)
            moved = params, optimizer, step + 1, state.total + loss, state.count + 1
            return State(*moved, state.alive, state.culprit, state.constants)

        def freeze(state: State) -> State:
            largest = jnp.stack([jnp.max(jnp.abs(leaf)) for leaf in jax.tree.leaves(gradient)])
            worst = jnp.argmax(jnp.where(jnp.isfinite(largest), largest, jnp.inf)).astype(jnp.int32)
            culprit = jnp.where(state.alive, worst, state.culprit)
            return eqx.tree_at(lambda s: (s.alive, s.culprit), state, (jnp.asarray(False), culprit))

        return jax.lax.cond(state.alive & healthy, move, freeze, state)

    def _clip(self, gradient: PyTree, flat: Float[Array, "N"], data: Data) -> PyTree:
        """The gradient, scaled down to the largest norm allowed."""
        if data.clip is None:
            return gradient
        scale = jnp.minimum(1.0, data.clip / jnp.maximum(jnp.linalg.norm(flat), 1e-12))
        return jax.tree.map(lambda g: scale * g, gradient)

    def _run_chunk(self, states: State, start: Array, stop: Array, data: Data) -> State:
        self.traces += 1

        def one(state: State, data: Data, start: Array, stop: Array) -> State:
            # One after another, a member that has diverged or waits costs nothing; side by side all take the same time.
            last = jnp.where(state.alive, stop, start) if self.packing == "map" else stop
            return jax.lax.fori_loop(start, last, lambda step, s: self._step(step, s, data), state)

        return self._members(one)(states, data, shared=(start, stop))
