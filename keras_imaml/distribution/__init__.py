"""The tasks of a meta-batch on several cores, devices and machines."""

from keras_imaml.distribution.pipelines import parallel_tasks as parallel_tasks
from keras_imaml.distribution.strategies import is_chief as is_chief
from keras_imaml.distribution.strategies import strategy as strategy
from keras_imaml.distribution.workers import Workers as Workers
