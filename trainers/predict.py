r"""Classify images with an adapted model: labels and probabilities as a table, or JSON.

    python -m trainers.predict --model=my_model cat.jpg dog.jpg

`--model` is what `trainers.adapt` wrote: a SavedModel folder, or a .keras, .tflite or .onnx file.
"""

import argparse
import json
from collections.abc import Sequence
from typing import Any

from trainers import command_line, model_files


def predict(model: str, images: Sequence[str]) -> list[dict[str, Any]]:
    """Classify image files.

    Args:
        model: Folder or file of an adapted model.
        images: Image files.

    Returns:
        For each file a dictionary: `image`, `label`, and `probabilities` by the names of classes.
    """
    import keras_imaml as ki  # before TensorFlow, which is noisy at its start

    # isort: split
    import numpy as np
    import tensorflow as tf

    adapted = model_files.read(model)
    x = ki.data.load_images(images, adapted.image_size, adapted.channels)
    x = np.float32(1) - x if adapted.invert else x
    probabilities = tf.nn.softmax(adapted.logits(x)).numpy()
    return [
        {
            "image": file,
            "label": adapted.labels[int(row.argmax())],
            "probabilities": dict(zip(adapted.labels, map(float, row), strict=True)),
        }
        for file, row in zip(images, probabilities, strict=True)
    ]


def table(answers: Sequence[dict[str, Any]], classes: int = 3) -> str:
    """The answers as lines: an image, its label, and the most probable classes."""
    names = [answer["image"] for answer in answers]
    width = max(len("image"), *map(len, names))
    label = max(len("label"), *(len(answer["label"]) for answer in answers))
    lines = [f"{'image':<{width}}  {'label':<{label}}  probabilities"]
    for answer in answers:
        best = sorted(answer["probabilities"].items(), key=lambda pair: -pair[1])[:classes]
        shares = "  ".join(f"{name} {100 * share:.1f} %" for name, share in best)
        lines.append(f"{answer['image']:<{width}}  {answer['label']:<{label}}  {shares}")
    return "\n".join(lines)


def parser() -> argparse.ArgumentParser:
    """The flags."""
    arguments = argparse.ArgumentParser("trainers.predict", description=__doc__.split("\n")[0])
    arguments.add_argument("--model", required=True, help="what trainers.adapt wrote")
    arguments.add_argument("--json", action="store_true", help="print JSON instead of a table")
    arguments.add_argument(
        "--classes", type=int, default=3, help="most probable classes to show in the table"
    )
    arguments.add_argument("--debug", action="store_true", help="show the traceback of an error")
    arguments.add_argument("images", nargs="+", help="image files")
    return arguments


def main(argv: Sequence[str] | None = None) -> None:
    """Classify as the command line says."""
    given = parser().parse_args(argv)
    with command_line.errors_in_one_line("predict.py", given.debug):
        if given.classes < 1:
            command_line.refuse(f"--classes={given.classes}: expected 1 or more")
        answers = predict(given.model, given.images)
        print(json.dumps(answers, indent=2) if given.json else table(answers, given.classes))


if __name__ == "__main__":
    main()
