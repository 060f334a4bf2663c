"""The same function with other weights: what a probe must see through, and what no look at single weights reveals.

    residual stream    z = x Q,  Q random orthogonal: maps that read become Q' W, maps that write W Q
    head               W_Q A and W_K A^-T, W_V B and B^-1 W_O, A and B random invertible; heads in another order
    linear attention   scores times s, values divided by s; merged matrices likewise
    MLP                hidden units in another order

Raw tokens have no read-in and read-out to absorb Q: attention-only networks get a `frame`. LayerNorm commutes with
rotations that keep its direction of means (1, ..., 1), so with it Q is one of these, and scale and shift are folded:
scale into the maps that read, shift / scale into the rotated shift. A clip of every entry commutes with no rotation.
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from function_classes.base import NotAvailable
from icl.models.attention_only import AttentionOnlyNetwork
from icl.models.base import Learner
from icl.models.mixers.base import Mixer
from icl.models.mixers.linear import LinearHeads
from icl.models.mixers.merged_linear import MergedHeads
from icl.models.mixers.softmax import Attention
from icl.models.parts import MLP, LayerNorm, Linear
from icl.models.transformer import Block, Network

Matrix = Float[np.ndarray, "I O"]


def rotated(learner: Learner, key: PRNGKeyArray) -> Learner:
    """A learner that predicts as `learner` does up to rounding, with other weights in every matrix.

    Raises NotAvailable for networks that are neither a transformer nor attention-only, for mixers that are neither
    softmax attention nor linear attention, for transformers with norms after sums, tied read-outs, sinusoidal or
    rotary positions or no MLPs, and where tokens are clipped.
    """
    rng = np.random.default_rng(np.asarray(jax.random.key_data(key)))
    network = learner.network
    if isinstance(network, AttentionOnlyNetwork):
        width = learner.layout.features(learner.signature) + network.codes
        disguised = _raw_tokens(network, width, rng)
    elif isinstance(network, Network):
        disguised = _transformer(network, rng)
    else:
        raise NotAvailable(f"needs a transformer or an attention-only network, this is {type(network).__name__}")
    return eqx.tree_at(lambda m: m.network, learner, disguised)


def _raw_tokens(network: AttentionOnlyNetwork, width: int, rng: np.random.Generator) -> AttentionOnlyNetwork:
    if network.clip is not None:
        raise NotAvailable(f"tokens are clipped at {network.clip:g}, which commutes with no rotation of them")
    turn = orthogonal(rng, width)
    mixers = [_mixer(block.mixer, turn.T, turn, rng) for block in network.blocks]
    network = eqx.tree_at(lambda n: [block.mixer for block in n.blocks], network, mixers)
    like = jax.tree.leaves(mixers)[0]
    frame = turn if network.frame is None else np.asarray(network.frame, float) @ turn
    return eqx.tree_at(lambda n: n.frame, network, jnp.asarray(frame, like.dtype), is_leaf=lambda leaf: leaf is None)


def _transformer(network: Network, rng: np.random.Generator) -> Network:
    if network.head is None or network.sinusoidal or any(block.post for block in network.blocks):
        raise NotAvailable("tied read-outs, sinusoidal positions and norms after sums fix the stream's coordinates")
    width = network.embed.weight.shape[1]
    turn = _about_ones(rng, width) if isinstance(network.norm, LayerNorm) else orthogonal(rng, width)
    norm, reading = _norm(network.norm, turn)
    blocks = tuple(_block(block, turn, rng) for block in network.blocks)
    where = lambda n: (n.embed, n.blocks, n.norm, n.head)  # noqa: E731
    parts = (_linear(network.embed, None, turn), blocks, norm, _linear(network.head, reading, None))
    network = eqx.tree_at(where, network, parts)
    if network.positions is None:
        return network
    return eqx.tree_at(lambda n: n.positions, network, _like(_float(network.positions) @ turn, network.positions))


def _block(block: Block, turn: Matrix, rng: np.random.Generator) -> Block:
    if block.mlp is None:
        raise NotAvailable("needs blocks with an MLP, as the transformers with hand-set weights have")
    norm_mixer, for_mixer = _norm(block.norm_mixer, turn)
    norm_mlp, for_mlp = _norm(block.norm_mlp, turn)
    parts = (norm_mixer, _mixer(block.mixer, for_mixer, turn, rng), norm_mlp, _mlp(block.mlp, for_mlp, turn, rng))
    return eqx.tree_at(lambda b: (b.norm_mixer, b.mixer, b.norm_mlp, b.mlp), block, parts)


def _norm(norm: Any, turn: Matrix) -> tuple[Any, Matrix]:
    """The norm after the rotation, and the matrix R for which the maps that read from it become R W."""
    if not isinstance(norm, LayerNorm):
        return norm, turn.T
    scale, shift = _float(norm.scale), _float(norm.shift)
    if not np.all(scale):
        raise NotAvailable("a LayerNorm has scale 0 in a channel, into which its shift cannot be folded")
    folded = (jnp.ones_like(norm.scale), _like(shift / scale @ turn, norm.shift))
    return eqx.tree_at(lambda n: (n.scale, n.shift), norm, folded), turn.T * scale[None, :]


def _mixer(mixer: Mixer, reading: Matrix, writing: Matrix, rng: np.random.Generator) -> Mixer:
    """The mixer on z, where it read x = z `reading` and what it adds is now multiplied by `writing`."""
    if type(mixer) is MergedHeads:
        return _merged(mixer, reading, writing, rng)
    if not isinstance(mixer, Attention) or type(mixer) not in (Attention, LinearHeads):
        raise NotAvailable(f"needs softmax or linear attention, whose symmetries are known, not {type(mixer).__name__}")
    if mixer.order != "none":
        raise NotAvailable(f"{mixer.order} positions tell heads and channels apart, which a disguise mixes")
    heads, size = mixer.heads, mixer.query.weight.shape[1] // mixer.heads
    order = rng.permutation(heads)
    scores, values = (np.stack([invertible(rng, size) for _ in range(heads)]) for _ in range(2))
    maps = {"query": scores, "key": np.linalg.inv(scores).swapaxes(1, 2), "value": values}
    if _scales(mixer):
        factors = np.exp(rng.uniform(-1, 1, heads))[:, None, None]
        maps["query"], maps["value"] = maps["query"] * factors, maps["value"] / factors
    rows = _float(mixer.output.weight).reshape(heads, size, -1)
    output = np.einsum("hkl,hle->hke", np.linalg.inv(values), rows)[order].reshape(heads * size, -1) @ writing
    parts = [_heads(getattr(mixer, name), reading, gauge, order) for name, gauge in maps.items()]
    bias = None if mixer.output.bias is None else _like(_float(mixer.output.bias) @ writing, mixer.output.bias)
    where = lambda m: [m.query, m.key, m.value, m.output]  # noqa: E731
    return eqx.tree_at(where, mixer, [*parts, _with(mixer.output, output, bias)])


def _merged(mixer: MergedHeads, reading: Matrix, writing: Matrix, rng: np.random.Generator) -> MergedHeads:
    heads = mixer.value.shape[0]
    factors = np.exp(rng.uniform(-1, 1, heads))[:, None, None] if _scales(mixer) else np.ones((heads, 1, 1))
    order = rng.permutation(heads)
    key_query = (reading @ _float(mixer.key_query) @ reading.T * factors)[order]
    value = (writing.T @ _float(mixer.value) @ reading.T / factors)[order]
    parts = (_like(key_query, mixer.key_query), _like(value, mixer.value))
    return eqx.tree_at(lambda m: (m.key_query, m.value), mixer, parts)


def _scales(mixer: Mixer) -> bool:
    """Whether scores may be multiplied by s and values divided by s: not under a softmax, nor under a division by the
    scores themselves."""
    return isinstance(mixer, LinearHeads | MergedHeads) and mixer.normalizer in ("none", "count")


def _heads(linear: Linear, reading: Matrix, gauge: Float[np.ndarray, "H K K"], order: np.ndarray) -> Linear:
    """A projection into heads, each multiplied by its own matrix, in another order."""
    heads, size = gauge.shape[:2]
    turn = lambda rows: np.einsum("nhk,hkl->nhl", rows.reshape(-1, heads, size), gauge)[:, order]  # noqa: E731
    weight = turn(reading @ _float(linear.weight)).reshape(linear.weight.shape)
    bias = None if linear.bias is None else _like(turn(_float(linear.bias)).reshape(-1), linear.bias)
    return _with(linear, weight, bias)


def _mlp(mlp: MLP, reading: Matrix, writing: Matrix, rng: np.random.Generator) -> MLP:
    order = rng.permutation(mlp.down.weight.shape[0])
    up, down = _linear(mlp.up, reading, None, columns=order), _linear(mlp.down, None, writing, rows=order)
    mlp = eqx.tree_at(lambda m: (m.up, m.down), mlp, (up, down))
    if mlp.gate is None:
        return mlp
    return eqx.tree_at(lambda m: m.gate, mlp, _linear(mlp.gate, reading, None, columns=order))


def _linear(
    linear: Linear,
    reading: Matrix | None,
    writing: Matrix | None,
    rows: np.ndarray | None = None,
    columns: np.ndarray | None = None,
) -> Linear:
    """reading W writing and b writing, with rows or columns in another order."""
    weight, bias = _float(linear.weight), None if linear.bias is None else _float(linear.bias)
    weight = weight if rows is None else weight[rows]
    if columns is not None:
        weight, bias = weight[:, columns], None if bias is None else bias[columns]
    weight = weight if reading is None else reading @ weight
    if writing is not None:
        weight, bias = weight @ writing, None if bias is None else bias @ writing
    return _with(linear, weight, None if bias is None or linear.bias is None else _like(bias, linear.bias))


def _with(linear: Linear, weight: Matrix, bias: Array | None) -> Linear:
    linear = eqx.tree_at(lambda m: m.weight, linear, _like(weight, linear.weight))
    return linear if bias is None else eqx.tree_at(lambda m: m.bias, linear, bias)


def orthogonal(rng: np.random.Generator, size: int) -> Matrix:
    """A random orthogonal matrix, uniform over all of them."""
    q, r = np.linalg.qr(rng.normal(size=(size, size)))
    return q * np.sign(np.diag(r))[None, :]


def _about_ones(rng: np.random.Generator, size: int) -> Matrix:
    """A random orthogonal matrix that maps (1, ..., 1) to itself."""
    # The reflection that exchanges the first axis and the direction of ones.
    normal = np.full(size, size**-0.5) - np.eye(size)[0]
    length = normal @ normal
    mirror = np.eye(size) - (2 * np.outer(normal, normal) / length if length > 0 else 0)
    inner = np.eye(size)
    inner[1:, 1:] = orthogonal(rng, size - 1)
    return mirror @ inner @ mirror


def invertible(rng: np.random.Generator, size: int) -> Matrix:
    """A random matrix with singular values between 1/2 and 2: inverting it costs few digits."""
    values = np.exp(rng.uniform(-np.log(2), np.log(2), size))
    return orthogonal(rng, size) * values[None, :] @ orthogonal(rng, size)


def _float(a: Array) -> Float[np.ndarray, "..."]:
    return np.asarray(a, np.float64)


def _like(values: np.ndarray, leaf: Array) -> Array:
    return jnp.asarray(values, leaf.dtype)
