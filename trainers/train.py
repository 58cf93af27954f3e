r"""Meta-train, evaluate on held-out tasks, and export.

    python -m trainers.train --flagfile=trainers/presets/glyphs_5way_1shot.flags \
        --run_dir=runs/glyphs

The run folder holds flags.txt, checkpoints/, logs/ (TensorBoard), result.json, learner.keras and
saved_model/. Ctrl-C and SIGTERM keep a checkpoint; the same command resumes from it.
"""

import os
import shlex
import signal
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from trainers import command_line

if TYPE_CHECKING:
    from keras_imaml import Evaluation
    from keras_imaml.callbacks import Checkpoints
    from keras_imaml.learner import MetaLearner
    from trainers.settings import Machine, Settings


def train_and_evaluate(
    settings: "Settings",
    run_dir: str,
    steps: int = 1000,
    validation_tasks: int = 64,
    test_tasks: int = 600,
    log_every: int = 20,
    probe: bool = True,
    verbose: int = 1,
    machine: "Machine | None" = None,
) -> "Evaluation | None":
    """Meta-train, evaluate on held-out tasks, and export.

    A run that was interrupted resumes from its newest checkpoint.

    Args:
        settings: Of the run.
        run_dir: Folder of the run: checkpoints, logs, result.json.
        steps: Meta-steps; 0: none after those of --features.
        validation_tasks: Tasks of the validation after an epoch.
        test_tasks: Tasks of the final evaluation.
        log_every: Meta-steps between points of TensorBoard's curves.
        probe: Measure a fixed meta-batch for TensorBoard before training and after an epoch.
        verbose: Progress: 0 none, 1 bars, 2 a line per epoch.
        machine: What it is computed on. Defaults to `None`: as this process is set up.

    Returns:
        The evaluation; None on a worker that is not the first, or if a signal ended the run.

    Example:

    ```python
    from trainers.components import component
    from trainers.settings import Settings
    from trainers.train import train_and_evaluate

    settings = Settings(
        data="sinusoid",
        inner=component("newton_cg", steps=4),
        algorithm=component("imaml", proximal_strength=0.5),
    )
    evaluation = train_and_evaluate(settings, "runs/sinusoid", steps=100)
    ```
    """
    import keras_imaml as ki
    from trainers import experiment, rules, run_folder
    from trainers.settings import Machine

    given, machine = machine, machine or Machine()
    rules.check(settings, machine)
    _check(steps, validation_tasks, test_tasks, log_every)
    run_folder.check_features(settings, run_dir, steps)
    strategy = experiment.start(settings, given)
    first = ki.distribution.is_chief(strategy)
    if machine.distribution == "multi_worker":  # before they make variables together
        numbers = {"steps": steps, "validation_tasks": validation_tasks}
        ki.Workers(strategy).check_same("settings", str({**run_folder.values(settings), **numbers}))
    with strategy.scope():  # wrong settings show before any data is loaded
        learner = experiment.learner(settings, steps)
    run_folder.keep_flags(settings, run_dir, first)
    # Bad data shows before any work.
    held_out = experiment.batches(settings, experiment.tasks(settings, "test"))
    validation = experiment.tasks(settings, "validation")
    checkpoints = ki.callbacks.Checkpoints(learner, os.path.join(run_dir, "checkpoints"))
    begun = checkpoints.newest() is not None
    step = checkpoints.restore()
    if not begun:
        experiment.begin_with_features(settings, learner)
    if steps == 0:
        checkpoints.save()
    logs = os.path.join(run_dir, "logs")
    fixed = experiment.batches(settings, validation) if probe else None
    dashboard = ki.callbacks.Dashboard(logs, fixed, run_folder.table(settings), log_every)
    dashboard.set_model(learner)  # a run that is trained already is evaluated without `fit`
    stop = ki.callbacks.StopOnSignal(signal.SIGTERM, signal.SIGINT)
    callbacks = [ki.callbacks.StopOnBadTasks(), checkpoints, stop, dashboard]
    if first and settings["data"] == "sinusoid":
        callbacks.append(ki.callbacks.SinusoidPlot(validation, logs))
    if step:
        state = "Resuming from" if step < steps else "Trained already, to"
        print(f"{state} step {step} of {run_dir}", flush=True)
    if step < steps:
        print(f"Training to step {steps}; the first step waits for its graph", flush=True)
    validated = experiment.batches(settings, validation) if validation_tasks else None
    step = _fit(
        settings,
        steps,
        learner,
        checkpoints,
        validation_data=validated,
        validation_steps=max(1, validation_tasks // settings.tasks_per_step),
        callbacks=callbacks,
        verbose=verbose if first else 0,
    )
    if stop.received:
        at = f" at step {step}, with a checkpoint. The same command resumes from it."
        checkpoints.workers.wait()
        if stop.number == signal.SIGINT:
            raise KeyboardInterrupt(at)
        print(f"\nInterrupted{at}")
        return None
    evaluation = None
    if first:
        regression = experiment.is_regression(settings)
        unseen = "" if regression else " of classes that were never trained on"
        print(f"Evaluating on {test_tasks} tasks{unseen}", flush=True)
        evaluation = ki.evaluate(learner, held_out, test_tasks, verbose=verbose > 0)
        dashboard.record(evaluation)
        _write(settings, machine, run_dir, evaluation, learner, checkpoints)
    checkpoints.workers.wait()
    return evaluation


def _fit(
    settings: "Settings",
    steps: int,
    learner: "MetaLearner",
    checkpoints: "Checkpoints",
    **options: Any,
) -> int:
    """Call `fit` until the run is done or is asked to end; return the step it has come to."""
    from trainers import experiment

    step = checkpoints.step
    while step < steps:
        # An epoch that was interrupted is finished first, and the last may be a short one.
        start = step * settings.tasks_per_step
        epoch, done = divmod(step, settings.steps_per_epoch)
        epochs = (steps - step) // settings.steps_per_epoch if done == 0 else 0
        learner.fit(
            experiment.batches(settings, experiment.tasks(settings, "train", start)),
            steps_per_epoch=min(settings.steps_per_epoch - done, steps - step),
            initial_epoch=epoch,
            epochs=epoch + max(epochs, 1),
            **options,
        )
        step = checkpoints.step
        if learner.stop_training:
            break
    return step


def _check(steps: int, validation_tasks: int, test_tasks: int, log_every: int) -> None:
    least = {"steps": 0, "validation_tasks": 0, "test_tasks": 1, "log_every": 1}
    values = {
        "steps": steps,
        "validation_tasks": validation_tasks,
        "test_tasks": test_tasks,
        "log_every": log_every,
    }
    for name, value in values.items():
        if value < least[name]:
            command_line.refuse(f"--{name}={value}: expected {least[name]} or more")


def _write(
    settings: "Settings",
    machine: "Machine",
    run_dir: str,
    evaluation: "Evaluation",
    learner: "MetaLearner",
    checkpoints: "Checkpoints",
) -> None:
    """Write the result, the learner and a SavedModel to the run folder, and say where they are."""
    from trainers import result

    step, seconds = checkpoints.step, float(checkpoints.seconds.numpy())
    facts = {"split": "test", "steps": step, "wall_seconds": seconds}
    result.write(os.path.join(run_dir, "result.json"), settings, machine, evaluation, **facts)
    learner.save(os.path.join(run_dir, "learner.keras"))
    saved_model = os.path.join(run_dir, "saved_model")
    learner.export(saved_model, verbose=False)
    print(f"Held-out {evaluation}, after {step} steps, {seconds:.0f} s of training")
    logs = shlex.quote(os.path.join(run_dir, "logs"))
    print(f"TensorBoard: {shlex.quote(_tensorboard())} --logdir {logs}")
    print(f"SavedModel: {saved_model}")


def _tensorboard() -> str:
    program = os.path.join(os.path.dirname(sys.executable), "tensorboard")
    return program if os.path.exists(program) else "tensorboard"


PROGRAM = command_line.Program(train_and_evaluate, of_run=False)


def main(argv: Sequence[str] | None = None) -> None:
    """Train as the command line says."""
    command_line.run(PROGRAM, argv)


if __name__ == "__main__":
    main()
