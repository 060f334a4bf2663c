"""The forms of a mixer are one function, in values and gradients: tokens at once, token after token, a batch.

In float64, where what is left is rounding: an error in the algebra of a parallel form or of a backward pass shows.
"""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from icl.models.mixers import Mixer, MixerConfig
from icl.models.mixers.base import Place
from tests.conftest import rotate
from tests.models.test_mixers import MEMBERS, make, stepped

T, E = 7, 8
Form = Callable[[Mixer, jax.Array], jax.Array]
PLACE = Place(width=E, heads=2, depth=1, length=T)


def pytest_generate_tests(metafunc):
    """A share of the mixers, with all their variants."""
    names = rotate(metafunc.config, MixerConfig.registry.names())
    metafunc.parametrize("member", [m for m, fields in MEMBERS.items() if fields.get("name", m) in names])


def others(mixer: Mixer) -> list[Form]:
    """The forms that are not derived from `__call__`; token after token where there is none."""
    forms: list[Form] = []
    if type(mixer).batched is not Mixer.batched:
        forms.append(lambda m, x: m.batched(x[None], None, None)[0])
    if type(mixer).step is not Mixer.step or not forms:
        forms.append(stepped)
    return forms


def test_all_forms_agree_in_float64(member):
    def total(given, run):
        y = run(*given)
        return jnp.sum(jnp.sin(y)), y

    def every(*given):
        forms = lambda m, x: m(x), *others(mixer)
        return [eqx.filter_grad(lambda g, run=run: total(g, run), has_aux=True)(given) for run in forms]

    with jax.enable_x64(True):
        mixer, x = make(member, PLACE), jax.random.normal(jax.random.key(5), (T, E))
        (wanted, y), *rest = jax.jit(every)(mixer, x)
    assert all(leaf.dtype == np.float64 for leaf in jax.tree.leaves((wanted, y)))
    # Some derivatives are 0 whatever the parameters are, those of a bias of keys under softmax: so the second bound.
    largest = max(np.abs(leaf).max(initial=0) for leaf in jax.tree.leaves(wanted))
    for found, same in rest:
        np.testing.assert_allclose(same, y, rtol=0, atol=1e-10 * np.abs(y).max())
        for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
            np.testing.assert_allclose(a, b, rtol=0, atol=1e-8 * np.abs(b).max(initial=0) + 1e-13 * largest)
