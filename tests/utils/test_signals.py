"""Signals wait for the end of a step."""

import signal
import threading

import pytest

import keras_imaml as ki
from keras_imaml._utils.signals import HeldSignal

pytestmark = pytest.mark.usefixtures("interrupts")


def test_a_signal_acts_when_it_is_asked_to(capfd):
    with HeldSignal(signal.SIGINT, "this step") as interrupt:
        interrupt.act()
        signal.raise_signal(signal.SIGINT)
        assert interrupt.received
        with pytest.raises(KeyboardInterrupt):
            interrupt.act()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert "SIGINT: ending after this step; again: at once." in capfd.readouterr().err


def test_the_handler_from_before_gets_the_signal():
    calls = []
    before = signal.signal(signal.SIGINT, lambda *_: calls.append(1))
    try:
        with HeldSignal(signal.SIGINT, "this step") as interrupt:
            signal.raise_signal(signal.SIGINT)
            assert not calls
            interrupt.act()
            assert calls == [1]
            assert not interrupt.received
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_signal_after_the_last_step_acts_at_the_end():
    with pytest.raises(KeyboardInterrupt), HeldSignal(signal.SIGINT, "this step"):
        signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_second_interrupt_acts_immediately():
    held_signal = HeldSignal(signal.SIGINT, "this step")
    held_signal.hold()
    signal.raise_signal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
    held_signal.give_back()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_an_ignored_signal_stays_ignored():
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with HeldSignal(signal.SIGINT, "this step") as interrupt:
        signal.raise_signal(signal.SIGINT)
        interrupt.act()
    assert not interrupt.received
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


def test_within_another_the_outer_one_acts():
    outer = HeldSignal(signal.SIGINT, "this meta-step")
    outer.hold()
    with HeldSignal(signal.SIGINT, "this step") as inner:
        signal.raise_signal(signal.SIGINT)
        inner.act()
        assert inner.received
    assert outer.received
    with pytest.raises(KeyboardInterrupt):
        outer.act()
    outer.give_back()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_holders_may_give_back_in_any_order():
    first, second = HeldSignal(signal.SIGINT, "this"), HeldSignal(signal.SIGINT, "that")
    for held_signal in (first, second, first, second):
        held_signal.hold()
    for held_signal in (first, second):
        assert signal.getsignal(signal.SIGINT) is not signal.default_int_handler
        held_signal.give_back()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


class _Interrupted:
    """Meta-batches, with Ctrl-C pressed while the second one is made."""

    def __init__(self):
        self.given = 0

    def __iter__(self):
        for data in ki.data.sinusoid("test", seed=0).batch(4):
            if self.given == 1:
                signal.raise_signal(signal.SIGINT)
            self.given += 1
            yield data


def learner():
    meta_learner = ki.MetaLearner(ki.models.MLP(1, hidden=(4,)), ki.MAML())
    meta_learner.compile(optimizer="adam", loss="mse")
    return meta_learner


def test_ctrl_c_ends_an_evaluation_between_its_batches():
    data = _Interrupted()
    with pytest.raises(KeyboardInterrupt):
        ki.evaluate(learner(), data, 100, verbose=0)
    assert data.given == 2
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_evaluation_runs_in_a_thread():
    results = []
    tasks = ki.data.sinusoid("test", seed=0).batch(4)
    thread = threading.Thread(target=lambda: results.append(ki.evaluate(learner(), tasks, 8)))
    thread.start()
    thread.join()
    assert results[0].tasks == 8
