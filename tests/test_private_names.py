"""Private names of Keras and TensorFlow are used in `_compat` alone."""

import ast
import functools
import importlib
import inspect
import pathlib
import re
import types

import keras
import pytest

import keras_imaml

ROOT = pathlib.Path(keras_imaml.__file__).parent
FILES = [path for path in sorted(ROOT.rglob("*.py")) if "_compat" not in path.parts]
OF_NAMED_TUPLES = {"_replace", "_asdict", "_fields"}
PRIVATE = re.compile(r"_[a-z]\w*")


def is_private(name):
    return bool(PRIVATE.fullmatch(name))


def defined(tree):
    """The private names that a module gives to attributes, functions and classes."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Attribute | ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.attr if isinstance(node, ast.Attribute) else node.id
        elif isinstance(node, ast.Import | ast.ImportFrom):
            yield from (alias.asname or alias.name for alias in node.names)


def read(tree):
    """The private attributes that a module reads or sets."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and is_private(node.attr):
            yield node.attr, node.lineno


def foreign(tree, own_names):
    return [f"{name} in line {line}" for name, line in read(tree) if name not in own_names]


OWN_NAMES = {"_compat", "_utils", *OF_NAMED_TUPLES} | {
    name
    for path in FILES
    for name in defined(ast.parse(path.read_text(encoding="utf-8")))
    if is_private(name)
}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_private_attributes_are_those_of_the_package(path):
    assert foreign(ast.parse(path.read_text(encoding="utf-8")), OWN_NAMES) == []


def classes():
    """The classes of the package, outside of `_compat`, that have a base of Keras."""
    for path in FILES:
        parts = path.relative_to(ROOT.parent).with_suffix("").parts
        if path.stem == "__main__":
            continue
        module = importlib.import_module(".".join(parts).removesuffix(".__init__"))
        for value in vars(module).values():
            if isinstance(value, type) and value.__module__ == module.__name__:
                yield value


@functools.cache
def private_names(kind):
    """Those in the code of a class by itself."""
    text = inspect.getsource(kind)
    read = re.findall(r"\b(?:self|cls)\.(_[a-z]\w*)", text)
    return {*read, *re.findall(r"def (_[a-z]\w*)", text)}


def of_keras(kind):
    """The private names of the bases of a class that are no classes of the package."""
    bases = [b for b in kind.__mro__ if b.__module__.startswith(("keras.", "tensorflow."))]
    return set().union(*map(private_names, bases))


def of_package(kind):
    """The private names in the code of a class and its bases, `_compat` left out."""
    bases = [
        b
        for b in kind.__mro__
        if b.__module__.startswith("keras_imaml.") and "_compat" not in b.__module__
    ]
    return set().union(*map(private_names, bases))


def test_classes_share_no_private_name_with_their_bases():
    shared = {kind.__name__: of_package(kind) & of_keras(kind) for kind in classes()}
    assert "MetaLearner" in shared and "TaskBatchNormalization" in shared
    assert {name: names for name, names in shared.items() if names} == {}


def test_what_is_private_is_found():
    tree = ast.parse("layer._kernel.assign(x._replace(y=1)); self._mine = layer._flatten_layers()")
    names = foreign(tree, {"_mine", *OF_NAMED_TUPLES})
    assert sorted(names) == ["_flatten_layers in line 1", "_kernel in line 1"]
    subclass = types.new_class("Own", (keras.layers.BatchNormalization,))
    assert {"_reduction_axes", "_flatten_layers"} <= of_keras(subclass)
