r"""Adapt a trained learner to labeled images of your own.

    python -m trainers.adapt --run_dir=runs/glyphs --support_dir=my_images --output=my_model

`--support_dir` holds one folder of images a class. The output is the adapted network, a plain Keras
model: a SavedModel folder, or by --format a file for LiteRT (small devices), ONNX or Keras. The
class names, in the order of the logits, lie in labels.txt in the folder, or in NAME.labels.txt.
"""

import importlib.util
import os
from typing import TYPE_CHECKING

from trainers import command_line

if TYPE_CHECKING:
    from trainers.settings import Machine, Settings

_ENDINGS = {"saved_model": "", "litert": ".tflite", "onnx": ".onnx", "keras": ".keras"}


def adapt(
    settings: "Settings",
    run_dir: str,
    support_dir: str,
    output: str,
    format: str = "saved_model",
    invert: bool = False,
    machine: "Machine | None" = None,
) -> None:
    """Adapt a trained learner to labeled images of your own.

    Args:
        settings: Of the run.
        run_dir: Its folder.
        support_dir: Folder with one folder of images a class.
        output: Folder or file to write.
        format: What to write: saved_model, litert, onnx or keras; onnx needs the package tf2onnx.
            The names of the files end in .tflite, .onnx and .keras.
        invert: Turn dark ink on light paper into light on dark.
        machine: What it is computed on. Defaults to `None`: as this process is set up.
    """
    import keras_imaml as ki
    from trainers import experiment, run_folder

    of_run = run_folder.settings_of_run(settings, run_dir)
    if experiment.is_regression(settings):
        command_line.refuse("the run is of numbers: expected one of images")
    if settings["wrapper"] != "none":
        command_line.refuse(
            f"--wrapper={settings['wrapper']} needs unlabeled images of the task: expected "
            "--wrapper=none here (`learner.adapt` takes them as `unlabelled_x`)"
        )
    if format not in _ENDINGS:
        command_line.refuse(f"--format={format}: expected one of {', '.join(_ENDINGS)}")
    if not output.endswith(_ENDINGS[format]):
        command_line.refuse(
            f"--output={output} with --format={format}: expected a name that ends in "
            f"{_ENDINGS[format]}"
        )
    if format == "onnx" and importlib.util.find_spec("tf2onnx") is None:
        command_line.refuse(
            "--format=onnx needs tf2onnx, which is not installed: pip install tf2onnx"
        )
    if format == "saved_model":
        command_line.check_folder("output", output)
    else:
        command_line.check_file("output", output)
    _check_classes(support_dir, settings)

    import numpy as np

    from keras_imaml.data.folder import load_examples

    if machine:
        ki.parallel_tasks(machine.cores or None)
    size, _, channels = experiment.example_shape(settings)
    images, labels, names = load_examples(support_dir, size, channels)
    learner, _ = experiment.restored(settings, of_run, run_dir, len(names))
    support_x = images.astype("float32") / 255
    support_x = 1 - support_x if invert else support_x
    model = learner.adapt(support_x, labels)
    names_file = os.path.join(output, "labels.txt")
    if format != "saved_model":
        names_file = os.path.splitext(output)[0] + ".labels.txt"
        os.makedirs(os.path.dirname(output) or ".", exist_ok=True)
    if format == "keras":
        model.save(output)
    else:
        kind = "tf_saved_model" if format == "saved_model" else format
        model.export(output, format=kind, verbose=False)
    with open(names_file, "w", encoding="utf-8") as stream:
        stream.write("\n".join(names) + "\n")
    right = np.mean(np.argmax(model.predict(support_x, verbose=0), axis=1) == labels)
    print(
        f"Adapted to {len(images)} images of {len(names)} classes; {100 * right:.0f} % of them "
        "are classified right now"
    )
    print(f"Model ({format}): {output}")


def _check_classes(folder: str, settings: "Settings") -> None:
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
    from trainers import experiment

    way = experiment.most_classes(settings)
    if len(names) != way and not settings["model.tied_head"]:
        command_line.refuse(
            f"--support_dir={folder} has {len(names)} classes {names}: the run is "
            f"{way}-way, expected {way} folders"
        )


PROGRAM = command_line.Program(adapt, group="adaptation")


if __name__ == "__main__":
    command_line.run(PROGRAM)
