"""A part of TensorFlow or Keras is replaced within a block, and only there."""

import threading
import types

import pytest

from keras_imaml._compat.replacement import Replacement


@pytest.fixture
def place():
    return types.SimpleNamespace(function="stock")


def replacement(place, stock="stock"):
    return Replacement(lambda value: setattr(place, "function", value), "patched", stock)


def test_blocks_may_be_nested(place):
    patched = replacement(place)
    with patched:
        with patched:
            assert place.function == "patched"
        assert place.function == "patched"
    assert place.function == "stock"


def test_an_exception_puts_it_back(place):
    with pytest.raises(RuntimeError, match="inside"), replacement(place):
        raise RuntimeError("inside")
    assert place.function == "stock"


def test_it_decorates_a_function(place):
    assert replacement(place)(lambda: place.function)() == "patched"
    assert place.function == "stock"


def test_the_last_thread_to_leave_puts_it_back(place):
    patched, entered, leave = replacement(place), threading.Event(), threading.Event()

    def block():
        with patched:
            entered.set()
            leave.wait(10)

    thread = threading.Thread(target=block)
    thread.start()
    assert entered.wait(10)
    with patched:
        pass
    assert place.function == "patched"
    leave.set()
    thread.join()
    assert place.function == "stock"


def test_where_there_is_no_such_place_nothing_changes(place):
    with replacement(place, stock=None):
        assert place.function == "stock"
    assert place.function == "stock"
