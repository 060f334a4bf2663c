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
    """Unknown trip counts: edits work; captures say why they cannot."""
    model = Looped(LAYERS[0], "while")
    with pytest.raises(ValueError, match=r"block\.residual is inside a while"):
        taps.capture(model, X, at="block.residual")
    patched, _ = looped_by_hand(X, lambda i, s, v: -v if s == "residual" else v)
    edits = {"block.residual": lambda v: -v}
    close(taps.edit(model, X, edits=edits), patched)


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
