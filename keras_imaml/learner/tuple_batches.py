"""Batches of a `PyDataset` as tuples, where a user returns lists."""

from typing import Any

import keras


class TupleBatches(keras.utils.PyDataset):
    """A `PyDataset` with tuples in the place of lists, of which TensorFlow has no type.

    Args:
        batches: The data set to read.
    """

    def __init__(self, batches: keras.utils.PyDataset) -> None:
        super().__init__(
            workers=batches.workers,
            use_multiprocessing=batches.use_multiprocessing,
            max_queue_size=batches.max_queue_size,
        )
        self.batches = batches

    @property
    def num_batches(self) -> int | None:
        """The number of batches; None without an end."""
        return self.batches.num_batches

    def __getitem__(self, index: int) -> Any:
        """A batch."""
        return keras.tree.lists_to_tuples(self.batches[index])

    def on_epoch_begin(self) -> None:
        """See `keras.utils.PyDataset`."""
        self.batches.on_epoch_begin()

    def on_epoch_end(self) -> None:
        """See `keras.utils.PyDataset`."""
        self.batches.on_epoch_end()


def with_tuples(arguments: Any) -> Any:
    """Arguments, by place or by name, with each `PyDataset` among them read as tuples."""

    def one(value: Any) -> Any:
        return TupleBatches(value) if isinstance(value, keras.utils.PyDataset) else value

    if isinstance(arguments, dict):
        return {name: one(value) for name, value in arguments.items()}
    return tuple(map(one, arguments))
