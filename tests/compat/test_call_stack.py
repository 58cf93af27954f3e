"""Calls have room at every depth of the stack, and functions stay what they are."""

import inspect
import resource
import sys

import pytest

from keras_imaml._compat.call_stack import with_room

CALLS = 300


def pages_taken(function, depth):
    """Pages that the system gives out while `function` runs so many calls down the stack."""
    if depth:
        return pages_taken(function, depth - 1)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    function()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


def calls():
    for _ in range(CALLS):
        (lambda: (lambda: None)())()


@pytest.mark.skipif(sys.version_info < (3, 11), reason="frames were no chunks before Python 3.11")
def test_no_depth_of_the_stack_takes_a_page_for_each_call():
    depths = range(150)
    if max(pages_taken(calls, depth) for depth in depths) < CALLS:
        pytest.skip("this Python keeps the chunks of its stack")
    assert max(pages_taken(with_room(calls), depth) for depth in depths) < CALLS / 4


def test_arguments_results_and_signature_stay():
    def scaled(x: int, *numbers: int, function: int = 2) -> tuple[int, ...]:
        """Scales."""
        return tuple(function * each for each in (x, *numbers))

    roomy = with_room(scaled)
    assert roomy(1, 2, function=3) == (3, 6)
    assert inspect.signature(roomy) == inspect.signature(scaled)
    assert (roomy.__name__, roomy.__doc__) == ("scaled", "Scales.")


def test_errors_pass():
    def refuse():
        raise ValueError("told")

    with pytest.raises(ValueError, match="told"):
        with_room(refuse)()
