r"""Adapt a trained learner to labeled images of your own.

    python -m trainers.adapt --run_dir=runs/glyphs --support_dir=my_images --output=my_model
    python -m trainers.adapt --learner=mini_imagenet --support_dir=my_images --output=my_model

`--learner` names one that comes with the package. `--support_dir` holds one folder of images a
class. The output is the adapted network, a plain Keras
model: a SavedModel folder, or by --format a file for LiteRT (small devices), ONNX or Keras. The
class names, in the order of the logits, lie in labels.txt in the folder, or in NAME.labels.txt.
images.json beside them says how large its images are. `trainers.predict` reads all of them.
"""

import importlib.util
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from trainers import command_line, model_files

if TYPE_CHECKING:
    from trainers.settings import Machine, Settings


def adapt(
    settings: "Settings",
    run_dir: str,
    support_dir: str,
    output: str,
    learner: str | None = None,
    format: str = "saved_model",
    invert: bool = False,
    machine: "Machine | None" = None,
) -> None:
    """Adapt a trained learner to labeled images of your own.

    Args:
        settings: Of the run.
        run_dir: Its folder.
        support_dir: Folder with one folder of images per class.
        output: Folder or file to write.
        learner: A learner of the package instead of a run, such as mini_imagenet or omniglot.
        format: What to write: saved_model, litert, onnx or keras; onnx needs the package tf2onnx.
            The names of the files end in .tflite, .onnx and .keras.
        invert: Turn dark ink on light paper into light on dark.
        machine: What it is computed on. Defaults to `None`: as this process is set up.
    """
    import keras_imaml as ki

    if learner is None:
        from trainers import experiment, run_folder

        of_run = run_folder.settings_of_run(settings, run_dir)
        if experiment.is_regression(settings):
            command_line.refuse("the run is of numbers: expected one of images")
        if settings["wrapper"] != "none":
            command_line.refuse(
                f"--wrapper={settings['wrapper']} needs unlabeled images of the task: expected "
                "--wrapper=none here (`learner.adapt` takes them as `unlabelled_x`)"
            )
    elif learner == "sinusoid" or learner not in ki.pretrained.NAMES:
        of_images = [name for name in ki.pretrained.NAMES if name != "sinusoid"]
        command_line.refuse(f"--learner={learner}: expected one of {', '.join(of_images)}")
    if format == "onnx" and importlib.util.find_spec("tf2onnx") is None:
        command_line.refuse(
            "--format=onnx needs tf2onnx, which is not installed: pip install tf2onnx"
        )
    model_files.check_output(output, format)
    names = _class_folders(support_dir)
    if learner is None:
        _check_way(support_dir, names, settings)

    import numpy as np

    from keras_imaml.data.folder import load_examples

    if machine:
        ki.parallel_tasks(machine.cores or None)
    if learner is None:
        trained, _ = experiment.restored(settings, of_run, run_dir, len(names))
        size, _, channels = experiment.example_shape(settings)
    else:
        trained = ki.load(learner, len(names))
        _, size, _, channels = trained.model.input_shape
    images, labels, names = load_examples(support_dir, size, channels)
    support_x = images.astype("float32") / 255
    support_x = 1 - support_x if invert else support_x
    model = trained.adapt(support_x, labels)
    model_files.write(model, names, invert, output, format)
    right = np.mean(np.argmax(model.predict(support_x, verbose=0), axis=1) == labels)
    print(
        f"Adapted to {len(images)} images of {len(names)} classes. The model classifies "
        f"{100 * right:.0f} % of these images correctly."
    )
    print(f"Model ({format}): {output}")
    print(f"Use it: keras-imaml predict --model={output} IMAGE...")


def _class_folders(folder: str) -> list[str]:
    """The names of the classes; refuse what are none, before anything that takes time."""
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
    return names


def _check_way(folder: str, names: list[str], settings: "Settings") -> None:
    from trainers import experiment

    way = experiment.most_classes(settings)
    if len(names) != way and not settings["model.tied_head"]:
        command_line.refuse(
            f"--support_dir={folder} has {len(names)} classes {names}: the run is "
            f"{way}-way, expected {way} folders"
        )


PROGRAM = command_line.Program(adapt, group="adaptation")


def main(argv: Sequence[str] | None = None) -> None:
    """Adapt as the command line says."""
    command_line.run(PROGRAM, argv)


if __name__ == "__main__":
    main()
