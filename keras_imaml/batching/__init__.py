"""A network under the weights of many tasks at once."""

from keras_imaml.batching.task_network import NetworkOutputs as NetworkOutputs
from keras_imaml.batching.task_network import TaskLoss as TaskLoss
from keras_imaml.batching.task_network import TaskNetwork as TaskNetwork
from keras_imaml.batching.task_network import has_penalties as has_penalties
