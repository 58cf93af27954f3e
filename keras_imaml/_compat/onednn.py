"""Ask TensorFlow for oneDNN: it differentiates grouped convolutions on processors.

TensorFlow turns it on by itself on recent processors only, and reads the variable as it is loaded.
"""

import os
import platform
import sys
import warnings

VARIABLE = "TF_ENABLE_ONEDNN_OPTS"


def ask() -> None:
    """Set the variable for a TensorFlow that is not loaded yet, unless it is set."""
    if "tensorflow" not in sys.modules:
        os.environ.setdefault(VARIABLE, "1")


def warn_without() -> None:
    """Say how to have it where TensorFlow has left it off, unless that was asked for."""
    if VARIABLE not in os.environ and platform.machine().lower() in ("x86_64", "amd64"):
        warnings.warn(
            "TensorFlow was loaded without oneDNN, which it leaves off on this processor: the "
            "convolutions of tasks are computed one after the other. Import keras_imaml before "
            f"keras and tensorflow, or set the environment variable {VARIABLE}=1, for faster "
            f"steps; {VARIABLE}=0 leaves it off without this warning.",
            stacklevel=2,
        )


ask()
