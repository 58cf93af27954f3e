"""A network under the weights of many tasks at once."""

from keras_imaml.batching.task_network import Evaluation as Evaluation
from keras_imaml.batching.task_network import TaskLoss as TaskLoss
from keras_imaml.batching.task_network import TaskNetwork as TaskNetwork
from keras_imaml.batching.task_network import has_penalties as has_penalties
