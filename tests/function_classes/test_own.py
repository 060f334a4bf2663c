"""A class of one's own that draws other things than it says is told so, in its own words."""

import jax
import jax.numpy as jnp
import pytest

from function_classes import FunctionClass, NotAvailable, Prompt, Real, Signs, Symbols, get, own


class Own(FunctionClass):
    """x in R^2, and whatever `kind` says as y."""

    kind: str = "right"
    points: int = 4

    @property
    def x_space(self):
        return Real((2,))

    @property
    def y_space(self):
        return {"signs": Signs(), "bits": Signs(), "outside": Symbols(3), "floats": Symbols(3)}.get(self.kind, Real())

    def sample_latent(self, key):
        return jax.random.normal(key, (2,))

    def sample_inputs(self, latent, key):
        points = self.points + {"many": 1, "few": -1}.get(self.kind, 0)
        shape = (points, 3) if self.kind == "wide" else (points, 2)
        xs = jax.random.normal(key, shape)
        return xs.astype(jnp.float16) if self.kind == "half" else xs

    def evaluate(self, latent, xs):
        ys = xs.astype(jnp.float32)[:, :2] @ latent
        positive = (ys > 0).astype(jnp.float32)
        return {
            "column": ys[:, None],
            "signs": 2 * positive - 1,
            "bits": positive,
            "outside": jnp.where(ys > 0, 3, 0),
            "floats": positive,
            "nan": jnp.where(positive > 0, ys, jnp.nan),
            "infinite": jnp.where(positive > 0, ys, -jnp.inf),
        }.get(self.kind, ys)

    def sample_prompt(self, latent, key):
        prompt = super().sample_prompt(latent, key)
        return Prompt(prompt.xs, prompt.ys, latent, prompt.ys / 0 if self.kind == "targets" else None)


WRONG = {
    "column": "ys of shape (4, 1), and its y_space says a number each: expected (4,); write ys[..., 0]",
    "bits": "the values 0, 1, and signs are -1 and 1; write 2 * y - 1, or say Symbols(2)",
    "outside": "the symbol 3, and their space has 0 to 2; say Symbols(4)",
    "floats": "ys as float32, and its y_space says one of 3 symbols: whole numbers",
    "nan": "ys with nan in",
    "infinite": "ys with -inf in",
    "targets": "targets that are not finite",
    "many": "xs of shape (5, 2): more positions than its points, 4",
    "few": "xs of shape (3, 2): fewer positions than its points, 4",
    "wide": "xs of shape (4, 3), and its x_space says 2 numbers each: expected (4, 2)",
    "half": "xs as float16, expected float32",
}


@pytest.mark.parametrize("kind", WRONG)
def test_what_a_class_draws_is_compared_with_what_it_says(kind):
    if kind in ("nan", "infinite", "targets", "bits", "outside"):
        own.shapes(Own(kind=kind))
    with pytest.raises(NotAvailable) as error:
        own.values(Own(kind=kind))
    assert WRONG[kind] in str(error.value), str(error.value)


def test_right_ones_pass():
    for task in (Own(), Own(kind="signs"), get("markov", points=4), get("associative-recall")):
        own.values(task)
