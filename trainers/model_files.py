"""Files of an adapted model: the model itself, its class names, and what its images are like."""

import dataclasses
import json
import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from trainers.command_line import check_file, check_folder, refuse

if TYPE_CHECKING:
    import keras
    import numpy as np

ENDINGS = {"saved_model": "", "litert": ".tflite", "onnx": ".onnx", "keras": ".keras"}


@dataclasses.dataclass(frozen=True)
class AdaptedModel:
    """A model that was read from its file.

    Attributes:
        labels: Names of the classes in the order of the logits.
        image_size: Height and width of its images in pixels.
        channels: 1 for gray, 3 for RGB.
        invert: Whether images are of dark ink, and the model takes light ink on dark.
        logits: From images `[examples, image_size, image_size, channels]` to logits.
    """

    labels: tuple[str, ...]
    image_size: int
    channels: int
    invert: bool
    logits: Callable[["np.ndarray"], "np.ndarray"]


def check_output(output: str, format: str) -> None:
    """Refuse a name that is not one of the format, or that cannot be written."""
    if format not in ENDINGS:
        refuse(f"--format={format}: expected one of {', '.join(ENDINGS)}")
    if not output.endswith(ENDINGS[format]):
        refuse(
            f"--output={output} with --format={format}: expected a name that ends in "
            f"{ENDINGS[format]}"
        )
    if format == "saved_model":
        check_folder("output", output)
    else:
        check_file("output", output)


def write(
    model: "keras.Model", labels: Sequence[str], invert: bool, output: str, format: str
) -> list[str]:
    """Write a model, `labels.txt` and `images.json`; return the names of the files."""
    export(model, output, format)
    _, size, _, channels = model.input_shape
    images = {"image_size": size, "channels": channels, "invert": invert}
    texts = {"labels.txt": "\n".join(labels) + "\n", "images.json": json.dumps(images) + "\n"}
    files = [output]
    for name, text in texts.items():
        files.append(_beside(output, name))
        with open(files[-1], "w", encoding="utf-8") as stream:
            stream.write(text)
    return files


def export(model: "keras.Model", output: str, format: str) -> None:
    """Write the model alone."""
    if format != "saved_model":
        os.makedirs(os.path.dirname(output) or ".", exist_ok=True)
    if format == "keras":
        model.save(output)
    else:
        if format == "onnx":  # Keras takes models that were called
            import keras

            zeros = lambda x: keras.ops.zeros((1, *x.shape[1:]), x.dtype)  # noqa: E731
            model(keras.tree.map_structure(zeros, model.input))
        kind = "tf_saved_model" if format == "saved_model" else format
        model.export(output, format=kind, verbose=False)


def read(path: str) -> AdaptedModel:
    """Read a model of any format that `write` knows."""
    if not os.path.exists(path):
        refuse(f"--model={path}: no such file or folder")
    names, images = _beside(path, "labels.txt"), _beside(path, "images.json")
    for file in (names, images):
        if not os.path.isfile(file):
            refuse(
                f"--model={path}: {file} is missing; expected what `adapt` wrote, with its class "
                "names and the size of its images"
            )
    with open(names, encoding="utf-8") as stream:
        labels = tuple(stream.read().splitlines())
    with open(images, encoding="utf-8") as stream:
        settings = json.load(stream)
    return AdaptedModel(labels, logits=_logits(path), **settings)


def _beside(path: str, name: str) -> str:
    """A file in the folder of a SavedModel, or NAME.labels.txt beside the file of a model."""
    if os.path.isdir(path):
        return os.path.join(path, name)
    return f"{os.path.splitext(path)[0]}.{name}"


def _logits(path: str) -> Callable[["np.ndarray"], Any]:
    if os.path.isdir(path):
        import tensorflow as tf

        served = tf.saved_model.load(path)
        return lambda images: served.serve(images).numpy()
    ending = os.path.splitext(path)[1]
    if ending == ".keras":
        import keras

        model = keras.models.load_model(path)
        return lambda images: model.predict(images, verbose=0)
    if ending == ".tflite":
        return _of_litert(path)
    if ending == ".onnx":
        import onnxruntime

        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        (entry,) = session.get_inputs()
        return lambda images: session.run(None, {entry.name: images})[0]
    return refuse(
        f"--model={path}: expected a SavedModel folder, or a file that ends in "
        f"{', '.join(filter(None, ENDINGS.values()))}"
    )


def _of_litert(path: str) -> Callable[["np.ndarray"], Any]:
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError:
        from tensorflow.lite import Interpreter
    interpreter = Interpreter(model_path=path)

    def logits(images: "np.ndarray") -> Any:
        (entry,), (result,) = interpreter.get_input_details(), interpreter.get_output_details()
        interpreter.resize_tensor_input(entry["index"], images.shape)
        interpreter.allocate_tensors()
        interpreter.set_tensor(entry["index"], images)
        interpreter.invoke()
        return interpreter.get_tensor(result["index"])

    return logits
