"""Transformers trained to imitate a reference: what they compute is known, how they compute it is not.

The third disguise of a known learner. Its function is that of the teacher up to an error that falls with training, on
prompts of the class it was trained on; nothing is known of its weights, its layers, or other prompts.
"""

import functools
from typing import Any

import jax
import numpy as np
from jaxtyping import PRNGKeyArray

from function_classes import plain
from function_classes.linear import LinearRegression
from icl.config import Config
from icl.models import Learner
from icl.references.base import Reference
from icl.training.engine import Data, Program

SIZE = {"depth": 3, "width": 32, "heads": 4}
STEPS = 2000


def distilled(teacher: Reference, task: LinearRegression, key: PRNGKeyArray, steps: int = STEPS) -> Learner:
    """A small softmax transformer after `steps` steps on the teacher's predictions, 64 fresh prompts each; the key
    chooses its initial weights and its prompts. At the default steps, on three inputs and seven points, its squared
    distance to ridge is below 1 % of the mean square of the labels."""
    program, data = _program(plain.canonical(plain.dump(teacher)), teacher, task, steps)
    data = data._replace(seed=np.asarray(jax.random.bits(key, (1,), "uint32")))
    state = program.chunk(program.start(data), 0, steps, data)
    return program.learner(jax.tree.map(lambda leaf: leaf[0], state.params))


@functools.lru_cache(maxsize=16)
def _program(name: str, teacher: Reference, task: LinearRegression, steps: int) -> tuple[Program, Data]:
    """Compiled once for all keys."""
    settings: dict[str, Any] = {"steps": steps, "training.teacher": teacher} | SIZE
    config = Config.create(task, **settings)
    program = Program(config)
    return program, program.prepare([config], program.data([config]))[1]
