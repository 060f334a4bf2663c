"""How examples become tokens: part of the scientific question, because it decides what one layer can do.

A layout owns the tokens, the positions where predictions are read, the position ids and the visibility mask. In
`interleaved` and `shifted` an input and its output sit in different tokens, so a previous-token step comes before any
regression; `paired` and `joint` remove that step. Never carry statements about depth or plateaus between the groups.
"""

from function_classes.spaces import Nothing
from icl.layouts.base import Layout as Layout
from icl.layouts.base import Pass as Pass
from icl.layouts.base import Signature as Signature
from icl.layouts.interleaved import Interleaved as Interleaved
from icl.layouts.joint import Joint as Joint
from icl.layouts.paired import Paired as Paired
from icl.layouts.paired import Shifted as Shifted
from icl.layouts.stream import Stream as Stream


def default(signature: Signature) -> Layout:
    """The layout a run gets when none is named: stream, interleaved for several targets per example, else paired."""
    if isinstance(signature.x, Nothing):
        return Stream()
    return Interleaved() if signature.steps > 1 else Paired()
