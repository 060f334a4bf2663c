"""A computer of hand-set weights against a plain interpreter: every word of memory and every line, no mismatch."""

import jax.numpy as jnp
import numpy as np
import pytest

from function_classes import ConfigError
from icl.models.constructions.subleq import Subleq
from icl.models.looped import outputs_of_loops
from icl.models.mixers.linear import LinearHeads

RUNS, STEPS = 200, 30
COMPUTER = Subleq(memory=8, lines=16, bits=8)


def interpret(words: np.ndarray, program: np.ndarray, steps: int, bits: int) -> tuple[list[list[int]], list[int]]:
    """Memory and line after every step, in whole numbers of Python."""
    memory, line, memories, lines = [int(word) for word in words], 0, [], []
    for _ in range(steps):
        a, b, c = (int(number) for number in program[line])
        difference = memory[b] - memory[a]
        memory[b] = (difference + 2 ** (bits - 1)) % 2**bits - 2 ** (bits - 1)
        line = c if memory[b] <= 0 else min(line + 1, len(program) - 1)
        memories.append(list(memory))
        lines.append(line)
    return memories, lines


def draw(computer: Subleq, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Words and programs, all equally likely."""
    rng = np.random.default_rng(seed)
    half = 2 ** (computer.bits - 1)
    sizes = [computer.memory, computer.memory, computer.lines]
    return rng.integers(-half, half, (RUNS, computer.memory)), rng.integers(0, sizes, (RUNS, computer.lines, 3))


@pytest.mark.parametrize("bits", [8, 20])
def test_random_programs_run_as_interpreted(bits):
    computer = Subleq(memory=8, lines=16, bits=bits)
    words, programs = draw(computer, bits)
    trace = computer.run(words, programs, STEPS)
    wanted = [interpret(*pair, STEPS, bits) for pair in zip(words, programs, strict=True)]
    memory, line = (np.stack(part, 1) for part in zip(*wanted, strict=True))
    np.testing.assert_array_equal(trace.memory, memory)
    np.testing.assert_array_equal(trace.line, line)
    # The programs jump and do not jump, and their words wrap around.
    assert 0.2 < np.mean(np.diff(line, axis=0) == 1) < 0.8
    unbounded = [interpret(*pair, STEPS, 64)[0] for pair in zip(words, programs, strict=True)]
    assert np.mean(np.any(np.stack(unbounded, 1) != memory, (0, 2))) > 0.2


def test_the_stream_holds_whole_numbers_and_nothing_drifts():
    words, programs = draw(COMPUTER, 0)
    outputs = np.asarray(outputs_of_loops(COMPUTER.network(STEPS), jnp.asarray(COMPUTER.tokens(words, programs))))
    np.testing.assert_array_equal(outputs, np.round(outputs))
    np.testing.assert_array_equal(np.sum(outputs[:, :, 0, 1:], -1), 1)


def test_a_program_multiplies():
    """r += x, y times: 7 * 6 in 5 instructions for each of 6 rounds, then a line that jumps to itself."""
    x, y, r, z, one = range(5)
    program = [(x, z, 1), (z, r, 2), (z, z, 3), (one, y, 5), (z, z, 0), (z, z, 5)]
    computer = Subleq(memory=5, lines=6, bits=8)
    trace = computer.run(np.array([[7, 6, 0, 0, 1]]), np.array([program]), 40)
    assert trace.memory[-1, 0].tolist() == [7, 0, 42, 0, 1]
    assert trace.line[[27, 28, 39], 0].tolist() == [3, 5, 5]
    assert trace.memory[23, 0, r] == 35


def test_the_computer_is_as_large_as_it_says():
    blocks = COMPUTER.network().inner.blocks
    assert isinstance(blocks[0].mixer, LinearHeads)
    assert (len(blocks), blocks[0].mixer.heads, blocks[0].mixer.width) == (3, 2, 5 * 8 + 4 * 16 + 4)


def test_refusals():
    words, programs = (part[:2] for part in draw(COMPUTER, 0))
    with pytest.raises(ValueError, match="words of 8 bits are from -128 to 127"):
        COMPUTER.tokens(np.full_like(words, 128), programs)
    with pytest.raises(ValueError, match="a and b must be below 8, c below 16"):
        COMPUTER.tokens(words, np.full_like(programs, 8))
    with pytest.raises(ValueError, match=r"needs words \(2, 8\) and programs \(2, 16, 3\)"):
        COMPUTER.tokens(words, programs[:, :5])
    with pytest.raises(ConfigError, match="at most 20"):
        Subleq(bits=21)
