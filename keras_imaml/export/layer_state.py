"""Copy the state of the layers of a model to a copy of the model."""

import tempfile

import keras

from keras_imaml._compat.keras_attributes import all_layers


def copy_other_state(model: keras.Model, copy: keras.Model) -> None:
    """Copy layer state held outside plain variables and config.

    Examples are the vocabulary of a `StringLookup` and the statistics of a `Normalization`, which
    their own `adapt` has learned.
    """
    pairs = zip(all_layers(model), all_layers(copy), strict=True)
    stateful = [(layer, twin) for layer, twin in pairs if hasattr(twin, "finalize_state")]
    for layer, twin in stateful:
        store: dict = {}
        layer.save_own_variables(store)
        twin.load_own_variables(store)
    for layer, twin in stateful:  # after those: a vocabulary by TF-IDF takes its weights along
        if hasattr(twin, "load_assets"):
            with tempfile.TemporaryDirectory() as folder:
                layer.save_assets(folder)
                twin.load_assets(folder)
