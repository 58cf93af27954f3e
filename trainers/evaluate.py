r"""Evaluate a run on tasks of one split, with a 95 % interval over tasks.

    python -m trainers.evaluate --run_dir=runs/glyphs --split=test --tasks=600

Flags of the run may be overridden, such as --transductive, --inner_steps, --shot, or --way of a
run with --tied_head. The result then has them in its name. One of the same weights and fewer tasks
does not take the place of another.
"""

import os
from collections.abc import Sequence
from typing import Any

from absl import flags

from trainers import command_line, run_folder

FLAGS = flags.FLAGS


def define_flags() -> None:
    """Define the flags that no other program shares."""
    flags.DEFINE_enum(
        "split",
        "test",
        ["train", "validation", "test"],
        "Where tasks come from.",
        allow_override=True,
    )
    flags.DEFINE_integer("tasks", 600, "Number of tasks.", lower_bound=1, allow_override=True)
    flags.DEFINE_integer("verbose", 1, "Progress bar: 0 no, 1 yes.", allow_override=True)


def main(argv: Sequence[str]) -> None:
    """Evaluate as the flags say."""
    of_run = run_folder.settings_of_run()
    changed = [
        _named(name, now) for name, now in run_folder.values().items() if now != of_run[name]
    ]
    file = os.path.join(FLAGS.run_dir, f"evaluation_{FLAGS.split}{''.join(changed)}.json")

    import keras_imaml as ki
    from trainers import experiment, result

    ki.parallel_tasks(FLAGS.cores or None)
    episodes = experiment.tasks(FLAGS.split)
    learner, checkpoints = experiment.restored(episodes, of_run, FLAGS.way)
    evaluation = ki.evaluate(learner, experiment.batches(episodes), FLAGS.tasks, FLAGS.verbose > 0)
    steps = checkpoints.step
    print(f"{FLAGS.split}: {evaluation}, after {steps} steps")
    seconds = float(checkpoints.seconds.numpy())
    if result.holds_more(file, evaluation, seconds):
        print(f"Left as it is, for it is of more tasks: {file}")
        return
    result.write(file, evaluation, split=FLAGS.split, steps=steps, wall_seconds=seconds)
    print(f"Written to {file}")


def _named(name: str, value: Any) -> str:
    """A setting in the name of a file."""
    text = ",".join(value) if isinstance(value, list) else str(value)
    return f"_{name}={text.replace('/', '.')}"


if __name__ == "__main__":
    command_line.run(main, arguments=run_folder.with_flags_of_run, define=define_flags)
