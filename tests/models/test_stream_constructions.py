"""Hand-set induction heads: exact counts, exact add-alpha bigrams, and the softmax head's two rates of error."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import function_classes as fc
from function_classes import Prompt
from function_classes.base import NotAvailable
from icl import taps
from icl.models import Learner
from icl.models.constructions import Construction, Needs
from icl.models.constructions.disguise import rotated
from icl.programs import predict

C, P, ALPHA = 3, 12, 0.3
TASK = fc.get("markov", points=P, symbols=C, alpha=ALPHA)
HEADS = {"add-alpha": {"alpha": ALPHA}, "induction": {"scale": 30.0, "floor": 0.01, "pieces": 100}}


def head(name: str, **fields) -> Construction:
    return Construction.registry.get(name, **{**HEADS[name], **fields})


def counts(stream: np.ndarray) -> np.ndarray:
    """(P, C): how often c followed the last of the first k symbols, among these; counted in a loop."""
    table = np.zeros((len(stream), C))
    for k in range(1, len(stream)):
        for j in range(1, k):
            if stream[j - 1] == stream[k - 1]:
                table[k, stream[j]] += 1
    return table


@pytest.fixture(scope="module")
def prompts() -> Prompt:
    return TASK.batch(jax.random.key(0), 64)


@eqx.filter_jit
def found(learner: Learner, prompts: Prompt) -> jax.Array:
    """What layer 2 has written into `found`."""
    one = lambda p: taps.capture(learner, p, at=("blocks.1.residual",))[1]["blocks.1.residual"]  # noqa: E731
    return jax.vmap(one)(prompts)[..., head("add-alpha").channels(TASK).slices["found"]]


def test_linear_attention_counts_exactly(prompts):
    wanted = np.stack([counts(np.asarray(ys)) for ys in prompts.ys])
    assert wanted.max() > 5
    np.testing.assert_array_equal(found(head("add-alpha").make(TASK), prompts), wanted)


def test_the_statistical_head_is_bayes(prompts):
    """And so says a count in float64; another alpha is another predictor."""
    learner = head("add-alpha").make(TASK)
    said = np.exp(predict(learner, prompts).log_probs)
    table = np.stack([counts(np.asarray(ys)) for ys in prompts.ys]) + ALPHA
    np.testing.assert_allclose(said, table / table.sum(-1, keepdims=True), rtol=1e-5)
    np.testing.assert_allclose(said, np.exp(predict(TASK.bayes, prompts).log_probs), rtol=1e-5)
    other = np.exp(predict(head("add-alpha", alpha=1.0).make(TASK), prompts).log_probs)
    assert np.max(np.abs(said - other)) > 0.05


def test_in_float64_the_statistical_head_is_exact():
    with jax.enable_x64(True):
        network = head("add-alpha").make(TASK).network
        stream = np.asarray(TASK.sample(jax.random.key(1)).ys)
        tokens = np.zeros((P, C + 1))
        tokens[0, C] = 1
        tokens[np.arange(1, P), stream[:-1]] = 1
        logits = np.asarray(eqx.filter_jit(lambda n, t: n(t, np.arange(P)))(network, jnp.asarray(tokens)))
    assert logits.dtype == np.float64
    np.testing.assert_allclose(logits, np.log(counts(stream) + ALPHA), atol=1e-12)


@pytest.mark.parametrize("points", [1, 2, 3])
def test_short_streams(points):
    task = fc.get("markov", points=points, symbols=C)
    prompts = task.batch(jax.random.key(2), 8)
    bayes = predict(task.bayes, prompts)
    exact, softmax = (predict(made.make(task), prompts) for made in (head("add-alpha", alpha=1.0), head("induction")))
    np.testing.assert_allclose(np.exp(exact.log_probs), np.exp(bayes.log_probs), rtol=1e-5)
    np.testing.assert_allclose(np.exp(softmax.log_probs)[:, :2], 1 / C, atol=1e-4)


def test_without_a_match_the_induction_head_is_uniform():
    """Symbols that have all been seen, but not the current one before."""
    prompt = Prompt(jnp.zeros((P, 0)), jnp.array([0, 0, 1, 1, 2] + [0] * (P - 5)))
    said = np.exp(head("induction").make(TASK)(prompt).log_probs)
    np.testing.assert_allclose(said[[0, 1, 3, 5]], 1 / C, atol=1e-4)
    np.testing.assert_allclose(said[2], [1 / 1.02, 0.01 / 1.02, 0.01 / 1.02], rtol=1e-3)


def test_found_tends_to_the_empirical_bigram_like_exp_of_minus_half_the_scale(prompts):
    table = np.stack([counts(np.asarray(ys)) for ys in prompts.ys])
    total = table.sum(-1, keepdims=True)
    wanted = np.where(total > 0, table / np.maximum(total, 1), 1 / C)
    scales = (10.0, 10 + 2 * np.log(10), 10 + 4 * np.log(10))
    errors = [np.max(np.abs(found(head("induction", scale=s).make(TASK), prompts) - wanted)) for s in scales]
    for scale, error in zip(scales, errors, strict=True):
        assert error < P * np.exp(-scale / 2)
    assert errors[0] / errors[1] == pytest.approx(10, rel=0.15)
    assert errors[1] / errors[2] == pytest.approx(10, rel=0.15)


def test_the_logarithm_is_as_good_as_its_pieces(prompts):
    """The error of linear interpolation, h^2 / 8, in nats: four times less with twice the pieces."""
    errors = []
    for pieces in (9, 17, 33):
        made = head("induction", scale=60.0, pieces=pieces)
        said, wanted = (predict(f, prompts).log_probs for f in (made.make(TASK), made.algorithm(TASK)))
        errors.append(float(np.max(np.abs(said - wanted))))
        assert errors[-1] < (np.log(100) / (pieces - 1)) ** 2 / 8 + 1e-5
    assert errors[0] / errors[2] == pytest.approx(16, rel=0.4)


@pytest.mark.parametrize("name", HEADS)
def test_disguised_heads_predict_the_same(name, prompts):
    learner = head(name).make(TASK)
    assert head(name).needs(TASK) == Needs(2, 1, 4 * C + 1 + P)
    plain, turned = (np.exp(predict(m, prompts).log_probs) for m in (learner, rotated(learner, jax.random.key(3))))
    np.testing.assert_allclose(turned, plain, atol=5e-5)


def test_refusals():
    with pytest.raises(NotAvailable, match="predicts the next symbol of a stream"):
        head("add-alpha").make(fc.get("linear-regression"))
    with pytest.raises(NotAvailable, match=f"positions hold {P}"):
        head("induction").make(TASK)(fc.get("markov", points=P + 1, symbols=C).sample(jax.random.key(4)))
