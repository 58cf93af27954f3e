"""Algorithms are tested as graphs; eagerly, where solvers are tested already, in the slow suite."""

import pytest

from tests.batched import graph


@pytest.fixture(params=["graph", pytest.param("eager", marks=pytest.mark.slow)])
def run(request):
    """Run a function of tensors traced by `tf.function`, or as it is."""
    if request.param == "eager":
        return lambda function, *arguments: function(*arguments)
    return graph
