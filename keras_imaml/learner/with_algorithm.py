"""Another learner of the same network, with another algorithm and what was learned."""

import copy
import dataclasses
from typing import Any

import keras

from keras_imaml._compat.keras_attributes import (
    compiled_loss,
    compiled_metrics,
    given_loss_weights,
    given_metrics,
)
from keras_imaml.algorithms import Algorithm


def with_algorithm(learner: Any, algorithm: Algorithm | None = None, **changes: Any) -> Any:
    """See `keras_imaml.MetaLearner.with_algorithm`."""
    if algorithm is not None and changes:
        raise ValueError(
            "Invalid value for `algorithm`. Expected an algorithm or changes to the settings of "
            f"this one, not both. Received: algorithm={algorithm!r} and {sorted(changes)}"
        )
    with learner.distribute_strategy.scope():
        variant = type(learner)(
            learner.model,
            copy.deepcopy(algorithm) if algorithm is not None else _changed(learner, changes),
            adapt=learner.adapt_spec,
            transductive=learner.transductive,
            learned_loss=learner.learned_loss,
            tasks_per_chunk=learner.tasks_per_chunk,
            name=learner.name,
        )
        if learner.compiled:
            _compile_like(variant, learner)
    return variant


def _changed(learner: Any, changes: dict[str, Any]) -> Algorithm:
    """A copy of the learner's algorithm with other settings; `steps` is one of its solver."""
    algorithm = copy.deepcopy(learner.algorithm)
    config = algorithm.get_config()
    changes = dict(changes)
    inner = changes.pop("inner", algorithm.inner)
    if "steps" in changes:
        inner = dataclasses.replace(inner, steps=changes.pop("steps"))
    unknown = sorted(set(changes) - set(config))
    if unknown:
        raise ValueError(
            "Invalid value for the changes. Expected arguments of "
            f"keras_imaml.{type(algorithm).__name__}, which are {sorted(config)}, or `steps`. "
            f"Received: {unknown}"
        )
    kept = {name: getattr(algorithm, name) for name in config if hasattr(algorithm, name)}
    kept = {
        name: value for name, value in kept.items() if name not in ("name", "dtype", "trainable")
    }
    return copy.deepcopy(type(algorithm)(**{**kept, **changes, "inner": inner}))


def _compile_like(variant: Any, learner: Any) -> None:
    compiled = compiled_metrics(learner)
    metrics, weighted = (None, None) if compiled is None else given_metrics(compiled)
    variant.compile(
        optimizer=_fresh(learner.optimizer),
        loss=learner.loss,
        metrics=keras.tree.map_structure(_fresh, metrics),
        weighted_metrics=keras.tree.map_structure(_fresh, weighted),
        loss_weights=given_loss_weights(compiled_loss(learner)),
        jit_compile=learner.jit_compile,
        run_eagerly=learner.run_eagerly,
        steps_per_execution=learner.steps_per_execution,
        check_curvature=learner.checks_curvature,
        inner_loss=None if learner.inner_loss is learner.loss else learner.inner_loss,
        outer_penalties=_penalties_like(learner),
    )


def _penalties_like(learner: Any) -> bool | None:
    """None where the learner has what its algorithm does by itself: so has the other."""
    by_default = learner.outer_penalties == learner.algorithm.outer_penalties
    return None if by_default else learner.outer_penalties


def _fresh(part: Any) -> Any:
    """An optimizer or a metric without the state of another."""
    stateful = (keras.optimizers.Optimizer, keras.metrics.Metric)
    return type(part).from_config(part.get_config()) if isinstance(part, stateful) else part
