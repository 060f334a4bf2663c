"""Runs on disk: directories, checkpoints, metrics, provenance. Safe at every instant, and nothing here imports JAX
before arrays of JAX are stored or asked for."""

from icl.runs import checkpoints as checkpoints
from icl.runs import metrics as metrics
from icl.runs.cadence import Cadence as Cadence
from icl.runs.directory import RunDirectory as RunDirectory
from icl.runs.directory import State as State
from icl.runs.directory import Status as Status
from icl.runs.errors import AlreadyARun as AlreadyARun
from icl.runs.errors import Busy as Busy
from icl.runs.errors import Diverged as Diverged
from icl.runs.errors import Incompatible as Incompatible
from icl.runs.errors import NotARun as NotARun
from icl.runs.errors import NotFound as NotFound
from icl.runs.errors import RunError as RunError
from icl.runs.errors import StorageError as StorageError
from icl.runs.metrics import MetricsLog as MetricsLog
from icl.runs.query import find as find
from icl.runs.query import find_all as find_all
from icl.runs.query import list_runs as list_runs
from icl.signals import interruptible as interruptible
