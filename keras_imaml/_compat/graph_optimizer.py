"""Graphs without the temporary variables that TensorFlow's optimizer puts in the place of sums.

Where a step needs much memory, the optimizer adds up the terms of a sum in a temporary variable. In
a loop the last, empty iteration makes such a variable, too, and nothing deletes it. The next step
then ends in an `AlreadyExistsError`.

Tested with TensorFlow 2.20 and 2.21. Without the private interface graphs are optimized as usual.
"""

import contextlib
import copy
import functools
from collections.abc import Iterator
from typing import Any

try:
    from tensorflow.core.protobuf import config_pb2, rewriter_config_pb2
    from tensorflow.python.eager import context

    context.FunctionCallOptions.config_proto_serialized  # noqa: B018
    context.Context.function_call_options  # noqa: B018
except (ImportError, AttributeError):  # a private interface of TensorFlow: do without
    context = None


@contextlib.contextmanager
def sums_left_alone() -> Iterator[None]:
    """Within it, graphs that this thread traces or calls have no temporary variables for sums."""
    if context is None:
        yield
        return
    owner = context.context()
    outer = owner.function_call_options
    owner.function_call_options = _changed(outer)
    try:
        yield
    finally:
        owner.function_call_options = outer


def _changed(options: Any) -> Any:
    changed = copy.copy(options)
    changed.config_proto_serialized = _without_temporary_variables(options.config_proto_serialized)
    return changed


@functools.cache
def _without_temporary_variables(serialized: bytes) -> Any:
    config = config_pb2.ConfigProto.FromString(serialized)
    rewriting = config.graph_options.rewrite_options
    rewriting.memory_optimization = rewriter_config_pb2.RewriterConfig.NO_MEM_OPT
    # A second round finds next to nothing, and takes as long as the first.
    rewriting.meta_optimizer_iterations = rewriter_config_pb2.RewriterConfig.ONE
    return config
