"""The least that forward and backward of a mixer can take on this machine, whatever its form.

Operations of the cheapest form, times three because the backward pass has two products for each of the forward's, at
the rate of a large matrix product; or the bytes of what must enter and leave, at the rate of a copy of such an array:
whichever is longer.
"""

from icl.console.machine import copy_rate, matmul_rate
from icl.models.mixers import MixerConfig
from icl.models.mixers.base import Place
from icl.models.mixers.operations import operations


def floor(config: MixerConfig, place: Place, batch: int) -> float:
    """Seconds of forward and backward for `batch` sequences of `place.length` tokens."""
    numbers = batch * place.length * place.width
    # Forward: tokens, outputs. Backward: tokens and the gradient of outputs, the gradient of tokens.
    return max(3 * batch * operations(config, place) / matmul_rate(), 5 * 4 * numbers / copy_rate(numbers))
