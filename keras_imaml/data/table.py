"""Episodes from a table with a column that names the task of each row."""

import csv
import numbers
import os
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from keras_imaml._utils.validation import check_integer
from keras_imaml.data.function import from_function
from keras_imaml.data.streams import Endless
from keras_imaml.data.task_sizes import Sizes, check_sizes


def from_table(
    table: Any,
    label: str,
    task: str,
    features: Sequence[str] | None = None,
    shot: Sizes = 5,
    query: Sizes = 10,
    tasks: Sequence[Any] | None = None,
    seed: int = 0,
    start: int = 0,
) -> Endless:
    """Episodes of the rows of a table: a task is a patient, a shop, a user or a machine.

    Each episode draws one task, and deals its rows into a support and a query set.

    Args:
        table: A pandas frame, a mapping of columns, or the path of a CSV file with a header.
        label: Name of the column to predict. Numbers with a decimal point are targets of a
            regression. Integers and strings are classes, numbered from 0 in sorted order.
        task: Name of the column that tells the task of each row. In a CSV file `007` is not `7`.
        features: Names of the columns to predict from, numbers without gaps. Defaults to `None`:
            all others.
        shot: Number of support rows, at least 1, or the range `(fewest, most)`. Defaults to 5.
        query: Number of query rows, at least 1, or a range. Defaults to 10.
        tasks: Values of the task column to draw from. Use different ones for training, validation
            and test. Defaults to `None`: all.
        seed: Non-negative integer. Defaults to 0.
        start: Number of episodes to skip at no cost, such as those of an earlier run. Defaults
            to 0.

    Returns:
        An infinite `tf.data.Dataset` of `((support_x, support_y), (query_x, query_y))`: x is
        float32 of shape `(rows, features)`, y is float32 of shape `(rows, 1)` or int32 of shape
        `(rows,)`. With ranges, or where a task has fewer rows than asked for, sets are padded and
        have weights of examples. `classes` is the number of classes.

    Raises:
        ValueError: If a column is missing, is not of numbers or has gaps (of tasks, labels or
            features), if the label is a feature, if a task has a single row, or if a number is out
            of range.

    Example:

    ```python
    rng = np.random.default_rng(0)
    shop = np.repeat(np.arange(20), 30)
    price = rng.uniform(1, 5, 600)
    sold = 10 - (1 + shop % 3) * price + rng.normal(size=600)
    table = {"shop": shop, "price": price, "sold": sold}
    train = ki.data.from_table(table, "sold", "shop", tasks=range(15)).batch(8)
    ```
    """
    of_support, of_query = (
        check_sizes(name, sizes, 1) for name, sizes in (("shot", shot), ("query", query))
    )
    check_integer("seed", seed, 0)
    check_integer("start", start, 0)
    columns = _columns(table, task)
    for name, column in (("label", label), ("task", task)):
        if column not in columns:
            raise ValueError(
                f"Invalid value for `{name}`. Expected a column of the table, one of "
                f"{[*columns]}. Received: {name}={column!r}"
            )
    x = _features(columns, features, label, task)
    y, classes = _labels(columns[label], label)
    _check_gaps("task", columns[task], task)
    rows_of = _rows_by_task(columns[task], tasks)
    smallest = min(map(len, rows_of))
    ranges = of_support[0] != of_support[1] or of_query[0] != of_query[1]
    padded = ranges or smallest < of_support[1] + of_query[1]

    def draw(generator: np.random.Generator) -> Any:
        rows = generator.permutation(rows_of[generator.integers(len(rows_of))])
        shots, queries = (
            int(generator.integers(low, high + 1)) for low, high in (of_support, of_query)
        )
        shots = min(shots, len(rows) - 1)
        support, queried = rows[:shots], rows[shots : shots + queries]
        return (x[support], y[support]), (x[queried], y[queried])

    largest = (of_support[1], of_query[1]) if padded else None
    episodes = from_function(draw, seed, start, largest)
    episodes.classes = classes
    return episodes


def _columns(table: Any, task: str) -> dict[str, np.ndarray]:
    if isinstance(table, (str, os.PathLike)):
        return _read(os.path.expanduser(os.fspath(table)), task)
    if not isinstance(table, Mapping) and not hasattr(table, "columns"):
        raise ValueError(
            "Invalid value for `table`. Expected a pandas frame, a mapping of columns, or the path "
            f"of a CSV file. Received: {type(table).__name__}"
        )
    names = table.keys() if isinstance(table, Mapping) else table.columns
    columns = {str(name): np.asarray(table[name]) for name in names}
    if len(columns) != len(names):
        raise ValueError(
            "Invalid value for `table`. Expected columns whose names differ as text. "
            f"Received: {[*names]}"
        )
    lengths = {name: column.shape for name, column in columns.items()}
    if len({*lengths.values()}) != 1 or len(next(iter(lengths.values()))) != 1:
        raise ValueError(
            "Invalid value for `table`. Expected columns of one length, one entry a row. "
            f"Received: shapes {lengths}"
        )
    return columns


def _read(path: str, task: str) -> dict[str, np.ndarray]:
    try:
        with open(path, newline="", encoding="utf-8-sig") as stream:
            header, *rows = [row for row in csv.reader(stream) if row]
    except (OSError, UnicodeDecodeError, ValueError) as error:
        raise ValueError(
            "Invalid value for `table`. Expected a CSV file with a header, in UTF-8. "
            f"Received: {path!r} ({error})"
        ) from error
    lines = [number for number, row in enumerate(rows, start=2) if len(row) != len(header)]
    if lines or not rows or len({*header}) != len(header):
        raise ValueError(
            "Invalid value for `table`. Expected a CSV file with a header of different names, and "
            f"rows of as many cells. Received: {path!r} with the header {header}, {len(rows)} rows"
            + (f", of other lengths on lines {lines[:5]}" if lines else "")
        )
    columns = zip(*rows, strict=True)
    return {
        name: _identifiers(cells) if name == task else _parsed(cells)
        for name, cells in zip(header, columns, strict=True)
    }


def _identifiers(cells: Sequence[str]) -> np.ndarray:
    """Integers where all are written as such; else text, in which different cells differ."""
    are_integers = all(re.fullmatch("0|-?[1-9][0-9]{,17}", cell.strip()) for cell in cells)
    return np.array([int(cell) for cell in cells] if are_integers else cells)


def _parsed(cells: Sequence[str]) -> np.ndarray:
    """Integers, numbers or strings; an empty cell of numbers is NaN."""
    for kind in (int, float):
        try:
            empty_is_nan = ["nan" if kind is float and not cell.strip() else cell for cell in cells]
            return np.array([kind(cell) for cell in empty_is_nan])
        except ValueError:
            continue
    return np.array(cells)


def _features(
    columns: Mapping[str, np.ndarray], features: Sequence[str] | None, label: str, task: str
) -> np.ndarray:
    default = [name for name in columns if name not in (label, task)]
    names = default if features is None else [*features]
    missing = [name for name in names if name not in columns]
    if missing or not names or label in names:
        raise ValueError(
            "Invalid value for `features`. Expected columns of the table other than the label, at "
            f"least one of {default}. Received: {features}"
        )
    unfit = [name for name in names if columns[name].dtype.kind not in "iufb"]
    if unfit:
        raise ValueError(
            "Invalid value for `features`. Expected columns of numbers: encode others, such as by "
            f"keras.utils.FeatureSpace, or name the columns to use. Received: {unfit}"
        )
    x = np.stack([_single(columns[name]) for name in names], axis=1)
    gaps = [name for name, column in zip(names, x.T, strict=True) if not np.isfinite(column).all()]
    if gaps:
        raise ValueError(
            "Invalid value for `features`. Expected columns without gaps: fill them, or leave the "
            f"rows out. Received: NaN or infinity, as float32, in {gaps}"
        )
    return x


def _labels(column: np.ndarray, name: str) -> tuple[np.ndarray, int | None]:
    """Targets, and the number of classes if they are classes."""
    if column.dtype.kind == "O" and all(isinstance(value, numbers.Real) for value in column):
        column = np.array(column.tolist())
    if column.dtype.kind == "f":
        column = _single(column)
    _check_gaps("label", column, name)
    if column.dtype.kind == "f":
        return column[:, None], None
    classes, number_of_row = _numbered(column)
    return number_of_row.astype("int32"), len(classes)


def _single(column: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):  # what is too large becomes infinity, and is refused
        return column.astype("float32")


def _check_gaps(argument: str, column: np.ndarray, name: str) -> None:
    if column.dtype.kind == "f":
        gaps = ~np.isfinite(column)
    else:
        gaps = np.array([_is_gap(value) for value in column])
    if gaps.any():
        raise ValueError(
            f"Invalid value for `{argument}`. Expected a column without gaps: leave the rows out. "
            f"Received: nothing, NaN or infinity in {gaps.sum()} rows of {name!r}, the first of "
            f"them number {gaps.argmax()} from 0"
        )


def _is_gap(value: Any) -> bool:
    try:
        return value is None or bool(value != value) or not str(value).strip()
    except TypeError:  # of pandas.NA, whose comparisons are no truth
        return True


def _numbered(column: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The values of a column in sorted order, and the number of the value in each row."""
    values = column.astype(str) if column.dtype.kind == "O" else column
    return np.unique(values, return_inverse=True)


def _rows_by_task(column: np.ndarray, tasks: Sequence[Any] | None) -> list[np.ndarray]:
    names, number_of_row = _numbered(column)
    kept = np.ones(len(names), bool)
    if tasks is not None:
        asked = np.asarray([*tasks])
        asked = asked.astype(str) if names.dtype.kind == "U" else asked
        unknown = asked[~np.isin(asked, names)]
        if len(unknown) or not len(asked):
            raise ValueError(
                "Invalid value for `tasks`. Expected values of the task column, at least one. "
                f"Received: {list(unknown[:5]) or 'none'}"
            )
        kept = np.isin(names, asked)
    order = np.argsort(number_of_row, kind="stable")
    parts = np.split(order, np.cumsum(np.bincount(number_of_row))[:-1])
    rows_of = [rows for rows, keep in zip(parts, kept, strict=True) if keep]
    single = [str(name) for name, rows in zip(names[kept], rows_of, strict=True) if len(rows) < 2]
    if single:
        raise ValueError(
            "Invalid value for `tasks`. Expected tasks of at least two rows, one to adapt to and "
            f"one to query: leave the others out. Received: {single[:5]}, of one row each"
        )
    return rows_of
