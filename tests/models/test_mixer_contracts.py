"""What every registered mixer promises beside its outputs: causality as declared, one program, names, a fresh state."""

import jax
import jax.numpy as jnp
import numpy as np

from icl import taps
from icl.config import Config
from icl.models.mixers import MixerConfig
from icl.models.mixers.base import reset
from icl.models.mixers.convolution import EXACT
from icl.models.mixers.operations import operations
from icl.ranking import sizes
from icl.runs import checkpoints
from icl.training.engine import Program
from icl.training.trainer import skeleton
from tests.conftest import rotate
from tests.models.test_mixers import PLACE, E, T, make
from tests.training.test_engine import TINY

LONG, LATER = 300, 20


def pytest_generate_tests(metafunc):
    if "name" in metafunc.fixturenames:
        metafunc.parametrize("name", rotate(metafunc.config, MixerConfig.registry.names()))


def past_moves(name: str, length: int) -> tuple[float, float]:
    """How far earlier outputs move where the last tokens are others, as a share of the largest of these; and the
    largest derivative of an earlier output along a random direction of the last tokens, as a share of its largest
    entry."""
    mixer, known = make(name, PLACE._replace(length=length)), length - LATER
    x, other = jax.random.normal(jax.random.key(2), (2, length, E))
    changed, direction = jnp.concatenate([x[:known], 10 * other[known:]]), jnp.concatenate([0 * x[:known], x[known:]])

    # One program for both: another may round otherwise.
    run = jax.jit(lambda x: [a[:known] for a in jax.jvp(mixer, (x,), (direction,))])
    (before, slope), (after, _) = (map(np.asarray, run(given)) for given in (x, changed))
    return np.abs(after - before).max() / np.abs(changed).max(), np.abs(slope).max() / np.abs(direction).max()


def test_later_tokens_move_the_past_as_little_as_declared(name):
    mixer = make(name)
    exact = mixer.exactly_causal(LONG)
    moved, slope = past_moves(name, LONG)
    if exact:
        assert (moved, slope) == (0, 0)
    else:
        assert mixer.exactly_causal(EXACT)
        assert past_moves(name, EXACT) == (0, 0)
        assert not mixer.exactly_causal(EXACT + 1)
        assert 0 < moved < 1e-5
        assert slope < 1e-5


def test_one_program_runs_all_chunks_and_what_is_stored_comes_back(name, tmp_path):
    config = Config.create("linear-regression", **TINY, mixer=name)
    program = Program(config)
    _, data = program.prepare([config], program.data([config]))
    state = program.chunk(program.start(data), 0, 1, data)
    state = program.chunk(state, 1, 3, data)
    assert program.traces == 1
    state = jax.tree.map(lambda leaf: leaf[0], state)
    found = checkpoints.load(checkpoints.save(tmp_path, 3, state), skeleton(program, data))
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(state), strict=True):
        assert a.dtype == b.dtype
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes()


def test_every_block_has_its_sites(name):
    config = Config.create("linear-regression", **TINY | {"depth": 2}, mixer=name)
    learner = config.model.make(config.task, key=jax.random.key(0))
    found = taps.sites(learner, config.task.sample(jax.random.key(1)))
    tokens = learner.layout.length(config.task.points, learner.signature)
    for site in ("blocks.0.mixer", "blocks.0.residual", "blocks.1.mixer", "blocks.1.residual", "residual"):
        assert found[site].shape == (tokens, 8), site


def test_a_reset_state_is_a_fresh_one(name):
    mixer = make(name)
    x = jax.random.normal(jax.random.key(7), (3, E))

    @jax.jit
    def run(x):
        fresh = mixer.init_state(T)
        late = mixer.step(x[1], mixer.step(x[0], fresh)[1])[1]
        states = fresh, late, *(reset(late, fresh, jnp.asarray(where)) for where in (True, False))
        return [mixer.step(x[2], state) for state in states]

    fresh, late, again, kept = jax.tree.map(lambda a: np.asarray(a).tobytes(), run(x))
    assert again == fresh
    assert kept == late


def test_states_are_what_a_recurrence_needs():
    """S for every head, and what a division needs; tokens where nothing smaller does."""
    heads, small = PLACE.heads, E // PLACE.heads
    square = heads * small**2
    wanted = {
        ("identity",): 0,
        ("linear",): square,
        ("linear", "count"): square + 1,
        ("linear", "scores"): square + E,
        ("positive-linear",): square + E,
        ("merged-linear", "none"): E * E,
        ("merged-linear",): E * E + 1,
        ("relu",): T * E + 1,
        ("softmax",): T * E + 1,
    }
    for (name, *normalizer), numbers in wanted.items():
        config = MixerConfig.registry.get(name, **dict(zip(["normalizer"], normalizer, strict=False)))
        assert sizes(config, PLACE)[1] == 4 * numbers, name
        grows = operations(config, PLACE._replace(length=2 * T)) / operations(config, PLACE) if numbers else 2
        assert (grows > 2) == (name in ("relu", "softmax")), name
