"""What is measured: networks, tasks and numbers of steps, and the problem file of a worker."""

import dataclasses
import json
import os
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True)
class Workload:
    """One meta-step: tasks, a network, an inner loop and a linear solve.

    Attributes:
        title: A line for the report.
        network: `"conv4"` (cross-entropy) or `"mlp"` (squared error).
        tasks: Tasks of the meta-batch.
        way: Classes a task; 1 for regression.
        shot: Support examples per class.
        query: Query examples per class.
        inner_steps: Steps of gradient descent.
        inner_learning_rate: Their size.
        proximal_strength: lambda.
        linear_steps: Steps of conjugate gradient on the exact Hessian.
        image_size: Pixels a side.
        channels: Colors.
        filters: Features of each convolution.
        downsample: `"stride"` or `"average"`.
        hidden: Units of the hidden layers of the MLP.
    """

    title: str
    network: str
    tasks: int
    way: int
    shot: int
    query: int
    inner_steps: int
    inner_learning_rate: float
    proximal_strength: float
    linear_steps: int = 5
    image_size: int = 0
    channels: int = 0
    filters: int = 0
    downsample: str = ""
    hidden: tuple[int, ...] = ()

    @property
    def support_rows(self) -> int:
        """Support examples of a task."""
        return self.way * self.shot

    @property
    def query_rows(self) -> int:
        """Query examples of a task."""
        return self.way * self.query


_OMNIGLOT: dict[str, Any] = {"image_size": 28, "channels": 1, "filters": 64, "downsample": "stride"}
_MINI_IMAGENET: dict[str, Any] = {
    "image_size": 84,
    "channels": 3,
    "filters": 32,
    "downsample": "average",
}

WORKLOADS = {
    "A": Workload(
        "Omniglot Conv4-64, 5-way 1-shot", "conv4", 16, 5, 1, 15, 16, 0.1, 2.0, **_OMNIGLOT
    ),
    "B": Workload(
        "Omniglot Conv4-64, 20-way 5-shot", "conv4", 16, 20, 5, 5, 16, 0.1, 2.0, **_OMNIGLOT
    ),
    "C": Workload(
        "mini-ImageNet Conv4-32, 5-way 1-shot", "conv4", 4, 5, 1, 15, 10, 0.1, 2.0, **_MINI_IMAGENET
    ),
    "D": Workload(
        "sinusoids, MLP 1-40-40-1, 10-shot", "mlp", 256, 1, 10, 10, 16, 0.01, 8.0, hidden=(40, 40)
    ),
}


def build_network(workload: Workload, seed: int):
    """The Keras network, at weights where every framework must get the same answer in float32.

    * Large kernels: normalization makes the network the same function whatever their scale, and
      the curvature smaller. `H + lambda I` is then positive definite for every task, so that
      conjugate gradient is the same algorithm everywhere.
    * Offsets of 3.5 standard deviations, up and down by turns: few activations are next to the
      kink of the rectifier, where the last digit of float32 would decide about the gradient. The
      last block is scaled down, to keep the inner loop of the head stable.
    """
    import keras_imaml as ki

    import keras

    keras.utils.set_random_seed(seed)
    if workload.network == "mlp":
        return ki.models.MLP(1, hidden=workload.hidden)
    shape = (workload.image_size, workload.image_size, workload.channels)
    network = ki.models.Conv4(workload.way, shape, workload.filters, workload.downsample)
    offsets = 3.5 * (-1.0) ** np.arange(workload.filters)
    features = network.get_layer("head").kernel.shape[0]
    for block in range(1, 5):
        kernel = network.get_layer(f"conv_{block}").kernel
        kernel.assign(16.0 * kernel)
        scale = 2.4 / features**0.5 if block == 4 else 1.0
        network.get_layer(f"norm_{block}").gamma.assign(np.full(workload.filters, scale))
        network.get_layer(f"norm_{block}").beta.assign(scale * offsets)
    return network


def draw_tasks(workload: Workload, seed: int) -> dict[str, np.ndarray]:
    """Drawn characters, or sine waves: `support_x [tasks, rows, ...]` and so on.

    The images get some grain. On plain paper whole regions share one value, and where a rectifier
    is next to its kink, the last digit of float32 decides for the region at once.
    """
    import keras_imaml as ki

    if workload.network == "mlp":
        episodes = ki.data.sinusoid("train", workload.shot, workload.query, seed)
    else:
        episodes = ki.data.glyphs(
            "train",
            workload.way,
            workload.shot,
            workload.query,
            seed,
            classes=100,
            image_size=workload.image_size,
        )
    element = next(episodes.batch(workload.tasks).as_numpy_iterator())
    (support_x, support_y), (query_x, query_y) = element
    if workload.network == "conv4":
        shares = np.linspace(1.0, 0.4, workload.channels, dtype=np.float32)  # of the ink, by color
        random = np.random.default_rng(seed)
        support_x, query_x = (
            (0.8 * x * shares + 0.2 * random.random(x.shape[:-1] + shares.shape)).astype(np.float32)
            for x in (support_x, query_x)
        )
    return {
        "support_x": support_x,
        "support_y": support_y,
        "query_x": query_x,
        "query_y": query_y,
    }


def write_problem(path: str, workload: Workload, seed: int) -> None:
    """Write what a worker needs, in one file: settings, weights in Keras' order, and tasks."""
    network = build_network(workload, seed)
    names = [variable.path for variable in network.trainable_variables]
    weights = {
        f"weight/{name}": variable.numpy()
        for name, variable in zip(names, network.trainable_variables, strict=True)
    }
    settings = json.dumps({**dataclasses.asdict(workload), "seed": seed, "names": names})
    os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
    np.savez(path, settings=settings, **weights, **draw_tasks(workload, seed))
