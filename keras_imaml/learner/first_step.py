"""At the first step of training: are the second derivatives there, and all gradients?"""

import contextlib
import warnings
from collections.abc import Iterator
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from keras_imaml._compat.keras_attributes import all_layers, step_counter
from keras_imaml._compat.second_derivatives import WAY_OUT
from keras_imaml._utils.structures import with_none
from keras_imaml.batching.one_task import weights_of_one_task
from keras_imaml.curvature.consistency import bends_otherwise, transpose_error
from keras_imaml.learner.objective_builder import ObjectiveBuilder
from keras_imaml.learner.unused_parameters import UnusedParameters

# Of float32; Conv4, ResNet12, MLP and LSTM have up to 2e-6. What is left out makes 1, or a share.
_TOLERANCE = 1e-3
_EXAMPLES = 4  # of the support set: the time grows with them, and what is missing does not
_TRANSPOSE = "do not belong to its gradient: reverse mode over reverse mode loses a part"
_DIFFERENCES = "are other than differences of its gradient"


class _Call(NamedTuple):
    """The first call of a layer that holds no other layers."""

    layer: keras.layers.Layer
    args: tuple
    kwargs: dict[str, Any]


class FirstStep:
    """Keeps the first task of the first step, and checks second derivatives on it.

    The check runs eagerly, after the step. It changes no weights and no random numbers, and takes
    no element of the data.

    Args:
        learner: A `MetaLearner` that is being compiled.
        builder: Makes its objectives.
        check: Whether to check.
    """

    def __init__(self, learner: Any, builder: ObjectiveBuilder, check: bool) -> None:
        self._learner = learner
        self._builder = builder
        self._kept: Any = None
        algorithm = getattr(learner.algorithm, "algorithm", learner.algorithm)
        self._checks = check and algorithm.differentiates_twice and not half_precision(learner)
        self._bends = (
            getattr(algorithm, "curvature", "hessian") == "hessian"
            or bool(learner.parameters.shared)  # for which mixed derivatives are taken
        )
        self._unused = UnusedParameters(learner.parameters)

    def keep(self, support: Any) -> None:
        """Within `train_step`: keep the support set of the first task, if it is the first step.

        Args:
            support: `(support_x, support_y)`, each `[tasks, examples, ...]`, in which no example
                is missing and no number is NaN.
        """
        if not self._checks or self._learner.jit_compile or not _first_replica():
            return
        flat = tf.nest.flatten(support)
        first = self._is_first()

        def kept(*parts: tf.Tensor) -> bool:
            self._kept = tf.nest.pack_sequence_as(support, list(parts))
            return True

        # A loss with variables may have one for each example.
        count = None if self._builder.loss_variables else _EXAMPLES

        def keep() -> tf.Tensor:
            parts = [part[0, :count] for part in flat]
            return tf.py_function(kept, parts, tf.bool)

        tf.cond(first & (tf.shape(flat[0])[0] > 0), keep, lambda: tf.constant(False))

    def note(self, variables: Any, sums: Any, count: tf.Tensor) -> None:
        """Within `train_step`: note which meta-parameters have no gradient.

        Args:
            variables: The meta-parameters.
            sums: The gradient of each, or None.
            count: The number of valid tasks.
        """
        if _first_replica():
            in_graph = not self._learner.jit_compile
            self._unused.note(variables, sums, count, self._is_first(), in_graph)

    def _is_first(self) -> tf.Tensor:
        return tf.equal(tf.cast(step_counter(self._learner.optimizer).value, tf.int32), 0)

    def check(self) -> None:
        """After a step, outside of graphs: check on what was kept, once.

        Raises:
            ValueError: If a second derivative is missing, with the layer that it is missing in.
        """
        self._unused.report()
        if self._kept is None:
            return
        (x, y), self._kept, self._checks = self._kept, None, False
        try:
            message = self._message(x, y)
        except Exception as error:  # of a layer that cannot be called eagerly
            warnings.warn(
                "The second derivatives could not be checked at the first step, in which the "
                "network is called eagerly. keras_imaml.check_curvature(learner, tasks) checks "
                "them in a graph, and compile(check_curvature=False) leaves this out. "
                f"Received: {type(error).__name__}: {error}",
                stacklevel=3,
            )
            return
        if message is not None:
            raise ValueError(
                f"{message} The meta-gradient would be wrong, although all solvers converge. "
                "A `tf.custom_gradient` or `stop_gradient` of your own may end them: give it a "
                f"gradient that can be differentiated. {WAY_OUT} "
                "keras_imaml.check_curvature(learner, tasks) says more, and "
                "compile(check_curvature=False) leaves this check out."
            )

    def _message(self, x: Any, y: Any) -> str | None:
        learner, builder = self._learner, self._builder
        model, adapted = builder.adapts_by, learner.parameters.adapted
        values = [tf.convert_to_tensor(v.value) for v in adapted]
        calls: list[_Call] = []

        def network(weights: list[tf.Tensor]) -> Any:
            with weights_of_one_task(adapted, weights, learner.random_streams):
                return model(with_none(x), training=True)

        with tf.GradientTape(persistent=True) as tape:
            tape.watch(values)
            with _calls_noted(model, calls):
                outputs = network(values)

        tensors = tf.nest.flatten(outputs)
        places = _floating(tensors)
        flat = [tensors[place] for place in places]

        def loss(parts: list[tf.Tensor]) -> tf.Tensor:
            moved = _put(tensors, places, parts)
            return builder.loss_of_support(y, tf.nest.pack_sequence_as(outputs, moved))

        if transpose_error(loss, flat) > _TOLERANCE:
            return f"Second derivatives of the loss {_TRANSPOSE}."
        if bends_otherwise(loss, flat):
            return f"Second derivatives of the loss {_DIFFERENCES}."
        if transpose_error(network, values) > _TOLERANCE:
            for call in calls:
                function, parts = self._alone(call)
                if parts and transpose_error(function, parts) > _TOLERANCE:
                    return f"Second derivatives of the layer {call.layer.path!r} {_TRANSPOSE}."
            return f"Second derivatives of the network {model.name!r} {_TRANSPOSE}."
        for call in _one_of_each_kind(calls) if self._bends else ():
            function, parts = self._alone(call)
            if parts and bends_otherwise(function, parts) and _adapts(call, tape, adapted, values):
                return f"Second derivatives of the layer {call.layer.path!r} {_DIFFERENCES}."
        return None

    def _alone(self, call: _Call) -> tuple[Any, list[tf.Tensor]]:
        """A layer as a function of its inputs and weights, and their values."""
        weights = call.layer.trainable_variables
        flat = keras.tree.flatten((call.args, call.kwargs))
        places = _floating(flat)

        def function(values: list[tf.Tensor]) -> Any:
            moved = _put(flat, places, values[: len(places)])
            args, kwargs = keras.tree.pack_sequence_as((call.args, call.kwargs), moved)
            of_weights = values[len(places) :]
            with weights_of_one_task(weights, of_weights, self._learner.random_streams):
                return call.layer.call(*args, **kwargs)

        inputs = [tf.identity(flat[place]) for place in places]
        return function, [*inputs, *(tf.convert_to_tensor(v.value) for v in weights)]


def _floating(parts: list[Any]) -> list[int]:
    """The places of what can be differentiated."""
    return [i for i, part in enumerate(parts) if tf.is_tensor(part) and part.dtype.is_floating]


def _put(parts: list[Any], places: list[int], values: list[tf.Tensor]) -> list[Any]:
    """The same list with other values in some places."""
    moved = list(parts)
    for place, value in zip(places, values, strict=True):
        moved[place] = value
    return moved


def half_precision(learner: Any) -> list[str]:
    """The paths of layers of the network that compute in half precision: differences are noise."""
    return sorted(
        layer.path or layer.name  # layers that make no weights may have no path
        for layer in all_layers(learner.model, include_self=False)
        if layer.compute_dtype in ("float16", "bfloat16")
    )


def _one_of_each_kind(calls: list[_Call]) -> Iterator[_Call]:
    """Layers of Keras and of this package differ by their class and their activation alone."""
    kinds: set[Any] = set()
    for call in calls:
        kind = type(call.layer)
        stock = kind.__module__.startswith(("keras.", "keras_imaml."))
        known = stock and kind is not keras.layers.Lambda
        key = (kind, getattr(call.layer, "activation", None)) if known else id(call.layer)
        if key not in kinds:
            kinds.add(key)
            yield call


def _adapts(call: _Call, tape: tf.GradientTape, adapted: Any, values: Any) -> bool:
    """Whether what a layer computes depends on weights that adapt."""
    ids = {id(v) for v in adapted}
    if any(id(v) in ids for v in call.layer.trainable_variables):
        return True
    inputs = [part for part in keras.tree.flatten((call.args, call.kwargs)) if tf.is_tensor(part)]
    return any(g is not None for g in tape.gradient(inputs, values))


@contextlib.contextmanager
def _calls_noted(model: keras.Model, calls: list[_Call]) -> Iterator[None]:
    """Note the first call of each layer that holds no others."""
    leaves = [x for x in all_layers(model) if not all_layers(x, include_self=False)]

    def noting(layer: keras.layers.Layer) -> Any:
        stock = layer.call

        def call(*args: Any, **kwargs: Any) -> Any:
            if all(layer is not noted.layer for noted in calls):
                calls.append(_Call(layer, args, kwargs))
            return stock(*args, **kwargs)

        return call

    try:
        for layer in leaves:
            layer.__dict__["call"] = noting(layer)
        yield
    finally:
        for layer in leaves:
            layer.__dict__.pop("call", None)


def _first_replica() -> bool:
    """Whether this is the first replica of this machine; no other looks at the data."""
    context = tf.distribute.get_replica_context()
    if context is None:
        return True
    number = context.replica_id_in_sync_group
    number = tf.get_static_value(number)
    return number is not None and int(number) == 0
