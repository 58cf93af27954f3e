"""What most tests do without, for it takes more than half of their time.

A program has all of it: TensorFlow's optimizer of graphs takes as long as tracing. The origin of
operations is the Python stack of each one, all read at the first call of a graph: under pytest
that is up to a fifth of a test's time. The check of the first step takes 0.1 to 0.5 s a learner.
A pipeline that is tuned waits at its end until the tuner wakes up.
"""

import functools
from collections.abc import Callable
from typing import Any

import tensorflow as tf
from tensorflow.python.framework import ops

from keras_imaml.learner.first_step import FirstStep

SetAttribute = Callable[[Any, str, Any], None]


def optimize_graphs(enabled: bool) -> None:
    """Whether TensorFlow's optimizer takes the graphs of this process."""
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": not enabled})


def keep_no_origins(set_attribute: SetAttribute = setattr) -> None:
    """Operations do not say where they were made."""
    set_attribute(ops, "_create_c_op", functools.partial(ops._create_c_op, extract_traceback=False))


def skip_first_step_check(set_attribute: SetAttribute = setattr) -> None:
    """Second derivatives are not checked at the first step of a learner."""
    set_attribute(FirstStep, "keep", lambda self, support: None)


def tune_no_pipelines(set_attribute: SetAttribute = setattr) -> None:
    """Pipelines of data are run as they are."""
    options = tf.data.Options()
    options.autotune.enabled = False
    iterate = tf.data.Dataset.__iter__
    set_attribute(tf.data.Dataset, "__iter__", lambda data: iterate(data.with_options(options)))


def take_all() -> None:
    """All of them, with one thread for an operation, for the rest of this process."""
    tf.config.threading.set_intra_op_parallelism_threads(1)
    optimize_graphs(False)
    keep_no_origins()
    skip_first_step_check()
    tune_no_pipelines()
