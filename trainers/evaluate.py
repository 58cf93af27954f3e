r"""Evaluate a run on tasks of one split, with a 95 % interval over tasks.

    python -m trainers.evaluate --run_dir=runs/glyphs --split=test --tasks=600

Flags of the run may be overridden, such as --transductive, --inner.steps, --data.shot, or
--data.way of a run with --model.tied_head. The result then has them in its name. One of the same
weights and fewer tasks does not take the place of another.
"""

import hashlib
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from trainers import command_line

if TYPE_CHECKING:
    from keras_imaml import Evaluation
    from trainers.settings import Machine, Settings

_SPLITS = ("train", "validation", "test")
_LONGEST = 200  # bytes of a file's name, of which systems of files take 255


def evaluate(
    settings: "Settings",
    run_dir: str,
    split: str = "test",
    tasks: int = 600,
    verbose: int = 1,
    machine: "Machine | None" = None,
) -> "Evaluation":
    """Evaluate a run on tasks of one split, with a 95 % interval over tasks.

    Args:
        settings: How the run is evaluated: its own settings or others.
        run_dir: Folder of the run.
        split: Where tasks come from: train, validation or test.
        tasks: Number of tasks.
        verbose: Progress bar: 0 no, 1 yes.
        machine: What it is computed on. Defaults to `None`: as this process is set up.

    Returns:
        The evaluation, which is written to the run folder as well.
    """
    if split not in _SPLITS:
        command_line.refuse(f"--split={split}: expected one of {', '.join(_SPLITS)}")
    if tasks < 1:
        command_line.refuse(f"--tasks={tasks}: expected 1 or more")

    import keras_imaml as ki
    from trainers import experiment, result, run_folder
    from trainers.settings import Machine

    of_run = run_folder.settings_of_run(settings, run_dir)
    changed = [_named(name, value) for name, value in settings.changes_from(of_run).items()]
    file = os.path.join(run_dir, f"{short_name(f'evaluation_{split}' + ''.join(changed))}.json")
    if machine:
        ki.parallel_tasks(machine.cores or None)
    way = experiment.most_classes(settings)
    learner, checkpoints = experiment.restored(settings, of_run, run_dir, way)
    episodes = experiment.batches(settings, experiment.tasks(settings, split))
    evaluation = ki.evaluate(learner, episodes, tasks, verbose > 0)
    steps = checkpoints.step
    print(f"{split}: {evaluation}, after {steps} steps")
    seconds = float(checkpoints.seconds.numpy())
    if result.holds_more(file, settings, evaluation, seconds):
        print(f"Left as it is, for it is of more tasks: {file}")
        return evaluation
    facts = {"split": split, "steps": steps, "wall_seconds": seconds}
    result.write(file, settings, machine or Machine(), evaluation, **facts)
    print(f"Written to {file}")
    return evaluation


def short_name(name: str) -> str:
    """A name that a file may have; the record within says all settings."""
    if len(name.encode()) <= _LONGEST:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:8]
    return f"{name.encode()[: _LONGEST - 9].decode(errors='ignore')}_{digest}"


def _named(name: str, value: Any) -> str:
    """A setting in the name of a file."""
    text = ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
    return f"_{name.removeprefix('data.')}={text.replace('/', '.')}"


PROGRAM = command_line.Program(evaluate)


def main(argv: Sequence[str] | None = None) -> None:
    """Evaluate as the command line says."""
    command_line.run(PROGRAM, argv)


if __name__ == "__main__":
    main()
