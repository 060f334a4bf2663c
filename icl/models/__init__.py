"""Learners: architectures, the mixers inside them, and transformers whose weights are written down."""

from icl.models.base import Learner as Learner
from icl.models.base import ModelConfig as ModelConfig
