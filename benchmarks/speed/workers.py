"""Workers as the driver sees them: processes that compute one meta-step when asked to."""

import json
import os
import subprocess
import sys
from typing import NamedTuple

import numpy as np

from benchmarks.machine import ROOT

OWN_WORKERS = ("ours", "ours_train_step")
PEERS = ("torch_loop", "torch_vmap", "torchopt", "jax_task", "jax_vmap")


class Answer(NamedTuple):
    """What a worker writes before it is timed.

    Attributes:
        gradient: The meta-gradient, flat, in Keras' order and layout.
        versions: Of its framework.
        notes: Diagnostics of the meta-step.
    """

    gradient: np.ndarray
    versions: dict[str, str]
    notes: dict[str, float]


class WorkerError(RuntimeError):
    """A worker could not be started, or died."""


class Process:
    """A running worker.

    Args:
        name: `"ours"`, `"ours_train_step"` or the name of a peer.
        problem: The problem file.
        folder: Where its answer and its log go.
        peers_python: The interpreter of the peers' environment.
    """

    def __init__(self, name: str, problem: str, folder: str, peers_python: str) -> None:
        self.name = name
        self.answer_file = os.path.join(folder, f"{name}.npz")
        self.log_file = os.path.join(folder, f"{name}.log")
        if name in OWN_WORKERS:
            python, module = sys.executable, "benchmarks.speed.ours"
            variant = [name.removeprefix("ours_")] if name != "ours" else []
        else:
            python, module, variant = peers_python, f"benchmarks.speed.peers.{name}", []
        environment = {
            **os.environ,
            "CUDA_VISIBLE_DEVICES": "-1",  # all on the CPU
            "JAX_PLATFORMS": "cpu",
            "KERAS_BACKEND": "tensorflow",
            "PYTHONPATH": ROOT,
        }
        with open(self.log_file, "w", encoding="utf-8") as log:
            self.process = subprocess.Popen(
                [python, "-m", module, problem, self.answer_file, *variant],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=environment,
            )

    def answer(self) -> Answer:
        """Wait for the first meta-step, and read its answer."""
        self._expect("ready")
        with np.load(self.answer_file) as arrays:
            return Answer(
                arrays["gradient"],
                json.loads(str(arrays["versions"])),
                json.loads(str(arrays["notes"])),
            )

    def step(self) -> float:
        """Milliseconds of one meta-step."""
        assert self.process.stdin is not None
        self.process.stdin.write("step\n")
        self.process.stdin.flush()
        return float(self._expect("ms"))

    def close(self) -> None:
        """End the worker; doing so twice does no harm."""
        if self.process.stdin is not None:
            self.process.stdin.close()
        try:
            self.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def _expect(self, word: str) -> str:
        assert self.process.stdout is not None
        kind, _, answer_text = self.process.stdout.readline().strip().partition(" ")
        if kind != word:
            code = self.process.wait()
            with open(self.log_file, encoding="utf-8", errors="replace") as log:
                last = "".join(log.readlines()[-5:])
            raise WorkerError(f"{self.name} ended with code {code}. {self.log_file} ends:\n{last}")
        return answer_text


def relative_difference(gradient: np.ndarray, reference: np.ndarray) -> float:
    """`||gradient - reference|| / ||reference||`, in double precision; infinite for NaN."""
    if gradient.shape != reference.shape:
        return float("inf")
    reference = reference.astype(np.float64)
    difference = np.linalg.norm(gradient - reference) / np.linalg.norm(reference)
    return float(difference) if np.isfinite(difference) else float("inf")
