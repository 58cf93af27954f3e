"""TensorFlow's own lines at start-up, which nobody can act on, kept off the terminal.

TensorFlow writes some lines before it reads `TF_CPP_MIN_LOG_LEVEL`: that oneDNN is on, that there
are no drivers for a GPU. The first thing that a user sees would be a warning and an error.
"""

import contextlib
import glob
import os
import re
import sys
import threading
from collections.abc import Iterator

from keras_imaml._compat.quick_import import without_garbage_collection

_NOISE = re.compile(
    rb"WARNING: All log messages before absl::InitializeLog\(\)"
    rb"|I\d{4} "  # for information
    rb"|To enable the following instructions"  # the second line of one
)
_WITHOUT_GPU = re.compile(rb"E\d{4} .*failed call to cuInit")


@contextlib.contextmanager
def without_noise() -> Iterator[None]:
    """Within it, those lines do not reach standard error; every other line does, as it comes.

    `TF_CPP_MIN_LOG_LEVEL=0` shows them all.
    """
    if os.environ.get("TF_CPP_MIN_LOG_LEVEL") == "0":
        yield
        return
    try:
        stderr = os.dup(2)
    except OSError:  # a program without one
        yield
        return
    read, write = os.pipe()
    reader = threading.Thread(target=_pass_on, args=(read, stderr), daemon=True)
    reader.start()
    os.dup2(write, 2)
    os.close(write)
    try:
        yield
    finally:
        sys.stderr.flush()
        os.dup2(stderr, 2)  # closes the last end for writing: the reader comes to an end
        reader.join()
        os.close(stderr)


def _pass_on(source: int, target: int) -> None:
    has_gpu = bool(glob.glob("/dev/nvidia[0-9]*"))
    with open(source, "rb") as lines:
        for line in lines:
            if not (_NOISE.match(line) or (_WITHOUT_GPU.match(line) and not has_gpu)):
                os.write(target, line)


def import_tensorflow() -> None:
    """Import TensorFlow, if it is not, quickly and without its noise."""
    if "tensorflow" not in sys.modules:
        with without_noise(), without_garbage_collection():
            import tensorflow  # noqa: F401


import_tensorflow()
