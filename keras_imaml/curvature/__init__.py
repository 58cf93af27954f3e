"""Curvatures of the inner objective, as products with vectors."""

from keras_imaml.curvature.gauss_newton import GaussNewton as GaussNewton
from keras_imaml.curvature.hessian import Hessian as Hessian
from keras_imaml.curvature.linearization import Curvature as Curvature
from keras_imaml.curvature.linearization import Linearization as Linearization

CURVATURES: dict[str, type[Curvature]] = {"hessian": Hessian, "gauss_newton": GaussNewton}
