"""Checks of settings: what passes, what is refused, and what the message says."""

import pathlib

import numpy as np
import pytest

from keras_imaml._utils.validation import (
    check_choice,
    check_folder_name,
    check_integer,
    check_number,
)


@pytest.mark.parametrize("value", [1, 5, np.int64(7)])
def test_integers_pass_as_int(value):
    result = check_integer("steps", value, minimum=1)
    assert result == value
    assert type(result) is int


@pytest.mark.parametrize("value", [0, -3, 2.0, 2.5, True, "3", None, [1]])
def test_other_values_are_not_integers(value):
    with pytest.raises(ValueError, match="`steps`.*integer of at least 1.*Received: steps="):
        check_integer("steps", value, minimum=1)


@pytest.mark.parametrize("value", [0.0, 1, np.float32(0.5)])
def test_numbers_pass_as_float(value):
    assert check_number("rate", value, minimum=0.0) == float(value)


@pytest.mark.parametrize("value", [-1e-9, float("nan"), float("inf"), "fast", None, [1.0, 2.0]])
def test_other_values_are_not_numbers(value):
    with pytest.raises(ValueError, match="`rate`.*at least 0.*Received: rate="):
        check_number("rate", value, minimum=0.0)


def test_an_exclusive_bound_is_refused_with_the_reason():
    assert check_number("rate", 1e-30, minimum=0.0, exclusive=True) == 1e-30
    with pytest.raises(ValueError, match="above 0. Because it must move. Received: rate=0"):
        check_number("rate", 0, minimum=0.0, exclusive=True, reason=" Because it must move.")


def test_choices_are_listed_in_order():
    assert check_choice("per", "model", ("weight", "model")) == "model"
    with pytest.raises(ValueError, match=r"\['model', 'weight'\].*Received: per='task'"):
        check_choice("per", "task", ("weight", "model"))


@pytest.mark.parametrize("path", ["runs/[1]", "a\\b", "a[b/c]d"])
def test_folders_that_tensorflow_would_not_find_are_refused(path):
    with pytest.raises(ValueError, match="`filepath`.*without .*Received: filepath="):
        check_folder_name("filepath", path)


@pytest.mark.parametrize("path", ["with spaces", "gr\u00fcn", "a*b?c[d", "..", pathlib.Path("a")])
def test_other_folders_are_taken(path):
    assert check_folder_name("filepath", path) == str(path)


def test_a_tilde_is_the_home_folder(monkeypatch):
    monkeypatch.setenv("HOME", "/somewhere")
    assert check_folder_name("filepath", "~/runs") == "/somewhere/runs"
