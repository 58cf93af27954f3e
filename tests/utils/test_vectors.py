"""Vectors of a meta-batch: one reduction a task, at any size of number."""

import numpy as np
import pytest
import tensorflow as tf

from keras_imaml._utils import vectors


def rows(seed=0, dtype="float64"):
    return np.random.default_rng(seed).normal(size=(3, 7)).astype(dtype)


def test_dot_is_taken_task_by_task():
    a, b = rows(0), rows(1)
    expected = [a[t] @ b[t] for t in range(3)]
    np.testing.assert_allclose(vectors.dot(tf.constant(a), tf.constant(b)), expected, rtol=1e-12)


def test_length_and_norm_are_euclidean():
    a = rows()
    expected = np.linalg.norm(a, axis=1)
    np.testing.assert_allclose(vectors.length(tf.constant(a)), expected, rtol=1e-12)
    np.testing.assert_allclose(vectors.norm(tf.constant(a)), expected, rtol=1e-12)


@pytest.mark.parametrize("scale", [1e-30, 1e-20, 1e30])
def test_norm_neither_vanishes_nor_overflows(scale):
    a = rows(dtype="float32")
    expected = np.linalg.norm(a.astype("float64"), axis=1) * scale
    result = vectors.norm(tf.constant(a * np.float32(scale)))
    np.testing.assert_allclose(result, expected, rtol=1e-5)


def test_norm_of_zero_is_zero_and_of_nan_is_nan():
    a = tf.constant([[0.0, 0.0], [np.nan, 1.0], [np.inf, 1.0], [3.0, 4.0]])
    np.testing.assert_array_equal(vectors.norm(a), [0.0, np.nan, np.inf, 5.0])


@pytest.mark.parametrize("shape", [(3,), (3, 2), (3, 2, 4)])
def test_select_takes_rows(shape):
    a, b = tf.ones(shape), tf.zeros(shape)
    result = vectors.select(tf.constant([True, False, True]), a, b).numpy()
    assert result[0].min() == result[2].min() == 1
    assert result[1].max() == 0


def test_select_keeps_nan_out():
    a = tf.constant([[np.nan], [1.0]])
    result = vectors.select(tf.constant([False, True]), a, tf.zeros_like(a))
    assert result.numpy().tolist() == [[0.0], [1.0]]


def test_finite_finds_the_tasks_with_nan_or_infinity():
    a = np.zeros((3, 2, 2))
    a[0, 1, 0] = np.nan
    a[2, 0, 1] = -np.inf
    assert vectors.finite(tf.constant(a)).numpy().tolist() == [False, True, False]
