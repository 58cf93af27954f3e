"""The benchmark counts, compares and reports rightly; its speed is not tested."""

import dataclasses
import pathlib
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from benchmarks.speed import comparison, operations, ours, trunk, workers
from benchmarks.speed.peers import conjugate_gradient, protocol
from benchmarks.speed.workloads import WORKLOADS, write_problem

ROOT = pathlib.Path(__file__).parents[1]


IMAGES = dataclasses.replace(
    WORKLOADS["A"], tasks=2, way=2, query=2, inner_steps=2, image_size=8, filters=4
)
WAVES = dataclasses.replace(WORKLOADS["D"], tasks=2, inner_steps=2, hidden=(8,))


@pytest.mark.parametrize(("size", "stride"), [(28, 2), (7, 2), (2, 2), (84, 1), (1, 1)])
def test_taps_are_those_of_a_convolution_of_ones(size, stride):
    ones, kernel = tf.ones([1, size, size, 1]), tf.ones([3, 3, 1, 1])
    total = tf.reduce_sum(tf.nn.conv2d(ones, kernel, stride, "SAME"))
    assert operations.taps(size, stride) ** 2 == int(total)


def test_operations_of_a_linear_layer_are_counted_by_hand():
    workload = dataclasses.replace(
        WORKLOADS["D"], hidden=(), tasks=3, shot=2, query=4, inner_steps=5, linear_steps=7
    )
    # One multiply-add each: 2 products a gradient and 2 a Hessian product, as inputs are data.
    assert operations.meta_step_flops(workload) == 2 * 3 * (5 * 2 * 2 + 4 * 2 + 2 * 2 + 7 * 2 * 2)


def test_conjugate_gradient_solves_in_as_many_steps_as_unknowns():
    rng = np.random.default_rng(0)
    root, rhs = rng.normal(size=(3, 4, 4)), rng.normal(size=(3, 4))
    matrix = root @ root.transpose(0, 2, 1) + np.eye(4)
    product = lambda v: np.einsum("tij,tj->ti", matrix, v)  # noqa: E731
    solution = conjugate_gradient.solve(product, rhs, steps=4)
    np.testing.assert_allclose(product(solution), rhs, rtol=1e-8)


@pytest.mark.slow
@pytest.mark.parametrize("small", [WAVES, pytest.param(IMAGES, marks=pytest.mark.slow)])
def test_our_worker_computes_the_meta_gradient_of_the_problem_file(small, tmp_path):
    path = str(tmp_path / "problem.npz")
    write_problem(path, small, seed=0)
    problem = protocol.read(path)
    assert problem.names[-2:] == ["head/kernel", "head/bias"]
    worker = ours.build(problem)
    gradient = worker.answer(worker.step())
    assert gradient.shape == (sum(weight.size for weight in problem.weights),)
    assert np.all(np.isfinite(gradient)) and np.any(gradient != 0)
    assert worker.notes()["linear_steps"] == small.linear_steps
    step_worker = ours.build(problem._replace(variant="train_step"))
    np.testing.assert_allclose(step_worker.answer(step_worker.step()), gradient, atol=1e-5)


@pytest.mark.slow
def test_a_worker_answers_step_by_step(tmp_path):
    problem, answer = str(tmp_path / "problem.npz"), str(tmp_path / "answer.npz")
    write_problem(problem, IMAGES, seed=0)
    program = (
        "import numpy as np\n"
        "from benchmarks.speed.peers.protocol import Worker, serve\n"
        "def step():\n"
        "    print('not a reply')\n"
        "    return 2.0\n"
        "serve(lambda p: Worker(step, lambda x: np.full(3, x), {'numpy': '1'}))\n"
    )
    process = subprocess.run(
        [sys.executable, "-c", program, problem, answer],
        input="step\nstep\n",
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    assert [line.split()[0] for line in process.stdout.splitlines()] == ["ready", "ms", "ms"]
    np.testing.assert_array_equal(np.load(answer)["gradient"], [2, 2, 2])


def test_every_peer_is_a_module():
    for name in workers.PEERS:
        assert (ROOT / "benchmarks" / "speed" / "peers" / f"{name}.py").exists()


def test_relative_difference():
    reference = np.array([3.0, 4.0])
    assert workers.relative_difference(reference, reference) == 0
    assert workers.relative_difference(np.array([3.0, 4.5]), reference) == pytest.approx(0.1)
    assert workers.relative_difference(np.array([3.0, np.nan]), reference) == np.inf
    assert workers.relative_difference(np.zeros(3), reference) == np.inf


def test_the_report_gives_medians_and_ratios():
    times = {"ours": [10.0, 20.0, 30.0], "torch_loop": [50.0, 40.0, 90.0], "jax_task": [5.0] * 3}
    figures = comparison.record(times, flops=4 * 10**9, ceilings=[4e11, 3e11, 5e11])
    assert figures["floor_ms"] == pytest.approx(10.0)
    assert figures["workers"]["torch_loop"]["ratio_to_ours"] == pytest.approx(2.5)
    assert figures["workers"]["ours"]["times_the_floor"] == pytest.approx(2.0)
    assert comparison.verdicts(figures) == [
        "ours is 2.50 times faster than torch_loop",
        "ours is 4.00 times slower than jax_task",
    ]
    assert [line.split()[0] for line in comparison.table(figures).splitlines()] == [
        *("who", "jax_task", "ours", "torch_loop", "floor")
    ]


@pytest.mark.slow
def test_the_ways_through_a_trunk_give_the_same_meta_gradient():
    shape = trunk.Shape("", tasks=2, way=3, image=(16, 16, 1), filters=8, pooling="average")
    expected, *gradients = [trunk.step_of(shape, way, seed=0)() for way in trunk.WAYS]
    for way, gradient in zip(list(trunk.WAYS)[1:], gradients, strict=True):
        trunk.check(way, expected, gradient)
    with pytest.raises(SystemExit, match="differs by 1.0e-01"):
        trunk.check("trunk once", expected, 1.1 * expected)
