"""The base of the mixins of `MetaLearner`, which alone has `keras.Model` as a base."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from keras import Model as ModelMixin
else:  # a mixin is no model by itself
    ModelMixin = object

__all__ = ["ModelMixin"]
