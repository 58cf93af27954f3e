"""Graphs are traced once for all sizes, by all threads, and without warnings."""

import logging
import threading

import pytest
import tensorflow as tf

from keras_imaml._utils.tracing import TracedByRank, traced


@pytest.fixture
def warned():
    messages = []

    class Handler(logging.Handler):
        def emit(self, record):
            messages.append(record.getMessage())

    handler = Handler(logging.WARNING)
    tf.get_logger().addHandler(handler)
    yield messages
    tf.get_logger().removeHandler(handler)


def test_many_functions_of_one_code_are_no_function_that_is_retraced(warned):
    for _ in range(8):
        traced(lambda x: x + 1)(tf.zeros([2]))
    assert not warned
    for _ in range(8):  # TensorFlow warns here
        tf.function(lambda x: x + 1)(tf.zeros([2]))
    assert any("retracing" in message for message in warned)


def test_threads_share_the_graphs_of_a_rank(warned):
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
    assert not warned
