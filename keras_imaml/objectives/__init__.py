"""What is minimized: the losses of support and query sets, and the inner problem."""

from keras_imaml.objectives.inner_problem import InnerProblem as InnerProblem
from keras_imaml.objectives.learned_loss import LearnedLoss as LearnedLoss
from keras_imaml.objectives.task_objective import NetworkAndLoss as NetworkAndLoss
from keras_imaml.objectives.task_objective import TaskObjective as TaskObjective
from keras_imaml.objectives.tasks import Tasks as Tasks
