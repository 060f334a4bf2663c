"""Floors of mixers: operations counted from programs against those written down."""

import jax
import jax.numpy as jnp
import pytest

from icl.console.floors import count, floor, form_floor
from icl.models.mixers import MixerConfig
from icl.models.mixers.base import Place
from icl.models.mixers.operations import operations

T, E, H = 24, 64, 4
PLACE = Place(width=E, heads=H, depth=1, length=T)


@pytest.mark.parametrize(
    ("name", "products", "others"),
    [
        # 3 gates of tokens and of the hidden state and a read-out; some 40 operations for every unit.
        ("gru", 2 * 7 * E * E, 40 * E),
        # 4 maps; of a step v k' added to S, and S q.
        ("linear", 2 * 4 * E * E + 2 * 2 * E * E // H, 4 * E),
        # 4 maps, the products of two steps of E / H: S k, v k' and S q.
        ("gated-linear-attention", 2 * (5 * E * E + 2 * 16 * E) + 2 * 3 * E * E // H, 3 * E * E // H + 40 * E),
        ("identity", 0, 0),
    ],
)
def test_operations_are_those_of_the_products_and_little_more(name, products, others):
    found = operations(MixerConfig.registry.get(name), PLACE) / T
    assert products <= found <= products + others


def test_a_floor_counts_what_is_longer(monkeypatch):
    config = MixerConfig.registry.get("gru")
    for matmul, copy in ((1.0, 1e9), (1e9, 1.0)):
        monkeypatch.setattr("icl.console.floors.matmul_rate", lambda rate=matmul: rate)
        monkeypatch.setattr("icl.console.floors.copy_rate", lambda numbers, rate=copy: rate)
        slower = 3 * operations(config, PLACE) if matmul < copy else 4 * 5 * E * T
        assert floor(config, PLACE, batch=7) == pytest.approx(7 * slower)


def test_work_is_counted_with_loops_and_without_what_only_moves_numbers():
    def program(a, b):
        once = jnp.exp(a) @ b
        step = lambda carry, _: (carry @ b + carry, jnp.sum(carry.T))  # noqa: E731
        return jax.lax.scan(jax.checkpoint(step), once, length=5)

    work = count(jax.jit(program), jnp.zeros((3, 4)), jnp.zeros((4, 4)))
    assert {shapes: times for (shapes, _), times in work.products.items()} == {
        (((3, 4), "float32"), ((4, 4), "float32")): 6
    }
    assert work.elementary == 12
    assert work.quick == 5 * (12 + 12)
    backward = count(jax.grad(lambda a: jnp.sum(a @ a.T)), jnp.zeros((3, 4)))
    assert sum(backward.products.values()) == 3


def test_the_floor_of_a_form_adds_products_and_operations(monkeypatch):
    monkeypatch.setattr("icl.console.floors._product_seconds", lambda operands, dimensions: 1.0)
    monkeypatch.setattr("icl.console.floors._chain_seconds", lambda elementary: 0.5 if elementary else 0.25)
    monkeypatch.setattr("icl.console.floors.copy_rate", lambda numbers: 1e12)
    a = jnp.zeros((2, 2))
    assert form_floor(lambda a: jnp.exp(a @ a) + a, a) == pytest.approx(1 + 4 * 0.5 + 4 * 0.25)
    # Four numbers of four bytes, read and written.
    monkeypatch.setattr("icl.console.floors.copy_rate", lambda numbers: 2.0)
    assert form_floor(lambda a: jnp.exp(a @ a) + a, a) == pytest.approx(16)
