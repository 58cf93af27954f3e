"""The figure of the paper: errors below the theory's bounds, and the cost of one point."""

import pathlib
import subprocess
import sys

import numpy as np
import pytest

from benchmarks.cost import meta_gradient as cost
from benchmarks.paper import regression

ROOT = pathlib.Path(__file__).parents[1]
GRID = (1, 24, 96, 400)


@pytest.fixture(scope="module")
def rows():
    # More linear steps than weights: the linear solve is exact, and so is the limit.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(regression, "LINEAR_STEPS", (5, 60))
        patch.setattr(regression, "SOLVERS", ("nesterov",))
        return regression.measure(regression.Regression(tasks=2, seed=1), GRID)


def errors(rows, linear_steps):
    return [row["relative_error"] for row in rows if row["linear_steps"] == linear_steps]


def test_the_problem_has_the_condition_number_and_minimizer_that_it_says():
    problem = regression.Regression(tasks=2, seed=0)
    eigenvalues = np.linalg.eigvalsh(problem.system)
    np.testing.assert_allclose(eigenvalues[:, -1] / eigenvalues[:, 0], 50)
    left = np.einsum("tni,ti->tn", problem.support_x, problem.minimizer)
    left -= problem.support_y[..., 0]
    gradient = 2 / 50 * np.einsum("tni,tn->ti", problem.support_x, left)
    gradient += 5 * (problem.minimizer - problem.theta)
    np.testing.assert_allclose(gradient, 0, atol=1e-9)


@pytest.mark.slow
def test_every_error_is_below_its_bounds(rows):
    assert len(rows) == 3 * len(GRID)
    assert regression.violations(rows) == []
    assert all(row["relative_error"] <= row["relative_theory"] for row in rows)


@pytest.mark.slow
def test_an_error_above_a_bound_is_told(rows):
    broken_row = {**rows[0], "share_of_bound": 1.5, "share_of_theory": float("nan")}
    messages = regression.violations([*rows, broken_row])
    assert len(messages) == 2 and "1.5 times the bound of Lemma 2" in messages[0]


@pytest.mark.slow
def test_with_exact_linear_solves_the_error_goes_to_zero_at_the_rate_of_the_theory(rows):
    exact = errors(rows, 60)
    assert exact[-1] < 1e-8
    assert exact[2] / exact[1] <= (1 - 50**-0.5) ** ((GRID[2] - GRID[1]) / 2)
    assert errors(rows, 0)[-1] < 1e-8  # MAML has the same limit


@pytest.mark.slow
def test_few_linear_steps_leave_an_error(rows):
    assert 0.01 < errors(rows, 5)[-1] < 1


@pytest.mark.parametrize(
    ("program", "flag", "complaint"),
    [
        ("paper.figure2", "--parts=a,d", "expected some of a, b, c"),
        ("paper.figure2", "--inner_steps=1,x", "whole numbers of at least 1"),
        ("paper.figure2", "--memory_limit_gib=0", "must be above 0"),
        ("paper.figure2", "--data_dir=/nowhere", "is not a folder"),
        ("cost.newton_cg", "--rates=x", "expected numbers above 0"),
        ("cost.newton_cg", "--ways=", "expected numbers of classes, or a --run_dir"),
    ],
)
def test_wrong_flags_are_refused(program, flag, complaint):
    process = subprocess.run(  # no import of TensorFlow comes before the flags
        [sys.executable, "-m", f"benchmarks.{program}", flag],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert process.returncode != 0
    assert complaint in process.stdout + process.stderr


@pytest.mark.slow
def test_a_point_is_measured_in_a_process_of_its_own(tmp_path):
    problem = str(tmp_path / "problem.npz")
    images = cost.write_problem(problem, tasks=1, way=2, shot=1, query=1, filters=2)
    assert images.startswith("random")
    row = cost.run(problem, "fomaml", inner_steps=2, repeats=1)
    assert row["memory_mib"] > 0
    assert 0 < row["fastest"] <= row["seconds"]
    with pytest.raises(cost.CostError, match="nothing with 2 inner steps ended with code 1"):
        cost.run(str(tmp_path / "missing.npz"), "nothing", inner_steps=2, repeats=1)


def test_points_that_need_too_much_memory_are_noted_as_not_run(monkeypatch):
    def measurement(problem, algorithm, steps, repeats, give_back):
        return {"memory_mib": 100.0 + 200.0 * steps, "seconds": 1.0, "fastest": 1.0}

    monkeypatch.setattr(cost, "run", measurement)
    rows = list(cost.sweep("problem", "maml", [1, 2, 4, 8, 16], repeats=1, limit=1.0))
    assert [row["inner_steps"] for row in rows if "memory_mib" in row] == [1, 2, 4]
    assert rows[-1]["note"] == "not run: about 3.2 GiB, the limit is 1 GiB"
