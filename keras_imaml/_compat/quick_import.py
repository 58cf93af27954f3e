"""An import of many modules that does not look for garbage.

Nearly all that TensorFlow and Keras make at their import stays. Python looks through it again and
again as it grows, which takes a good part of the time of the import.
"""

import contextlib
import gc
from collections.abc import Iterator


@contextlib.contextmanager
def without_garbage_collection() -> Iterator[None]:
    """Within it, no garbage is collected. A collector that was off stays off."""
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        if not gc.get_freeze_count():  # a program may keep objects frozen
            gc.freeze()
            gc.unfreeze()  # to the oldest generation, which is looked through least often
        gc.enable()
