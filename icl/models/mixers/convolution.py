"""Long causal convolutions, every channel for itself: y_t = sum_{s <= t} kernel_{t-s} u_s."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from icl.models.mixers.fork import Fork, after
from icl.models.parts import precise

# Up to this length a convolution is a product with a triangular matrix, exactly causal; beyond it goes through the
# frequency domain, where later tokens move earlier outputs by rounding.
EXACT = 256


def causal_convolution(
    kernel: Float[Array, "L E"], u: Float[Array, "T E"], fork: Fork | None = None
) -> Float[Array, "T E"]:
    """Cost O(T^2 E) up to 256 tokens, O(T log T E) beyond. A token that is not finite makes all outputs NaN from there
    on, and leaves earlier ones alone: bit-equal up to 256 tokens, up to rounding beyond. Of a fork, what a leaf
    continues is one lag further from it than from its own last token: L = trunk + 1 taps at least."""
    if fork is not None:
        trunk, leaves = fork.split(u)
        before = causal_convolution(kernel[1 : fork.trunk + 1], trunk)
        own = kernel[0][None] * leaves + after(before, jnp.zeros_like(u[0]), fork)
        return jnp.concatenate([causal_convolution(kernel[: fork.trunk], trunk), own])
    length, finite = u.shape[0], jnp.all(jnp.isfinite(u), -1, keepdims=True)
    u = jnp.where(finite, u, 0)
    if length <= EXACT:
        mixed = jnp.einsum("tse,se->te", toeplitz(kernel), u)
    else:
        spectra = (jnp.fft.rfft(precise(a), 2 * length, axis=0) for a in (kernel, u))
        mixed = jnp.fft.irfft(next(spectra) * next(spectra), 2 * length, axis=0)[:length].astype(u.dtype)
    return jnp.where(jnp.cumsum(~finite, 0) == 0, mixed, jnp.nan)


def toeplitz(kernel: Float[Array, "T *e"]) -> Float[Array, "T T *e"]:
    """kernel[t - s] where s <= t, else 0."""
    length = kernel.shape[0]
    lag = np.arange(length)[:, None] - np.arange(length)[None, :]
    mask = (lag >= 0).reshape(length, length, *(1 for _ in kernel.shape[1:]))
    return jnp.where(mask, kernel[np.maximum(lag, 0)], 0)
