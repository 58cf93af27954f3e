"""Linear solvers for the implicit meta-gradient: batched over tasks, free of Keras layers."""

from keras_imaml.linear.conjugate_gradient import ConjugateGradient as ConjugateGradient
from keras_imaml.linear.dual import Dual as Dual
from keras_imaml.linear.neumann import Neumann as Neumann
from keras_imaml.linear.nystrom import Nystrom as Nystrom
from keras_imaml.linear.solution import LinearSolution as LinearSolution
from keras_imaml.linear.solution import LinearSolver as LinearSolver
from keras_imaml.linear.solution import Status as Status
