"""Which files of tests a change touches."""

import pytest

from tests.changed import files_for


@pytest.mark.parametrize(
    ("file", "chosen"),
    [
        ("keras_imaml/linear/dual.py", {"tests/linear/test_dual.py", "tests/test_all_solvers.py"}),
        ("keras_imaml/_utils/vectors.py", {"tests/utils/test_vectors.py"}),
        ("tests/linear/test_dual.py", {"tests/linear/test_dual.py"}),
        (
            "tests/learners.py",
            {"tests/learner/test_meta_learner.py", "tests/export/test_saved_model.py"},
        ),
        ("trainers/run_folder.py", {"tests/trainers/test_run_folder.py"}),
        ("benchmarks/accuracy/tables.py", {"tests/test_benchmarks_tables.py"}),
    ],
)
def test_a_file_chooses_its_mirror_and_what_imports_it(file, chosen):
    assert chosen <= set(files_for([file]))


def test_what_has_no_tests_chooses_none():
    assert files_for(["README.md", "keras_imaml/gone.py"]) == []


def test_a_solver_does_not_choose_the_suite():
    assert len(files_for(["keras_imaml/linear/dual.py"])) < 5
