"""How the members of one program share the devices of a process. Their last digits depend on it, and nothing else."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from function_classes.base import Prompt
from icl.config import Config


def usual_packing() -> str:
    """One member after another on a CPU, elsewhere side by side."""
    return "map" if jax.default_backend() == "cpu" else "vmap"


def split(config: Config, members: int, devices: int) -> int:
    """Parts of a member's batch that are computed at the same time: one where members share the devices, or where
    it does not divide evenly."""
    batch = config.training.batch // config.training.accumulate
    return devices if members == 1 and batch % devices == 0 else 1


class Spread:
    """The devices share the members, which lie along a first axis; what one device has runs one after another ("map")
    or side by side ("vmap"). A member that is alone shares out its batch instead, where it divides evenly."""

    def __init__(self, config: Config, packing: str | None = None, devices: int | None = None):
        self.packing = packing or usual_packing()
        self.devices = jax.local_devices()[:devices]
        self._batch = jax.sharding.Mesh(np.asarray(self.devices), ("batch",))
        self._alone = split(config, 1, len(self.devices)) > 1

    def mesh(self, members: int) -> jax.sharding.Mesh | None:
        """The devices of a program of so many members; None where it is the first one alone."""
        if members > 1 and len(self.devices) > 1:
            return jax.sharding.Mesh(np.asarray(self.devices[:members]), ("members",))
        return self._batch if members == 1 and self._alone else None

    def everywhere(self, tree: Any, members: int) -> Any:
        """The tree on every device that a program of so many members uses."""
        mesh = self.mesh(members)
        if mesh is None:
            return tree
        return jax.device_put(tree, jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec()))

    def members(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """`function(*of one member, *shared)` over the members' axis of its arguments, the keyword `shared` aside."""

        def run(*args, shared: tuple[Any, ...] = ()):
            members = jax.tree.leaves(args)[0].shape[0]
            if members == 1:
                one = function(*jax.tree.map(lambda a: a[0], args), *shared)
                return jax.tree.map(lambda a: jnp.asarray(a)[None], one)

            def packed(args, shared):
                if self.packing == "vmap":
                    return jax.vmap(lambda *a: function(*a, *shared))(*args)
                return jax.lax.map(lambda a: function(*a, *shared), args)

            if (mesh := self.mesh(members)) is None:
                return packed(args, shared)
            # Where they do not come out even, the last member is computed more than once.
            index = np.minimum(np.arange(-(-members // mesh.size) * mesh.size), members - 1)
            each, alike = jax.sharding.PartitionSpec("members"), jax.sharding.PartitionSpec()
            spread = jax.shard_map(packed, mesh=mesh, in_specs=(each, alike), out_specs=each, check_vma=False)
            found = spread(jax.tree.map(lambda a: jnp.asarray(a)[index], args), shared)
            return jax.tree.map(lambda a: a[:members], found)

        return run

    def share_out(self, prompts: Prompt) -> Prompt:
        """A batch shared out over the devices, unless they share the members: then each has whole batches."""
        if not jax.sharding.get_abstract_mesh().empty or not self._alone:
            return prompts
        spec = jax.sharding.NamedSharding(self._batch, jax.sharding.PartitionSpec("batch"))
        return jax.lax.with_sharding_constraint(prompts, spec)
