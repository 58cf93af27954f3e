"""Bad input of every kind: refused in words of this package, and nothing is lost.

At least 2,000 inputs are tried; none may end in an error from inside TensorFlow.
"""

import hashlib
import math
import pathlib

import absl.flags
import hypothesis
import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import strategies as st

import keras_imaml as ki
from tests import learners
from trainers import command_line, old_names, parsing, run_folder, settings, train

pytestmark = pytest.mark.slow

NUMBERS = st.one_of(
    st.integers(-3, 40),
    st.floats(allow_nan=True, allow_infinity=True),
    st.sampled_from([0, -1, 1e-30, 1e30, math.nan, math.inf, True, None, "many", "1", [], [1]]),
)
WORDS = st.one_of(st.sampled_from(["", "relu", "layer", "head", "stride", "gauss_newton"]), NUMBERS)


def fuzz_settings(examples):
    return hypothesis.settings(
        max_examples=examples,
        deadline=None,
        derandomize=True,
        suppress_health_check=list(hypothesis.HealthCheck),
    )


def refused_in_our_words(make):
    """Call `make`; whatever it refuses, it says what it expected and what it received."""
    try:
        return make()
    except (ValueError, TypeError) as error:
        message = str(error)
    known = ("Received", "argument", "Argument", "diverged")  # the second and third are Keras'
    assert any(word in message for word in known), message
    return None


MAKERS = {
    "gradient_descent": (ki.inner.GradientDescent, ["steps", "learning_rate", "momentum"]),
    "adam": (ki.inner.Adam, ["steps", "learning_rate"]),
    "newton_cg": (ki.inner.NewtonCG, ["steps", "curvature"]),
    "lbfgs": (ki.inner.LBFGS, ["steps", "first_step"]),
    "conjugate_gradient": (ki.linear.ConjugateGradient, ["max_steps", "tolerance", "start"]),
    "neumann": (ki.linear.Neumann, ["max_steps"]),
    "nystrom": (ki.linear.Nystrom, ["rank"]),
    "proximal_strength": (ki.ProximalStrength, ["initial", "per", "learned"]),
    "learning_rate": (ki.LearningRate, ["initial", "per"]),
    "imaml": (ki.IMAML, ["proximal_strength", "inner", "linear", "curvature"]),
    "maml": (ki.MAML, ["inner", "first_order"]),
    "reptile": (ki.Reptile, ["inner"]),
    "conv4": (ki.models.Conv4, ["classes", "filters", "downsample"]),
    "mlp": (ki.models.MLP, ["outputs"]),
    "tied_dense": (ki.layers.TiedDense, ["units"]),
    "stop_on_bad_tasks": (ki.callbacks.StopOnBadTasks, ["share"]),
    "parallel_tasks": (lambda cores: None if cores is None else _cores(cores), ["cores"]),
    "strategy": (ki.strategy, ["distribution", "devices", "workers", "worker_index"]),
}


def _cores(cores):
    from keras_imaml._utils.validation import check_integer

    check_integer("cores", cores, minimum=1)


@pytest.mark.parametrize("name", MAKERS)
def test_constructors(name):
    make, arguments = MAKERS[name]

    @fuzz_settings(60)
    @hypothesis.given(st.dictionaries(st.sampled_from(arguments), WORDS, min_size=1))
    def run(values):
        refused_in_our_words(lambda: make(**values))

    run()


@pytest.mark.parametrize("source", ["glyphs", "sinusoid", "unlabelled_sinusoid"])
def test_data(source):
    names = ["way", "shot", "query", "seed", "start"] if source == "glyphs" else ["shot", "seed"]

    @fuzz_settings(60)
    @hypothesis.given(
        st.sampled_from(["train", "validation", "test", "dev", "", None, 3]),
        st.dictionaries(st.sampled_from(names), NUMBERS),
    )
    def run(split, values):
        tasks = refused_in_our_words(lambda: getattr(ki.data, source)(split, **values))
        assert tasks is None or isinstance(tasks, tf.data.Dataset)

    run()


@pytest.fixture(scope="module")
def learner():
    meta_learner = learners.compiled(ki.models.MLP(3, (4,), hidden=(5,)), learners.imaml(steps=1))
    meta_learner.run_eagerly = True
    return meta_learner


SHAPES = st.lists(st.integers(0, 4), max_size=4)
DTYPES = st.sampled_from(
    ["float32", "float64", "float16", "int32", "int64", "uint8", "bool", "str"]
)


def array(shape, dtype, fill):
    return np.full(shape, "a" if dtype == "str" else fill, dtype)


@pytest.mark.filterwarnings("ignore:keras_imaml has built")
def test_elements_and_support_sets(learner):
    fill = st.sampled_from([0, 1, 2, 7, -1, 1e30, math.nan])

    @fuzz_settings(300)
    @hypothesis.given(SHAPES, SHAPES, DTYPES, DTYPES, fill)
    def adapt(x_shape, y_shape, x_dtype, y_dtype, value):
        integer = 3 if not math.isfinite(value) else int(value) % 128
        with np.errstate(all="ignore"):
            x = array(x_shape, x_dtype, value if "float" in x_dtype else integer)
            y = array(y_shape, y_dtype, value if "float" in y_dtype else integer)
        before = [v.numpy() for v in learner.variables]
        refused_in_our_words(lambda: learner.adapt(x, y))
        for old, new in zip(before, learner.variables, strict=True):
            np.testing.assert_array_equal(old, new)

    @fuzz_settings(150)
    @hypothesis.given(st.lists(SHAPES, min_size=4, max_size=4), DTYPES)
    def fit(shapes, dtype):
        x, y, q, z = (array(shape, dtype, 1) for shape in shapes)
        data = ((x, y), (q, z))

        def step():
            learner.train_step(tf.nest.map_structure(tf.convert_to_tensor, data))

        refused_in_our_words(step)

    adapt()
    fit()


def folder_of(path):
    files = sorted(p for p in pathlib.Path(path).rglob("*") if p.is_file())
    return {str(p): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def test_flags(tmp_path):
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    (run_dir / "flags.txt").write_text("--way=5\n")
    (run_dir / "checkpoints").mkdir()
    (run_dir / "checkpoints" / "checkpoint").touch()
    names = [*settings.Settings().values(), *old_names.RENAMED, "steps", "cores", "devices"]
    names += ["distribution", "inner.beta_1", "nonsense"]
    values = st.one_of(
        st.text(max_size=8),
        NUMBERS.map(str),
        st.sampled_from(["imaml", "maml", "omniglot", "adam", "dual", "head", "/", "../..", "\0"]),
    )
    refused = []

    @fuzz_settings(900)
    @hypothesis.given(st.lists(st.tuples(st.sampled_from(names), values), min_size=1, max_size=4))
    def run(pairs):
        argv = [f"--run_dir={run_dir}", *(f"--{name}={value}" for name, value in pairs)]
        before = folder_of(tmp_path)
        try:
            command = parsing.parse(train.PROGRAM, argv)
            run_folder.keep_flags(command.settings, command.run_dir)
        except (ValueError, absl.flags.Error) as error:
            refused.append(command_line.in_one_line(error))
            assert folder_of(tmp_path) == before

    run()
    assert len(refused) > 300
    assert all(refused)


POLICIES = ["float32", "float64", "mixed_float16", "mixed_bfloat16"]


def test_shapes_and_dtypes_that_fit_are_right():
    """Any way, shot, query and dtype policy trains, or is refused in our words."""

    @fuzz_settings(6)
    @hypothesis.given(
        st.sampled_from(POLICIES),
        st.integers(1, 5),
        st.integers(1, 3),
        st.integers(1, 3),
        st.integers(1, 3),
    )
    @hypothesis.example("float32", 1, 1, 1, 1)
    @hypothesis.example("float64", 2, 3, 1, 2)
    @hypothesis.example("mixed_float16", 5, 1, 3, 1)
    @hypothesis.example("mixed_bfloat16", 3, 2, 1, 3)
    def run(policy, way, shot, query, tasks):
        keras.utils.set_random_seed(0)
        network = ki.models.MLP(way, (4,), hidden=(5,), dtype=policy)
        learner = refused_in_our_words(lambda: learners.compiled(network, learners.imaml(steps=1)))
        if learner is None:
            return
        rng = np.random.default_rng(0)
        draw = lambda n: rng.normal(size=(tasks, n, 4)).astype("float32")  # noqa: E731
        labels = lambda n: np.tile(np.arange(way, dtype="int32"), (tasks, n))  # noqa: E731
        batch = (draw(way * shot), labels(shot)), (draw(way * query), labels(query))
        history = learner.fit(learners.dataset(batch), steps_per_epoch=1, verbose=0).history
        assert history["bad_tasks"] == [0]
        assert all(np.isfinite(v.numpy()).all() for v in learner.trainable_variables)

    run()
