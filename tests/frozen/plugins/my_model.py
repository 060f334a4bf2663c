"""A model: the registered transformer with smaller defaults, and one whose network is the author's own."""

import equinox as eqx
import jax
import jax.numpy as jnp

from function_classes.fields import setting
from icl.layouts import Signature
from icl.models import Learner, ModelConfig
from icl.models.heads import Mean
from icl.models.transformer import Transformer


@ModelConfig.registry.add("my-small-transformer")
class Small(Transformer):
    depth: int = setting(1, "number of blocks", at_least=1)
    width: int = setting(8, "size of the residual stream", at_least=1)
    heads: int = setting(2, "attention heads", at_least=1)


@ModelConfig.registry.add("my-averages")
class Averages(ModelConfig):
    """Outputs are one linear map of the mean token so far."""

    scale: float = setting(1.0, "of the start", above=0)

    def make(self, task, *, key):
        signature = Signature.of(task)
        head = Mean().make(task)
        shape = self.layout.features(signature), head.size(signature.y)
        return Learner(Network(self.scale * jax.random.normal(key, shape)), self.layout, signature, head)


class Network(eqx.Module):
    weight: jax.Array

    def __call__(self, tokens, position_ids, visible=None, rows=None):
        counts = jnp.arange(1, tokens.shape[0] + 1, dtype=tokens.dtype)
        outputs = jnp.cumsum(tokens, 0) / counts[:, None] @ self.weight
        return outputs if rows is None else outputs[jnp.asarray(rows)]

    def batched(self, tokens, position_ids, visible=None, rows=None):
        return jax.vmap(lambda one: self(one, position_ids, visible, rows))(tokens)
