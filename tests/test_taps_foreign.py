"""Branches, custom derivatives, compiled functions and modules that were written without taps in mind."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from icl import taps

X = jax.random.normal(jax.random.key(9), (4, 3))


def close(left, right):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-6), left, right)


def test_branches():
    """A site of the branch not taken is NaN (0 for whole numbers); one that both have is always there."""

    def branches(sign, x):
        def one(x):
            return taps.tap(taps.tap(x, "both") * 2, "one")

        def two(x):
            return taps.tap(x - 1, "both") * taps.tap(jnp.array([3]), "whole")[0].astype(jnp.float32)

        return jax.lax.cond(sign > 0, one, two, x)

    run = jax.jit(lambda sign: taps.capture(branches, sign, jnp.ones(2)))
    close(run(1.0), (2 * jnp.ones(2), {"both": jnp.ones(2), "one": 2 * jnp.ones(2), "whole": jnp.array([0])}))
    output, seen = run(-1.0)
    close(output, jnp.zeros(2))
    assert np.isnan(seen["one"]).all()
    close([seen["both"], seen["whole"]], [jnp.zeros(2), jnp.array([3])])
    edits = {"both": lambda v: v + 10}
    close([taps.edit(branches, s, jnp.ones(2), edits=edits) for s in (1.0, -1.0)], [22 * jnp.ones(2), 30 * jnp.ones(2)])


@jax.custom_jvp
def ruled(x):
    return taps.tap(x * x, "square")


ruled.defjvp(lambda primals, tangents: (ruled(*primals), 100 * tangents[0]))


@jax.custom_vjp
def ruled_back(x):
    return taps.tap(x * x, "square")


ruled_back.defvjp(lambda x: (ruled_back(x), None), lambda _, g: (100 * g,))


@pytest.mark.parametrize("function", [ruled, ruled_back])
def test_custom_derivatives(function):
    """Looking inside does not change the gradient that the rule gives."""
    output, seen = taps.capture(function, 3.0 * jnp.ones(()))
    assert (float(output), float(seen["square"])) == (9.0, 9.0)
    assert float(jax.grad(lambda x: taps.capture(function, x)[0])(jnp.array(3.0))) == 100.0
    assert float(taps.edit(function, jnp.array(3.0), edits={"square": lambda v: v + 1})) == 10.0


@jax.jit
def shared(x):
    return taps.tap(jnp.sin(x), "sine")


class Caller(eqx.Module):
    def __call__(self, x):
        return shared(x)


class Callers(eqx.Module):
    first: Caller
    second: Caller

    def __call__(self, x):
        return jax.jit(self.second)(self.first(x))


def test_functions_compiled_before():
    """What jit has in its cache belongs to whoever calls it now."""
    shared(X)
    _, seen = taps.capture(Callers(Caller(), Caller()), X, at="**.sine")
    close(seen, {"first.sine": jnp.sin(X), "second.sine": jnp.sin(jnp.sin(X))})


def test_foreign_modules():
    attention = eqx.nn.MultiheadAttention(2, 4, key=jax.random.key(0))
    x = jax.random.normal(jax.random.key(1), (3, 4))
    mask = jnp.tril(jnp.ones((3, 3), bool))
    output, seen = jax.jit(lambda x: taps.capture(attention, x, x, x, mask=mask))(x)
    close(output, eqx.filter_jit(attention)(x, x, x, mask=mask))
    assert list(taps.sites(attention, x, x, x)) == ["query_proj", "key_proj", "value_proj", "dropout", "output_proj"]
    close(seen["query_proj"], x @ attention.query_proj.weight.T)
    close(seen["dropout"].sum(-1), jnp.ones((2, 3)))
    close(seen["output_proj"], output)
    mlp = eqx.nn.MLP(3, 2, 5, 1, key=jax.random.key(2))
    edited = taps.edit(mlp, X[0], edits={"layers.0": lambda v: v + 1})
    close(edited, mlp.layers[1](jax.nn.relu(mlp.layers[0](X[0]) + 1)))
    for wrapped in (eqx.filter_vmap(mlp), eqx.filter_jit(eqx.filter_vmap(mlp)), jax.jit(eqx.filter_vmap(mlp))):
        seen = jax.jit(lambda x, wrapped=wrapped: taps.capture(wrapped, x, at="layers.0")[1])(X)
        close(seen["layers.0"], jax.vmap(mlp.layers[0])(X))


def test_calls_of_different_shapes():
    def twice(linear, x):
        return linear["a"](x) + jax.vmap(linear["a"])(x[None])[0]

    linear = {"a": eqx.nn.Linear(3, 2, key=jax.random.key(0))}
    _, seen = taps.capture(twice, linear, X[0])
    assert {name: value.shape for name, value in seen.items()} == {"a#0": (2,), "a#1": (1, 2)}
    close(taps.edit(twice, linear, X[0], edits={"a": 1.0}), 2 * jnp.ones(2))


def test_costs_nothing_unless_asked():
    """A tap leaves no operation in the program, and gradients and batches pass through it untouched."""

    def plain(x):
        return jnp.sum(jnp.sin(x) ** 2)

    def tapped(x):
        return jnp.sum(taps.tap(jnp.sin(x), "sine") ** 2)

    def program(function):
        return jax.jit(jax.vmap(jax.value_and_grad(lambda x: function(x)))).lower(X).as_text()

    assert "sine" in program(plain)
    assert program(tapped) == program(plain)


def test_several_models_and_several_outputs():
    cell = eqx.nn.LSTMCell(3, 2, key=jax.random.key(0))
    mlp = eqx.nn.MLP(3, 2, 5, 1, key=jax.random.key(2))

    class Reader(eqx.Module):
        cell: eqx.nn.LSTMCell

        def __call__(self, xs):
            return jax.lax.scan(lambda s, x: (self.cell(x, s), None), (jnp.zeros(2), jnp.zeros(2)), xs)[0]

    output, seen = taps.capture(
        lambda a, b, x: (a(x), jax.vmap(b)(x)), Reader(cell), mlp, X, at=("0.cell*", "1.layers.0")
    )
    assert {name: value.shape for name, value in seen.items()} == {
        "0.cell:0": (4, 2),
        "0.cell:1": (4, 2),
        "1.layers.0": (4, 5),
    }
    close((seen["0.cell:0"][-1], seen["0.cell:1"][-1]), output[0])


def test_loops_with_a_condition_per_example():
    """Each example stands still once its own condition is false."""

    def count(n, x):
        step = lambda c: (c[0] + 1, taps.tap(c[1] * 2, "double"))  # noqa: E731
        return jax.lax.while_loop(lambda c: c[0] < n, step, (0, x))[1]

    found = taps.edit(jax.vmap(count), jnp.arange(4), jnp.ones(4), edits={"double": lambda v: v + 1})
    close(found, jnp.array([1.0, 3.0, 7.0, 15.0]))
