"""Random operations with a seed for each task, which `tf.vectorized_map` evaluates in turn.

TensorFlow's own way is a general loop for each of them, several times slower and reported as one.

Tested with TensorFlow 2.20 and 2.21. Without the private registry TensorFlow's loop draws the same
numbers, slower.
"""

import contextlib
from typing import Any

import tensorflow as tf

from keras_imaml._compat.replacement import Replacement

try:
    from tensorflow.python.ops.parallel_for import pfor

    _registry = pfor._pfor_converter_registry
    _create_op = pfor._create_op
except (ImportError, AttributeError):  # a private interface of TensorFlow: do without
    pfor = _registry = _create_op = None

_KEYS = "StatelessRandomGetKeyCounter"
_FEW = 64
_OPERATIONS = (
    _KEYS,
    "StatelessMultinomial",
    "StatelessParameterizedTruncatedNormal",
    "StatelessRandomBinomial",
    "StatelessRandomGammaV2",
    "StatelessRandomGammaV3",
    "StatelessRandomNormalV2",
    "StatelessRandomPoisson",
    "StatelessRandomUniformFullIntV2",
    "StatelessRandomUniformIntV2",
    "StatelessRandomUniformV2",
    "StatelessTruncatedNormalV2",
)


def draws_of_each_task() -> contextlib.AbstractContextManager:
    """Within it, `tf.vectorized_map` draws by one random operation for each task."""
    return _replaced


def _convert_random(inputs: Any, *arguments: Any, **named: Any) -> Any:
    """One operation for each task: TensorFlow's do not take several seeds."""
    del arguments, named
    operands = [inputs.input(i) for i in range(inputs.num_inputs)]
    operation = inputs.op
    stacked_operands = [i for i, (_, stacked, _) in enumerate(operands) if stacked]
    dtypes = [output.dtype for output in operation.outputs]

    def of_one(parts: list[tf.Tensor]) -> list[tf.Tensor]:
        of_task = dict(zip(stacked_operands, parts, strict=True))
        values = [of_task.get(i, value) for i, (value, _, _) in enumerate(operands)]
        outputs = _create_op(operation.type, values, dtypes, operation.node_def.attr).outputs
        for tensor, output in zip(outputs, operation.outputs, strict=True):
            tensor.set_shape(output.shape)
        return list(outputs)

    stacks = [operands[i][0] for i in stacked_operands]
    tasks = stacks[0].shape[0]
    if operation.type == _KEYS and tasks is not None and tasks <= _FEW:  # a loop takes longer
        rows = zip(*(tf.unstack(stack) for stack in stacks), strict=True)
        outputs = [tf.stack(parts) for parts in zip(*map(of_one, map(list, rows)), strict=True)]
    else:
        outputs = tf.map_fn(of_one, stacks, fn_output_signature=dtypes)
    return [pfor.wrap(output, True) for output in outputs]


def _put(converters: dict[str, Any]) -> None:
    for name, converter in converters.items():
        if converter is None:
            _registry.pop(name, None)
        else:
            _registry[name] = converter


_replaced = Replacement(
    _put,
    dict.fromkeys(_OPERATIONS, _convert_random),
    None if _registry is None else {name: _registry.get(name) for name in _OPERATIONS},
)
