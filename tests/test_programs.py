"""How programs that run few times are compiled."""

import jax
import jax.numpy as jnp

from icl.programs import options


def test_xla_knows_the_options_and_flags_of_a_user_win(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "")
    chosen = options()
    assert chosen
    assert jax.jit(lambda x: 2 * jnp.sin(x) + x, compiler_options=chosen)(0.0) == 0
    monkeypatch.setenv("XLA_FLAGS", "--xla_backend_optimization_level=0")
    assert options() is None
