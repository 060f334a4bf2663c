"""What a mixer can do: four small tasks that tell mixers apart, learned with a small fixed budget.

    averaging             markov of order 0: the next symbol by the counts so far
    recency               switching-lag: the symbol two places back decides, nothing else
    associative recall    associative-recall: the value that followed a key
    nearest neighbor      nearest-neighbor: the label of the most similar earlier example

A score is the excess over exact Bayes in nats per scored position, after `STEPS` steps at the same optimizer, batch and
rate for every mixer. `identity`, which mixes nothing, marks what can be had without context.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import numpy as np

from function_classes import plain
from icl import prng
from icl.config import Config
from icl.evaluation import evaluate
from icl.layouts import Signature
from icl.models.mixers import MixerConfig
from icl.models.mixers import operations as mixing
from icl.models.mixers.base import Place
from icl.models.transformer import Transformer
from icl.training.engine import Program

TASKS: dict[str, tuple[str, dict[str, Any]]] = {
    "averaging": ("markov", {"order": 0, "symbols": 4, "points": 32}),
    "recency": ("switching-lag", {"points": 32}),
    "associative recall": ("associative-recall", {"points": 24}),
    "nearest neighbor": ("nearest-neighbor", {"dim": 8, "points": 24}),
}
STEPS, DEPTH, WIDTH, HEADS, BATCH, PROMPTS = 1000, 2, 32, 4, 64, 1024
COLUMNS = ("learned", "expected", "width", "parameters", "operations", "state, bytes", "cost")
# A task counts as learned where this share of what `identity` leaves above Bayes is gone.
LEARNED = 0.8


class Card(NamedTuple):
    """One mixer's results: excess over Bayes by task and seed, state of one layer, and of the whole network its
    parameters and the operations for a token."""

    name: str
    expected: str
    cost: str
    width: int
    parameters: int
    operations: float
    state_bytes: int
    excess: dict[str, list[float]]

    def learned(self, task: str, floor: "Card") -> float:
        """The share of the identity's excess that is gone, by the median over seeds; negative where it is worse."""
        left = float(np.median(floor.excess[task]))
        return 1 - float(np.median(self.excess[task])) / left

    def able(self, floor: "Card") -> list[str]:
        """The tasks that count as learned."""
        return [task for task in TASKS if self.learned(task, floor) >= LEARNED]


def config(mixer: MixerConfig, task: str, width: int, seed: int, steps: int = STEPS) -> Config:
    """The run of one mixer on one task."""
    name, fields = TASKS[task]
    size = {"depth": DEPTH, "width": width, "heads": HEADS, "mixer": plain.dump(mixer)}
    return Config.create(name, **fields, **size, steps=steps, batch=BATCH, seed=seed)


def equal_width(
    made: Callable[[int], Config], most: float, multiple: int = 8, size: Callable[[Config], float] | None = None
) -> int:
    """The largest width, a multiple of 8 say, at which `made(width)` has at most so many parameters, or another
    `size`."""
    width = multiple
    while (size or parameters)(made(width + multiple)) <= most:
        width += multiple
    return width


def parameters(config: Config) -> int:
    """How many numbers a configuration trains; nothing is computed."""
    shapes = eqx.filter_eval_shape(lambda key: config.model.make(config.task, key=key), jax.random.key(0))
    leaves = jax.tree.leaves(eqx.filter(shapes, lambda leaf: isinstance(leaf, jax.ShapeDtypeStruct)))
    return sum(int(np.prod(leaf.shape)) for leaf in leaves)


def operations(config: Config) -> float:
    """Floating-point operations a token in one forward pass of a transformer on a prompt of its task."""
    model, task, signature = config.model, config.task, Signature.of(config.task)
    assert isinstance(model, Transformer)
    length, width = model.layout.length(task.points, signature), model.width
    place = Place(width, model.heads, model.depth, length)
    ends = model.layout.features(signature) + task.y_space.features
    maps = 2 * width * (ends + 2 * model.depth * model.mlp_ratio * width)
    return maps + sum(mixing.operations(mixer, place) for mixer in model.stack) / length


EQUAL: dict[str, Callable[[Config], float]] = {"parameters": parameters, "operations": operations}


def measure(mixer: MixerConfig, seeds: int = 1, steps: int = STEPS, equal: str = "parameters") -> Card:
    """Trains the mixer on all tasks, as wide as what a softmax transformer of width 32 has of `equal` allows."""
    first, size = next(iter(TASKS)), EQUAL[equal]
    made = lambda width: config(mixer, first, width, 0)  # noqa: E731
    most = size(config(MixerConfig.registry.get("softmax"), first, WIDTH, 0))
    width = equal_width(made, most, size=size)
    excess = {task: list(_excess(mixer, task, width, seeds, steps)) for task in TASKS}
    state = sizes(mixer, Place(width, HEADS, DEPTH, 32))[1]
    found, costs = made(width), (mixer.name, mixer.expected, mixer.cost, width)
    return Card(*costs, parameters(found), operations(found), state, excess)


def sizes(mixer: MixerConfig, place: Place) -> tuple[int, int]:
    """Parameters of one layer's mixer, and bytes of what a step carries for `place.length` tokens, in float32."""
    built = eqx.filter_eval_shape(lambda key: mixer.make(place, key=key), jax.random.key(0))
    leaves = jax.tree.leaves(eqx.filter(built, lambda leaf: isinstance(leaf, jax.ShapeDtypeStruct)))
    state = jax.eval_shape(lambda key: mixer.make(place, key=key).init_state(place.length), jax.random.key(0))
    count = lambda tree: sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(tree))  # noqa: E731
    return count(leaves), sum(int(np.prod(leaf.shape)) * leaf.dtype.itemsize for leaf in jax.tree.leaves(state))


def table(cards: Sequence[Card]) -> str:
    """Markdown: cards from the most to the least learned, with what was expected of each."""
    floor = next(card for card in cards if card.name == "identity")
    ranked = sorted(cards, key=lambda c: -sum(min(c.learned(t, floor), 1.0) for t in TASKS))
    lines = [
        f"| mixer | {' | '.join(TASKS)} | {' | '.join(COLUMNS)} |",
        "|---" * (1 + len(TASKS) + len(COLUMNS)) + "|",
    ]
    for card in ranked:
        cells = [" ".join(f"{value:.3f}" for value in card.excess[task]) for task in TASKS]
        cells += [", ".join(card.able(floor)) or "nothing", card.expected, str(card.width), f"{card.parameters:,}"]
        cells += [f"{card.operations:,.0f}"]
        lines.append("| " + " | ".join([f"`{card.name}`", *cells, f"{card.state_bytes:,}", card.cost]) + " |")
    return "\n".join(lines)


def surprises(cards: Sequence[Card]) -> str:
    """Markdown: what was expected of a mixer and did not come, or came unexpected, with its excess."""
    floor = next(card for card in cards if card.name == "identity")
    lines = []
    for card in cards:
        expected = list(TASKS) if card.expected == "everything" else card.expected.split(", ")
        able = card.able(floor)
        shown = {task: f"{task} ({' '.join(f'{value:.3f}' for value in card.excess[task])})" for task in TASKS}
        missed = [shown[task] for task in TASKS if task in expected and task not in able]
        found = [shown[task] for task in able if task not in expected]
        words = [f"not learned, though expected: {', '.join(missed)}"] if missed else []
        words += [f"learned, though not expected: {', '.join(found)}"] if found and card.expected else []
        lines += [f"- `{card.name}`: {'; '.join(words)}"] if words else []
    return "\n".join(lines) or "Nothing."


def _excess(mixer: MixerConfig, task: str, width: int, seeds: int, steps: int) -> Iterator[float]:
    """Excess over Bayes in nats per scored position, for every seed."""
    configs = [config(mixer, task, width, seed, steps) for seed in range(seeds)]
    program = Program(configs[0])
    _, data = program.prepare(configs, program.data(configs))
    state = program.chunk(program.start(data), 0, steps, data)
    law = configs[0].task
    for member in range(seeds):
        learner = program.learner(*jax.tree.map(lambda leaf: leaf[member], (state.params, state.constants)))  # noqa: B023
        found = evaluate({"model": learner}, law, key=prng.stream(0, "evaluation"), prompts=PROMPTS)
        rows = found.where(predictor="model", metric="excess", position=-1)
        yield float(rows.columns["value"][0])
