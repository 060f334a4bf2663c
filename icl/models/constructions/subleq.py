"""A computer: a looped transformer that executes one instruction of a program in every loop (Giannou et al. 2023).

SUBLEQ has one instruction, `a b c`, from which every program can be made:

    memory[b] <- memory[b] - memory[a]; if memory[b] <= 0 then go to line c, else to the next

The program is part of the input, not of the weights: one token holds the program counter, then come a token for each
word of memory and a token for each line of the program. Lines are never written, and after the last comes the last
again. Words are signed whole numbers of N bits and wrap around as in two's complement.

The paper needs 9 layers and width O(log n + N): addresses are binary codes that a sharp softmax compares up to
exp(-lambda), words are bits, and three layers add them. These weights are ours. Addresses are one-hot, which linear
attention compares without error, and a word is one number, so that 3 layers, 2 heads and width 5 M + 4 L + 4 are
enough for M words and L lines, and nothing drifts: everything in the stream is a whole number below 2^24.
"""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from function_classes.fields import setting
from icl.models.constructions.base import TokenConstruction
from icl.models.constructions.channels import (
    Attention,
    Channels,
    Map,
    Rectified,
    join,
    side_by_side,
    write_linear,
    write_rectified,
)
from icl.models.looped import Looped, LoopedNetwork, outputs_of_loops
from icl.models.mixers.linear import LinearAttention


class Trace(NamedTuple):
    """What the computer holds after every instruction of R programs."""

    memory: Int[np.ndarray, "steps R M"]
    line: Int[np.ndarray, "steps R"]


@TokenConstruction.registry.add("subleq", papers=("giannou-2023",))
class Subleq(TokenConstruction):
    """A computer that executes an instruction a loop: 3 layers, 2 heads, width 5 M + 4 L + 4; by default of the size of
    the authors' own example.

    One loop:

        layer 1   the counter finds its line, whose a, b, c go to registers;         MLP silent
        layer 2   two heads read u = memory[a] and v = memory[b];                    MLP: w = 2^N where v - u wraps
        layer 3   the word at b finds the counter's token and adds w - u;            MLP: the next line, registers = 0

    With d = v - u + w, a whole number, [d <= 0] = relu(1 - d) - relu(-d). The next line is c where that is 1, else the
    line after the counter's: a one-hot code shifted by one. Minus 2^(N+1) where a code is 0 turns both units off.
    """

    memory: int = setting(8, "words of memory, M", at_least=1)
    lines: int = setting(16, "lines of a program, L", at_least=1)
    bits: int = setting(8, "bits of a word, N, with its sign", at_least=2, at_most=20)

    def network(self, loops: int = 1) -> LoopedNetwork:
        """The weights, to be looped that often, in the class of the model `looped`: all tokens see each other."""
        c, size = self._channels(), 2 * self.memory + self.lines
        config = Looped(
            depth=3,
            loops=loops,
            inject="none",
            width=c.width,
            heads=2,
            mixer=LinearAttention(key_size=size),
            mlp_ratio=-(-(2 * self.memory + 6 * self.lines + 6) // c.width),
            activation="relu",
            norm="none",
            positions="none",
        )
        given = c.place("cell", "line", "word", "a", "b", "c", "counter")
        says = c.copy("word", "counter").weight
        length = 1 + self.memory + self.lines
        network = config.on_tokens(length, len(given), says.shape[1], key=jax.random.key(0))

        fetch = Attention(c.copy("counter"), c.copy("line"), c.copy("a", "b", "c"), c.place("ra", "rb", "rc"))
        read = [Attention(c.copy(r), c.copy("cell"), c.copy("word"), c.place(n)) for r, n in (("ra", "u"), ("rb", "v"))]
        write = Attention(c.copy("cell"), c.copy("rb"), c.map(1, u=-1.0, w=1.0), c.place("word"))
        layers = (
            (side_by_side(size, fetch), ()),
            (side_by_side(size, *read), (self._wraps(c),)),
            (side_by_side(size, write), (self._next_line(c), self._clear(c))),
        )
        blocks = tuple(
            write_rectified(block, attention, *units)
            for block, (attention, units) in zip(network.inner.blocks, layers, strict=True)
        )
        assert network.inner.head is not None
        ends = write_linear(network.inner.embed, given), write_linear(network.inner.head, says)
        return eqx.tree_at(lambda n: (n.inner.blocks, n.inner.embed, n.inner.head), network, (blocks, *ends))

    def tokens(self, words: Int[np.ndarray, "R M"], programs: Int[np.ndarray, "R L 3"]) -> Float[np.ndarray, "R T F"]:
        """The tokens of R computers that stand at line 0. Raises ValueError for words that do not fit into the bits,
        and for addresses and lines that do not exist."""
        words, programs = np.asarray(words), np.asarray(programs)
        half, runs = 2 ** (self.bits - 1), len(words)
        if words.shape != (runs, self.memory) or programs.shape != (runs, self.lines, 3):
            wanted = f"words ({runs}, {self.memory}) and programs ({runs}, {self.lines}, 3)"
            raise ValueError(f"needs {wanted}, got {words.shape} and {programs.shape}; `memory` and `lines` set them")
        if np.any((words < -half) | (words >= half)):
            raise ValueError(f"words of {self.bits} bits are from {-half} to {half - 1}; take more `bits`")
        if np.any((programs < 0) | (programs >= np.array([self.memory, self.memory, self.lines]))):
            raise ValueError(f"a and b must be below {self.memory}, c below {self.lines}, and none negative")
        cell, line = np.eye(self.memory), np.eye(self.lines)
        found = np.zeros((runs, 1 + self.memory + self.lines, 3 * self.memory + 3 * self.lines + 1))
        stored, code = found[:, 1 : 1 + self.memory], found[:, 1 + self.memory :]
        found[:, 0, -self.lines] = 1
        stored[..., : self.memory], stored[..., self.memory + self.lines] = cell[None], words
        code[..., self.memory : self.memory + self.lines] = line[None]
        a, b, c = (table[programs[..., i]] for i, table in enumerate((cell, cell, line)))
        code[..., self.memory + self.lines + 1 : -self.lines] = np.concatenate([a, b, c], -1)
        return found

    def run(self, words: Int[np.ndarray, "R M"], programs: Int[np.ndarray, "R L 3"], steps: int) -> Trace:
        """Executes that many instructions of R programs, each with a memory of its own, from line 0 on. `steps` is the
        number of loops."""
        tokens = jnp.asarray(self.tokens(words, programs), jnp.float32)
        with jax.default_matmul_precision("highest"):
            outputs = np.asarray(outputs_of_loops(self.network(steps), tokens))
        return Trace(outputs[:, :, 1 : 1 + self.memory, 0].astype(int), np.argmax(outputs[:, :, 0, 1:], -1))

    def _wraps(self, c: Channels) -> Rectified:
        """w = 2^N where v - u is below the least word, -2^N where it is above the largest."""
        half = 2.0 ** (self.bits - 1)
        above = join(*(c.map(1, bias=bias, v=1.0, u=-1.0) for bias in (1 - half, -half)))
        below = join(*(c.map(1, bias=bias, v=-1.0, u=1.0) for bias in (-half, -1 - half)))
        return Rectified(join(above, below), 2 * half * np.array([[-1.0], [1.0], [1.0], [-1.0]]) * c.place("w"))

    def _next_line(self, c: Channels) -> Rectified:
        """Adds the one-hot code of the next line to the counter."""
        last = self.lines - 1
        after, off = np.eye(self.lines)[np.minimum(np.arange(self.lines) + 1, last)], 2.0 ** (self.bits + 1)
        d = np.ones((1, self.lines))
        units = [
            *(c.map(self.lines, bias=one - off, rc=off, v=-d, u=d, w=-d) for one in (1, 0)),
            *(c.map(self.lines, bias=-one - off, counter=off * after, v=d, u=-d, w=d) for one in (0, 1)),
        ]
        out = np.concatenate([sign * c.place("counter") for sign in (1, -1, 1, -1)])
        return Rectified(join(*units), out)

    def _clear(self, c: Channels) -> Rectified:
        """Subtracts the counter, the registers and u, v, w from themselves; of the codes no entry is negative."""
        codes, numbers = c.copy("counter", "ra", "rb", "rc"), c.copy("u", "v", "w")
        negative = Map(-numbers.weight, numbers.bias)
        out = [-c.place("counter", "ra", "rb", "rc"), -c.place("u", "v", "w"), c.place("u", "v", "w")]
        return Rectified(join(codes, numbers, negative), np.concatenate(out))

    def _channels(self) -> Channels:
        """`cell` and `line` name a token, a, b, c are a line's own; what follows is the counter's token."""
        m, n = self.memory, self.lines
        return Channels(cell=m, line=n, word=1, a=m, b=m, c=n, counter=n, ra=m, rb=m, rc=n, u=1, v=1, w=1)
