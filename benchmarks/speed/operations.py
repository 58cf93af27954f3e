"""How many operations a meta-step takes at least, and how many the machine does in a second."""

import dataclasses
import time

from benchmarks.speed.workloads import Workload


@dataclasses.dataclass(frozen=True)
class Layer:
    """Multiply-adds of one matrix product of a layer, for one example.

    Attributes:
        count: Multiply-adds of its forward pass; its other products take as many each.
        first: Whether its input is data, which needs no derivative.
    """

    count: int
    first: bool


def layers(workload: Workload) -> list[Layer]:
    """The convolutions and dense layers of the network."""
    counts = []
    if workload.network == "mlp":
        units = (1, *workload.hidden, 1)
        counts = [a * b for a, b in zip(units, units[1:], strict=False)]
    else:
        size, channels = workload.image_size, workload.channels
        for _ in range(4):
            stride = 2 if workload.downsample == "stride" else 1
            counts.append(taps(size, stride) ** 2 * channels * workload.filters)
            size = -(-size // 2) if stride == 2 else size // 2
            channels = workload.filters
        counts.append(size * size * channels * workload.way)
    return [Layer(count, first=not number) for number, count in enumerate(counts)]


def taps(size: int, stride: int, kernel: int = 3) -> int:
    """Pairs of output and input position that a kernel joins along one axis, without padding."""
    outputs = -(-size // stride)
    before = max((outputs - 1) * stride + kernel - size, 0) // 2
    places = [output * stride + tap - before for output in range(outputs) for tap in range(kernel)]
    return sum(0 <= place < size for place in places)


def meta_step_flops(workload: Workload) -> int:
    """Floating-point operations of the matrix products of one meta-step (2 a multiply-add).

    A gradient takes a forward product, one for the input and one for the weights. A product with
    the Hessian, linearized beforehand, takes two for each of these three. The first layer has no
    derivative for its input.
    """
    gradient = sum(layer.count * (2 if layer.first else 3) for layer in layers(workload))
    product = sum(layer.count * (2 if layer.first else 6) for layer in layers(workload))
    support, query = workload.support_rows, workload.query_rows
    a_task = (
        workload.inner_steps * support * gradient
        + query * gradient
        + support * gradient  # the linearization
        + workload.linear_steps * support * product
    )
    return 2 * workload.tasks * a_task


class Ceiling:
    """The rate of a large matrix product on this machine, in TensorFlow, float32."""

    def __init__(self, size: int = 2048) -> None:
        import tensorflow as tf

        self.flops = 2 * size**3
        self.matrix = tf.random.stateless_normal([size, size], seed=[0, 0])
        self.product = tf.function(lambda a: tf.reduce_sum(tf.matmul(a, a)))

    def measure(self) -> float:
        """Operations a second, now."""
        start = time.perf_counter()
        self.product(self.matrix).numpy()
        return self.flops / (time.perf_counter() - start)
