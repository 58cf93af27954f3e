"""Meta-learning with implicit gradients, for Keras on TensorFlow."""

from keras_imaml._compat import onednn as onednn  # first: before TensorFlow is loaded

# isort: split
from keras_imaml._compat import quiet as quiet  # loads it

# isort: split
from keras_imaml._compat import requirements as requirements  # says what is missing

# isort: split
from keras_imaml import algorithms as algorithms
from keras_imaml import callbacks as callbacks
from keras_imaml import data as data
from keras_imaml import distribution as distribution
from keras_imaml import inner as inner
from keras_imaml import layers as layers
from keras_imaml import linear as linear
from keras_imaml import models as models
from keras_imaml import pretrained as pretrained
from keras_imaml.algorithms import IMAML as IMAML
from keras_imaml.algorithms import MAML as MAML
from keras_imaml.algorithms import Reptile as Reptile
from keras_imaml.algorithms import SelfTraining as SelfTraining
from keras_imaml.learner.with_classes import with_classes as with_classes
from keras_imaml.learner.curvature_check import check_curvature as check_curvature
from keras_imaml.distribution import Workers as Workers
from keras_imaml.distribution import parallel_tasks as parallel_tasks
from keras_imaml.distribution import strategy as strategy
from keras_imaml.learner.evaluation import Evaluation as Evaluation
from keras_imaml.learner.evaluation import evaluate as evaluate
from keras_imaml.recipes.copy_features import copy_features as copy_features
from keras_imaml.objectives.learned_loss import LearnedLoss as LearnedLoss
from keras_imaml.learner.meta_learner import MetaLearner as MetaLearner
from keras_imaml.meta_parameters.learning_rate import LearningRate as LearningRate
from keras_imaml.meta_parameters.proximal_strength import ProximalStrength as ProximalStrength
from keras_imaml.pretrained.learners import load as load
from keras_imaml.export.serving import serving_request as serving_request
from keras_imaml.recipes.record_statistics import record_statistics as record_statistics
from keras_imaml.recipes.replace_batch_normalization import (
    replace_batch_normalization as replace_batch_normalization,
)
from keras_imaml.version import __version__ as __version__
from keras_imaml.recipes.views import seen_in_views as seen_in_views
from keras_imaml.recipes.views import views_of_drawings as views_of_drawings
from keras_imaml.recipes.views import views_of_photographs as views_of_photographs
