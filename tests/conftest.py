"""Settings that hold for every test."""

import functools
import gc
import os
import pathlib
import signal
import sys
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # as an import of keras_imaml before keras does

import pytest

# Folders and files whose slow tests run as users do. So do the programs that tests start, but for
# those that take shortcuts.
AS_USERS = {
    *("demo", "distribution", "export", "pretrained", "test_newcomer"),
    *("test_memory", "test_performance", "test_all_algorithms", "test_all_solvers"),
}


@pytest.hookimpl(trylast=True)  # after coverage has begun
def pytest_sessionstart(session):
    """Load TensorFlow by the package, which keeps the lines of its start off the terminal.

    A process among several has one thread. Threads that wait for work take the cores of the others,
    and tests that compute, such as those of the guides, need more time.
    """
    among_others = hasattr(session.config, "workerinput")
    if not among_others and session.config.getoption("numprocesses", None):
        return  # this process only hands out tests
    import keras_imaml  # noqa: F401

    if among_others:
        import tensorflow as tf

        tf.config.threading.set_intra_op_parallelism_threads(1)
        tf.config.threading.set_inter_op_parallelism_threads(1)


def pytest_collection_modifyitems(config, items):
    """Slow tests first in each part of the tests, of which each process starts with one.

    The process that ends first takes quick tests from another, and none waits long.
    """
    slow = [item for item in items if item.get_closest_marker("slow")]
    quick = [item for item in items if not item.get_closest_marker("slow")]
    count = getattr(config, "workerinput", {}).get("workercount", 1)
    parts = [
        part[place * len(part) // count : (place + 1) * len(part) // count]
        for place in range(count)
        for part in (slow, quick)
    ]
    items[:] = [item for part in parts for item in part]


def pytest_collection_finish():
    """Look for garbage less often, and not in what was imported: that is a fifth of the time.

    What modules made with Keras at their import has fixed its dtype for the first test.
    """
    if "keras" in sys.modules:
        sys.modules["keras"].backend.clear_session(free_memory=False)
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 20, 50)


@pytest.fixture(autouse=True)
def _shortcuts(request, monkeypatch):
    """Most tests do without what `tests.shortcuts` names; slow tests in `AS_USERS` have it."""
    from tests import shortcuts

    is_slow = request.node.get_closest_marker("slow") is not None
    path = request.node.path
    as_users = is_slow and not AS_USERS.isdisjoint((path.parent.name, path.stem))
    shortcuts.optimize_graphs(as_users)
    if not as_users:
        shortcuts.keep_no_origins(monkeypatch.setattr)
        if request.node.get_closest_marker("first_step_checked") is None:
            shortcuts.skip_first_step_check(monkeypatch.setattr)


@pytest.fixture(autouse=True, scope="session")
def _pipelines_as_they_are():
    from tests import shortcuts

    with pytest.MonkeyPatch.context() as patch:
        shortcuts.tune_no_pipelines(patch.setattr)
        yield


@pytest.fixture(autouse=True)
def _seeded():
    """Each test draws the same weights, alone or in a suite."""
    import keras

    keras.utils.set_random_seed(0)
    start = time.perf_counter()
    yield
    # Collecting garbage takes 0.3 s: only after tests that may have left much of it.
    keras.backend.clear_session(free_memory=time.perf_counter() - start > 10)


@pytest.fixture(params=["eager", pytest.param("graph", marks=pytest.mark.slow)])
def run(request):
    """Run a function of tensors as it is, or traced by `tf.function`."""
    import tensorflow as tf

    if request.param == "eager":
        return lambda function, *arguments: function(*arguments)
    return lambda function, *arguments: tf.function(function, autograph=False)(*arguments)


@pytest.fixture
def in_double_precision():
    """Keras makes weights of float64."""
    import keras

    keras.config.set_floatx("float64")
    yield
    keras.config.set_floatx("float32")


@pytest.fixture
def two_blocks(monkeypatch):
    """`ki.models.Conv4` of half the depth takes half as long to trace. `ki.load` stays as it is."""
    import keras_imaml as ki
    from keras_imaml.models import conv4

    def shallow(*arguments, **settings):
        with pytest.MonkeyPatch.context() as patch:
            _halve_blocks(patch)
            return conv4.Conv4(*arguments, **settings)

    monkeypatch.setattr(ki.models, "Conv4", functools.wraps(conv4.Conv4)(shallow))


@pytest.fixture
def trainers_of_two_blocks(monkeypatch):
    """The same for what the programs make, in this process; kept weights no longer fit."""
    _halve_blocks(monkeypatch)


def _halve_blocks(patch):
    from keras_imaml.models import conv4

    patch.setattr(conv4, "_BLOCKS", 2)


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
