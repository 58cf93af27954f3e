r"""From the start of Python to the first meta-step, and tasks drawn a second against tasks used.

    python -m benchmarks.cost.startup --data_dir=DIR

Start-up is measured in a process of its own, part by part. The input pipeline is measured alone and
compared with what training takes from it; exit status 1 if it gives less than 5 times that.
"""

import os
import subprocess
import sys
import time
from collections.abc import Sequence

from absl import app, flags

from benchmarks import machine
from benchmarks.machine import ROOT

FLAGS = flags.FLAGS
_TIMES = 5.0
_BATCHES = 60

flags.DEFINE_string("data_dir", None, "TFDS folder with Omniglot; without it, drawn characters.")
flags.DEFINE_integer("seed", 0, "Of the weights and the tasks.", lower_bound=0)

_PROGRAM = """
import sys, time
begin = time.perf_counter()
def lap(what):
    global begin
    now = time.perf_counter()
    print(f"| {what} | {now - begin:.2f} |", flush=True)
    begin = time.perf_counter()
import tensorflow, keras
lap("import tensorflow, keras")
import keras_imaml as ki
lap("import keras_imaml")
ki.parallel_tasks()
data_dir, seed = sys.argv[1] or None, int(sys.argv[2])
keras.utils.set_random_seed(seed)
source = ki.data.omniglot if data_dir else ki.data.glyphs
where = {"data_dir": data_dir} if data_dir else {}
tasks = source("train", 5, 1, 5, seed, **where).batch(16).prefetch(2)
first = next(iter(tasks))
lap("first tasks")
learner = ki.MetaLearner(
    ki.models.Conv4(5), ki.IMAML(0.2, inner=ki.inner.GradientDescent(16, 0.3)), sys.argv[3:] or None
)
loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
learner.compile(keras.optimizers.Adam(1e-3), loss, ["accuracy"])
lap("network and learner")
learner.fit(tasks, steps_per_epoch=1, verbose=0)
lap("first step of fit")
learner.fit(tasks, steps_per_epoch=1, verbose=0)
begin = time.perf_counter()
learner.fit(tasks, steps_per_epoch=40, verbose=0)
print("rate", 40 * 16 / (time.perf_counter() - begin))
"""


def main(argv: Sequence[str]) -> None:
    """Measure and print two tables in Markdown."""
    del argv
    facts = machine.describe()
    print(machine.busy(facts), end="")
    print(f"{facts['cores']} cores of {facts['cpu']}; Conv4-64, 5-way 1-shot, 16 tasks\n")
    print("| start-up | seconds |\n|---|---|", flush=True)
    eaten = {"all weights adapt": _train(show=True), "the head adapts": _train("head")}
    drawn = _draw()
    print("\n| | tasks per second | tasks drawn per task used |\n|---|---|---|")
    print(f"| the pipeline gives | {drawn:.0f} | |")
    for kind, rate in eaten.items():
        print(f"| training takes, {kind} | {rate:.0f} | {drawn / rate:.1f} |")
    reached = all(drawn >= _TIMES * rate for rate in eaten.values())
    print(f"\nat least {_TIMES:g} times what training takes: {'' if reached else 'not '}reached")
    raise SystemExit(not reached)


def _train(*adapt: str, show: bool = False) -> float:
    """Tasks a second of a training in a fresh process, which prints its start-up."""
    arguments = [sys.executable, "-c", _PROGRAM, FLAGS.data_dir or "", str(FLAGS.seed), *adapt]
    environment = {**os.environ, "KERAS_BACKEND": "tensorflow", "PYTHONPATH": ROOT}
    begin = time.perf_counter()
    done = subprocess.run(arguments, stdout=subprocess.PIPE, text=True, env=environment, check=True)
    *parts, rate = done.stdout.splitlines()
    if show:
        print(*parts, sep="\n")
        print(f"(the process took {time.perf_counter() - begin:.0f} s)", flush=True)
    return float(rate.split()[1])


def _draw() -> float:
    """Tasks a second of the pipeline alone."""
    import keras_imaml as ki

    if FLAGS.data_dir:
        tasks = ki.data.omniglot("train", 5, 1, 5, FLAGS.seed, data_dir=FLAGS.data_dir)
    else:
        tasks = ki.data.glyphs("train", 5, 1, 5, FLAGS.seed)
    batches = iter(tasks.batch(16).prefetch(2))
    for _ in range(5):
        next(batches)
    begin = time.perf_counter()
    for _ in range(_BATCHES):
        next(batches)
    return 16 * _BATCHES / (time.perf_counter() - begin)


if __name__ == "__main__":
    app.run(main)
