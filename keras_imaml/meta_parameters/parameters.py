"""Which weights of a network adapt to a task, and their flat form `phi [tasks, size]`."""

import warnings
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from keras_imaml._compat.keras_attributes import tensorflow_variable

Adapt = Callable[[keras.Variable], bool] | str | Sequence[str] | None


class Group(NamedTuple):
    """The weights of one layer: its path, and their number of entries in `phi`."""

    name: str
    size: int


class Parameters:
    """The weights of a model, split into adapted, shared and fixed ones.

    * `adapted`: trainable weights that the inner level changes, one copy a task. Together they
      are a vector `theta [size]`, and the adapted copies of a meta-batch are `phi [tasks, size]`.
    * `shared`: trainable weights that stay the same in all tasks; the outer level learns them.
    * `fixed`: weights that are not trained.

    Args:
        model: A built `keras.Model`.
        adapt: Which trainable weights adapt. `None`: all. A name or several: the weights whose
            path has that name among its parts, such as `"head"` (a layer), `"kernel"`, or
            `"conv_1/kernel"`. A predicate: `variable -> bool`. Defaults to `None`.
        companion: A network that is evaluated together with the model; its weights never adapt.
            Defaults to `None`.

    Raises:
        ValueError: If the model is not built, nothing is selected, or a name selects nothing.
    """

    def __init__(
        self, model: keras.Model, adapt: Adapt = None, companion: keras.Model | None = None
    ) -> None:
        if not model.built or not model.trainable_variables:
            raise ValueError(
                "Invalid value for `model`. Expected a built model with trainable weights; call "
                "it once on an example, or give its first layer an input shape. "
                f"Received: model={model.name!r} with built={model.built}"
            )
        self.model = model
        self._adapt = adapt
        self._companion = companion
        trainable = list(model.trainable_variables)
        _check_differentiable(trainable)
        is_selected = _selector(adapt, trainable)
        selected = [bool(is_selected(variable)) for variable in trainable]
        self.adapted = [v for v, adapts in zip(trainable, selected, strict=True) if adapts]
        self.shared = [v for v, adapts in zip(trainable, selected, strict=True) if not adapts]
        self.fixed = list(model.non_trainable_variables)
        if companion is not None:
            self.shared += companion.trainable_variables
            self.fixed += companion.non_trainable_variables
        if not self.adapted:
            raise ValueError(
                "Invalid value for `adapt`. Expected it to select at least one trainable weight "
                f"of {[v.path for v in trainable]}. Received: adapt={adapt!r}"
            )
        dtypes = sorted({v.dtype for v in self.adapted})
        if len(dtypes) > 1:
            raise ValueError(
                "Invalid value for `model`. Expected all adapted weights to have one dtype. "
                f"Received: {dtypes}"
            )
        self.dtype = dtypes[0]
        self.sizes = [int(np.prod(v.shape)) for v in self.adapted]
        self.size = sum(self.sizes)

    def check_unchanged(self) -> None:
        """Refuse a model if weights were frozen or unfrozen after this split was made.

        Raises:
            ValueError: With the names of the weights, and the way out.
        """
        if not self.model.trainable:  # nothing is trained, and tasks adapt as before
            return
        self.check_complete()
        trained = [*self.adapted, *self.shared]
        changed = {
            "frozen": [v.path for v in trained if not v.trainable],
            "trainable": [v.path for v in self.fixed if v.trainable],
        }
        changes = [
            f"weights that are {kind} now: {paths}" for kind, paths in changed.items() if paths
        ]
        if changes:
            raise ValueError(
                f"Weights of the network {self.model.name!r} were frozen or unfrozen since "
                "`compile`. Expected a call of `compile` after `trainable` was set, as for any "
                f"Keras model. Received: {'; '.join(changes)}"
            )

    def check_complete(self) -> None:
        """Refuse a model to which weights were added.

        Raises:
            ValueError: With the names of the weights.
        """
        split_ids = {id(v) for v in (*self.adapted, *self.shared, *self.fixed)}
        added = [v.path for v in self.model.variables if id(v) not in split_ids]
        if added:
            raise ValueError(
                f"The weights of the network {self.model.name!r} have changed since its "
                "MetaLearner was made. Expected `enable_lora` to be used on the network first: "
                f"make a new MetaLearner. Received: weights that were added: {added}"
            )

    def split_anew(self, check: Callable[["Parameters"], None] = lambda split: None) -> bool:
        """Split the weights again by their current `trainable`, in place.

        Args:
            check: Called with the new split before it takes effect. It may raise an error to
                refuse the split. Defaults to a function that accepts any.

        Returns:
            Whether the split has changed.

        Raises:
            ValueError: As the constructor does. The split is then unchanged.
        """
        if not self.model.trainable:
            return False
        self.check_complete()
        new_split = Parameters(self.model, self._adapt, self._companion)
        changes = any(
            [id(v) for v in old_part] != [id(v) for v in new_part]
            for old_part, new_part in zip(self._parts(), new_split._parts(), strict=True)
        )
        if changes:
            check(new_split)
            self.__dict__.update(new_split.__dict__)
        return changes

    def _parts(self) -> tuple[list[Any], ...]:
        return self.adapted, self.shared, self.fixed

    @property
    def groups(self) -> list[Group]:
        """The adapted weights by layer, in the order of `phi`."""
        groups: list[Group] = []
        for variable, size in zip(self.adapted, self.sizes, strict=True):
            layer = variable.path.rpartition("/")[0] or variable.path
            if groups and groups[-1].name == layer:
                groups[-1] = Group(layer, groups[-1].size + size)
            else:
                groups.append(Group(layer, size))
        return groups

    def theta(self) -> tf.Tensor:
        """The adapted weights at their meta-learned values, `[size]`; a tape sees the reads."""
        values = [tf.convert_to_tensor(v.value) for v in self.adapted]
        return tf.concat([tf.reshape(value, [-1]) for value in values], axis=0)

    def shared_penalty(self) -> tf.Tensor:
        """The regularizers of weights that are the same for all tasks, a scalar."""
        pairs = [(getattr(v, "regularizer", None), v) for v in self.shared]
        values = [
            tf.cast(regularizer(tf.convert_to_tensor(v.value)), self.dtype)
            for regularizer, v in pairs
            if regularizer is not None
        ]
        return tf.add_n(values) if values else tf.zeros([], self.dtype)

    def unravel(self, phi: tf.Tensor) -> list[tf.Tensor]:
        """`phi [tasks, size]` as weights `[tasks, *shape]`, in the order of `adapted`."""
        tasks = phi.shape[0] if phi.shape[0] is not None else tf.shape(phi)[0]
        parts = tf.split(phi, self.sizes, axis=1)
        return [
            tf.reshape(part, [tasks, *variable.shape])
            for part, variable in zip(parts, self.adapted, strict=True)
        ]

    def for_variables(self, flat: tf.Tensor, variables: Sequence[Any]) -> list[Any]:
        """A vector `[size]` over theta, as one tensor (or None) for each of `variables`."""
        values = {
            id(variable): value[0]
            for variable, value in zip(self.adapted, self.unravel(flat[None]), strict=True)
        }
        return [values.get(id(variable)) for variable in variables]

    def broadcast(self, theta: tf.Tensor, tasks: int | tf.Tensor) -> tf.Tensor:
        """`theta [size]` as the starting point of every task, `[tasks, size]`."""
        return tf.broadcast_to(theta, tf.stack([tasks, self.size]))


def warn_of_constraints(parameters: Parameters) -> None:
    """Say that constraints of weights hold for the meta-learned ones alone."""
    held = [
        variable.path
        for variable in parameters.adapted
        if (constraint := getattr(variable, "constraint", None)) is not None
        # Those of `TiedDense` and of the cosine head of this package's models are for theta alone.
        and not (getattr(constraint, "__module__", None) or "").startswith("keras_imaml.")
        and not (
            isinstance(constraint, keras.constraints.UnitNorm) and variable.path == "head/kernel"
        )
    ]
    if held:
        warnings.warn(
            f"Weights that adapt have constraints: {held}. They hold for the meta-learned weights, "
            "which the outer optimizer changes, and not for those that are adapted to a task: an "
            "inner step is not projected, since the meta-gradient would not follow. Let them not "
            "adapt (`adapt=...`), or compute the weight in the layer, such as "
            "keras.ops.softplus(w) for one that is positive.",
            stacklevel=3,
        )


def adapted_indices(parameters: Parameters) -> list[int]:
    """Indices of the adapted weights among the trainable ones, which a copy shares."""
    adapted = {id(variable) for variable in parameters.adapted}
    trainable = parameters.model.trainable_variables
    return [index for index, variable in enumerate(trainable) if id(variable) in adapted]


def at_indices(model: keras.Model, indices: Sequence[int]) -> Callable[[keras.Variable], bool]:
    """A predicate that selects the weights with these indices in a copy of the model."""
    trainable = model.trainable_variables
    chosen = {id(trainable[index]) for index in indices}
    return lambda variable: id(variable) in chosen


def frozen_indices(model: keras.Model) -> list[int]:
    """Indices of frozen weights; Keras saves `trainable` per layer only."""
    return [index for index, weight in enumerate(model.weights) if not weight.trainable]


def freeze(model: keras.Model, indices: Sequence[int]) -> None:
    """Freeze the weights of a copy at the indices of `frozen_indices`."""
    weights = model.weights
    for index in indices:
        weights[index].trainable = False


def _check_differentiable(trainable: Sequence[keras.Variable]) -> None:
    created_frozen = [
        v.path for v in trainable if not getattr(tensorflow_variable(v), "trainable", True)
    ]
    if created_frozen:
        raise ValueError(
            "Weights that were made with trainable=False are trainable now, and TensorFlow does "
            "not differentiate for them. Expected `add_weight(..., trainable=True)`, and "
            f"`trainable = False` on the layer or weight afterwards. Received: {created_frozen}"
        )


def _selector(adapt: Adapt, variables: Sequence[keras.Variable]) -> Callable:
    if adapt is None:
        return lambda variable: True
    if callable(adapt):
        return adapt
    names = [adapt] if isinstance(adapt, str) else adapt
    if not isinstance(names, (list, tuple)) or not all(isinstance(name, str) for name in names):
        raise ValueError(
            "Invalid value for `adapt`. Expected None, the name of a layer or weight, a list of "
            f"names, or a predicate. Received: adapt={adapt!r}"
        )
    for name in names:
        if not any(_names(name, variable) for variable in variables):
            raise ValueError(
                "Invalid value for `adapt`. Expected names that occur in the paths of trainable "
                f"weights, which are {[v.path for v in variables]}. Received: {name!r}"
            )
    return lambda variable: any(_names(name, variable) for name in names)


def _names(name: str, variable: keras.Variable) -> bool:
    return f"/{name.strip('/')}/" in f"/{variable.path}/"
