"""The folders of the package show its architecture: imports run downward only."""

import ast
import graphlib
import operator
import re

import pytest

from tests.architecture import (
    CONTENTS,
    DRAWING,
    FLOORS,
    MODULES,
    PACKAGE,
    drawing,
    folder,
    imported_modules,
    private_touches,
)

HEIGHT = {name: height for height, names in enumerate(FLOORS) for name in names}
ROOT_MODULES = {"__main__", "version"}
MOST_LINES = 400
NAME = operator.attrgetter("stem")
OTHER_TESTS = re.compile(r"^from tests(?:\S*\.| import |\S* import .*\b)(test_\w+)", re.MULTILINE)
RECIPE_WORDS = re.compile(r"keras_imaml\.recipes|\b(?:View|Centering|only_centers)\b")


def test_every_folder_has_a_floor():
    folders = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert folders == HEIGHT.keys() == CONTENTS.keys()


def test_the_root_holds_no_loose_modules():
    assert {folder(name) for name in MODULES if name.count(".") == 1} == ROOT_MODULES


def test_imports_run_downward():
    upward_imports = [
        f"{name} imports {target}"
        for name, path in MODULES.items()
        for target in imported_modules(path)
        if name.count(".") > 1 and target not in ("keras_imaml", "keras_imaml.version")
        if HEIGHT[folder(target)] < HEIGHT[folder(name)]
    ]
    assert not upward_imports


def test_the_core_knows_no_recipe():
    # What a recipe needs of the core is a protocol, such as those in layers/stock.py.
    mentions = [
        f"{name}: {word}"
        for name, path in MODULES.items()
        if folder(name) not in ("recipes", "layers", "models", "pretrained")
        for word in RECIPE_WORDS.findall(path.read_text(encoding="utf-8"))
    ]
    assert not mentions


def test_no_modules_import_each_other():
    graph = {name: set(imported_modules(path)) for name, path in MODULES.items()}
    graphlib.TopologicalSorter(graph).prepare()  # raises CycleError


@pytest.mark.parametrize("name", sorted(MODULES))
def test_a_reader_can_hold_a_file(name):
    assert len(MODULES[name].read_text(encoding="utf-8").splitlines()) <= MOST_LINES


def test_the_drawing_is_up_to_date():
    assert DRAWING.read_text(encoding="utf-8") == drawing(), "run `python -m tests.architecture`"


def test_the_insides_of_tensorflow_and_keras_are_touched_in_one_folder():
    touches = [
        f"{path.relative_to(PACKAGE)}:{line}: {attribute}"
        for path in sorted(PACKAGE.rglob("*.py"))
        if path.parent.name != "_compat"
        for line, attribute in private_touches(path)
    ]
    assert not touches


@pytest.mark.parametrize("path", sorted((PACKAGE / "_compat").glob("[a-z]*.py")), ids=NAME)
def test_each_touch_says_what_it_was_tested_with_and_what_is_without_it(path):
    text = path.read_text(encoding="utf-8")
    touches = list(private_touches(path)) or "_compat.replacement import" in text
    docstring = " ".join((ast.get_docstring(ast.parse(text)) or "").split())
    assert not touches or re.search(r"Tested with .*\d\.\d+.*Without ", docstring)


def test_no_file_of_tests_imports_another():
    files = [
        str(path.relative_to(PACKAGE.parent))
        for path in (PACKAGE.parent / "tests").rglob("*.py")
        if set(OTHER_TESTS.findall(path.read_text(encoding="utf-8"))) - {path.stem}
    ]
    assert not files
