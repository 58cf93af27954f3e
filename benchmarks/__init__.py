"""Measurements, in folders by what they answer: `python -m benchmarks.speed.meta_step`."""

import os

# As an import of keras_imaml before TensorFlow does, for all of them and for the peers.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
