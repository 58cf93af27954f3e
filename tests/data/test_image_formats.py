"""Which image files are read: one table, with files that Pillow writes."""

import importlib.util
import io

import numpy as np
import pytest
import tensorflow as tf

from keras_imaml.data.decoding import EXTENSIONS, NOT_READ, decode
from keras_imaml.data.folder import load_examples, load_pool

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
BY_PILLOW = {
    "TIFF": (of_rgb("TIFF"), RGB),
    "compressed TIFF": (of_rgb("TIFF", compression="tiff_lzw"), RGB),
    "TIFF with a palette": (of_palette("TIFF"), RGB),
    "TIFF with transparency": (transparent("TIFF"), RGB),
    "TIFF of 16 bits": (saved(images.fromarray(GRAY.astype(np.uint16) * 257), "TIFF"), OF_GRAY),
    "TIFF of 1 bit": (saved(images.fromarray(GRAY > 100), "TIFF"), BLACK_OR_WHITE),
    "TIFF of two pages": (of_rgb("TIFF", **FRAMES), RGB),
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
        image = decode(tf.constant(encoded), 8, 3).numpy().astype(int)
        assert np.abs(image - pixels).max() <= (12 if "JPEG" in kind else 0), kind


def test_tiff_is_read_by_pillow_from_memory_and_from_files(tmp_path):
    for number, (encoded, _) in enumerate(BY_PILLOW.values()):
        folder(tmp_path, {f"a/{number}.tif": encoded, f"b/{number}.tiff": encoded})
    examples = load_pool(tmp_path, 8, 3).examples
    pool_of_files = load_pool(tmp_path, 8, 3, in_memory=False)
    assert np.array_equal(pool_of_files.examples.read(tf.range(2 * len(BY_PILLOW))), examples)
    for kind, image, (_, pixels) in zip(BY_PILLOW, examples, BY_PILLOW.values(), strict=False):
        assert np.array_equal(image, pixels), kind


def test_pillow_that_is_not_installed_is_asked_for(tmp_path, monkeypatch):
    root = folder(tmp_path, {"a/1.png": READ["PNG"][0], "a/2.TIF": BY_PILLOW["TIFF"][0]})
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    for in_memory in (True, False):
        with pytest.raises(ValueError, match=r"pip install pillow.*2\.TIF"):
            load_pool(root, 8, 3, in_memory)


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


def test_suffixes_in_any_case_are_read_and_other_files_are_ignored(tmp_path):
    file = READ["PNG"][0]
    names = [f"a/1{ending}" for ending in EXTENSIONS] + [f"a/2{e.upper()}" for e in EXTENSIONS]
    other_names = ["a/.DS_Store", "a/Thumbs.db", "a/._1.png", "a/notes.txt"]
    other_names += [".DS_Store", ".git/x.png"]
    root = folder(tmp_path, dict.fromkeys(names, file) | dict.fromkeys(other_names, b"none"))
    pixels, _, classes = load_examples(root, 8, 3)
    assert classes == ["a"]
    assert len(pixels) == len(names)


def test_all_images_that_are_not_read_are_in_one_message(tmp_path):
    files = {f"a/2{ending}": b"" for ending in (".HEIC", *NOT_READ[:3])}
    files |= {"a/1.png": READ["PNG"][0], "a/3.png": b"broken", "b/4.tif": b"broken"}
    root = folder(tmp_path, files)
    for in_memory in (True, False):
        with pytest.raises(ValueError, match="convert or remove") as error:
            load_pool(root, 8, 3, in_memory)
        named = [name for name in files if repr(f"{root}/{name}") in str(error.value)]
        assert named == [name for name in files if name != "a/1.png"]


def test_a_file_that_cannot_be_decoded_is_named(tmp_path):
    files = {"a/1.webp": READ["WebP"][0], "a/2.webp": NOT_DECODED["animated WebP"]}
    with pytest.raises(ValueError, match=r"2\.webp'\], which cannot be decoded"):
        load_examples(folder(tmp_path, files), 8, 3)
