"""A model for which Keras takes no element of the data to make its metrics.

`fit` and `evaluate` of Keras call a private method that takes the first meta-batch out of the
iterator, and would mix its tasks. A learner makes its metrics of the specification of the data.

Tested with Keras 3.13 and 3.15. Without the method Keras calls something else, and the first step
of a data set that can be read once alone is lost.
"""

from typing import Any


class NotBuiltFromData:
    """A mixin of `keras.Model`."""

    def _maybe_symbolic_build(self, iterator: Any = None, data_batch: Any = None) -> None:
        """Do nothing."""
