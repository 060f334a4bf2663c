"""Learners whose weights are written down, so that the algorithm they run is known."""

from icl.models.constructions.base import Construction as Construction
from icl.models.constructions.base import Needs as Needs
from icl.models.constructions.base import TokenConstruction as TokenConstruction
