"""Tables with a column for the label and one for the task."""

import numpy as np
import pytest
import tensorflow as tf

import keras_imaml as ki

SHOP = np.repeat(["north", "south", "west"], [12, 9, 3])
ROW = np.arange(24)
TABLE = {"shop": SHOP, "row": ROW, "half": ROW / 2, "sold": 2.0 * ROW, "kind": ROW % 3}


def first(count, **settings):
    settings = {"label": "sold", "task": "shop", "features": ["row"], **settings}
    return [*ki.data.from_table(TABLE, **settings).take(count).as_numpy_iterator()]


def test_an_episode_is_of_one_task_and_no_row_is_in_both_sets():
    names = set()
    for (x, y), (query_x, query_y) in first(20, shot=2, query=3, tasks=["north", "south"]):
        assert x.shape == (2, 1) and y.shape == (2, 1) and query_x.shape == (3, 1)
        rows = np.concatenate([x, query_x])[:, 0].astype(int)
        assert len({*rows}) == 5 and len({*SHOP[rows]}) == 1
        np.testing.assert_array_equal(np.concatenate([y, query_y])[:, 0], 2 * rows)
        names |= {*SHOP[rows]}
    assert names == {"north", "south"}


def test_a_task_with_fewer_rows_gives_what_it_has():
    for (x, _, weights), (_, _, query_weights) in first(10, shot=2, query=3, tasks=["west"]):
        assert weights.tolist() == [1, 1] and query_weights.tolist() == [1, 0, 0]
        assert {*SHOP[x[:, 0].astype(int)]} == {"west"}


def test_ranges_are_drawn():
    sizes = {
        (int(support[2].sum()), int(query[2].sum()))
        for support, query in first(60, shot=(1, 2), query=(2, 3), tasks=["north"])
    }
    assert sizes == {(1, 2), (1, 3), (2, 2), (2, 3)}


def test_integers_and_strings_are_classes():
    tasks = ki.data.from_table(TABLE, "kind", "shop", ["row"], shot=3, query=2, tasks=["north"])
    (x, y), _ = next(iter(tasks))
    assert tasks.classes == 3 and y.dtype == tf.int32
    np.testing.assert_array_equal(y, x[:, 0] % 3)
    words = {**TABLE, "kind": np.array(["b", "a", "c"])[ROW % 3].astype(object)}
    (x, y), _ = next(iter(ki.data.from_table(words, "kind", "shop", ["row"], 3, 2, ["north"])))
    np.testing.assert_array_equal(y, np.array([1, 0, 2])[x[:, 0].numpy().astype(int) % 3])


def test_files_and_frames_give_what_mappings_give(tmp_path):
    lines = [
        ",".join(TABLE),
        *(",".join(map(str, row)) for row in zip(*TABLE.values(), strict=True)),
    ]
    path = tmp_path / "shops.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    tables = [TABLE, path]
    pandas = pytest.importorskip("pandas")
    tables.append(pandas.DataFrame(TABLE))
    task_sets = [
        ki.data.from_table(table, "sold", "shop", shot=2, query=1, seed=3, start=start)
        for table, start in [*((table, 1) for table in tables), (TABLE, 0)]
    ]
    *lists, full_list = [[*tasks.take(3).as_numpy_iterator()] for tasks in task_sets]
    for episodes in [*lists[1:], full_list[1:]]:
        tf.nest.map_structure(np.testing.assert_array_equal, [*episodes[:2]], lists[0][:2])
    assert task_sets[0].element_spec[0][0].shape == (2, 3)  # all columns but the label and the task


@pytest.mark.slow
def test_a_learner_trains_on_them():
    tasks = ki.data.from_table(TABLE, "sold", "shop", ["half"], shot=2, query=2, seed=0).batch(3)
    learner = ki.MetaLearner(ki.models.MLP(1, (1,), hidden=(2,)), ki.IMAML())
    learner.compile("adam", "mse")
    assert np.isfinite(learner.fit(tasks, steps_per_epoch=2, verbose=0).history["loss"]).all()


@pytest.mark.parametrize(
    ("change", "settings", "message"),
    [
        ({}, {"label": "price"}, "`label`. Expected a column of the table"),
        ({}, {"task": "town"}, "`task`. Expected a column of the table"),
        ({}, {"features": ["row", "town"]}, "`features`. Expected columns of the table"),
        ({}, {"features": ["row", "sold"]}, "`features`. Expected .* other than the label"),
        ({1: ROW, "1": ROW}, {}, "`table`. Expected columns whose names differ as text"),
        ({"row": SHOP}, {}, r"`features`. Expected columns of numbers.*\['row'\]"),
        ({"row": ROW + [np.nan, *23 * [0]]}, {}, r"without gaps.*\['row'\]"),
        ({"sold": ROW + [np.nan, *23 * [0]]}, {}, "without gaps.*'sold'"),
        ({"row": [1e300, *ROW[1:]]}, {}, r"infinity, as float32, in \['row'\]"),
        ({"sold": [1e300, *ROW[1:]]}, {}, "`label`.*in 1 rows of 'sold'"),
        ({"sold": np.array([None, *ROW[1:] / 2], object)}, {}, "`label`.*without gaps"),
        ({"sold": ["", *SHOP[1:]]}, {}, "`label`.*without gaps.*number 0"),
        ({"shop": np.array([*SHOP[1:], None])}, {}, "`task`.*without gaps.*number 23"),
        ({"shop": np.array([np.nan, *ROW[1:] // 12])}, {}, "`task`.*without gaps"),
        ({}, {"tasks": ["north", "east"]}, r"values of the task column.*east"),
        ({}, {"tasks": []}, "values of the task column.*none"),
        ({"shop": ["alone", *SHOP[1:]]}, {}, r"at least two rows.*\['alone'\]"),
        ({"row": ROW[:3]}, {}, "columns of one length"),
        ({}, {"shot": 0}, "`shot`. Expected an integer of at least 1"),
        ({}, {"query": (3, 2)}, "`query`"),
    ],
)
def test_what_does_not_fit_is_refused(change, settings, message):
    settings = {"label": "sold", "task": "shop", "features": ["row"], **settings}
    with pytest.raises(ValueError, match=message):
        ki.data.from_table({**TABLE, **change}, **settings)


def test_missing_values_of_pandas_are_gaps():
    pandas = pytest.importorskip("pandas")
    for column in (["a", None] * 12, pandas.array([1, None] * 12, dtype="Int64")):
        frame = pandas.DataFrame({**TABLE, "kind": column})
        with pytest.raises(ValueError, match="`label`.*without gaps.*in 12 rows of 'kind'"):
            ki.data.from_table(frame, "kind", "shop", ["row"])


def test_numbers_among_objects_are_numbers():
    table = {**TABLE, "sold": np.array([*ROW / 2], object), "kind": np.array([*ROW % 3], object)}
    tasks = [ki.data.from_table(table, label, "shop", ["row"]) for label in ("sold", "kind")]
    assert [episodes.classes for episodes in tasks] == [None, 3]


def test_different_texts_are_different_tasks(tmp_path):
    path = tmp_path / "patients.csv"
    ids = ["007", "7", "123456789012345678", "123456789012345679"]
    rows = [f"{name},{2 * number + row},0.5" for number, name in enumerate(ids) for row in range(2)]
    path.write_text("\n".join(["id,row,y", *rows]), encoding="utf-8")
    for number, name in enumerate(ids):
        episodes = ki.data.from_table(path, "y", "id", ["row"], shot=1, query=1, tasks=[name])
        (x, _), (query_x, _) = next(episodes.as_numpy_iterator())
        assert {float(x[0, 0]), float(query_x[0, 0])} == {2.0 * number, 2.0 * number + 1}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "CSV file with a header"),
        ("", "CSV file with a header"),
        ("a,b,c\n", "0 rows"),
        ("a,a,c\n1,2,3\n", "header of different names"),
        ("a,b,c\n1,2,3\n1,2\n", r"of other lengths on lines \[3\]"),
        ("a,b,c\n1,2,3\n1,,3\n", "`task`.*without gaps.*number 1"),
        ("a,b,c\nx,2,3\n,2,3\n", "`label`.*without gaps.*number 1"),
    ],
)
def test_files_that_are_no_tables_are_refused(tmp_path, text, message):
    path = tmp_path / "table.csv"
    if text is not None:
        path.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        ki.data.from_table(path, "a", "b")


def test_other_things_are_refused():
    with pytest.raises(ValueError, match="`table`. Expected a pandas frame.*Received: list"):
        ki.data.from_table([1, 2], "a", "b")
