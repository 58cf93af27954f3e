r"""Adapt a trained learner to labelled images of your own.

    python -m trainers.adapt --run_dir=runs/glyphs --support_dir=my_images --output=my_model

`--support_dir` holds one folder of images a class. The output is the adapted network, a plain Keras
model: a SavedModel folder, or by --format a file for LiteRT (small devices), ONNX or Keras. The
class names, in the order of the logits, lie in labels.txt in the folder, or in NAME.labels.txt.
"""

import importlib.util
import os
from collections.abc import Sequence

from absl import flags

from trainers import command_line, run_folder

FLAGS = flags.FLAGS

_ENDINGS = {"saved_model": "", "litert": ".tflite", "onnx": ".onnx", "keras": ".keras"}


def define_flags() -> None:
    """Define the flags that no other program shares."""
    from trainers import settings

    settings.define_path(
        "support_dir", "Folder with one folder of images a class.", allow_override=True
    )
    settings.define_path("output", "Folder or file to write.", allow_override=True)
    flags.DEFINE_enum(
        "format",
        "saved_model",
        list(_ENDINGS),
        "What to write; onnx needs the package tf2onnx. The names of the files end in .tflite, "
        ".onnx and .keras.",
        allow_override=True,
    )
    flags.DEFINE_bool(
        "invert", False, "Turn dark ink on light paper into light on dark.", allow_override=True
    )


def main(argv: Sequence[str]) -> None:
    """Adapt as the flags say."""
    of_run = run_folder.settings_of_run()
    if FLAGS.dataset in ("sinusoid", "unlabelled_sinusoid"):
        command_line.refuse("the run is of sinusoids: expected one of images")

    if FLAGS.self_training:
        command_line.refuse(
            "--self_training needs unlabelled images of the task: expected --self_training=0 and "
            "--nobalanced_queries here (`learner.adapt` takes them as `unlabelled_x`)"
        )
    if not FLAGS.output.endswith(_ENDINGS[FLAGS.format]):
        command_line.refuse(
            f"--output={FLAGS.output} with --format={FLAGS.format}: expected a name that ends in "
            f"{_ENDINGS[FLAGS.format]}"
        )
    if FLAGS.format == "onnx" and importlib.util.find_spec("tf2onnx") is None:
        command_line.refuse(
            "--format=onnx needs tf2onnx, which is not installed: pip install tf2onnx"
        )
    if FLAGS.format == "saved_model":
        command_line.check_folder("output")
    else:
        command_line.check_file("output")
    _check_classes(FLAGS.support_dir)

    import numpy as np

    import keras_imaml as ki
    from keras_imaml.data.folder import load_examples
    from trainers import experiment

    ki.parallel_tasks(FLAGS.cores or None)
    episodes = experiment.tasks("test")
    shape = episodes.element_spec[0][0].shape
    images, labels, names = load_examples(FLAGS.support_dir, shape[1], shape[3])
    learner, _ = experiment.restored(episodes, of_run, len(names))
    support_x = images.astype("float32") / 255
    support_x = 1 - support_x if FLAGS.invert else support_x
    model = learner.adapt(support_x, labels)
    names_file = os.path.join(FLAGS.output, "labels.txt")
    if FLAGS.format != "saved_model":
        names_file = os.path.splitext(FLAGS.output)[0] + ".labels.txt"
        os.makedirs(os.path.dirname(FLAGS.output) or ".", exist_ok=True)
    if FLAGS.format == "keras":
        model.save(FLAGS.output)
    else:
        kind = "tf_saved_model" if FLAGS.format == "saved_model" else FLAGS.format
        model.export(FLAGS.output, format=kind, verbose=False)
    with open(names_file, "w", encoding="utf-8") as stream:
        stream.write("\n".join(names) + "\n")
    right = np.mean(np.argmax(model.predict(support_x, verbose=0), axis=1) == labels)
    print(
        f"Adapted to {len(images)} images of {len(names)} classes; {100 * right:.0f} % of them "
        "are classified right now"
    )
    print(f"Model ({FLAGS.format}): {FLAGS.output}")


def _check_classes(folder: str) -> None:
    """Refuse folders that do not fit the run, before anything that takes time."""
    if not os.path.isdir(folder):
        command_line.refuse(f"--support_dir={folder} is no folder: expected one with class folders")
    names = sorted(
        entry.name for entry in os.scandir(folder) if entry.is_dir() and entry.name[0] != "."
    )
    if len(names) < 2:
        command_line.refuse(
            f"--support_dir={folder} holds the class folders {names}: expected two or more, each "
            "with the images of one class"
        )
    if len(names) != FLAGS.way and not FLAGS.tied_head:
        command_line.refuse(
            f"--support_dir={folder} has {len(names)} classes {names}: the run is "
            f"{FLAGS.way}-way, expected {FLAGS.way} folders"
        )


if __name__ == "__main__":
    command_line.run(
        main,
        ("run_dir", "support_dir", "output"),
        arguments=run_folder.with_flags_of_run,
        define=define_flags,
    )
