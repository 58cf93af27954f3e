"""The examples of the documentation run as they stand there."""

import pathlib
import re

import pytest

TEXT = (pathlib.Path(__file__).parents[1] / "docs" / "examples.md").read_text(encoding="utf-8")
SECTIONS = [section.partition("\n") for section in TEXT.split("\n## ")[1:]]
EXAMPLES = {
    title: "\n".join(re.findall(r"```python\n(.*?)```", body, re.S)) for title, _, body in SECTIONS
}
SMALLER = {  # trainings that hold what they assert after fewer steps; a search of fewer trials
    "Text: topics from a few sentences": {"epochs=4": "epochs=2", "num_tasks=200": "num_tasks=50"},
    "Time series: forecast an oscillation": {
        "epochs=4": "epochs=1",
        "num_tasks=200": "num_tasks=50",
    },
    "Tables: two outputs, two losses": {"epochs=4": "epochs=2"},
    "Mislabeled examples: learned weights": {
        "steps_per_epoch=150": "steps_per_epoch=100",
        "num_tasks=200": "num_tasks=50",
    },
    "Search for lambda with KerasTuner": {
        "max_trials=4": "max_trials=2",
        "steps_per_epoch=50": "steps_per_epoch=5",
    },
}


def test_every_section_has_an_example_that_asserts_something():
    assert len(EXAMPLES) == 6
    assert all("assert" in code for code in EXAMPLES.values())


@pytest.mark.slow
@pytest.mark.first_step_checked
@pytest.mark.parametrize("title", EXAMPLES)
def test_examples_run_and_hold_what_they_assert(title, tmp_path, monkeypatch):
    if "keras_tuner" in EXAMPLES[title]:
        pytest.importorskip("keras_tuner")
    monkeypatch.chdir(tmp_path)
    code = EXAMPLES[title]
    for long, short in SMALLER.get(title, {}).items():
        assert long in code
        code = code.replace(long, short)
    exec(compile(code, title, "exec"), {"__name__": "__main__"})
