"""The page of the demo in a real browser: what it answers, and what it says of wrong turns."""

import pytest

from benchmarks.pictures import demo
from benchmarks.pictures.figures import FIGURES, moved

pytestmark = pytest.mark.slow


def test_five_characters_are_drawn_and_learned(window):
    for name, answer in demo.characters(window):
        assert answer == name
    assert demo.examples(window, "omniglot") == 5
    facts = window.locator("#omniglot_facts").inner_text()
    assert "lambda 0.2, 5 steps" in facts and "inner residual" in facts and "ms" in facts
    before = window.locator("#omniglot_before").inner_text()
    assert before.count("20%") == 5  # it knew none of them
    window.locator("#omniglot_take").click()
    window.locator("#omniglot_taken").get_by_text(".zip").first.wait_for()
    assert not window.elsewhere


def test_dropped_photographs_are_learned(window, tmp_path):
    for kind, answer in demo.photographs(window, tmp_path):
        assert answer == kind
    assert not window.elsewhere


def test_waves_are_clicked_and_lambda_holds_the_curve(window):
    firm_text, free_text = demo.waves(window)
    moves = [
        float(text.split("moved by ")[1].split()[0].rstrip(".")) for text in (firm_text, free_text)
    ]
    assert moves[0] < moves[1]
    assert not window.elsewhere


def test_each_mistake_gets_a_message(window, tmp_path):
    demo.draw(window, "omniglot_query", FIGURES["ring"])  # before any support
    demo.status(window, "omniglot", "The query waits. Add an example of each of two classes")
    demo.name_class(window, "omniglot", "ring")
    window.locator("#omniglot_add").click()
    demo.status(window, "omniglot", "The canvas is empty")
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no image")
    window.locator("#omniglot_files input[type=file]").set_input_files(broken)
    demo.status(window, "omniglot", "broken.png cannot be read as an image")
    demo.name_class(window, "omniglot", "")
    demo.draw(window, "omniglot_example", FIGURES["ring"])
    window.locator("#omniglot_add").click()
    demo.status(window, "omniglot", "Name the class first")
    demo.name_class(window, "omniglot", "ring")
    window.locator("#omniglot_add").click()
    demo.wait_for_examples(window, "omniglot", 1)
    demo.status(window, "omniglot", "Add an example of each of two classes")  # one class
    window.locator("#omniglot_take").click()
    demo.status(window, "omniglot", "So far: ring")
    demo.add_drawing(window, "bar", FIGURES["bar"])
    assert demo.answer(window, "omniglot") == "ring"  # the query that waited


def test_a_slow_browser_answers_what_is_on_its_canvas(window):
    for name in ("ring", "cross"):
        demo.add_drawing(window, name, FIGURES[name])
    slow = window.context.new_cdp_session(window)
    slow.send("Emulation.setCPUThrottlingRate", {"rate": 6})
    for first, second in [("ring", "cross"), ("cross", "ring")]:
        demo.draw(window, "omniglot_query", FIGURES[first])
        demo.clear(window, "omniglot_query")  # while the drawing is sent
        demo.shows(window, "omniglot", None, "The canvas is empty")
        demo.draw(window, "omniglot_query", FIGURES[second])
        demo.shows(window, "omniglot", second, "")
        demo.clear(window, "omniglot_query")
        demo.shows(window, "omniglot", None, "The canvas is empty")


def test_canvases_are_used_in_a_browser_of_another_language(chromium, server):
    window = demo.opened(chromium, server[0], "es-ES")
    for name in ("ring", "cross"):
        demo.add_drawing(window, name, FIGURES[name])
        window.wait_for_selector("#omniglot_example .separator + button[disabled]")  # emptied
    demo.draw(window, "omniglot_query", FIGURES["ring"])
    demo.shows(window, "omniglot", "ring", "")
    window.locator("#omniglot_query .separator + button").click()  # takes the stroke back
    demo.shows(window, "omniglot", None, "The canvas is empty")
    window.locator("#omniglot_ask").click()
    demo.shows(window, "omniglot", None, "The canvas is empty")
    window.context.close()


def test_two_windows_learn_tasks_of_their_own(chromium, server):
    windows = [demo.opened(chromium, server[0]) for _ in range(2)]
    names = [("ring", "cross"), ("cross", "ring")]  # each figure is named like the other one
    for window, (first, second) in zip(windows, names, strict=True):
        demo.add_drawing(window, first, FIGURES["ring"])
        demo.add_drawing(window, second, FIGURES["cross"])
    for window in windows:
        demo.draw(window, "omniglot_query", moved(FIGURES["ring"], 0.9))
    assert [demo.answer(window, "omniglot") for window in windows] == ["ring", "cross"]
    for window in windows:
        window.context.close()
