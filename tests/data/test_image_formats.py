"""Which image files are read: one table, with files that Pillow writes."""

import io

import numpy as np
import pytest
import tensorflow as tf

from keras_imaml.data.decoding import EXTENSIONS, NOT_READ, decode
from keras_imaml.data.folder import load_examples

images = pytest.importorskip("PIL.Image")

GRAY = (np.arange(64).reshape(8, 8) * 4).astype(np.uint8)
RGB = np.stack([GRAY, GRAY[::-1], 255 - GRAY], axis=-1)
OF_GRAY = np.repeat(GRAY[..., None], 3, axis=-1)
BLACK_OR_WHITE = np.where(OF_GRAY > 100, 255, 0)
FRAMES = {"save_all": True, "append_images": [images.fromarray(255 - RGB)]}


def saved(image, kind, **settings):
    stream = io.BytesIO()
    image.save(stream, kind, **settings)
    return stream.getvalue()


def of_rgb(kind, **settings):
    return saved(images.fromarray(RGB), kind, **settings)


def of_palette(kind, **settings):
    return saved(images.fromarray(RGB).quantize(64), kind, **settings)


def transparent(kind, **settings):
    return saved(images.fromarray(np.dstack([RGB, GRAY])), kind, **settings)


SMOOTH = np.repeat(np.repeat(RGB[::4, ::4], 4, axis=0), 4, axis=1)  # survives a JPEG
READ = {  # by kind: the file, and its pixels
    "PNG": (of_rgb("PNG"), RGB),
    "PNG with a palette": (of_palette("PNG"), RGB),
    "PNG with a palette and transparency": (of_palette("PNG", transparency=0), RGB),
    "PNG with transparency": (transparent("PNG"), RGB),
    "PNG of 16 bits": (saved(images.fromarray(GRAY.astype(np.uint16) * 257), "PNG"), OF_GRAY),
    "PNG of 1 bit": (saved(images.fromarray(GRAY > 100), "PNG"), BLACK_OR_WHITE),
    "animated PNG": (of_rgb("PNG", **FRAMES), RGB),
    "JPEG": (saved(images.fromarray(SMOOTH), "JPEG", quality=100, subsampling=0), SMOOTH),
    "JPEG in CMYK": (saved(images.fromarray(SMOOTH).convert("CMYK"), "JPEG", quality=100), SMOOTH),
    "JPEG in gray": (saved(images.fromarray(SMOOTH[..., 0]), "JPEG", quality=100), SMOOTH[..., :1]),
    "GIF": (of_rgb("GIF"), RGB),
    "animated GIF": (of_rgb("GIF", **FRAMES), RGB),
    "BMP": (of_rgb("BMP"), RGB),
    "BMP in gray": (saved(images.fromarray(GRAY), "BMP"), OF_GRAY),
    "BMP with a palette": (of_palette("BMP"), RGB),
    "WebP": (of_rgb("WEBP", lossless=True), RGB),
    "WebP with transparency": (transparent("WEBP", lossless=True, exact=True), RGB),
}
NOT_DECODED = {
    "TIFF": of_rgb("TIFF"),
    "animated WebP": of_rgb("WEBP", lossless=True, **FRAMES),
    "animated WebP with transparency": transparent("WEBP", lossless=True, **FRAMES),
    "BMP of 1 bit": saved(images.fromarray(GRAY > 100), "BMP"),
    "a few bytes": b"no image",
    "none": b"",
}


def test_all_kinds_are_read():
    for kind, (encoded, pixels) in READ.items():
        found = decode(tf.constant(encoded), 8, 3).numpy().astype(int)
        assert np.abs(found - pixels).max() <= (12 if "JPEG" in kind else 0), kind


@pytest.mark.parametrize("kind", NOT_DECODED)
def test_others_are_errors_and_no_crash(kind):
    with pytest.raises(tf.errors.InvalidArgumentError):
        decode(tf.constant(NOT_DECODED[kind]), 8, 3)


def folder(root, files):
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return root


def test_endings_in_any_case_are_read_and_other_files_are_not_looked_at(tmp_path):
    file = READ["PNG"][0]
    names = [f"a/1{ending}" for ending in EXTENSIONS] + [f"a/2{e.upper()}" for e in EXTENSIONS]
    others = ["a/.DS_Store", "a/Thumbs.db", "a/._1.png", "a/notes.txt", ".DS_Store", ".git/x.png"]
    root = folder(tmp_path, dict.fromkeys(names, file) | dict.fromkeys(others, b"none"))
    pixels, _, classes = load_examples(root, 8, 3)
    assert classes == ["a"]
    assert len(pixels) == len(names)


@pytest.mark.parametrize("ending", [".TIF", *NOT_READ[:3]])
def test_images_that_are_not_read_are_refused_by_name(tmp_path, ending):
    files = {"a/1.png": READ["PNG"][0], f"a/2{ending}": NOT_DECODED["TIFF"]}
    with pytest.raises(ValueError, match=rf"convert or remove.*2\{ending}"):
        load_examples(folder(tmp_path, files), 8, 3)


def test_a_file_that_cannot_be_decoded_is_named(tmp_path):
    files = {"a/1.webp": READ["WebP"][0], "a/2.webp": NOT_DECODED["animated WebP"]}
    with pytest.raises(ValueError, match=r"2\.webp'\], which cannot be decoded"):
        load_examples(folder(tmp_path, files), 8, 3)
