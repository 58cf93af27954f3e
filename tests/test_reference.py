"""The pages of reference are those of the code."""

import pytest

from docs import reference


@pytest.mark.parametrize("name", reference.PAGES)
def test_a_page_is_up_to_date(name):
    text = (reference.ROOT / "docs" / name).read_text(encoding="utf-8")
    assert text == reference.PAGES[name](), "run: python -m docs.reference"


def test_every_preset_has_its_line():
    text = reference.presets()
    for path in reference.PRESETS.rglob("*.flags"):
        assert (
            f"({path.relative_to(reference.ROOT / 'trainers')})".replace("(", "(../trainers/")
            in text
        )
