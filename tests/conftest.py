"""Settings that hold for every test."""

import os
import pathlib
import signal
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # as an import of keras_imaml before keras does

import keras
import pytest

_START = time.monotonic()


def pytest_addoption(parser):
    parser.addoption(
        "--minutes",
        type=float,
        default=float("inf"),
        help="Begin no test after so many minutes: the others are skipped, and say so.",
    )


def pytest_collection_modifyitems(config, items):
    if config.getoption("--minutes") < float("inf"):  # whole programs are not to be left out
        items.sort(key=lambda item: "trainers" not in item.path.parts)


def pytest_runtest_setup(item):
    minutes = item.config.getoption("--minutes")
    if time.monotonic() - _START > 60 * minutes:
        pytest.skip(f"not run: the --minutes={minutes:g} are over")


@pytest.fixture(autouse=True)
def _seeded():
    """Each test draws the same weights, alone or in a suite."""
    keras.utils.set_random_seed(0)
    yield
    keras.backend.clear_session(free_memory=False)  # collecting garbage takes 0.3 s a test


@pytest.fixture(params=["eager", "graph"])
def run(request):
    """Run a function of tensors as it is, or traced by `tf.function`."""
    import tensorflow as tf

    if request.param == "eager":
        return lambda function, *arguments: function(*arguments)
    return lambda function, *arguments: tf.function(function)(*arguments)


@pytest.fixture
def interrupts():
    """Programs in the background of a shell are started with interrupts ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="session")
def published_data() -> pathlib.Path:
    """Where the published data sets are; without them a test is skipped."""
    folder = pathlib.Path(os.environ.get("KERAS_IMAML_DATA_DIR", "not set"))
    if not folder.is_dir():
        pytest.skip("needs the published data sets: set KERAS_IMAML_DATA_DIR to a TFDS folder")
    return folder
