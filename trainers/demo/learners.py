"""The learners that all windows of the demo share, and what they compute."""

import dataclasses
import functools
import threading
import time
from typing import Any

import keras
import numpy as np
import tensorflow as tf

import keras_imaml as ki
from keras_imaml.export.adapted_model import adapted_model

MOST_CLASSES = 20
_LOCK = threading.RLock()  # learners hold graphs and a lambda, which a thread may change
early_graphs = threading.Event()
"""Whether graphs are made before they are needed; see `prepare_ahead`."""
_ready: set[tuple[str, int | None]] = set()


@dataclasses.dataclass(frozen=True)
class Facts:
    """What iMAML computed for a task.

    Attributes:
        strength: lambda.
        steps: Steps of the inner solver.
        residual: The norm of the inner gradient at its last evaluation, over that at the start.
        moved: `||phi - theta||`, how far the weights went.
        seconds: Time of the adaptation.
    """

    strength: float
    steps: int
    residual: float
    moved: float
    seconds: float


@functools.lru_cache(maxsize=64)
def learner(name: str, classes: int | None = None, steps: int | None = None) -> ki.MetaLearner:
    """The trained learner, with other inner steps if they are given; made once."""
    with _LOCK:
        if steps is not None:
            return learner(name, classes).with_algorithm(steps=steps)
        return ki.load(name, classes)


@functools.lru_cache(maxsize=64)
def _solver(name: str, classes: int | None, steps: int | None) -> Any:
    """The graph that adapts to any number of examples; made once."""
    meta_learner = learner(name, classes, steps)
    shape = meta_learner.model.input_shape[1:]
    target = tf.TensorSpec([None], tf.int32) if classes else tf.TensorSpec([None, 1])

    @tf.function(
        autograph=False, input_signature=[tf.TensorSpec([None, *shape], tf.float32), target]
    )
    def solve(support_x: tf.Tensor, support_y: tf.Tensor) -> Any:
        return meta_learner.solve(support_x, support_y, support_x[:1])[0]

    return solve.get_concrete_function()  # not counted as one function traced again and again


def adapt(
    name: str,
    support_x: np.ndarray,
    support_y: np.ndarray,
    classes: int | None = None,
    steps: int | None = None,
    strength: float | None = None,
) -> tuple[keras.Model, Facts]:
    """Adapt to a task.

    Args:
        name: Of the learner.
        support_x: Its examples.
        support_y: Their classes or targets.
        classes: How many classes; None for numbers.
        steps: Inner steps. Defaults to `None`: those of the learner.
        strength: lambda. Defaults to `None`: that of the learner.

    Returns:
        The adapted model, a plain Keras model, and what was computed.
    """
    with _LOCK:
        meta_learner, solve = learner(name, classes, steps), _solver(name, classes, steps)
        if strength is not None:
            meta_learner.algorithm.proximal_strength.assign(strength)
        begin = time.perf_counter()
        solution = solve(tf.constant(support_x, tf.float32), tf.constant(support_y))
        if not bool(solution.valid[0]):
            raise ValueError("The adaptation diverged: raise lambda, or begin again.")
        phi = solution.phi[0]
        model = adapted_model(meta_learner.model, meta_learner.parameters, phi, support_x, None)
        seconds = time.perf_counter() - begin
        before = float(solution.initial_gradient_norm[0])
        after = float(solution.gradient_norm[0])
        facts = Facts(
            strength=float(tf.reduce_mean(meta_learner.algorithm.strength())),
            steps=int(solution.steps[0]),
            residual=after / before if before else 0.0,
            moved=float(tf.norm(phi - meta_learner.parameters.theta())),
            seconds=seconds,
        )
    return model, facts


def before_adaptation(name: str, query_x: np.ndarray, classes: int | None = None) -> np.ndarray:
    """What the learner says without adaptation."""
    with _LOCK:
        return np.asarray(_unadapted(name, classes)(tf.constant(query_x, tf.float32)))


@functools.lru_cache(maxsize=64)
def _unadapted(name: str, classes: int | None) -> Any:
    """The graph of the meta-learned network; made once."""
    model = learner(name, classes).model

    @tf.function(
        autograph=False,
        input_signature=[tf.TensorSpec([None, *model.input_shape[1:]], tf.float32)],
    )
    def outputs(query_x: tf.Tensor) -> tf.Tensor:
        return model(query_x, training=False)

    return outputs.get_concrete_function()


def warm_up(name: str, classes: int | None = None) -> None:
    """Make the graph for a number of classes, before anyone waits for it."""
    with _LOCK:
        shape = learner(name, classes).model.input_shape[1:]
        count = classes or 1
        support_x = np.zeros((count, *shape), np.float32)
        support_y = np.arange(count, dtype=np.int32) if classes else np.zeros((1, 1), np.float32)
        model, _ = adapt(name, support_x, support_y, classes)
        model(support_x[:1], training=False)
        before_adaptation(name, support_x[:1], classes)
    _ready.add((name, classes))


def prepare_ahead(name: str, classes: int) -> None:
    """Make the graph of one class more in another thread, while a visitor makes an example of it.

    It does nothing unless `early_graphs` is set.
    """
    following = (name, classes + 1)
    if early_graphs.is_set() and classes < MOST_CLASSES and following not in _ready:
        _ready.add(following)
        threading.Thread(target=warm_up, args=following, daemon=True).start()
