"""Processes that prepare the same data set at the same time do it once, and all read it."""

import pytest

from tests.programs import Program

PREPARE = """
import os, sys, time
import numpy as np
import tensorflow_datasets as tfds

class Slow(tfds.core.GeneratorBasedBuilder):
    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict({
            "image": tfds.features.Image(shape=(4, 4, 3)),
            "label": tfds.features.ClassLabel(names=["a", "b"]),
        }))

    def _split_generators(self, manager):
        print("prepares", flush=True)
        return {"train": self._generate_examples()}

    def _generate_examples(self):
        for i in range(8):
            time.sleep(0.2)
            if sys.argv[2:] and i == 4:
                os.kill(os.getpid(), 9)
            yield i, {"image": np.full((4, 4, 3), i, np.uint8), "label": i % 2}

from keras_imaml.data.tfds_source import load_pool, prepared_builder
builder = prepared_builder("slow", sys.argv[1], host="localhost")
pool = load_pool(builder, "train", ["a", "b"], 4, 1)
print("read", sorted(pool.examples[:, 0, 0, 0].tolist()), flush=True)
"""


def start(folder, *arguments):
    return Program(["-c", PREPARE, folder, *arguments])


@pytest.mark.slow
def test_another_process_takes_over_when_one_is_killed(tmp_path):
    first_process = start(tmp_path, "die")
    assert any(line == "prepares\n" for line in first_process.stdout)
    other_processes = [start(tmp_path) for _ in range(2)]
    outputs = [process.communicate(timeout=300) for process in other_processes]
    assert first_process.wait(60) == -9
    assert [process.returncode for process in other_processes] == [0, 0], outputs
    assert [f"read {list(range(8))}" in stdout for stdout, _ in outputs] == [True] * 2
    assert sum("prepares\n" in stdout.splitlines(keepends=True) for stdout, _ in outputs) == 1
