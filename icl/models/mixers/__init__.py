"""Mixers, one file each."""

from icl.models.mixers.base import Mixer as Mixer
from icl.models.mixers.base import MixerConfig as MixerConfig
