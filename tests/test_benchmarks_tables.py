"""The table of the results: nothing in it but what result files hold."""

import json
import math

import pytest

from benchmarks import tables

SETTINGS = {"dataset": "omniglot", "way": 20, "shot": 1, "transductive": True, "inner_steps": 5}


def record(seed, accuracy, **settings):
    return {
        "accuracy": accuracy,
        "ci95": 0.003,
        "tasks": 1000,
        "transductive": settings.get("transductive", True),
        "steps": 500,
        "wall_seconds": 1800.0,
        "cores": 2,
        "seed": seed,
        "settings": {**SETTINGS, **settings},
    }


@pytest.fixture
def runs(tmp_path):
    for seed, accuracy in ((0, 0.990), (1, 0.996)):
        folder = tmp_path / "head" / str(seed)
        folder.mkdir(parents=True)
        (folder / "flags.txt").write_text("--way=20\n")
        files = {
            "result": record(seed, 0.9),
            "evaluation_test_way=5": record(seed, accuracy, way=5),
            "evaluation_test_way=5_inner_steps=1": record(seed, 0.5, way=5, inner_steps=1),
        }
        for name, content in files.items():
            (folder / f"{name}.json").write_text(json.dumps(content))
    return tmp_path


def test_seeds_are_averaged_and_other_settings_left_out(runs):
    (line,) = tables.lines(list(tables.read(runs)))
    assert (line.recipe, line.row.way, len(line.records)) == ("head", 5, 2)
    assert line.accuracy == pytest.approx(99.3)
    assert line.half_width == pytest.approx(0.3 / math.sqrt(2))
    table = tables.markdown([line])
    assert "| 99.30 ± 0.21 | 0, 1 | 2000 | 500 | 2.00 | reached | not reached |" in table
    assert table.count("no run yet") == 4


def test_the_table_takes_the_place_of_the_one_before():
    old = "text\n<!-- tables: begin -->\nold\n<!-- tables: end -->\nmore"
    new = tables.replaced(old, "new")
    assert new == "text\n<!-- tables: begin -->\n\nnew\n\n<!-- tables: end -->\nmore"
    assert tables.replaced(new, "new") == new
    with pytest.raises(ValueError, match="once each"):
        tables.replaced("text", "new")
