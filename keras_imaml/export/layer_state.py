"""Copy what the layers of a model hold to a model of the same layers."""

import tempfile

import keras


def copy_other_state(model: keras.Model, copy: keras.Model) -> None:
    """Copy what is neither a variable that is read nor in the configuration.

    So are the vocabulary of a `StringLookup` and the statistics of a `Normalization` that were
    learned by the layer's own `adapt`: it computes with what it derives from its variables.
    """
    for theirs, ours in zip(model._flatten_layers(), copy._flatten_layers(), strict=True):
        if not hasattr(ours, "finalize_state"):
            continue
        if hasattr(ours, "load_assets"):
            with tempfile.TemporaryDirectory() as folder:
                theirs.save_assets(folder)
                ours.load_assets(folder)
        store: dict = {}
        theirs.save_own_variables(store)
        ours.load_own_variables(store)
