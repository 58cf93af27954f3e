"""Structures of inputs: dense tensors in the place of all that Keras takes."""

import numpy as np
import pytest
import tensorflow as tf

from keras_imaml._utils.structures import as_tensors, symbolic, with_none

DENSE = np.array([[0.0, 2.0], [3.0, 0.0]], "float32")


def test_sparse_tensors_become_dense_ones_and_none_stays():
    given = {"a": [DENSE, None], "b": tf.sparse.from_dense(DENSE), "c": (None,)}
    tensors = as_tensors(given)
    assert tensors["a"][1] == ()
    np.testing.assert_array_equal(tensors["b"], DENSE)
    assert len(tf.nest.flatten(tensors)) == 2
    restored_structure = with_none(tensors)
    assert restored_structure["a"][1] is None
    assert restored_structure["c"] == (None,)


def test_the_shape_of_a_sparse_tensor_is_known_in_graphs():
    shapes = []
    spec = tf.SparseTensorSpec([None, 2], tf.float32)
    tf.function(lambda x: shapes.append(as_tensors(x).shape)).get_concrete_function(spec)
    assert shapes == [tf.TensorShape([None, 2])]


@pytest.mark.parametrize(
    ("part", "message"),
    [
        (tf.ragged.constant([[1.0], [2.0, 3.0]]), "pad them by `to_tensor\\(\\)`"),
        ([[1.0, 2.0]], "np.asarray"),
        ("text", "np.asarray"),
    ],
)
def test_what_has_no_one_shape_or_no_array_is_refused(part, message):
    with pytest.raises(ValueError, match=f"Invalid value for `support_x`.*{message}"):
        as_tensors(part, "support_x")


def test_symbolic_tensors_have_any_number_of_rows():
    tensors = symbolic((np.zeros((4, 5, 2), "int64"), None, tf.TensorSpec([4, 5])), first_axis=2)
    assert tensors[0].shape == (None, 2)
    assert tensors[0].dtype == "int64"
    assert tensors[1] is None
    assert tensors[2].shape == (None,)
