"""Where prompts come from, and what is optimal on them.

import function_classes as fc
fc.names()
task = fc.get("linear-regression", dim=8, points=16, noise_std=0.5)
prompt = task.sample(jax.random.key(0))
task.bayes(prompt).mean
"""

from function_classes.base import BayesKind as BayesKind
from function_classes.base import FunctionClass as FunctionClass
from function_classes.base import NotAvailable as NotAvailable
from function_classes.base import Prediction as Prediction
from function_classes.base import Predictor as Predictor
from function_classes.base import Prompt as Prompt
from function_classes.base import get as get
from function_classes.base import names as names
from function_classes.fields import ConfigError as ConfigError
from function_classes.fields import setting as setting
from function_classes.spaces import Nothing as Nothing
from function_classes.spaces import Real as Real
from function_classes.spaces import Signs as Signs
from function_classes.spaces import Symbols as Symbols
