"""Characters of invented alphabets, drawn by a formula: few-shot tasks without any download.

A class is a set of strokes, fixed by its index alone. An example is one hand's drawing of it: the
strokes are bent and moved a little, the whole is turned, scaled, slanted and shifted, and the pen
varies. Random numbers come from a hash of (class, example, number), so nothing depends on the order
of drawing, on how many classes are asked for, or on a generator that may change with a release.
"""

import functools

import numpy as np
from numpy.typing import NDArray

from keras_imaml._utils.progress_bar import WaitingBar
from keras_imaml._utils.validation import check_integer
from keras_imaml.data.class_splits import read_split
from keras_imaml.data.episodes import ExamplePool
from keras_imaml.data.streams import Endless
from keras_imaml.data.task_sizes import Sizes

Floats = NDArray[np.float64]

_STROKES = 4  # the most strokes of a class
_POINTS = 40  # points along a stroke
_SPAN = 18 / 28  # the part of the image that the plain character spans, before jitter
_WIDEST_PEN = 0.085  # in a frame where the plain character spans [-1, 1]
_CLASSES_AT_ONCE = 25  # bounds the memory of a rendering to some tens of megabytes
_PIXELS_AT_ONCE = 60_000  # keeps what is drawn in the cache of a core


def glyphs(
    split: str = "train",
    way: Sizes = 5,
    shot: Sizes = 1,
    query: Sizes = 15,
    seed: int = 0,
    start: int = 0,
    classes: int | None = None,
    examples_per_class: int = 20,
    image_size: int = 28,
    rotations: bool = False,
    class_labels: bool = False,
    sampler: str = "uniform",
    buckets: int = 1,
) -> Endless:
    """Few-shot episodes of procedurally drawn characters, much like Omniglot and offline.

    Args:
        split: `"train"`, `"validation"` or `"test"`; their classes are disjoint. Defaults to
            `"train"`.
        way: Number of classes of an episode, at least 2, or the range `(fewest, most)`. Defaults
            to 5.
        shot: Number of support examples of a class, at least 1, or a range of which each class
            draws its own number. Defaults to 1.
        query: Number of query examples of a class, at least 1, or a range. Defaults to 15.
        seed: Non-negative integer that fixes the episodes; the characters do not depend on it.
            Defaults to 0.
        start: Number of episodes to skip at no cost, such as those of an earlier run. Defaults
            to 0.
        classes: Number of characters. Defaults to `None`: 600 for training, 100 for validation,
            200 for test.
        examples_per_class: Number of drawings of each character. Defaults to 20.
        image_size: Height and width in pixels, at least 8. Defaults to 28.
        rotations: Whether each class of an episode is turned by a random multiple of 90 degrees.
            Defaults to `False`.
        class_labels: Whether y is the number of the class in the split, instead of its place in the
            episode. Each rotation is a class of its own. `keras_imaml.algorithms.Supervised` needs
            these labels, and `dataset.classes` is their number. Defaults to `False`.
        sampler: How ranges are drawn from: `"uniform"`, or `"meta_dataset"` for the rules of
            Meta-Dataset, with `way=(5, 50), shot=(1, 100), query=10`. Defaults to `"uniform"`.
        buckets: With ranges, into how many parts `batch` sorts tasks, so that a meta-batch holds
            tasks of similar size. Defaults to 1: all are padded to the largest size.

    Returns:
        An infinite `tf.data.Dataset` of `((support_x, support_y), (query_x, query_y))`: x is
        float32 in [0, 1], ink 1, of shape `(way * shot, image_size, image_size, 1)` and
        `(way * query, image_size, image_size, 1)`; y is int32. With
        ranges, sets are padded, and elements have weights of examples as well.

    Raises:
        ValueError: If a number is out of range, or there are too few classes or examples.

    Example:

    ```python
    tasks = ki.data.glyphs("train", way=5, shot=1).batch(4, drop_remainder=True)
    (support_x, support_y), (query_x, query_y) = next(iter(tasks))
    support_x.shape  # (4, 5, 28, 28, 1)
    ```
    """
    facts = read_split("glyphs", split)
    classes = check_integer("classes", facts["default_classes"] if classes is None else classes, 2)
    if classes > facts["size"]:
        raise ValueError(
            f"Invalid value for `classes`. Expected at most {facts['size']}, the number of classes "
            f"of a split. Received: classes={classes}"
        )
    examples = check_integer("examples_per_class", examples_per_class, 2)
    size = check_integer("image_size", image_size, 8)
    first_class = facts["first_class"]
    images = render(first_class, classes, examples, size)
    labels = np.repeat(np.arange(classes), examples)
    names = [f"glyph {first_class + index}" for index in range(classes)]
    pool = ExamplePool.from_labels(images.reshape(-1, size, size, 1), labels, names)
    stream = f"glyphs/{split}"
    return pool.episodes(
        way, shot, query, seed, stream, rotations, start, class_labels, sampler, buckets
    )


@functools.lru_cache(maxsize=8)
def render(first_class: int, classes: int, examples: int, image_size: int = 28) -> np.ndarray:
    """Draws `examples` examples of the classes from `first_class` on.

    Args:
        first_class: Index of the first class.
        classes: Number of classes.
        examples: Number of examples of a class.
        image_size: Height and width in pixels. Defaults to 28.

    Returns:
        A read-only uint8 array of shape `(classes, examples, image_size, image_size)`, ink 255.
        The last few results are kept in memory.

    Example:

    ```python
    from keras_imaml.data.glyphs import render

    render(0, 3, 20).shape  # (3, 20, 28, 28)
    ```
    """
    images = np.empty((classes, examples, image_size, image_size), np.uint8)
    bar = WaitingBar(classes, "Drawing glyphs", unit_name="class")
    for start in range(0, classes, _CLASSES_AT_ONCE):
        stop = min(start + _CLASSES_AT_ONCE, classes)
        index = np.arange(first_class + start, first_class + stop, dtype=np.uint64)
        images[start:stop] = _ink(*_drawings(index, examples), image_size)
        bar.update(stop)
    images.flags.writeable = False
    return images


def _drawings(index: NDArray[np.uint64], examples: int) -> tuple[Floats, Floats, Floats]:
    """Points and pen of every drawing, in a frame where the plain character spans [-1, 1].

    Returns points `[classes, examples, strokes, points, 2]`, their weight (length of line; 0 for a
    stroke that the class does not have) without the last axis, and pen widths
    `[classes, examples]`.
    """
    # Example 0 is the plain character: its numbers give the class, and no jitter is put on it.
    numbers = _Numbers(index, np.zeros(1, np.uint64))
    jitter = _Numbers(index, np.arange(1, examples + 1, dtype=np.uint64))
    plain_points, weight = _strokes(numbers, None)
    drawn, drawn_weight = _strokes(numbers, jitter)

    inked = weight[..., None] > 0
    low = np.where(inked, plain_points, np.inf).min(axis=(2, 3), keepdims=True)
    high = np.where(inked, plain_points, -np.inf).max(axis=(2, 3), keepdims=True)
    fit = 2.0 / np.maximum((high - low).max(axis=-1, keepdims=True), 1.0)
    drawn = (drawn - (low + high) / 2) * fit

    turn = np.deg2rad(jitter.uniform(-10, 10))
    slant = jitter.uniform(-0.15, 0.15)
    width, height = jitter.uniform(0.9, 1.1), jitter.uniform(0.9, 1.1)
    x = drawn[..., 0] * width[..., None, None] + drawn[..., 1] * slant[..., None, None]
    y = drawn[..., 1] * height[..., None, None]
    cosine, sine = np.cos(turn)[..., None, None], np.sin(turn)[..., None, None]
    # In this frame 0.22 is 2 pixels of 28.
    x_shift, y_shift = jitter.uniform(-0.22, 0.22), jitter.uniform(-0.22, 0.22)
    points = np.stack(
        [
            cosine * x - sine * y + x_shift[..., None, None],
            sine * x + cosine * y + y_shift[..., None, None],
        ],
        axis=-1,
    )
    return points, drawn_weight * fit[..., 0], jitter.uniform(0.055, _WIDEST_PEN)


def _strokes(numbers: "_Numbers", jitter: "_Numbers | None") -> tuple[Floats, Floats]:
    """Strokes as curves of changing direction; a later one often starts on the one before."""
    numbers.restart()
    count = 2 + (numbers.uniform() > 0.35).astype(int) + (numbers.uniform() > 0.6).astype(int)
    t = (np.arange(_POINTS) + 0.5) / _POINTS
    curves: list[Floats] = []
    weights: list[Floats] = []
    for stroke in range(_STROKES):
        direction = numbers.uniform(0, 2 * np.pi)
        kind, bend, side = numbers.uniform(), numbers.uniform(), numbers.sign()
        # In radians over the whole stroke: nearly straight, an arc, or a loop.
        turning = side * np.where(kind < 0.4, 0.4 * bend, np.where(kind < 0.8, 1 + 2 * bend, 4.5))
        twist = numbers.uniform(-1.5, 1.5) * (kind > 0.4)  # how much an arc is also an S
        length = numbers.uniform(0.7, 1.5) * np.where(kind < 0.8, 1.0, 1.5)
        free_start = np.stack([numbers.uniform(-0.7, 0.7), numbers.uniform(-0.7, 0.7)], axis=-1)
        is_joined, fraction = numbers.uniform() < 0.6, numbers.uniform()
        if jitter is not None:
            direction = direction + 0.09 * jitter.bell()
            turning = turning * (1 + 0.1 * jitter.bell()) + 0.1 * jitter.bell()
            twist = twist + 0.2 * jitter.bell()
            length = length * (1 + 0.08 * jitter.bell())
        start = free_start
        if stroke:
            previous = curves[-1]
            position = np.broadcast_to((fraction * _POINTS).astype(int), previous.shape[:2])
            on_previous = np.take_along_axis(previous, position[..., None, None], axis=2)[:, :, 0]
            start = np.where(is_joined[..., None], on_previous, free_start)
        if jitter is not None:
            start = start + 0.04 * np.stack([jitter.bell(), jitter.bell()], axis=-1)
        angle = direction[..., None] + turning[..., None] * (t - 0.5)
        angle = angle + twist[..., None] * (6 * t * t - 6 * t + 1)
        piece = length / _POINTS
        step = np.stack([np.cos(angle), np.sin(angle)], axis=-1) * piece[..., None, None]
        curves.append(start[:, :, None] + np.cumsum(step, axis=2) - step / 2)
        weight = piece * (stroke < count)
        weights.append(np.broadcast_to(weight[..., None], curves[-1].shape[:-1]))
    return np.stack(curves, axis=2), np.stack(weights, axis=2)


def _ink(points: Floats, weight: Floats, pen: Floats, size: int) -> np.ndarray:
    """Draws with a round, soft pen on a grid of twice the resolution, then averages 2 by 2."""
    grid = 2 * size
    drawings = pen.size
    # The center of a pixel is at a half.
    place = (points.reshape(drawings, -1, 2) * (_SPAN / 2) + 0.5) * grid - 0.5
    weight = weight.reshape(drawings, -1) * (_SPAN / 2) * grid
    radius = (pen.reshape(drawings, 1, 1) * (_SPAN / 2) * grid).astype(np.float32)
    images = np.empty((drawings, size, size), np.uint8)
    count = max(1, _PIXELS_AT_ONCE // grid**2)
    for start in range(0, drawings, count):
        part = slice(start, start + count)
        images[part] = _ink_of_block(place[part], weight[part], radius[part], grid)
    return images.reshape(*pen.shape, size, size)


def _ink_of_block(place: Floats, weight: Floats, radius: np.ndarray, grid: int) -> np.ndarray:
    drawings = len(place)
    corner = np.floor(place).astype(np.int64)
    part = place - corner
    density = np.zeros(drawings * grid * grid)
    base = np.arange(drawings)[:, None] * (grid * grid)
    for dx in (0, 1):
        for dy in (0, 1):
            column, row = corner[..., 0] + dx, corner[..., 1] + dy
            is_inside = (column >= 0) & (column < grid) & (row >= 0) & (row < grid)
            share = np.abs(1 - dx - part[..., 0]) * np.abs(1 - dy - part[..., 1]) * weight
            pixels = (base + row * grid + column)[is_inside]
            density += np.bincount(pixels, share[is_inside], minlength=density.size)
    line = density.reshape(drawings, grid, grid).astype(np.float32)
    line = _blur(_blur(line, radius, axis=1), radius, axis=2)
    # A long straight line has density 1 / (sqrt(2 pi) radius) at its middle: saturate well there.
    ink = np.minimum(4.5 * radius * line, 1.0)
    pairs = ink[..., ::2] + ink[..., 1::2]
    return np.rint(255 / 4 * (pairs[:, ::2] + pairs[:, 1::2])).astype(np.uint8)


def _blur(image: np.ndarray, radius: np.ndarray, axis: int) -> np.ndarray:
    reach = int(np.ceil(2.5 * _WIDEST_PEN * (_SPAN / 2) * image.shape[axis]))
    taps = [np.exp(-0.5 * (offset / radius) ** 2) for offset in range(-reach, reach + 1)]
    total = sum(taps)
    margin = [(0, 0)] * 3
    margin[axis] = (reach, reach)
    padded = np.pad(image, margin)
    blurred, scaled = np.zeros_like(image), np.empty_like(image)
    for offset, tap in enumerate(taps):
        window = [slice(None)] * 3
        window[axis] = slice(offset, offset + image.shape[axis])
        blurred += np.multiply(padded[tuple(window)], tap / total, out=scaled)
    return blurred


class _Numbers:
    """Random numbers of shape `[classes, examples]`, one array after the other."""

    def __init__(self, classes: NDArray[np.uint64], examples: NDArray[np.uint64]):
        self._key = _mix(_mix(_spread(classes))[:, None] + _spread(examples)[None, :])
        self.restart()

    def restart(self) -> None:
        self._drawn = 0

    def uniform(self, low: float = 0.0, high: float = 1.0) -> Floats:
        self._drawn += 1
        bits = _mix(self._key + _spread(np.array([self._drawn], np.uint64)))
        fraction: Floats = (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53
        return low + (high - low) * fraction

    def sign(self) -> Floats:
        return np.copysign(1.0, self.uniform() - 0.5)

    def bell(self) -> Floats:
        """Mean 0, variance 1, within [-3, 3]."""
        return 2 * (self.uniform() + self.uniform() + self.uniform()) - 3


def _spread(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    return (values + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)


def _mix(bits: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The finalizer of SplitMix64 (Steele et al., 2014): every bit depends on every bit."""
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return bits ^ (bits >> np.uint64(31))
