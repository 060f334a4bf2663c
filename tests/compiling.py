"""Flags under which XLA compiles fast on CPUs, for programs that run for less time than they compile."""

import importlib.metadata

# Level 0 of LLVM halves the time. The older emitter of fused loops halves it again: it lowers them all at once. An
# unknown flag ends the process, and XLA's come and go with its versions.
FAST = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
if importlib.metadata.version("jaxlib").startswith("0.10."):
    FAST += " --xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"
