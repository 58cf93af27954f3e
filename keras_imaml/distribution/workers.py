"""What the processes of several machines tell one another between meta-steps."""

import time
import zlib
from collections.abc import Callable

import tensorflow as tf

from keras_imaml.distribution import replicas
from keras_imaml.distribution.strategies import is_chief


class Workers:
    """The processes that train together under a strategy; one process is alone, and always agrees.

    Every worker has to call the same methods in the same order: each call waits for all of them.

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
        several = isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy)
        self.several = several and replicas.is_distributed(strategy)
        self._sums: Callable[[tf.Tensor], tf.Tensor] | None = None

    def mean(self, value: float) -> float:
        """The mean of the workers' values. A lost worker is a `ConnectionError`."""
        return self._means([value])[0]

    def any(self, here: bool) -> bool:
        """Whether it is so on any worker."""
        return self.mean(float(here)) > 0

    def wait(self) -> None:
        """Wait until all workers are here: one that ends earlier would end the others too."""
        self.mean(0.0)

    def check_same(self, name: str, value: str) -> None:
        """Refuse, on every worker, to go on with another value than the others have.

        Raises:
            ValueError: If `value` is not the same on all workers.
        """
        # The mean of squares is that of one value only where all are equal, and exact so far.
        digest = float(zlib.crc32(value.encode()) % 2**20)
        mean, square = self._means([digest, digest**2])
        if square != mean**2:
            raise ValueError(
                f"The workers have different {name}. Expected the same on all of them. "
                f"Received here: {value}"
            )

    def check_folder(self, folder: str, patience: float = 30.0) -> None:
        """Refuse a folder that is not the same one on all machines.

        Args:
            folder: A path; made if missing.
            patience: Seconds to wait until what the first worker writes is seen by the others.

        Raises:
            ValueError: If a worker does not see what the first one writes there.
        """
        if not self.several:
            return
        tf.io.gfile.makedirs(folder)
        first = is_chief(self.strategy)
        stamp = int(self.mean(time.time_ns() % 2**40 if first else 0.0) * 2**10)
        file = f"{folder}/shared-{stamp}"
        if first:
            with tf.io.gfile.GFile(file, "w") as stream:
                stream.write("All workers have to see this file.\n")
        self.wait()
        end = time.monotonic() + patience
        while not (seen := tf.io.gfile.exists(file)) and time.monotonic() < end:
            time.sleep(0.5)
        missing = self.any(not seen)
        if first:
            tf.io.gfile.remove(file)
        if missing:
            raise ValueError(
                "The workers see different folders. Expected one that every machine sees, such as "
                f"of a network file system. Received: {folder!r}, which "
                + ("holds what the first worker wrote" if seen else "lacks it on this machine")
            )

    def _means(self, values: list[float]) -> list[float]:
        if not self.several:
            return values
        if self._sums is None:
            strategy = self.strategy

            @tf.autograph.experimental.do_not_convert
            def total(here: tf.Tensor) -> tf.Tensor:
                return replicas.all_reduce_sum(here)

            self._sums = tf.function(
                lambda here: strategy.run(total, args=(here,)), autograph=False
            )
        with replicas.lost_worker_reported():
            sums = self._sums(tf.constant(values, tf.float64))
            whole = self.strategy.experimental_local_results(sums)[0].numpy()
        return [float(x) / self.strategy.num_replicas_in_sync for x in whole]
