"""A bar for what takes long, where somebody looks."""

import numpy as np
import pytest
import tensorflow as tf

import keras_imaml as ki
from keras_imaml._utils import progress_bar as waiting
from keras_imaml._utils.progress_bar import WaitingBar


@pytest.fixture
def terminal(monkeypatch):
    monkeypatch.setattr(waiting, "_on_terminal", lambda: True)
    monkeypatch.setattr(waiting, "DELAY_SECONDS", 0.0)


def shown(capsys, **settings):
    bar = WaitingBar(3, "Drawing", unit_name="glyph", **settings)
    for step in (1, 2, 3):
        bar.update(step)
    return capsys.readouterr().out


def test_it_shows_on_a_terminal_after_a_moment(terminal, capsys, monkeypatch):
    text = shown(capsys)
    assert text.startswith("Drawing\n") and "3/3" in text
    monkeypatch.setattr(waiting, "DELAY_SECONDS", 60.0)
    assert shown(capsys) == ""


def test_it_is_silent_elsewhere(capsys, monkeypatch):
    monkeypatch.setattr(waiting, "DELAY_SECONDS", 0.0)
    monkeypatch.setattr(waiting, "_on_terminal", lambda: False)
    assert shown(capsys) == ""
    assert "3/3" in shown(capsys, verbose=1)


def test_it_can_be_turned_off(terminal, capsys):
    assert shown(capsys, verbose=0) == ""


def test_other_values_are_refused():
    with pytest.raises(ValueError, match="Invalid value for `verbose`.*Received: verbose=2"):
        WaitingBar(3, "Drawing", verbose=2)


def test_long_preparations_have_one(terminal, capsys, tmp_path):
    ki.data.glyphs("test", classes=30, examples_per_class=2, query=1, image_size=9)
    assert "Drawing glyphs" in capsys.readouterr().out
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        image = tf.io.encode_png(np.zeros((8, 8, 3), "uint8"))
        tf.io.write_file(str(tmp_path / name / "image.png"), image)
    ki.data.folder.load_examples(tmp_path, image_size=8, channels=3)
    assert "Decoding images" in capsys.readouterr().out
