r"""The paper's own setting, to the end: a queue of long runs that may be interrupted at any time.

    python -m benchmarks.paper.long_runs --data_dir=DIR --output_dir=DIR
    python -m benchmarks.paper.long_runs --output_dir=DIR --list

All weights of Conv4-64 adapt, on class-disjoint images of 28 pixels (mini-ImageNet: 84). The runs
take their turns, each at the lowest priority. A second call resumes from the last checkpoints.
`--list` prints what is done and what is left. Keep `--output_dir` outside of the checkout.
"""

import json
import pathlib
import re
import subprocess
import sys
from collections.abc import Sequence
from typing import NamedTuple

from absl import app, flags

FLAGS = flags.FLAGS

_DESCENT = (
    "--transductive",
    "--algorithm.proximal_strength=0.05",
    "--outer.clip_norm=1",
)
_NEWTON = (*_DESCENT, "--inner=newton_cg", "--inner.steps=5")
# One run serves every number of classes. A step takes three times as long as with strides.
_POOLED = (
    "--model.tied_head",
    "--model.downsample=average",
    "--tasks_per_step=4",
    "--steps_per_epoch=200",
)
# The head alone first, then all weights. The head is the same for all classes.
_HEAD = ("--data.image_size=28", "--validation_tasks=0")
_AFTER = (
    "--outer.learning_rate=0.001",
    "--steps_per_epoch=25",
    "--validation_tasks=0",
    "--test_tasks=100",
)
_HEAD_FIRST = "omniglot_20way_1shot/head_pooled"
_MAML = ("--transductive", "--outer.clip_norm=1", "--inner.steps=5", "--inner.learning_rate=0.4")


class Run(NamedTuple):
    """A run of `trainers.train`.

    Attributes:
        preset: The name of a flag file.
        steps: Meta-steps.
        flags: More flags.
        features: The run whose layers before the head this one begins with. Defaults to `None`:
            it begins with random ones.
    """

    preset: str
    steps: int
    flags: tuple[str, ...]
    features: str | None = None


RUNS: dict[str, Run] = {
    "omniglot_5way_1shot/gradient_descent": Run("omniglot_5way_1shot", 15000, _DESCENT),
    "omniglot_5way_1shot/newton_cg": Run("omniglot_5way_1shot", 15000, _NEWTON),
    "omniglot_5way_1shot/fomaml": Run(
        "omniglot_5way_1shot", 15000, (*_MAML, "--algorithm=maml", "--algorithm.first_order")
    ),
    "omniglot_5way_1shot/maml": Run("omniglot_5way_1shot", 15000, (*_MAML, "--algorithm=maml")),
    "omniglot_20way_1shot/gradient_descent": Run(
        "omniglot_20way_1shot", 15000, (*_DESCENT, "--tasks_per_step=4")
    ),
    "omniglot_20way_1shot/gradient_descent_pooled": Run(
        "omniglot_20way_1shot", 2000, (*_DESCENT, *_POOLED)
    ),
    "omniglot_20way_1shot/head_pooled": Run("omniglot_20way_head", 2000, _HEAD),
    "omniglot_20way_1shot/gradient_descent_after_head": Run(
        "omniglot_20way_1shot",
        100,
        (*_DESCENT, *_POOLED, *_AFTER, "--inner.learning_rate=auto"),
        features=_HEAD_FIRST,
    ),
    "omniglot_20way_1shot/newton_cg_after_head": Run(
        "omniglot_20way_1shot", 100, (*_NEWTON, *_POOLED, *_AFTER), features=_HEAD_FIRST
    ),
    "omniglot_20way_1shot/maml_after_head": Run(
        "omniglot_20way_1shot",
        100,
        (*_MAML, "--algorithm=maml", *_POOLED, *_AFTER),
        features=_HEAD_FIRST,
    ),
    "omniglot_20way_1shot/fomaml_pooled": Run(
        "omniglot_20way_1shot",
        1400,
        (*_MAML, "--algorithm=maml", "--algorithm.first_order", *_POOLED),
    ),
    "omniglot_20way_1shot/maml_pooled": Run(
        "omniglot_20way_1shot", 800, (*_MAML, "--algorithm=maml", *_POOLED)
    ),
    "omniglot_20way_1shot/newton_cg_pooled": Run(
        "omniglot_20way_1shot", 1400, (*_NEWTON, *_POOLED)
    ),
    "mini_imagenet_5way_1shot/gradient_descent": Run(
        "mini_imagenet_5way_1shot", 15000, ("--transductive",)
    ),
    "omniglot_5way_1shot/as_printed": Run("paper/omniglot_5way_1shot", 3000, ()),
    "omniglot_5way_1shot/as_printed_but_lambda": Run(
        "paper/omniglot_5way_1shot", 3000, ("--algorithm.proximal_strength=0.2",)
    ),
}


class Progress(NamedTuple):
    """How far a run has come: meta-steps at its last checkpoint, and whether it has ended."""

    steps: int
    ended: bool


def progress(folder: pathlib.Path) -> Progress:
    """Read how far the run in `folder` has come."""
    checkpoint = folder / "checkpoints" / "checkpoint"
    newest = None
    if checkpoint.exists():
        text = checkpoint.read_text(encoding="utf-8")
        newest = re.search(r'^model_checkpoint_path: ".*ckpt-(\d+)"', text, re.MULTILINE)
    return Progress(int(newest[1]) if newest else 0, (folder / "result.json").exists())


def table(output: pathlib.Path, seeds: Sequence[int]) -> str:
    """A line for each run: steps of all steps, and the accuracy of those that have ended."""
    lines = []
    for name, run in RUNS.items():
        for seed in seeds:
            folder = folder_of(name, seed, output)
            steps, ended = progress(folder)
            state = f"{steps} of {run.steps} steps"
            if ended:
                result = json.loads((folder / "result.json").read_text(encoding="utf-8"))
                state = f"ended: {100 * result['accuracy']:.2f} ± {100 * result['ci95']:.2f} %"
            lines.append(f"{name + f' seed {seed}':50} {state}")
    return "\n".join(lines)


def folder_of(name: str, seed: int, output: pathlib.Path) -> pathlib.Path:
    """The folder of a run."""
    return output / name / f"seed_{seed}"


def command(name: str, seed: int, output: pathlib.Path, data_dir: str) -> list[str]:
    """The command line of a run."""
    run = RUNS[name]
    features = run.features and folder_of(run.features, seed, output)
    return [
        *("nice", "-n", "19", sys.executable, "-m", "trainers.train"),
        f"--flagfile=trainers/presets/{run.preset}.flags",
        *run.flags,
        *([f"--features={features}"] if features else []),
        f"--steps={run.steps}",
        f"--seed={seed}",
        f"--data_dir={data_dir}",
        f"--run_dir={folder_of(name, seed, output)}",
    ]


def train(name: str, seed: int, output: pathlib.Path, data_dir: str) -> None:
    """Start or resume a run, unless it has ended; a run that was stopped ends the queue."""
    folder = folder_of(name, seed, output)
    if progress(folder).ended:
        return
    subprocess.run(command(name, seed, output, data_dir), check=True)
    steps, ended = progress(folder)
    if not ended:  # a signal ends a run after its meta-step, with a checkpoint
        raise SystemExit(
            f"{name} seed {seed} was stopped after {steps} of {RUNS[name].steps} steps. "
            "The same command resumes it."
        )


def main(_: Sequence[str]) -> None:
    output = pathlib.Path(FLAGS.output_dir).expanduser().resolve()
    seeds = [int(seed) for seed in FLAGS.seeds]
    if not FLAGS.list:
        if FLAGS.data_dir is None:
            raise app.UsageError("--data_dir is missing: the folder that holds the data sets.")
        for name in FLAGS.only or RUNS:
            for seed in seeds:
                train(name, seed, output, FLAGS.data_dir)
    print(table(output, seeds))


def define_flags() -> None:
    """Not at import: flags of the trainers have the same names."""
    flags.DEFINE_string("output_dir", None, "Folder of all runs.", required=True)
    flags.DEFINE_string("data_dir", None, "Folder of the data sets.")
    flags.DEFINE_list("seeds", ["0"], "Seeds.")
    flags.DEFINE_list("only", [], "Runs, by name. All of them if it is empty.")
    flags.DEFINE_bool("list", False, "Print what is done and what is left, and train nothing.")


if __name__ == "__main__":
    define_flags()
    app.run(main)
