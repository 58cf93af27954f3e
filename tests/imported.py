"""What the programs of `tests/programs.py` begin with."""

import tensorflow_datasets  # noqa: F401

import keras_imaml as ki  # noqa: F401
from trainers import adapt, evaluate, export, train  # noqa: F401
