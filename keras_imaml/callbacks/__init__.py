"""Keras callbacks for meta-learning runs."""

from keras_imaml.callbacks.bad_tasks import StopOnBadTasks as StopOnBadTasks
from keras_imaml.callbacks.checkpoints import Checkpoints as Checkpoints
from keras_imaml.callbacks.dashboard import Dashboard as Dashboard
from keras_imaml.callbacks.preemption import StopOnSignal as StopOnSignal
from keras_imaml.callbacks.sinusoid_plot import SinusoidPlot as SinusoidPlot
from keras_imaml.learner.progress import Progress as Progress
