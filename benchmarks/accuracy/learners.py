r"""Make the trained learners of the package, their files and their cards.

    python -m benchmarks.accuracy.learners --data_dir=DIR --only=glyphs,sinusoid

Trains what has no run folder in `--runs` yet, packs the weights into
`keras_imaml/pretrained/files/NAME.npz` as float16 (sine waves: float32), and measures them on test
tasks. The learners of float32 and of float16 weights see the same tasks; more than half the 95 %
interval between them is an error. Each card says the commands and the accuracies.
"""

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import keras_imaml as ki
from keras_imaml.pretrained import learners
from keras_imaml.pretrained.cards import FOLDER, NAMES

import keras
import numpy as np
import tensorflow as tf
from absl import app, flags

FLAGS = flags.FLAGS

flags.DEFINE_string("data_dir", None, "Where the published data sets are.")
flags.DEFINE_string("runs", "runs/learners", "Folder of the runs.")
flags.DEFINE_list("only", list(NAMES), "Learners to make.")
flags.DEFINE_integer("tasks", 600, "Test tasks of an accuracy.", lower_bound=2)
flags.DEFINE_bool("train", True, "Train what has no run folder yet.")

_PRESET = "--flagfile=trainers/presets/"
_BRIEF = ["--validation_tasks=0", "--noprobe"]
_TRAINED = {  # The flags of trainers.train; the run folder is named like the learner.
    "glyphs": [
        f"{_PRESET}omniglot_20way_head.flags",
        *("--data=glyphs", "--data.image_size=28", "--model.filters=32", "--notransductive"),
        *("--steps=600", "--steps_per_epoch=100", *_BRIEF),
    ],
    "mini_imagenet": [
        f"{_PRESET}mini_imagenet_cosine_classifier.flags",
        *("--data.image_size=40", "--steps=4000", "--steps_per_epoch=500", *_BRIEF),
        "--test_tasks=10",
    ],
    "sinusoid": [f"{_PRESET}sinusoid.flags", "--data.shot=5", "--steps=6000", *_BRIEF],
}
_SAVED_MODEL = "saved_models/omniglot_20way_1shot"  # its card says how it was trained
_TASKS: dict[str, list[tuple[int | None, int]]] = {
    "glyphs": [(5, 1), (5, 5), (20, 1)],
    "mini_imagenet": [(5, 1), (5, 5)],
    "omniglot": [(5, 1), (5, 5), (20, 1)],
    "sinusoid": [(None, 5), (None, 10)],
}
_QUERY = 5
_OURS = "The weights are under this package's Apache 2.0 license. "
_FACTS = {
    "glyphs": {
        "title": "Characters drawn by a formula, classified after one or a few drawings",
        "inputs": "float32 [examples, 28, 28, 1], ink 1 on background 0; 2 classes or more",
        "data": "keras_imaml.data.glyphs, training classes; made by this package",
        "network": "Conv4, 32 filters, average pooling, fixed statistics, tied head that adapts",
        "limits": "For tests and first steps: drawings by hand look different.",
        "license": f"{_OURS}The data has no terms: it is computed.",
    },
    "mini_imagenet": {
        "title": "Photographs of new kinds of things, classified after a few examples",
        "inputs": "float32 [examples, 64, 64, 3], RGB in [0, 1]; 2 classes or more",
        "data": "mini-ImageNet, the 64 training classes (Vinyals et al., 2016; Ravi and "
        "Larochelle, 2017)",
        "network": "Conv4, 64 filters, max pooling, four views of 48 pixels, unit-length features "
        "of a supervised classifier, tied head that adapts; no meta-training step",
        "limits": "Small images and a small network: give five examples per class, with the object "
        "in the middle.",
        "license": f"{_OURS}ImageNet's images are for non-commercial research: ask for "
        "advice before commercial use.",
    },
    "omniglot": {
        "title": "Drawn characters, classified after one or a few drawings",
        "inputs": "float32 [examples, 32, 32, 1], ink 1 on background 0; 2 classes or more",
        "data": "Omniglot, the training characters of this package (Lake et al., 2015), turned "
        "by quarters",
        "network": "Conv4, 64 filters, average pooling, fixed statistics, tied head that adapts",
        "limits": "Centered characters of one stroke width. A drawing of no class gets the most "
        "similar one.",
        "license": f"{_OURS}Omniglot is under the MIT license.",
    },
    "sinusoid": {
        "title": "Sine waves from a few points",
        "inputs": "float32 [points, 1], x in [-5, 5]; targets [points, 1]",
        "data": "keras_imaml.data.sinusoid (Finn et al., 2017, section 5.1); made by this package",
        "network": "MLP, two hidden layers of 40 units; all weights adapt",
        "limits": "Amplitudes from 0.1 to 5, period 2 pi.",
        "license": f"{_OURS}The data has no terms: it is computed.",
    },
}


def main(argv: Sequence[str]) -> None:
    """Make each learner: train, pack, measure."""
    del argv
    for name in FLAGS.only:
        weights = _weights(name)
        learner = _learner(name, weights)
        _record(name, learner)
        weights = {v.path: _small(v) for v in learner.model.variables}
        accuracy = dict(_measured(name, weights))
        kind = np.float32 if name == "sinusoid" else np.float16
        packed = {path: value.astype(kind) for path, value in weights.items()}
        np.savez_compressed(FOLDER / f"{name}.npz", **packed)
        facts = {**_FACTS[name], "recipe": _recipe(name), "accuracy": accuracy}
        text = json.dumps(facts, indent=2, ensure_ascii=False)
        (FOLDER / f"{name}.json").write_text(f"{text}\n", encoding="utf-8")
        print(name, (FOLDER / f"{name}.npz").stat().st_size, "bytes", accuracy, flush=True)


def _recipe(name: str) -> list[str]:
    if name not in _TRAINED:
        first = f"the weights of {_SAVED_MODEL}, whose card has its commands"
    else:
        words = [*_TRAINED[name], "--data_dir=DIR"][: None if _is_published(name) else -1]
        first = f"python -m trainers.train {shlex.join(words)} --run_dir=runs/learners/{name}"
    measured = f"--only={name} --tasks={FLAGS.tasks} --data_dir=DIR"
    return [first, f"python -m benchmarks.accuracy.learners {measured}"]


def _is_published(name: str) -> bool:
    """Whether the data set has to be there."""
    return name in ("mini_imagenet", "omniglot")


def _weights(name: str) -> dict[str, np.ndarray]:
    """The weights of a run, by the paths of variables."""
    if name not in _TRAINED:
        served = tf.saved_model.load(_SAVED_MODEL)
        variables = served.signatures["adapt_and_predict"].variables
        return {v.name.removesuffix(":0"): v.numpy() for v in variables}
    run_dir = os.path.join(FLAGS.runs, name)
    file = os.path.join(run_dir, "learner.keras")
    if not os.path.exists(file) and FLAGS.train:
        command = [sys.executable, "-m", "trainers.train", *_TRAINED[name], f"--run_dir={run_dir}"]
        if FLAGS.data_dir:
            command.append(f"--data_dir={FLAGS.data_dir}")
        subprocess.run(command, check=True)
    return {v.path: v.numpy() for v in keras.models.load_model(file).model.variables}


def _learner(
    name: str, weights: Mapping[str, np.ndarray], way: int | None = None
) -> ki.MetaLearner:
    """The learner of a name with other weights than those of its file."""
    meta_learner = learners.build(name, way)
    held = {v.path: v.numpy() for v in meta_learner.model.variables}
    # A classifier's head is no head of tasks: that one begins at zero.
    kept = {p: w for p, w in weights.items() if name != "mini_imagenet" or "head" not in p}
    kept = {p: w.mean(axis=-1, keepdims=True) if _is_tied(p, name) else w for p, w in kept.items()}
    learners.set_weights(meta_learner.model, {**held, **kept})
    return meta_learner


def _is_tied(path: str, name: str) -> bool:
    return path.startswith("head/") and name != "sinusoid"


def _small(variable: Any) -> np.ndarray:
    """The value of a variable; one column of a tied head, whose columns are equal."""
    value = variable.numpy()
    tied = variable.path.startswith("head/") and np.ptp(value, axis=-1).max() == 0
    return value[..., :1] if tied else value


def _record(name: str, learner: ki.MetaLearner) -> None:
    """Take the statistics of normalization from training images."""
    if name != "sinusoid":
        drawn = _episodes(name, "train", way=60, shot=1, query=10)
        (_, _), (query_x, _) = next(iter(drawn))
        ki.record_statistics(learner.model, query_x)


def _episodes(name: str, split: str, **settings: Any) -> tf.data.Dataset:
    shape = learners.build(name).model.input_shape
    if _is_published(name):
        settings["data_dir"] = FLAGS.data_dir
    if name != "sinusoid":
        settings["image_size"] = shape[1]
    return getattr(ki.data, name)(split, seed=0, **settings)


def _measured(name: str, weights: Mapping[str, np.ndarray]) -> Iterator[tuple[str, str]]:
    """The accuracies on test tasks; float16 and float32 weights have to agree."""
    for way, shot in _TASKS[name]:
        settings: dict[str, Any] = {"shot": shot, "query": _QUERY}
        settings |= {"way": way} if way else {}
        tasks = _episodes(name, "test", **settings).batch(4)
        small = {path: value.astype(np.float16) for path, value in weights.items()}
        if way is None:
            evaluation = ki.evaluate(_learner(name, weights), tasks, FLAGS.tasks, verbose=0)
            text = f"query loss {evaluation.loss:.4f} ± {evaluation.loss_ci95:.4f}"
            yield f"{shot} points", f"{text}, {evaluation.loss_before:.2f} before adaptation"
            continue
        half, full = (
            ki.evaluate(_learner(name, w, way), tasks, FLAGS.tasks, verbose=0)
            for w in (small, weights)
        )
        assert half.accuracy is not None and full.accuracy is not None and half.ci95 is not None
        print(f"{name} {way}-way {shot}-shot, float32: {full}\n  float16: {half}", flush=True)
        if abs(half.accuracy - full.accuracy) > half.ci95:
            raise ValueError(f"{name}: float16 weights lose accuracy: {half}, {full}")
        yield f"{way}-way {shot}-shot", f"{100 * half.accuracy:.2f} ± {100 * half.ci95:.2f} %"


if __name__ == "__main__":
    app.run(main)
