"""Settings whose annotations are texts, as `from __future__ import annotations` makes them."""

from __future__ import annotations

from typing import ClassVar, Literal

from function_classes.fields import Fields, setting
from function_classes.inputs import Gaussian, InputLaw


class Part(Fields):
    """Nested settings."""

    share: float = setting(0.5, at_least=0, at_most=1)


class Postponed(Fields):
    """One field of every kind."""

    kind: ClassVar[str] = "a word about the class"
    size: int = setting(3, at_least=1)
    rate: float = setting(0.25, above=0)
    clip: float | None = setting(None, above=0)
    flag: bool = setting(False)
    word: str = setting("a")
    form: Literal["one", "two"] = setting("one")
    sizes: tuple[int, ...] = setting(())
    part: Part = setting(Part())
    law: InputLaw = setting(Gaussian())
    quoted: "tuple[Part, ...]" = setting(())  # noqa: UP037


class Heir(Postponed):
    """A field more."""

    twin: Heir | None = setting(None)
    more: float = setting(2.0)
