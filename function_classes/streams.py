"""Streams: prompts without inputs, in which position k is predicted from the k outputs before it."""

from function_classes.base import FunctionClass
from function_classes.fields import setting
from function_classes.spaces import Nothing, Real, Symbols


class Stream(FunctionClass):
    """A sequence of outputs alone; `xs` is (P, 0)."""

    @property
    def x_space(self) -> Nothing:
        return Nothing()


class SymbolStream(Stream):
    """A sequence of symbols from an alphabet."""

    symbols: int = setting(3, "size of the alphabet", at_least=2)

    @property
    def y_space(self) -> Symbols:
        return Symbols(self.symbols)


class NumberStream(Stream):
    """A sequence of numbers."""

    @property
    def y_space(self) -> Real:
        return Real()
