"""A task of images that a visitor makes: examples, classes, and the answer to a query."""

import dataclasses
import os
import re
import time
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

import keras_imaml as ki
from trainers.command_line import in_one_line, refuse
from trainers.demo import learners
from trainers.demo.drawings import character

_MOST_SHOTS = 5
_LONGEST_NAME = 40
_NOT_IN_NAMES = re.compile(r'[/\\:*?"<>|\x00-\x1f]')  # names become those of folders
_DRAWN_PIXELS = 280


@dataclasses.dataclass(frozen=True)
class Answer:
    """What the model says of a query.

    Attributes:
        after: Probabilities by class after adaptation.
        before: The same before adaptation.
        seconds: Time of the answer of the adapted model.
    """

    after: dict[str, float]
    before: dict[str, float]
    seconds: float


class ImageTask:
    """The examples of one window.

    Args:
        name: Of the learner, such as `"omniglot"`.

    Example:

    ```python
    task = ImageTask("omniglot")
    task.add("cross", task.drawing(cross))
    task.add("ring", task.drawing(ring))
    facts = task.adapt()
    task.answer(task.drawing(another_ring)).after
    ```
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.examples: list[tuple[str, np.ndarray]] = []
        self.model: keras.Model | None = None
        self.facts: learners.Facts | None = None

    @property
    def is_drawn(self) -> bool:
        """Whether its images are characters and not photographs."""
        return self.image_shape[-1] == 1

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """`(size, size, channels)` of an image."""
        return learners.learner(self.name, 2).model.input_shape[1:]

    @property
    def classes(self) -> list[str]:
        """The names of the classes, sorted, as those of folders are."""
        return sorted({name for name, _ in self.examples})

    def drawing(self, canvas: Any) -> np.ndarray:
        """The image of a canvas, gray or RGB, from 0 to 255; None is an empty one."""
        if canvas is None:
            refuse("The canvas is empty: draw something first.")
        pixels = np.asarray(canvas)
        gray = pixels.mean(axis=-1) if pixels.ndim == 3 else pixels
        return character(gray, self.image_shape[0])

    def file(self, path: str) -> np.ndarray:
        """The image of a file; a `ValueError` says in a sentence what is wrong with it."""
        size, _, channels = self.image_shape
        try:
            if not self.is_drawn:
                return ki.data.load_images([path], size, channels)[0]
            (image,) = ki.data.load_images([path], _DRAWN_PIXELS, 1)
        except ValueError:
            refuse(
                f"{os.path.basename(path)} cannot be read as an image: expected PNG, JPEG, BMP, "
                "GIF, WebP or TIFF."
            )
        return character(255 * image[..., 0], size)

    def add(self, name: str | None, image: np.ndarray) -> None:
        """Add an example of a class; the model has to adapt anew."""
        self.examples.append((self._checked(name), image))
        self._forget()

    def add_files(self, name: str | None, paths: Sequence[str]) -> list[str]:
        """Add files as examples of a class, and return what is wrong with some, in sentences."""
        problems: list[str] = []
        for number, path in enumerate(paths):
            try:
                self._checked(name)
            except ValueError as error:  # of all others too, which are not read
                left = len(paths) - number
                note = f" {left} files were left out." if number else ""
                return [*problems, in_one_line(error) + note]
            try:
                self.add(name, self.file(path))
            except ValueError as error:
                problems.append(in_one_line(error))
        return problems

    def _checked(self, name: str | None) -> str:
        """The name of a class that takes one example more."""
        name = (name or "").strip()
        if not name or len(name) > _LONGEST_NAME or _NOT_IN_NAMES.search(name) or name[0] == ".":
            refuse(
                f"Name the class first: 1 to {_LONGEST_NAME} letters, without / and other signs "
                "that no folder may have."
            )
        names = [n for n, _ in self.examples]
        if names.count(name) >= _MOST_SHOTS:
            refuse(f"{name} has {_MOST_SHOTS} examples, which is the most: name another class.")
        if name not in names and len(set(names)) >= learners.MOST_CLASSES:
            refuse(f"There are {learners.MOST_CLASSES} classes, which is the most.")
        return name

    def remove_last(self) -> None:
        """Take the newest example back."""
        if self.examples:
            self.examples.pop()
        self._forget()

    def clear(self) -> None:
        """Begin again."""
        self.examples.clear()
        self._forget()

    def support(self) -> tuple[np.ndarray, np.ndarray]:
        """Images and class numbers, class by class."""
        classes = self.classes
        ordered = sorted(self.examples, key=lambda example: example[0])
        images = np.stack([image for _, image in ordered])
        return images, np.array([classes.index(name) for name, _ in ordered], np.int32)

    def adapt(self) -> learners.Facts:
        """Adapt to the examples, unless that is done."""
        if self.facts is None:
            count = len(self.classes)
            if count < 2:
                refuse(
                    "Add an example of each of two classes or more: then the model adapts. "
                    f"So far: {', '.join(self.classes) or 'none'}."
                )
            self.model, self.facts = learners.adapt(self.name, *self.support(), classes=count)
            learners.prepare_ahead(self.name, count)
        return self.facts

    def answer(self, image: np.ndarray) -> Answer:
        """Classify an image."""
        self.adapt()
        assert self.model is not None
        classes, query = self.classes, tf.constant(image[None], tf.float32)
        begin = time.perf_counter()
        logits = np.asarray(self.model(query, training=False))
        seconds = time.perf_counter() - begin
        unadapted = learners.before_adaptation(self.name, image[None], len(classes))
        after, before = (
            dict(zip(classes, map(float, tf.nn.softmax(z[0]).numpy()), strict=True))
            for z in (logits, unadapted)
        )
        return Answer(after, before, seconds)

    def _forget(self) -> None:
        self.model = self.facts = None
