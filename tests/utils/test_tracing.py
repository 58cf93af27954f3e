"""Graphs are traced once for all sizes, by all threads; only what is traced often is warned of."""

import logging
import threading
import warnings

import pytest
import tensorflow as tf

from keras_imaml._utils.tracing import Traced, TracedByRank


@pytest.fixture
def warning_messages():
    messages = []

    class Handler(logging.Handler):
        def emit(self, record):
            messages.append(record.getMessage())

    handler = Handler(logging.WARNING)
    tf.get_logger().addHandler(handler)
    yield messages
    tf.get_logger().removeHandler(handler)


def test_many_functions_of_one_code_are_no_function_that_is_retraced(warning_messages):
    for _ in range(8):
        Traced(lambda x: x + 1)(tf.zeros([2]))
    assert not warning_messages
    for _ in range(8):  # TensorFlow warns here
        tf.function(lambda x: x + 1)(tf.zeros([2]))
    assert any("retracing" in message for message in warning_messages)


def test_threads_share_the_graphs_of_a_rank(warning_messages):
    graphs = TracedByRank(lambda x, y: tf.reduce_sum(x) + tf.reduce_sum(y))

    def run():
        for size in range(2, 6):
            graphs(tf.zeros([size, 2]), tf.zeros([size]))
            graphs(tf.zeros([size, 2]), tf.zeros([size, 1]))

    threads = [threading.Thread(target=run) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert graphs.traces <= 4  # two ranks, each for its first size and then for any
    assert not warning_messages


CHANGING_DATA = {
    "lengths of lists": lambda number: [tf.zeros([2])] * (number + 1),
    "names of dicts": lambda number: {str(number): tf.zeros([2])},
    "numbers of axes": lambda number: tf.zeros([1] * number),
}


@pytest.mark.parametrize("by_rank", [False, True])
@pytest.mark.parametrize("cause", CHANGING_DATA)
def test_what_is_traced_again_and_again_is_warned_of_once(cause, by_rank):
    def total(data):
        return tf.add_n([tf.reduce_sum(part) for part in tf.nest.flatten(data)])

    graphs = TracedByRank(total) if by_rank else Traced(total)
    with warnings.catch_warnings(record=True) as records:
        warnings.simplefilter("always")
        for number in range(12):
            graphs(CHANGING_DATA[cause](number))
    (warning,) = records
    assert "has built 8 graphs for one function" in str(warning.message)
    assert "float32" in str(warning.message)


def test_sizes_and_dtypes_of_tasks_are_not_warned_of():
    graphs = TracedByRank(lambda x: tf.reduce_sum(x))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for dtype in ("float32", "float64", "int32"):
            for size in range(1, 12):
                graphs(tf.zeros([size, 2 * size], dtype))
    assert graphs.traces <= 6
