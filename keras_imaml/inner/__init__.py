"""Inner solvers: adapt the weights of all tasks of a meta-batch at once."""

from keras_imaml._utils.configurable import Configurable as Configurable
from keras_imaml._utils.vectors import finite as finite
from keras_imaml._utils.vectors import norm as norm
from keras_imaml.inner.adam import Adam as Adam
from keras_imaml.inner.gradient_descent import GradientDescent as GradientDescent
from keras_imaml.inner.lbfgs import LBFGS as LBFGS
from keras_imaml.inner.newton_cg import NewtonCG as NewtonCG
from keras_imaml.inner.solution import InnerSolution as InnerSolution
from keras_imaml.inner.solution import InnerSolver as InnerSolver
from keras_imaml.objectives.inner_problem import InnerProblem as InnerProblem
