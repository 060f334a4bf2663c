"""What is captured equals what is computed by hand; what is edited equals the forward pass patched by hand."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from icl import taps


class Mixer(eqx.Module):
    weight: jax.Array

    def __call__(self, x):
        probabilities = taps.tap(jax.nn.softmax(x @ self.weight @ x.T), "probabilities")
        return probabilities @ x


class Block(eqx.Module):
    mixer: Mixer
    linear: eqx.nn.Linear
    width: int = eqx.field(static=True, default=3)

    def __call__(self, x):
        x = taps.tap(x + self.mixer(x), "residual")
        return x + jnp.tanh(jax.vmap(self.linear)(x))


class Model(eqx.Module):
    blocks: list
    head: dict

    def __call__(self, x):
        for block in self.blocks:
            x = block(x)
        return self.head["out"](x.sum(0))


def block(key):
    return Block(Mixer(jax.random.normal(key, (3, 3)) / 3), eqx.nn.Linear(3, 3, key=key))


MODEL = Model([block(jax.random.key(i)) for i in range(2)], {"out": eqx.nn.Linear(3, 1, key=jax.random.key(7))})
X = jax.random.normal(jax.random.key(9), (4, 3))


def by_hand(model, x, change=lambda site, value: value):
    """The forward pass and all its sites, written out once more."""
    seen = {}

    def at(site, value):
        seen[site] = change(site, value)
        return seen[site]

    for i, b in enumerate(model.blocks):
        p = at(f"blocks.{i}.mixer.probabilities", jax.nn.softmax(x @ b.mixer.weight @ x.T))
        x = at(f"blocks.{i}.residual", x + at(f"blocks.{i}.mixer", p @ x))
        linear = at(f"blocks.{i}.linear", x @ b.linear.weight.T + b.linear.bias[None])
        x = at(f"blocks.{i}", x + jnp.tanh(linear))
    out = model.head["out"]
    return at("head.out", out.weight @ x.sum(0) + out.bias), seen


def close(left, right):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-6), left, right)


NAMES = [
    *(f"blocks.{i}{part}" for i in (0, 1) for part in (".mixer.probabilities", ".mixer", ".residual", ".linear", "")),
    "head.out",
]


def test_sites():
    """The names are frozen: notebooks and stored results use them."""
    found = taps.sites(MODEL, jax.ShapeDtypeStruct((4, 3), jnp.float32))
    assert list(found) == NAMES
    assert found["blocks.1.mixer.probabilities"].shape == (4, 4)
    assert found["blocks.0.linear"].shape == (4, 3)
    assert {s.name: s.axes for s in taps.describe(MODEL, X)}["blocks.0.linear"] == ("vmap",)


@pytest.mark.parametrize("wrap", [lambda f: f, jax.jit, eqx.filter_jit])
def test_capture(wrap):
    output, seen = wrap(lambda x: taps.capture(MODEL, x))(X)
    expected, sites = by_hand(MODEL, X)
    close((output, seen), (expected, sites))
    assert list(seen) == sorted(NAMES) or list(seen) == NAMES


def test_patterns():
    for at, expected in {
        "blocks.*.mixer": ["blocks.0.mixer", "blocks.1.mixer"],
        "blocks.0": ["blocks.0"],
        "**.mixer.*": ["blocks.0.mixer.probabilities", "blocks.1.mixer.probabilities"],
        "head**": ["head.out"],
    }.items():
        assert list(taps.capture(MODEL, X, at=at)[1]) == expected
    assert list(taps.capture(MODEL, X, at=("head.out", "blocks.0.residual"))[1]) == ["blocks.0.residual", "head.out"]
    for use in ({"at": "blocks.*.mixr"}, {"at": ("head.out", "blocks.*.mixr")}, {"edits": {"blocks.*.mixr": 0.0}}):
        with pytest.raises(ValueError, match=r"no site matches 'blocks\.\*\.mixr'; nearest: blocks\.\d\.mixer"):
            taps.capture(MODEL, X, **use)
    with pytest.raises(ValueError, match="there are none"):
        taps.capture(lambda x: x, X, at="*")


@pytest.mark.parametrize("site", NAMES)
def test_edit(site):
    expected = by_hand(MODEL, X, lambda name, value: 0.5 * value + 0.1 if name == site else value)
    close(jax.jit(lambda x: taps.capture(MODEL, x, edits={site: lambda value: 0.5 * value + 0.1}))(X), expected)
    assert not np.allclose(expected[0], MODEL(X))
    _, clean = by_hand(MODEL, X)
    expected, _ = by_hand(MODEL, X, lambda name, value: clean[site][::-1] if name == site else value)
    close(jax.jit(lambda array: taps.edit(MODEL, X, edits={site: array}))(clean[site][::-1]), expected)


def test_edits_broadcast_and_keep_dtype():
    expected, _ = by_hand(MODEL, X, lambda name, value: jnp.zeros_like(value) if name.endswith("mixer") else value)
    close(taps.edit(MODEL, X, edits={"blocks.*.mixer": 0}), expected)
    close(taps.edit(MODEL, X, edits={"**.mixer": lambda value: jnp.zeros(3)}), expected)
    with pytest.raises(ValueError, match=r"blocks\.1\.mixer has shape \(4, 3\); the edit gives \(4,\)"):
        taps.edit(MODEL, X, edits={"blocks.1.mixer": jnp.ones(4)})


def test_gradients_through_edits():
    """With respect to what replaces a value, and to the model around it."""

    def patched(run):
        def loss(model, array):
            return jnp.sum(run(model, array) ** 2)

        return jax.grad(loss, argnums=(0, 1))

    array = by_hand(MODEL, X)[1]["blocks.0.residual"] * 0.9
    model, _ = eqx.partition(MODEL, eqx.is_array)

    def by_taps(model, array):
        return taps.edit(eqx.combine(model, MODEL), X, edits={"blocks.0.residual": array})

    def directly(model, array):
        model = eqx.combine(model, MODEL)
        return by_hand(model, X, lambda name, value: array if name == "blocks.0.residual" else value)[0]

    left, right = jax.jit(patched(by_taps))(model, array), jax.jit(patched(directly))(model, array)
    close(left, right)
    assert float(jnp.abs(right[1]).max()) > 1e-3
    assert float(jnp.abs(left[0].blocks[0].mixer.weight).max()) == 0.0


def test_gradient_of_a_captured_value():
    def mixer(x):
        return jnp.sum(taps.capture(MODEL, x, at="blocks.1.mixer")[1]["blocks.1.mixer"] ** 2)

    close(jax.jit(jax.grad(mixer))(X), jax.grad(lambda x: jnp.sum(by_hand(MODEL, x)[1]["blocks.1.mixer"] ** 2))(X))


def test_vmap_outside_and_inside():
    """The axis of a batch comes first, wherever vmap has put it, also for several of them."""
    xs = jax.random.normal(jax.random.key(1), (2, 5, 4, 3))
    expected = jax.jit(jax.vmap(jax.vmap(lambda x: by_hand(MODEL, x))))(xs)
    close(jax.jit(jax.vmap(jax.vmap(lambda x: taps.capture(MODEL, x))))(xs), expected)
    inside = jax.jit(lambda model, xs: taps.capture(lambda m, v: jax.vmap(jax.vmap(m))(v), model, xs))(MODEL, xs)
    close(inside, expected)
    transposed = jax.jit(lambda xs: taps.capture(lambda m, v: jax.vmap(m, in_axes=1)(v), MODEL, xs))
    close(transposed(xs[0].swapaxes(0, 1)), jax.tree.map(lambda a: a[0], expected))
    turned = jax.vmap(lambda x: by_hand(MODEL, x, lambda n, v: v[::-1] if n == "blocks.0.linear" else v)[0])
    edits = {"blocks.0.linear": lambda value: value[:, ::-1]}
    edited = jax.jit(lambda xs: taps.edit(lambda m, v: jax.vmap(m)(v), MODEL, xs, edits=edits))
    close(edited(xs[0]), jax.jit(turned)(xs[0]))


class Stacked(eqx.Module):
    """All blocks in one module with stacked arrays, as scan-over-layers wants them."""

    blocks: Block
    remat: bool = eqx.field(static=True, default=False)

    def __call__(self, x):
        arrays, rest = eqx.partition(self.blocks, eqx.is_array)

        def layer(x, arrays):
            return eqx.combine(arrays, rest)(x), None

        return jax.lax.scan(jax.checkpoint(layer) if self.remat else layer, x, arrays)[0]


STACKED = eqx.filter_vmap(block)(jax.random.split(jax.random.key(0), 3))
LAYERS = [jax.tree.map(lambda a, i=i: a[i] if eqx.is_array(a) else a, STACKED) for i in range(3)]
IDENTITY = eqx.nn.Linear(3, 3, key=jax.random.key(0))


def layers_by_hand(x, change=lambda layer, site, value: value):
    def rename(site, value):
        _, i, *rest = site.split(".")
        return value if site == "head.out" else change(int(i), ".".join(["blocks", *rest]), value)

    _, seen = by_hand(Model(LAYERS, {"out": IDENTITY}), x, rename)
    names = ["blocks.mixer.probabilities", "blocks.mixer", "blocks.residual", "blocks.linear", "blocks"]
    sites = {n: jnp.stack([seen[f"blocks.{i}{n[6:]}"] for i in range(3)]) for n in names}
    return seen["blocks.2"], sites


@pytest.mark.parametrize("remat", [False, True])
def test_scan_over_layers(remat):
    model = Stacked(STACKED, remat)
    close(jax.jit(lambda x: taps.capture(model, x))(X), layers_by_hand(X))
    axes = {site.name: site.axes for site in taps.describe(model, X)}
    assert axes["blocks.mixer"] == ("scan",)
    assert axes["blocks.linear"] == ("scan", "vmap")
    xs = jnp.stack([X, 2 * X])
    close(jax.jit(jax.vmap(lambda x: taps.capture(model, x)))(xs), jax.jit(jax.vmap(layers_by_hand))(xs))
    close(taps.edit(model, X, edits={"blocks.mixer": lambda v: -v}), layers_by_hand(X, _negative("blocks.mixer"))[0])


def _negative(chosen, layers=(0, 1, 2)):
    return lambda layer, site, value: -value if site == chosen and layer in layers else value


def test_one_layer_of_a_scan():
    model = Stacked(STACKED)
    change = taps.Indexed(lambda value, index: jnp.where(index[0] == 1, -value, value))
    expected, sites = layers_by_hand(X, _negative("blocks.residual", (1,)))
    close(taps.capture(model, X, edits={"blocks.residual": change}), (expected, sites))
    close(taps.edit(model, X, edits={"blocks.residual": sites["blocks.residual"]}), expected)


class Looped(eqx.Module):
    """One block used again and again."""

    block: Block
    how: str = eqx.field(static=True)

    def __call__(self, x):
        if self.how == "calls":
            for _ in range(3):
                x = self.block(x)
            return x
        if self.how == "fori":
            return jax.lax.fori_loop(0, 3, lambda i, x: self.block(x), x)
        return jax.lax.while_loop(lambda c: c[0] < 3, lambda c: (c[0] + 1, self.block(c[1])), (0, x))[1]


def looped_by_hand(x, change=lambda layer, site, value: value):
    _, seen = by_hand(
        Model([LAYERS[0]] * 3, {"out": IDENTITY}),
        x,
        lambda s, v: change(int(s.split(".")[1]), s.split(".", 2)[-1], v) if s.startswith("blocks") else v,
    )
    return seen["blocks.2"], jnp.stack([seen[f"blocks.{i}.residual"] for i in range(3)])


@pytest.mark.parametrize(("how", "axis"), [("calls", "calls"), ("fori", "scan")])
def test_repeated_calls(how, axis):
    model = Looped(LAYERS[0], how)
    expected, residual = looped_by_hand(X)
    output, seen = taps.capture(model, X, at="block.residual")
    close((output, seen), (expected, {"block.residual": residual}))
    assert {site.name: site.axes for site in taps.describe(model, X)}["block.residual"] == (axis,)
    change = taps.Indexed(lambda value, index: jnp.where(index[0] == 2, 0.0, value))
    patched, residual = looped_by_hand(X, lambda i, s, v: 0 * v if (i, s) == (2, "residual") else v)
    close(taps.edit(model, X, edits={"block.residual": change}), patched)
    close(taps.edit(model, X, edits={"block.residual": residual}), patched)


def test_while():
    """Unknown trip counts: edits work, also with a condition per example; captures say why they cannot."""
    model = Looped(LAYERS[0], "while")
    with pytest.raises(ValueError, match=r"block\.residual is inside a while"):
        taps.capture(model, X, at="block.residual")
    patched, _ = looped_by_hand(X, lambda i, s, v: -v if s == "residual" else v)
    edits = {"block.residual": lambda v: -v}
    close(taps.edit(model, X, edits=edits), patched)

    def count(n, x):
        step = lambda c: (c[0] + 1, taps.tap(c[1] * 2, "double"))  # noqa: E731
        return jax.lax.while_loop(lambda c: c[0] < n, step, (0, x))[1]

    found = taps.edit(jax.vmap(count), jnp.arange(4), jnp.ones(4), edits={"double": lambda v: v + 1})
    close(found, jnp.array([1.0, 3.0, 7.0, 15.0]))


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


def test_several_models_and_several_outputs():
    cell = eqx.nn.LSTMCell(3, 2, key=jax.random.key(0))

    class Reader(eqx.Module):
        cell: eqx.nn.LSTMCell

        def __call__(self, xs):
            return jax.lax.scan(lambda s, x: (self.cell(x, s), None), (jnp.zeros(2), jnp.zeros(2)), xs)[0]

    output, seen = taps.capture(lambda a, b, x: (a(x), b(x)), Reader(cell), MODEL, X, at=("0.cell*", "1.blocks.0"))
    assert {name: value.shape for name, value in seen.items()} == {
        "0.cell:0": (4, 2),
        "0.cell:1": (4, 2),
        "1.blocks.0": (4, 3),
    }
    close((seen["0.cell:0"][-1], seen["0.cell:1"][-1]), output[0])


def test_calls_of_different_shapes():
    def twice(linear, x):
        return linear["a"](x) + jax.vmap(linear["a"])(x[None])[0]

    linear = {"a": eqx.nn.Linear(3, 2, key=jax.random.key(0))}
    _, seen = taps.capture(twice, linear, X[0])
    assert {name: value.shape for name, value in seen.items()} == {"a#0": (2,), "a#1": (1, 2)}
    close(taps.edit(twice, linear, X[0], edits={"a": 1.0}), 2 * jnp.ones(2))


def test_modules_stay_what_they_are():
    """Types, attributes and methods are those of the original, and results carry no trace of the capture."""

    def look(model):
        assert isinstance(model.blocks[0].mixer, Mixer)
        assert model.blocks[0].width == 3
        return jax.tree.map(lambda leaf: leaf + 1 if eqx.is_array(leaf) else leaf, model)

    found, _ = taps.capture(look, MODEL, at=())
    assert type(found.blocks[0]) is Block
    assert jax.tree.structure(found) == jax.tree.structure(MODEL)


def test_nested():
    """A patched model can itself be looked into."""
    edits = {"blocks.0.mixer": 0.0}
    _, seen = taps.capture(lambda model, x: taps.edit(model, x, edits=edits), MODEL, X, at="blocks.*.mixer")
    _, expected = by_hand(MODEL, X, lambda name, value: 0 * value if name == "blocks.0.mixer" else value)
    close(seen, {name: expected[name] for name in ("blocks.0.mixer", "blocks.1.mixer")})


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
