"""The table of a learner's weights: what adapts, what is only meta-learned, what is fixed."""

import keras
import numpy as np
from keras import layers

import keras_imaml as ki
from keras_imaml.learner.weight_summary import (
    ADAPTED,
    FIXED,
    SHARED,
    weight_rows,
    weights_table,
)


def network():
    model = ki.models.MLP(1, hidden=(4, 3))
    model.get_layer("hidden_1").trainable = False
    return model


def test_every_weight_is_counted_once_by_what_happens_to_it():
    learner = ki.MetaLearner(network(), ki.IMAML(), adapt=["head", "hidden_2/bias"])
    assert weight_rows(learner) == [
        ("hidden_1", FIXED, 8),
        ("hidden_2", SHARED, 12),
        ("hidden_2", ADAPTED, 3),
        ("head", ADAPTED, 4),
        ("IMAML: log_proximal_strength", FIXED, 1),
    ]


def test_learned_meta_parameters_are_in_it():
    strength = ki.ProximalStrength(1.0, per="layer", learned=True)
    learner = ki.MetaLearner(network(), ki.IMAML(strength))
    assert ("IMAML: log_proximal_strength", SHARED, 2) in weight_rows(learner)
    rate = ki.LearningRate(0.1, per="weight")
    loss = ki.LearnedLoss(keras.Sequential([layers.Dense(2, use_bias=False, name="judge")]))
    algorithm = ki.MAML(ki.inner.GradientDescent(2, rate))
    learner = ki.MetaLearner(network(), algorithm, learned_loss=loss)
    rows = weight_rows(learner)
    assert ("MAML: log_learning_rate", SHARED, 19) in rows
    assert any(row.owner.endswith("judge") and row[1:] == (SHARED, 2) for row in rows)


def test_the_totals_are_those_of_keras():
    learner = ki.MetaLearner(network(), ki.IMAML(), adapt="head")
    printed = []
    learner.summary(print_fn=printed.append)
    (text,) = printed
    count = lambda variables: sum(int(np.prod(v.shape)) for v in variables)  # noqa: E731
    assert f"Total        4  {ADAPTED}".replace(" ", "") in text.replace(" ", "")
    assert count(learner.trainable_variables) == 4 + 15
    assert f"Total15{SHARED}".replace(" ", "") in text.replace(" ", "")
    assert f"Total9{FIXED}".replace(" ", "") in text.replace(" ", "")


def test_it_is_printed(capsys):
    ki.MetaLearner(network(), ki.Reptile()).summary()
    assert "by Reptile(inner=Adam(steps=8" in capsys.readouterr().out


def test_lines_fit_a_terminal():
    inner = keras.Sequential(
        [keras.Input((2,)), keras.layers.Dense(2, name="d" * 60)], name="m" * 60
    )
    algorithm = ki.SelfTraining(ki.IMAML(inner=ki.inner.NewtonCG()))
    text = weights_table(ki.MetaLearner(inner, algorithm))
    assert max(map(len, text.splitlines())) <= 100
    assert "NewtonCG(" in text and "ddd  " in text
