"""What a visitor takes home: the adapted model, the examples, and the lines that make it again."""

import os
import shutil
import tempfile

import keras
import numpy as np

from trainers import model_files
from trainers.command_line import refuse
from trainers.demo.image_task import ImageTask
from trainers.demo.wave_task import NAME as WAVE

FORMATS = {"SavedModel": "saved_model", "LiteRT": "litert", "ONNX": "onnx"}


def lines(task: ImageTask) -> str:
    """Python that adapts to `examples/`, the folder that the download brings."""
    size, _, channels = task.image_shape
    count = max(len(task.classes), 2)
    return f'''import keras_imaml as ki
from keras_imaml.data.folder import load_examples

images, labels, names = load_examples("examples", {size}, {channels})
model = ki.load("{task.name}", classes={count}).adapt(images.astype("float32") / 255, labels)
print(names, model.predict(images.astype("float32") / 255).argmax(axis=1))
model.export("model", format="tf_saved_model")
'''


def wave_lines(points: list[tuple[float, float]], strength: float, steps: int) -> str:
    """The same for sine waves."""
    pairs = points or [(0.0, 0.0)]
    x = ", ".join(f"[{x:.2f}]" for x, _ in pairs)
    y = ", ".join(f"[{y:.2f}]" for _, y in pairs)
    return f'''import keras_imaml as ki
import numpy as np

learner = ki.load("{WAVE}").with_algorithm(steps={steps}, proximal_strength={strength:.4g})
model = learner.adapt(np.float32([{x}]), np.float32([{y}]))
print(model.predict(np.linspace(-5, 5, 11, dtype="float32")[:, None]))
model.export("model", format="tf_saved_model")
'''


def of_images(task: ImageTask, format: str) -> str:
    """Write the download of an adapted model; return the path of the zip file."""
    task.adapt()
    assert task.model is not None
    folder = _folder(task.model, format, task.classes)
    for number, (name, image) in enumerate(task.examples):
        file = os.path.join(folder, "examples", name, f"{number}.png")
        os.makedirs(os.path.dirname(file), exist_ok=True)
        keras.utils.save_img(file, np.round(255 * image), scale=False)
    return _zipped(folder, lines(task))


def of_waves(model: keras.Model, format: str, python: str) -> str:
    """The same for a curve."""
    return _zipped(_folder(model, format, None), python)


def _folder(model: keras.Model, format: str, classes: list[str] | None) -> str:
    """A new folder with the model in it."""
    if format not in FORMATS:
        refuse(f"Choose a format: {', '.join(FORMATS)}.")
    kind = FORMATS[format]
    folder = os.path.join(tempfile.mkdtemp(prefix="keras_imaml_"), "adapted")
    output = os.path.join(folder, "model" + model_files.ENDINGS[kind])
    if classes is not None:
        model_files.write(model, classes, False, output, kind)
    else:
        model_files.export(model, output, kind)
    return folder


def _zipped(folder: str, python: str) -> str:
    """The folder as a zip file, with the lines of Python; the folder goes away."""
    with open(os.path.join(folder, "adapt.py"), "w", encoding="utf-8") as stream:
        stream.write(python)
    path = shutil.make_archive(folder, "zip", folder)
    shutil.rmtree(folder)
    return path
