"""Which weights adapt, and their flat form."""

import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_imaml as ki
from keras_imaml.meta_parameters.parameters import (
    Group,
    Parameters,
    adapted_indices,
    at_indices,
    freeze,
    frozen_indices,
    warn_of_constraints,
)


def network():
    return keras.Sequential(
        [
            keras.Input((3,)),
            keras.layers.Dense(4, name="body"),
            keras.layers.LayerNormalization(name="norm"),
            keras.layers.Dense(2, name="head"),
        ]
    )


def test_all_trainable_weights_adapt_by_default():
    model = network()
    parameters = Parameters(model)
    assert parameters.adapted == model.trainable_variables
    assert parameters.shared == []
    assert parameters.size == 3 * 4 + 4 + 4 + 4 + 4 * 2 + 2


@pytest.mark.parametrize(
    ("adapt", "expected"),
    [
        ("head", ["head/kernel", "head/bias"]),
        (["body", "head"], ["body/kernel", "body/bias", "head/kernel", "head/bias"]),
        ("kernel", ["body/kernel", "head/kernel"]),
        ("body/kernel", ["body/kernel"]),
        (["/norm/"], ["norm/gamma", "norm/beta"]),
        (lambda v: v.name == "bias", ["body/bias", "head/bias"]),
    ],
)
def test_names_and_predicates_select(adapt, expected):
    model = network()
    parameters = Parameters(model, adapt)
    assert [v.path.split("/", v.path.count("/") - 1)[-1] for v in parameters.adapted] == expected
    variables = [*parameters.adapted, *parameters.shared]
    assert {id(v) for v in variables} == {id(v) for v in model.trainable_variables}


def test_a_part_of_a_name_selects_nothing():
    with pytest.raises(ValueError, match="`adapt`.*head/kernel.*Received: 'hea'"):
        Parameters(network(), "hea")


@pytest.mark.parametrize("adapt", [5, {"head"}, ["head", 5], [None]], ids=str)
def test_what_is_no_name_is_refused(adapt):
    with pytest.raises(ValueError, match="Invalid value for `adapt`.*predicate. Received"):
        Parameters(network(), adapt)


def test_weights_that_are_frozen_or_added_later_are_reported():
    model = network()
    parameters = Parameters(model)
    parameters.check_unchanged()
    model.trainable = False  # as a whole, for other networks that contain it
    parameters.check_unchanged()
    model.trainable = True
    model.get_layer("body").trainable = False
    frozen = r"weights that are frozen now: \['\w+/body/kernel', '\w+/body/bias'\]"
    with pytest.raises(ValueError, match=frozen):
        parameters.check_unchanged()
    model.get_layer("body").trainable = True
    model.get_layer("head").enable_lora(1)
    with pytest.raises(ValueError, match="weights that were added: .*lora"):
        parameters.check_unchanged()


def test_one_wrong_name_among_several_is_reported():
    with pytest.raises(ValueError, match="Received: 'tail'"):
        Parameters(network(), ["head", "tail"])


def test_a_predicate_that_selects_nothing_is_reported():
    with pytest.raises(ValueError, match="at least one trainable weight.*body/kernel"):
        Parameters(network(), lambda v: False)


def test_frozen_weights_neither_adapt_nor_are_shared():
    model = network()
    model.get_layer("body").trainable = False
    parameters = Parameters(model)
    assert len(parameters.adapted) == 4
    assert {v.name for v in parameters.fixed} == {"kernel", "bias"}
    with pytest.raises(ValueError, match="Received: 'body'"):
        Parameters(model, "body")


@pytest.mark.parametrize(
    "model",
    [
        keras.Sequential([keras.layers.Dense(2)], name="unbuilt"),
        keras.Sequential([keras.Input((2,)), keras.layers.Flatten()], name="weightless"),
    ],
)
def test_models_without_weights_are_refused(model):
    with pytest.raises(ValueError, match=f"built model with trainable weights.*{model.name}"):
        Parameters(model)


def test_adapted_weights_have_one_dtype():
    inputs = keras.Input((2,))
    hidden = keras.layers.Dense(2, dtype="float64")(inputs)
    model = keras.Model(inputs, keras.layers.Dense(2, name="head", dtype="float32")(hidden))
    with pytest.raises(ValueError, match="one dtype.*float32.*float64"):
        Parameters(model)
    assert Parameters(model, "head").dtype == "float32"


def test_theta_holds_the_weights_in_order():
    model = network()
    expected = np.concatenate([np.ravel(v) for v in model.trainable_variables])
    np.testing.assert_array_equal(Parameters(model).theta(), expected)


def test_unravel_inverts_theta(run):
    model = network()
    parameters = Parameters(model)
    weights = run(lambda: parameters.unravel(parameters.broadcast(parameters.theta(), 3)))
    for variable, stack in zip(parameters.adapted, weights, strict=True):
        assert stack.shape == (3, *variable.shape)
        np.testing.assert_array_equal(stack[1], variable)


def test_unravel_takes_an_unknown_number_of_tasks():
    parameters = Parameters(network())
    unravel = tf.function(
        parameters.unravel,
        input_signature=[tf.TensorSpec([None, parameters.size])],
        autograph=False,
    )
    assert unravel(tf.zeros([5, parameters.size]))[0].shape == (5, 3, 4)


def test_a_tape_sees_the_reads_of_theta():
    model = network()
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(Parameters(model).theta() ** 2)
    kernel = model.trainable_variables[0]
    np.testing.assert_allclose(tape.gradient(total, kernel), 2 * kernel, rtol=1e-6)


def test_groups_are_layers_in_the_order_of_phi():
    groups = Parameters(network()).groups
    assert [Group(g.name.rpartition("/")[2], g.size) for g in groups] == [
        ("body", 16),
        ("norm", 8),
        ("head", 10),
    ]
    assert [g.size for g in Parameters(network(), "kernel").groups] == [12, 8]


def test_a_constraint_of_adapted_weights_warns_that_it_holds_for_theta():
    network = keras.Sequential(
        [
            keras.Input((2,)),
            keras.layers.Dense(2, kernel_constraint="non_neg", name="held"),
            keras.layers.Dense(1, name="head"),
        ]
    )
    with pytest.warns(UserWarning, match=r"held/kernel'\]. They hold for the meta-learned"):
        warn_of_constraints(Parameters(network))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_constraints(Parameters(network, adapt="head"))
        tied = keras.Sequential([keras.Input((2,)), ki.layers.TiedDense(2)])
        warn_of_constraints(Parameters(tied))  # its own constraint is meant for theta


@pytest.mark.parametrize(
    ("constraint", "path", "warns"),
    [
        ("unit_norm", "head/kernel", False),  # the cosine head of this package's models
        ("unit_norm", "last/kernel", True),
        ("non_neg", "head/kernel", True),
    ],
)
def test_the_constraint_of_a_cosine_head_is_meant_for_theta(constraint, path, warns):
    inputs = keras.Input((2,))
    layer = keras.layers.Dense(2, kernel_constraint=constraint, name=path.split("/")[0])
    model = keras.Model(inputs, layer(inputs))
    assert model.weights[0].path == path
    with warnings.catch_warnings(record=True) as records:
        warnings.simplefilter("always")
        warn_of_constraints(Parameters(model))
    assert bool(records) is warns


def test_a_split_says_whether_it_has_changed():
    model = network()
    parameters = Parameters(model)
    assert parameters.split_anew() is False
    for trainable in (False, True):
        model.get_layer("body").trainable = trainable
        assert parameters.split_anew() is True
        assert parameters.adapted == model.trainable_variables
        assert parameters.split_anew() is False
    model.trainable = False
    assert parameters.split_anew() is False
    assert parameters.size == 3 * 4 + 4 + 4 + 4 + 4 * 2 + 2


def test_a_refused_split_changes_nothing():
    model = network()
    parameters = Parameters(model)
    adapted = parameters.adapted
    model.get_layer("body").trainable = False

    def refuse(split):
        assert split.adapted == model.trainable_variables
        raise ValueError("refused")

    with pytest.raises(ValueError, match="refused"):
        parameters.split_anew(refuse)
    assert parameters.adapted is adapted


def test_a_copy_adapts_and_freezes_the_same_weights():
    model, copy = network(), network()
    selected = at_indices(copy, adapted_indices(Parameters(model, "head")))
    assert [v.path for v in Parameters(copy, selected).adapted] == [
        v.path for v in copy.get_layer("head").trainable_variables
    ]
    model.get_layer("norm").gamma.trainable = False
    assert frozen_indices(model) == [2]
    freeze(copy, frozen_indices(model))
    assert [w.trainable for w in copy.weights] == [w.trainable for w in model.weights]
