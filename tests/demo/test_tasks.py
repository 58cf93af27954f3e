"""What the page of the demo computes, without a page."""

import queue
import threading

import numpy as np
import pytest

from benchmarks.pictures.figures import FIGURES, canvas, moved
from trainers.demo import drawings, learners, wave_task
from trainers.demo.image_task import ImageTask

EMPTY = np.full((280, 280), 255, np.uint8)


@pytest.fixture(scope="module")
def adapted():
    """A task of three figures, one drawing each."""
    task = ImageTask("omniglot")
    for name in ("ring", "cross", "bar"):
        task.add(name, task.drawing(canvas(FIGURES[name])))
    return task


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ring", "cross", "bar"])
def test_a_figure_is_told_at_another_place_and_size(adapted, name):
    query = canvas(moved(FIGURES[name], scale=0.8, right=0.2, down=-0.1))
    answer = adapted.answer(adapted.drawing(query))
    assert max(answer.after, key=answer.after.get) == name and answer.after[name] > 0.8
    assert sum(answer.after.values()) == pytest.approx(1, abs=1e-5)
    assert np.allclose(list(answer.before.values()), 1 / 3)  # it knows no class of these


@pytest.mark.slow
def test_the_facts_are_those_of_the_inner_problem(adapted):
    facts = adapted.adapt()
    assert facts.strength == pytest.approx(0.2) and facts.steps == 5
    assert facts.residual < 0.05 and facts.moved > 0
    images, labels = adapted.support()
    expected = learners.learner("omniglot", 3).adapt(images, labels)
    assert np.allclose(adapted.model(images), expected(images), atol=1e-4)


@pytest.mark.slow
def test_adaptation_is_done_once_and_anew_after_a_change():
    task = ImageTask("omniglot")
    image = task.drawing(canvas(FIGURES["ring"]))
    for name in "ab":
        task.add(name, image)
    first = task.adapt()
    assert task.adapt() is first
    task.add("b", image)
    assert task.adapt() is not first
    task.remove_last()
    assert len(task.examples) == 2
    task.clear()
    assert task.classes == [] and task.model is None


def refusal(change):
    with pytest.raises(ValueError, match=r"\.$") as error:
        change()
    return str(error.value)


def test_each_mistake_gets_a_message(tmp_path):
    task = ImageTask("omniglot")
    image = task.drawing(canvas(FIGURES["ring"]))
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"\x89PNG\r\n\x1a\n?")
    assert "canvas is empty" in refusal(lambda: task.drawing(EMPTY))
    assert "canvas is empty" in refusal(lambda: task.drawing(None))
    assert "broken.png cannot be read" in refusal(lambda: task.file(str(broken)))
    assert "So far: none" in refusal(lambda: task.answer(image))
    for name in (None, "", "  ", "a/b", "..", "x" * 41, "a\nb"):
        assert "Name the class" in refusal(lambda name=name: task.add(name, image))
    for _ in range(5):
        task.add("ring", image)
    assert "has 5 examples" in refusal(lambda: task.add("ring", image))
    assert "So far: ring" in refusal(task.adapt)
    for number in range(19):
        task.add(f"class {number}", image)
    assert "There are 20 classes" in refusal(lambda: task.add("one more", image))


def test_the_graph_of_one_class_more_is_made_ahead_and_once(monkeypatch):
    graphs = queue.Queue()
    monkeypatch.setattr(learners, "warm_up", lambda *key: graphs.put(key))
    monkeypatch.setattr(learners, "_ready", {("omniglot", 5)})
    monkeypatch.setattr(learners, "early_graphs", threading.Event())
    learners.prepare_ahead("omniglot", 3)  # as without --warm_up
    learners.early_graphs.set()
    for classes in (2, 2, 4, learners.MOST_CLASSES):
        learners.prepare_ahead("omniglot", classes)
    assert graphs.get(timeout=10) == ("omniglot", 3)
    assert graphs.empty()


def test_two_windows_share_no_examples():
    first, second = ImageTask("omniglot"), ImageTask("omniglot")
    first.add("a", first.drawing(canvas(FIGURES["bar"])))
    assert not second.examples


@pytest.mark.parametrize("invert", [False, True])
def test_a_drawing_is_centered_with_ink_one(invert):
    drawing = canvas(moved(FIGURES["ring"], 0.5, right=0.4))
    image = drawings.character(255 - drawing if invert else drawing, 32)
    assert image.shape == (32, 32, 1) and image.dtype == np.float32
    assert image.max() > 0.5 and image.min() == 0
    rows, columns = (np.flatnonzero(image[..., 0].max(axis=axis) > 0.2) for axis in (1, 0))
    for line in (rows, columns):
        assert abs((line[0] + line[-1]) / 2 - 15.5) <= 1 and 9 <= np.ptp(line) + 1 <= 12


@pytest.mark.slow
def test_a_wave_is_fitted_and_lambda_holds_the_weights():
    x = np.linspace(-4, 4, 8)
    points = list(zip(x, 2 * np.sin(x - 1), strict=True))
    curves = {strength: wave_task.curves(points, strength, 4) for strength in (0.1, 1e4)}
    truth = 2 * np.sin(curves[0.1].x - 1)
    loose_curve, firm_curve = curves[0.1], curves[1e4]
    assert (
        np.mean((loose_curve.after - truth) ** 2) < 0.3 < np.mean((loose_curve.before - truth) ** 2)
    )
    moves = [np.mean((curve.after - curve.before) ** 2) for curve in (loose_curve, firm_curve)]
    assert moves[1] < 0.2 * moves[0]
    assert firm_curve.facts.moved < loose_curve.facts.moved
    assert firm_curve.facts.strength == pytest.approx(1e4, rel=1e-5)


@pytest.mark.slow
def test_no_steps_leave_the_curve():
    curves = wave_task.curves([(1.0, 2.0)], 0.5, 0)
    assert np.allclose(curves.after, curves.before, atol=1e-5) and curves.facts.steps == 0


def test_there_is_one_curve_without_points():
    curves = wave_task.curves([], 0.5, 4)
    assert curves.after is None and curves.facts is None and curves.before.shape == (201,)
    assert "Click a point" in refusal(lambda: wave_task.adapted([], 0.5, 4))


def test_a_place_in_the_picture_is_a_point():
    assert np.allclose(wave_task.point_at(wave_task.pixel_of((1.5, -2.0))), (1.5, -2.0))
    assert "inside the axes" in refusal(lambda: wave_task.point_at((0, 0)))
