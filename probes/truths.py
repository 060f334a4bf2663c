"""What is true of every known learner, probe by probe: from the mathematics of its weights, never from a probe.

Where theory does not say what a right decision is, the pair is not counted, and the reason is printed instead.

    parity      (x, w, y) -> (-x, -w, y) and (x, w, y) -> (x, -w, -y) leave the law of prompts as it is and turn X'y and
                the posterior mean of w around. A channel that one of both leaves as it is has no correlation with
                them, nor has any sum of such channels over tokens: no linear read-out of them beats predicting 0.
    one law     Shuffling independent weights does not change their law. So a random network and its shuffled control
                are draws from one distribution, and neither is expected to be twice as good as the other.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from function_classes.linear import LinearRegression

TINY = LinearRegression(dim=2, points=5, noise_std=0.6)


class Truth(NamedTuple):
    """Whether the property holds, and a regular expression for the decisions that are right. None: not known."""

    holds: bool | None
    right: str
    why: str


class Reading(NamedTuple):
    """One property that a probe decides about, and where it holds. `function`: it is a property of what a learner
    computes on prompts of its class, so that a distilled net has it where its teacher has it."""

    probe: str
    says: str
    truths: Mapping[str, Truth]
    fields: Mapping[str, Any] = {}
    prompts: int = 128
    function: bool = False
    undecided: str = "cannot tell.*"


def _yes(right: str, **why: str) -> dict[str, Truth]:
    return {name.replace("_", " "): Truth(True, right, reason) for name, reason in why.items()}


def _no(right: str, **why: str) -> dict[str, Truth]:
    return {name.replace("_", " "): Truth(False, right, reason) for name, reason in why.items()}


def _open(**why: str) -> dict[str, Truth]:
    return {name.replace("_", " "): Truth(None, "", reason) for name, reason in why.items()}


KEPT, PASS = "ridge, weights kept", "one step, one pass"
AGAIN = "the same function as one step, counted there"
PARITY = "parity: every channel of its stream is uncorrelated with the target"
STEP = "its weights are a multiple of X'y"
OVERLAP = "early stopping is almost ridge: how near several steps come to it is not known without measuring"
LAYER = "one layer alone cannot progress"
LINEAR_LAYER = "one layer is linear in its query token"

_BAYES = Truth(True, "(?!cannot tell)(.* or )?bayes( or .*)?", "Bayes on this class is ridge at this penalty")
DISTANCE = Reading(
    "distance",
    "the nearest reference is Bayes, or like it",
    {"ridge": _BAYES, KEPT: _BAYES}
    | _no("(?!.*bayes).*", one_step=STEP, half_a_step=STEP, averaging="it is the reference `averaging`")
    | _no("(?!.*bayes).*", finite_pool="it knows four tasks", nearest_neighbor="it is not linear in the query")
    | _no("(?!.*bayes).*", random_transformer="random", random_attention="random")
    | _open(four_steps=OVERLAP)
    | {"GD++": Truth(None, "", OVERLAP), PASS: Truth(None, "", AGAIN)}
    | {"optimum": Truth(False, "(?!.*bayes).*", "its weights are a fixed matrix times X'y")},
    prompts=512,
    function=True,
)
LINEAR = Reading(
    "implicit-weights",
    "the prediction is linear in the query",
    {PASS: Truth(None, "", AGAIN), KEPT: Truth(True, "linear, .*", "w_k'x")}
    | {"GD++": Truth(True, "linear, .*", "every loop is linear in the query")}
    | _yes("linear, .*", one_step="w_k'x", half_a_step="w_k'x", four_steps="w_k'x", optimum="w_k'x", averaging="w_k'x")
    | _yes("linear, .*", ridge="w_k'x", finite_pool="w_k'x", random_attention=LINEAR_LAYER)
    | _no("not linear", nearest_neighbor="constant around almost every query", random_transformer="gelu and softmax"),
    function=True,
)
_RIDGE = Truth(True, r"linear, (?!cannot tell)(.* or )?ridge \(.*", "its weights are those of ridge")
_OTHER = r"(?!cannot tell)(?!.*\bridge).*"
WEIGHTS = Reading(
    "implicit-weights",
    "the nearest weights are those of ridge, or like them",
    {"ridge": _RIDGE, KEPT: _RIDGE, PASS: Truth(None, "", AGAIN)}
    | _no(_OTHER, averaging="it is the reference `averaging`")
    | _no(_OTHER, one_step=STEP, half_a_step=STEP, optimum="its weights are a fixed matrix times X'y")
    | _no(_OTHER, nearest_neighbor="it has no weights", random_transformer="it has no weights")
    | _open(four_steps=OVERLAP, finite_pool="no reference is a pool, and ridge may be the nearest of them")
    | _open(random_attention="no reference is random, and ridge may be the nearest of them")
    | {"GD++": Truth(None, "", OVERLAP)},
    function=True,
    undecided=".*cannot tell.*",
)
_SAME_RIDGE = Truth(True, "same, .*", "its weights are those of ridge")
SENSITIVITY = Reading(
    "sensitivity",
    "it depends on the query as some reference does",
    {"ridge": _SAME_RIDGE, KEPT: _SAME_RIDGE, PASS: Truth(None, "", AGAIN)}
    | _yes("same, .*", one_step=STEP, half_a_step=STEP, averaging=STEP)
    | _no("not the same", nearest_neighbor="after one example it is constant, which alone costs more than 1 %")
    | _no("not the same", finite_pool="its weights are no combination of the inputs seen, those of references are")
    | _no("not the same", random_transformer="random", random_attention="its weights are X'y times a random matrix")
    | _open(four_steps="gd-4 has other rates, and how alike both are is not known without measuring")
    | _open(optimum="X'y times a matrix that is no multiple of I: how alike is not known without measuring")
    | {"GD++": Truth(None, "", "how alike it is to ridge is not known without measuring")},
    function=True,
)
CONSTRUCTION = Reading(
    "gd-construction",
    "the layer is an optimal step of gradient descent, or the optimum 1/Gamma",
    _yes("one step.*", one_step="its products are those of the best step")
    | _yes("optimum 1/Gamma", optimum="its products are those of the optimum")
    | _no("not a gradient step", half_a_step="half of the best rate is half of the optimum away")
    | _no("not a gradient step", random_attention="a random matrix is not near a multiple of I")
    | {"GD++": Truth(False, "not a gradient step", "its second loop sees other inputs")}
    | {PASS: Truth(None, "", "trained at all positions, its best rate would be another")}
    | _open(four_steps="whether 0.4 is within a tenth of the best rate is not known without measuring"),
)
EXIT = Reading(
    "early-exit",
    "layers progress along gradient descent or Newton's method, the right one of both",
    _yes("gradient descent", four_steps="loop l is step l")
    | {"three Newton iterations": Truth(True, "newton", "every fourth block ends an iteration")}
    | {KEPT: Truth(False, "neither", "two blocks an example: no step uses all examples before the last two blocks")}
    | _no("neither", ridge="two blocks an example: no step uses all examples before the last two blocks")
    | _no("neither", finite_pool="all is said by the last block", nearest_neighbor="all is said by the last block")
    | _no("neither", random_transformer="random")
    | _no("neither", one_step=LAYER, half_a_step=LAYER, optimum=LAYER, random_attention=LAYER)
    | {"averaging": Truth(None, "", "from nothing to one step, at a rate of its own, all in the last block")}
    | {PASS: Truth(None, "", AGAIN)}
    | {"GD++": Truth(None, "", "no step of gradient descent, yet how near two loops come is not known")},
    fields={"train": 256},
    prompts=256,
)
_READ = {"train": 256, "steps": 60, "hidden": 8}
_ONE_LAW = Truth(False, "not decoded.*|decoded by a hidden layer alone", "one law: it and its control")
_NEVER = Truth(False, "not decoded|decoded by a hidden layer alone", PARITY)
MOMENT = Reading(
    "moment-readout",
    "a linear read-out decodes X'y",
    {
        "averaging": Truth(True, "decoded", "channel m of the query is X'y / k"),
        "ridge": _NEVER,
        "one step, one pass": _NEVER,
    }
    | {"random transformer": _ONE_LAW}
    | {KEPT: Truth(None, "", "w is in the stream, and correlates with X'y")}
    | _open(finite_pool="its channels correlate with y x by design of the pool, how much is not known")
    | _open(nearest_neighbor="its softmax reads labels, how they correlate with X'y is not known"),
    fields=_READ,
    prompts=256,
)
WRITTEN = Reading(
    "weight-readout",
    "a linear read-out decodes the posterior mean of w",
    {KEPT: Truth(True, "decoded", "channel w of the query is the posterior mean"), "ridge": _NEVER}
    | {"one step, one pass": _NEVER}
    | {"random transformer": _ONE_LAW}
    | {"averaging": Truth(None, "", "X'y is in the stream, and correlates with w so much that the rule may be met")}
    | _open(finite_pool="its channels correlate with w by design of the pool, how much is not known")
    | _open(nearest_neighbor="its softmax reads labels, how they correlate with w is not known"),
    fields=_READ,
    prompts=256,
)
_TRAINING = Truth(True, "(.* or )?bayes of training( or .*)?", "on every prompt it is Bayes under the training prior")
BATTERY = Reading(
    "shift-battery",
    "it behaves as one reference under every shift",
    {"ridge": _TRAINING, KEPT: _TRAINING, PASS: Truth(None, "", AGAIN)}
    | _yes("(.* or )?averaging( or .*)?", averaging="on every prompt it is the reference `averaging`")
    | _no("no reference under all", random_transformer="random", random_attention="random")
    | _open(one_step="its rate is the best one of the last position, that of `gd-1` of the class")
    | _open(half_a_step="no reference has half of the best rate, `gd-1` may be near enough")
    | _open(four_steps="no reference has these rates, `gd-4` may be near enough")
    | _open(optimum="no reference is the optimum, `gd-1` may be near enough")
    | _open(finite_pool="no reference is a pool, some may be near enough")
    | _open(nearest_neighbor="3-nearest-neighbor is a reference, and may be near enough")
    | {"GD++": Truth(None, "", "no reference is GD++, some may be near enough")},
)

READINGS = (DISTANCE, LINEAR, WEIGHTS, SENSITIVITY, CONSTRUCTION, EXIT, MOMENT, WRITTEN, BATTERY)
