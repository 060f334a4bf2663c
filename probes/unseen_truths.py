"""What is true of the learners that no rule was tuned on, probe by probe, as `probes.truths` says of the others.

sign        -f and f are 2 |f| apart, 0 and -f are |f| apart: among references that correlate with f, or not at all,
            none is nearer to -f than predicting 0, and Bayes is the farther the better it predicts
one point   after one example a mean of labels is that label at every query, where weights w'x change sign with x
"""

from probes.truths import (
    BATTERY,
    CONSTRUCTION,
    DISTANCE,
    EXIT,
    LINEAR,
    MOMENT,
    PARITY,
    READINGS,
    SENSITIVITY,
    WEIGHTS,
    WRITTEN,
    Reading,
    Truth,
)

SKEWED, CUBE, LARGE = "ridge, unequal variances", "ridge, inputs in a cube", "ridge, large weights"
NEGATED, CONSTANT = "ridge, sign changed", "ridge and a constant"
MOVED, SQUARES, KERNEL = "moment, coordinates moved", "moment, squares", "kernel smoother"
ATTENTIONS = ("random attention, two heads", "random attention, three thin heads", "random attention, merged")
NETWORKS = ("random relu transformer", "random linear-attention transformer", "random transformer, shifted")
SIGN = "sign: 0 is nearer to it than all that correlates with ridge"
ORTHOGONAL = "its weights are uncorrelated with those of every reference, so that 0 is nearer"
MEANS = "one point: a mean of labels is constant after one example"

Truths = dict[str, Truth]


def _all(names: tuple[str, ...], holds: bool, right: str, why: str) -> Truths:
    return dict.fromkeys(names, Truth(holds, right, why))


RIDGES = (SKEWED, CUBE, LARGE)
_NOT_BAYES, _NOT_RIDGE = r"(?!.*bayes).*", r"(?!cannot tell)(?!.*\bridge).*"
_NOT_DECODED = "not decoded|decoded by a hidden layer alone"

UNSEEN_TRUTHS: dict[str, Truths] = {
    DISTANCE.says: _all(RIDGES, True, DISTANCE.truths["ridge"].right, "Bayes on its class is ridge at this penalty")
    | {NEGATED: Truth(False, _NOT_BAYES, SIGN), MOVED: Truth(False, _NOT_BAYES, ORTHOGONAL)}
    | {KERNEL: Truth(False, _NOT_BAYES, "3-nearest-neighbor is the same at one example and almost at three")}
    | _all((*ATTENTIONS, *NETWORKS), False, _NOT_BAYES, "random"),
    LINEAR.says: _all((SKEWED, NEGATED, MOVED), True, "linear, .*", "w_k'x")
    | _all(ATTENTIONS, True, "linear, .*", "one layer is linear in its query token")
    | _all(NETWORKS, False, "not linear", "nonlinear layers and norms")
    | {KERNEL: Truth(False, "not linear", MEANS), SQUARES: Truth(False, "not linear", "even in the query")}
    | {CONSTANT: Truth(False, "not linear", "the constant is about half of its mean square")},
    WEIGHTS.says: _all(RIDGES, True, WEIGHTS.truths["ridge"].right, "its weights are those of ridge")
    | {NEGATED: Truth(False, _NOT_RIDGE, SIGN), MOVED: Truth(False, _NOT_RIDGE, ORTHOGONAL)}
    | {KERNEL: Truth(False, _NOT_RIDGE, "it has no weights")}
    | _all(NETWORKS, False, _NOT_RIDGE, "it has no weights"),
    SENSITIVITY.says: _all(RIDGES, True, "same, .*", "its weights are those of ridge")
    | {NEGATED: Truth(False, "not the same", "cosine -1"), MOVED: Truth(False, "not the same", "cosine about 0")}
    | {KERNEL: Truth(False, "not the same", "after one example it is constant, which alone costs more than 1 %")}
    | _all((*ATTENTIONS, *NETWORKS), False, "not the same", "random"),
    CONSTRUCTION.says: {"optimum, two heads": Truth(True, "optimum 1/Gamma", "its products are those of the optimum")}
    | _all(("one step, merged", "one step, two heads"), True, "one step.*", "its products are those of the best step")
    | {"three quarters of a step": Truth(False, "not a gradient step", "a quarter of the best rate away")}
    | {"step backwards": Truth(False, "not a gradient step", "twice the best rate away")}
    | {"step on inputs too": Truth(False, "not a gradient step", "what a step does not use moves more than 1 %")}
    | _all(ATTENTIONS, False, "not a gradient step", "a random matrix is not near a multiple of I"),
    EXIT.says: _all(("three layers of descent", "six small steps"), True, "gradient descent", "layer l is step l")
    | {"five Newton iterations": Truth(True, "newton", "every fourth block ends an iteration")}
    | {"one example after another": Truth(False, "neither", "no step uses all examples before the last two blocks")}
    | {"one coordinate after another": Truth(False, "neither", "before the last layer a coordinate of w is 0")}
    | {KERNEL: Truth(False, "neither", "all is said by the last block")}
    | _all(NETWORKS, False, "neither", "random"),
    MOMENT.says: {"five Newton iterations": Truth(True, "decoded", "channel b of the query is X'y")}
    | _all((MOVED, SQUARES), True, "decoded", "channel m of the query is X'y / k")
    | _all((CUBE, KERNEL, "one example after another"), False, _NOT_DECODED, PARITY)
    | _all(NETWORKS, False, MOMENT.truths["random transformer"].right, "one law: it and its control"),
    WRITTEN.says: _all((SKEWED, LARGE, NEGATED), True, "decoded", "channel w of the query is the posterior mean")
    | _all((CUBE, KERNEL, "one example after another"), False, _NOT_DECODED, PARITY)
    | _all(NETWORKS, False, WRITTEN.truths["random transformer"].right, "one law: it and its control"),
    BATTERY.says: _all((SKEWED, CUBE), True, BATTERY.truths["ridge"].right, "on every prompt Bayes of training")
    | {"averaging by attention": Truth(True, "(.* or )?averaging( or .*)?", "on every prompt it is `averaging`")}
    | {NEGATED: Truth(False, "no reference under all", SIGN), MOVED: Truth(False, "no reference under all", ORTHOGONAL)}
    | {SQUARES: Truth(False, "no reference under all", "even in the query, where references are odd")}
    | _all((*ATTENTIONS[:1], *NETWORKS[:2]), False, "no reference under all", "random"),
}


def unseen(reading: Reading) -> Truths:
    """What is published of one reading."""
    return UNSEEN_TRUTHS[reading.says]


assert set(UNSEEN_TRUTHS) == {reading.says for reading in READINGS}
