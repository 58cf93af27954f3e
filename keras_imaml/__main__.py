"""`python -m keras_imaml`: what is installed (`--version`), what is trained (`--learners`)."""

import argparse
import os
import platform
from importlib import metadata

_PACKAGES = ("tensorflow", "keras", "tensorflow-datasets", "tensorboard", "numpy")


def main(arguments: list[str] | None = None) -> None:
    """Print the versions and the devices, or the cards of the learners."""
    parser = argparse.ArgumentParser(
        "python -m keras_imaml", description="Meta-learning with implicit gradients for Keras."
    )
    parser.add_argument(
        "--version", action="store_true", help="print versions and devices, for reports of errors"
    )
    parser.add_argument(
        "--learners", action="store_true", help="list the trained learners of keras_imaml.load"
    )
    given = parser.parse_args(arguments)
    if given.version:
        print("\n".join(report()))
    if given.learners:
        from keras_imaml.pretrained.cards import table

        print("\n".join(table()))
    if not (given.version or given.learners):
        parser.print_help()


def report() -> list[str]:
    """Versions and devices, a line each."""
    import tensorflow as tf

    from keras_imaml._compat.quiet import without_noise
    from keras_imaml.version import __version__

    lines = [f"keras_imaml {__version__}"]
    for name in _PACKAGES:
        try:
            lines.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            lines.append(f"{name} is not installed")
    lines.append(f"python {platform.python_version()} on {platform.platform()}")
    with without_noise():
        physical = tf.config.list_physical_devices()
    devices = [device.name.removeprefix("/physical_device:") for device in physical]
    lines.append(f"devices {' '.join(devices)}, {os.cpu_count()} processor cores")
    return lines


if __name__ == "__main__":
    main()
