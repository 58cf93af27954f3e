"""How TensorFlow optimizes the graphs of learners: in one round, without temporary variables.

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
def learner_graphs() -> Iterator[None]:
    """Within it, this thread traces and calls graphs that are optimized so."""
    if context is None:
        yield
        return
    owner = context.context()
    outer = owner.function_call_options
    options = copy.copy(outer)
    options.config_proto_serialized = _config(outer.config_proto_serialized)
    owner.function_call_options = options
    try:
        yield
    finally:
        owner.function_call_options = outer


@functools.cache
def _config(serialized: bytes) -> Any:
    config = config_pb2.ConfigProto.FromString(serialized)
    rewriting = config.graph_options.rewrite_options
    rewriting.memory_optimization = rewriter_config_pb2.RewriterConfig.NO_MEM_OPT
    # A second round finds next to nothing, and takes as long as the first.
    rewriting.meta_optimizer_iterations = rewriter_config_pb2.RewriterConfig.ONE
    return config
