"""Communication between the processes of several machines, between meta-steps."""

import time
import zlib
from collections.abc import Callable

import tensorflow as tf

from keras_imaml._utils.tracing import Traced
from keras_imaml.distribution import replicas
from keras_imaml.distribution.strategies import is_chief


class Workers:
    """The processes that train together under a strategy. A single process always agrees.

    Every worker has to call the same methods in the same order: each call waits for all workers.

    Args:
        strategy: The strategy of the learner.

    Example:

    ```python
    workers = ki.Workers(tf.distribute.get_strategy())    # or learner.distribute_strategy
    workers.check_same("settings", "way=5 shot=1")
    ```
    """

    def __init__(self, strategy: tf.distribute.Strategy) -> None:
        self.strategy = strategy
        self.several = replicas.has_workers(strategy)
        self._sums: Callable[[tf.Tensor], tf.Tensor] | None = None

    def mean(self, value: float) -> float:
        """The mean of the workers' values. A lost worker is a `ConnectionError`."""
        return self._means([value])[0]

    def any(self, value: bool) -> bool:
        """Whether `value` is true on any worker."""
        return self.mean(float(value)) > 0

    def wait(self) -> None:
        """Wait for all workers. A worker that ends earlier would end the others."""
        self.mean(0.0)

    def check_same(self, name: str, value: str) -> None:
        """Raise an error on every worker if their values differ.

        Raises:
            ValueError: If `value` is not the same on all workers.
        """
        # The mean of squares minus the squared mean is the variance: 0 only if all are equal.
        # Digests below 2**20 keep the squares and their sums exact in float64.
        digest = float(zlib.crc32(value.encode()) % 2**20)
        mean, square = self._means([digest, digest**2])
        if square != mean**2:
            raise ValueError(
                f"The workers have different {name}. Expected the same on all of them. "
                f"Received here: {value}"
            )

    def check_folder(self, folder: str, patience: float = 30.0) -> None:
        """Raise an error if the path is not the same folder on all machines.

        Args:
            folder: A path. It is created if missing.
            patience: Seconds to wait until all workers see a file that the first one writes.

        Raises:
            ValueError: If a worker does not see the file.
        """
        if not self.several:
            return
        tf.io.gfile.makedirs(folder)
        writes = is_chief(self.strategy)
        # A file name that all workers know: others send 0, so that the mean is the time of the
        # first worker, divided by their number. 40 bits are exact; 2**10 keeps the fraction.
        stamp = int(self.mean(time.time_ns() % 2**40 if writes else 0.0) * 2**10)
        file = f"{folder}/shared-{stamp}"
        if writes:
            with tf.io.gfile.GFile(file, "w") as stream:
                stream.write("All workers have to see this file.\n")
        self.wait()
        end = time.monotonic() + patience
        while not (is_visible := tf.io.gfile.exists(file)) and time.monotonic() < end:
            time.sleep(0.5)
        is_missing = self.any(not is_visible)
        if writes:
            tf.io.gfile.remove(file)
        if is_missing:
            raise ValueError(
                "The workers see different folders. Expected one that every machine sees, such as "
                f"of a network file system. Received: {folder!r}, which "
                + (
                    "holds what the first worker wrote"
                    if is_visible
                    else "lacks it on this machine"
                )
            )

    def _means(self, values: list[float]) -> list[float]:
        if not self.several:
            return values
        if self._sums is None:
            strategy = self.strategy

            @tf.autograph.experimental.do_not_convert
            def total(part: tf.Tensor) -> tf.Tensor:
                return replicas.all_reduce_sum(part)

            self._sums = Traced(lambda part: strategy.run(total, args=(part,)))
        with replicas.lost_worker_reported(self.strategy):
            sums = self._sums(tf.constant(values, tf.float64))
            totals = self.strategy.experimental_local_results(sums)[0].numpy()
        return [float(x) / self.strategy.num_replicas_in_sync for x in totals]
