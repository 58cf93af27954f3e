"""Three small bilevel problems in NumPy, which every library gets."""

import json
import sys
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

DECAY = 0.1  # of the classifier of noisy labels
STRENGTH = 2.0  # lambda of the images
STEPS, RATE = 5, 0.5  # of unrolled descent


class Problem(NamedTuple):
    """A bilevel problem.

    Attributes:
        name: One of `PROBLEMS`.
        meta: The meta-parameters, flat.
        start: The weights at which the inner level starts, flat.
        tasks: For each task the arrays `support_x, support_y, query_x, query_y`.
        rate: A step size of gradient descent with which the inner problem converges.
    """

    name: str
    meta: np.ndarray
    start: np.ndarray
    tasks: list[tuple[np.ndarray, ...]]
    rate: float


def ridge() -> Problem:
    """Linear regression, whose weight decay is learned: `meta` is its logarithm."""
    rng = np.random.default_rng(0)
    weights = rng.normal(size=(4, 1))
    x, query_x = rng.normal(size=(12, 4)), rng.normal(size=(10, 4))
    noise = lambda n: 0.5 * rng.normal(size=(n, 1))  # noqa: E731
    task = (x, x @ weights + noise(12), query_x, query_x @ weights + noise(10))
    return Problem("ridge", np.array([-1.0]), np.zeros(4), [task], 0.1)


def reweighting() -> Problem:
    """Noisy labels, whose weights are learned from clean ones: `meta` holds their logits."""
    rng = np.random.default_rng(1)
    centers = 2 * rng.normal(size=(3, 3))
    y, query_y = np.arange(15) % 3, np.arange(9) % 3
    x = centers[y] + rng.normal(size=(15, 3))
    query_x = centers[query_y] + rng.normal(size=(9, 3))
    noisy = np.where(np.arange(15) < 5, (y + 1) % 3, y)
    meta = rng.normal(size=15)
    return Problem("reweighting", meta, np.zeros(9), [(x, noisy, query_x, query_y)], 0.2)


def images() -> Problem:
    """Few-shot classification by a convolution and a head: `meta` is where they start."""
    rng = np.random.default_rng(2)
    labels = lambda n: np.arange(n) % 3  # noqa: E731
    draw = lambda n: rng.normal(size=(n, 6, 6, 1))  # noqa: E731
    tasks = [(draw(3), labels(3), draw(6), labels(6)) for _ in range(2)]
    theta = 0.4 * rng.normal(size=18 + 2 + 24 + 3)
    return Problem("images", theta, theta, tasks, 0.2)


PROBLEMS: dict[str, Callable[[], Problem]] = {
    "ridge": ridge,
    "reweighting": reweighting,
    "images": images,
}


def answer(meta_gradient: Callable[[Problem], Any], versions: dict[str, str]) -> None:
    """Print the meta-gradients of the problems on the command line, for `benchmarks`.

    Args:
        meta_gradient: Gives the meta-gradient of a problem.
        versions: Of the libraries that were used.
    """
    names: Sequence[str] = sys.argv[1:] or list(PROBLEMS)
    gradients = {name: np.ravel(meta_gradient(PROBLEMS[name]())).tolist() for name in names}
    print(json.dumps({"versions": versions, "meta_gradients": gradients}))
