"""Check at import that Keras 3 runs on TensorFlow, with the remedy in the message."""

import os

_BACKEND = os.environ.get("KERAS_BACKEND", "tensorflow")
_REMEDY = (
    "Set the environment variable KERAS_BACKEND=tensorflow, or "
    '"backend": "tensorflow" in ~/.keras/keras.json.'
)

try:
    import keras
except ImportError as error:  # Keras imports the package of its backend, which may be missing
    if _BACKEND == "tensorflow":
        raise
    raise ImportError(
        f"keras_imaml needs the TensorFlow backend of Keras. Received: {_BACKEND!r}. {_REMEDY}"
    ) from error


def check() -> None:
    """Raise `ImportError` where this package cannot work."""
    if int(keras.__version__.split(".")[0]) < 3:
        raise ImportError(
            "keras_imaml needs Keras 3. Received: keras "
            f"{keras.__version__}. Install it with: pip install --upgrade keras"
        )
    if keras.backend.backend() != "tensorflow":
        raise ImportError(
            "keras_imaml needs the TensorFlow backend of Keras. Received: "
            f"{keras.backend.backend()!r}. {_REMEDY}"
        )


check()
