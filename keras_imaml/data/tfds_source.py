"""Images of chosen classes from a data set of TensorFlow Datasets (TFDS)."""

import contextlib
import os
import socket
import urllib.request
from collections.abc import Iterator, Sequence
from types import ModuleType
from typing import Any

import numpy as np
import tensorflow as tf
from filelock import FileLock, Timeout

from keras_imaml._utils.progress_bar import WaitingBar
from keras_imaml.data.array_records import all_of, labels_of, numbered_images
from keras_imaml.data.decoding import decode
from keras_imaml.data.episodes import ExamplePool
from keras_imaml.data.records import records_of
from keras_imaml.data.stored import stays_in_files


def prepared_builder(name: str, data_dir: str | os.PathLike[str] | None, host: str | None) -> Any:
    """Open a TFDS data set; download and prepare it first if it is missing.

    Args:
        name: Name in TFDS.
        data_dir: TFDS folder. `None` is the default of TFDS, usually `~/tensorflow_datasets`.
        host: Where TFDS downloads it from; None: unknown.

    Returns:
        A `tfds.core.DatasetBuilder`.

    Raises:
        OSError: If the data set is missing and cannot be downloaded or prepared.
        ImportError: If TFDS is not installed.
    """
    tfds = import_tfds()
    if data_dir is not None:
        data_dir = os.path.expanduser(data_dir)  # TFDS would make a folder named `~`
    try:
        builder = tfds.builder(name, data_dir=data_dir)
        if not os.path.isdir(builder.data_dir):
            _prepare(builder, host)
            builder = tfds.builder(name, data_dir=data_dir)  # another process may have made it
    except Exception as error:  # TFDS raises whatever its downloader, file system or parser does
        folder = "the default folder of TFDS" if data_dir is None else f"data_dir={str(data_dir)!r}"
        raise OSError(
            f"The data set `{name}` is not in {folder}, and TFDS could not download it from "
            f"{host or 'its source'} and prepare it there ({type(error).__name__}: {error}). Check "
            "the network and that the folder can be written, and try again; or prepare it on "
            "another machine with "
            f"`tfds build {name} --data_dir=FOLDER`, copy FOLDER, and pass it as `data_dir`."
        ) from error
    return builder


def _prepare(builder: Any, host: str | None) -> None:
    """Download and prepare, unless another process does: then wait for it."""
    with _only_process(os.path.dirname(os.path.dirname(os.fspath(builder.data_dir))), builder.name):
        if not os.path.isdir(builder.data_dir):
            if host is not None:
                _check_network(host)
            builder.download_and_prepare()


def _check_network(host: str) -> None:
    """Fail at once without a network: TFDS tries again for minutes before it gives up."""
    if not urllib.request.getproxies():
        socket.getaddrinfo(host, 443)
        return
    import requests  # by which TFDS downloads

    try:
        requests.head(f"https://{host}", timeout=20)
    except requests.exceptions.ProxyError:
        raise
    except requests.exceptions.RequestException:
        pass  # the file may be had all the same


@contextlib.contextmanager
def _only_process(folder: str, name: str) -> Iterator[None]:
    if "://" in folder:  # no file system that has locks
        yield
        return
    os.makedirs(folder, exist_ok=True)
    # The system takes the lock back when its holder ends, in whatever way.
    lock = FileLock(os.path.join(folder, f".{name}.lock"))
    try:
        lock.acquire(blocking=False)
    except Timeout:
        print(f"Another process prepares the data set `{name}`: waiting for it", flush=True)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def import_tfds() -> ModuleType:
    """The module `tensorflow_datasets`, which only these data sets need."""
    try:
        import tensorflow_datasets
    except ImportError as error:
        raise ImportError(
            "This data set is read with TensorFlow Datasets. Install it: "
            f"`pip install tensorflow-datasets importlib_resources`. ({error})"
        ) from error
    return tensorflow_datasets


def load_pool(
    builder: Any,
    tfds_split: str,
    class_names: Sequence[str],
    image_size: int,
    channels: int,
    in_memory: bool | None = True,
) -> ExamplePool:
    """Reads the images of some classes into memory, or where they are, and decodes no others.

    Args:
        builder: A prepared `tfds.core.DatasetBuilder` with features `image` and `label`.
        tfds_split: Which of TFDS's own splits to read, such as `"train+test"`.
        class_names: Names of the wanted classes.
        image_size: Height and width in pixels.
        channels: 1 for gray, 3 for RGB.
        in_memory: `False`: images are read and decoded when they are drawn. `None`: up to 1 GiB
            of pixels are held. Defaults to `True`.

    Returns:
        An `ExamplePool` of uint8 images of shape `(n, image_size, image_size, channels)`, classes
        in the order of `class_names`.

    Raises:
        ValueError: If a class is not in the data set.
        OSError: If a file of the data set is damaged or incomplete.
    """
    try:
        return _read(builder, tfds_split, class_names, image_size, channels, in_memory)
    except (tf.errors.OpError, EOFError) as error:
        reason = str(error).splitlines()[0]
        raise OSError(
            f"The data set in {str(builder.data_dir)!r} cannot be read: a file is damaged, or was "
            "not written to its end. Delete that folder, and prepare or copy it again. "
            f"Received: {type(error).__name__}: {reason}"
        ) from error


def _read(
    builder: Any,
    tfds_split: str,
    class_names: Sequence[str],
    image_size: int,
    channels: int,
    in_memory: bool | None,
) -> ExamplePool:
    tfds = import_tfds()
    position = tf.constant(_positions(builder, class_names))
    features, image = builder.info.features, {"image": tfds.decode.SkipDecoding()}
    place = f"the data set {builder.name!r}"
    if builder.info.file_format.value == "array_record":
        source = builder.as_data_source(split=tfds_split, decoders=image)
        classes = position.numpy()[labels_of(source)]
        numbers = np.argsort(classes, kind="stable")[np.count_nonzero(classes < 0) :]
        stored = numbered_images(source, numbers, image_size, channels)
        if not stays_in_files(in_memory, len(numbers), image_size, channels, place):
            return ExamplePool.from_labels(all_of(stored), classes[numbers], class_names)
        counts = np.bincount(classes[numbers], minlength=len(class_names))
        return ExamplePool(stored, counts, tuple(class_names))
    _check_format(builder)

    def classes_of(records: tf.Tensor) -> tf.Tensor:
        label = {"label": tf.io.FixedLenFeature((), tf.int64)}
        return tf.gather(position, tf.io.parse_example(records, label)["label"])

    def image_of(record: tf.Tensor) -> tf.Tensor:
        return features.deserialize_example(record, decoders=image)["image"]

    index = records_of(builder, tfds_split, classes_of)
    wanted = index.labels >= 0
    records = index[wanted]
    order = np.argsort(records.labels, kind="stable")
    if stays_in_files(in_memory, len(order), image_size, channels, place):
        counts = np.bincount(records.labels, minlength=len(class_names))
        stored = records[order].images(image_of, image_size, channels)
        return ExamplePool(stored, counts, tuple(class_names))
    decoded = index.contents(wanted, image_of).map(
        lambda content: decode(content, image_size, channels), num_parallel_calls=tf.data.AUTOTUNE
    )
    images = np.empty((len(order), image_size, image_size, channels), np.uint8)
    # Every image goes straight to its row: the pool is the only copy.
    row = np.argsort(order)[records.in_file_order()]
    start = 0
    bar = WaitingBar(len(order), "Decoding images", unit_name="image")
    for batch in decoded.batch(256).prefetch(tf.data.AUTOTUNE).as_numpy_iterator():
        images[row[start : start + len(batch)]] = batch
        start += len(batch)
        bar.update(start)
    return ExamplePool.from_labels(images, records.labels[order], class_names)


def _check_format(builder: Any) -> None:
    """Refuse data sets in files of other formats."""
    if builder.info.file_format.value != "tfrecord":
        raise ValueError(
            "Invalid value for `data_dir`. Expected TFRecord or ArrayRecord files: prepare it with "
            f"file_format='tfrecord'. Received: {str(builder.data_dir)!r}, whose files are "
            f"{builder.info.file_format.value!r}"
        )


def _positions(builder: Any, class_names: Sequence[str]) -> np.ndarray:
    """From the label of a class in the data set to its place in `class_names`, or -1."""
    label_of = {name: label for label, name in enumerate(builder.info.features["label"].names)}
    missing_names = [name for name in class_names if name not in label_of]
    if missing_names:
        raise ValueError(
            f"Invalid value for `data_dir`. Expected a data set with the {len(class_names)} "
            f"classes of the split. Received: {str(builder.data_dir)!r}, which lacks "
            f"{missing_names[:5]}"
        )
    position = np.full(len(label_of), -1)
    position[[label_of[name] for name in class_names]] = np.arange(len(class_names))
    return position
