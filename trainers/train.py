r"""Meta-train, evaluate on held-out tasks, and export.

    python -m trainers.train --flagfile=trainers/presets/glyphs_5way_1shot.flags \
        --run_dir=runs/glyphs

The run folder holds flags.txt, checkpoints/, logs/ (TensorBoard), result.json, learner.keras and
saved_model/. Ctrl-C and SIGTERM keep a checkpoint; the same command goes on from there.
"""

import os
import signal
import sys
from collections.abc import Sequence

from absl import flags

from trainers import command_line, run_folder

FLAGS = flags.FLAGS

flags.DEFINE_integer("steps", 1000, "Meta-steps; 0: none after those of --features.", lower_bound=0)
flags.DEFINE_integer(
    "validation_tasks", 64, "Tasks of the validation after an epoch.", lower_bound=0
)
flags.DEFINE_integer("test_tasks", 600, "Tasks of the final evaluation.", lower_bound=1)
flags.DEFINE_integer(
    "log_every", 20, "Meta-steps between points of TensorBoard's curves.", lower_bound=1
)
flags.DEFINE_bool(
    "probe", True, "Measure a fixed meta-batch for TensorBoard before training and after an epoch."
)
flags.DEFINE_integer("verbose", 1, "Progress: 0 none, 1 bars, 2 a line an epoch.")


def main(argv: Sequence[str]) -> None:
    """Train as the flags say."""
    run_folder.check_features()
    alone = FLAGS.distribution != "multi_worker"
    if alone:
        run_folder.keep_flags()

    import keras_imaml as ki
    from trainers import experiment, result

    strategy = experiment.start()
    first = ki.distribution.is_chief(strategy)
    if not alone:  # a worker that is refused before it has met the others lets them wait for it
        others = {name: FLAGS[name].value for name in ("steps", "validation_tasks")}
        ki.Workers(strategy).check_same("settings", str({**run_folder.values(), **others}))
        run_folder.keep_flags(first)
    run_dir, size = FLAGS.run_dir, FLAGS.tasks_per_step
    logs = os.path.join(run_dir, "logs")
    held_out = experiment.batches(experiment.tasks("test"))  # bad data shows before any work
    validation = experiment.tasks("validation")
    with strategy.scope():
        learner = experiment.learner(validation, FLAGS.steps)
    checkpoints = ki.callbacks.Checkpoints(learner, os.path.join(run_dir, "checkpoints"))
    begun = checkpoints.newest() is not None
    step = checkpoints.restore()
    if not begun:
        experiment.begin_with_features(learner)
    if FLAGS.steps == 0:
        checkpoints.save()
    stop = ki.callbacks.StopOnSignal(signal.SIGTERM, signal.SIGINT)
    callbacks = [ki.callbacks.StopOnBadTasks(), checkpoints, stop]
    probe = experiment.batches(validation) if FLAGS.probe else None
    dashboard = ki.callbacks.Dashboard(logs, probe, run_folder.table(), FLAGS.log_every)
    dashboard.set_model(learner)  # a run that is trained already is evaluated without `fit`
    callbacks.append(dashboard)
    if first and FLAGS.dataset == "sinusoid":
        callbacks.append(ki.callbacks.SinusoidPlot(validation, logs))
    if step:
        what = "Going on from" if step < FLAGS.steps else "Trained already, to"
        print(f"{what} step {step} of {run_dir}", flush=True)
    if step < FLAGS.steps:
        print(f"Training to step {FLAGS.steps}; the first step waits for its graph", flush=True)
    while step < FLAGS.steps and not stop.received:
        # An epoch that was interrupted is finished first, and the last may be a short one.
        training = experiment.batches(experiment.tasks("train", start=step * size))
        epoch, done = divmod(step, FLAGS.steps_per_epoch)
        whole = (FLAGS.steps - step) // FLAGS.steps_per_epoch if done == 0 else 0
        length = min(FLAGS.steps_per_epoch - done, FLAGS.steps - step)
        learner.fit(
            training,
            steps_per_epoch=length,
            initial_epoch=epoch,
            epochs=epoch + max(whole, 1),
            validation_data=experiment.batches(validation) if FLAGS.validation_tasks else None,
            validation_steps=max(1, FLAGS.validation_tasks // size),
            callbacks=callbacks,
            verbose=FLAGS.verbose if first else 0,
        )
        step = checkpoints.step
    if stop.received:
        print(f"\nInterrupted at step {step}, with a checkpoint. The same command goes on from it.")
        checkpoints.workers.wait()
        if stop.number == signal.SIGINT:
            raise SystemExit(130)
        return
    training_seconds = float(checkpoints.seconds.numpy())

    if first:
        unseen = "" if experiment.is_regression() else " of classes that were never trained on"
        print(f"Evaluating on {FLAGS.test_tasks} tasks{unseen}", flush=True)
        evaluation = ki.evaluate(learner, held_out, FLAGS.test_tasks, verbose=FLAGS.verbose > 0)
        dashboard.record(evaluation)
        result.write(
            os.path.join(run_dir, "result.json"),
            evaluation,
            split="test",
            steps=step,
            wall_seconds=training_seconds,
        )
        learner.save(os.path.join(run_dir, "learner.keras"))
        saved_model = os.path.join(run_dir, "saved_model")
        learner.export(saved_model, verbose=False)
        print(f"Held-out {evaluation}, after {step} steps, {training_seconds:.0f} s of training")
        print(f"TensorBoard: {_tensorboard()} --logdir {logs}")
        print(f"SavedModel: {saved_model}")
    checkpoints.workers.wait()


def _tensorboard() -> str:
    beside = os.path.join(os.path.dirname(sys.executable), "tensorboard")
    return beside if os.path.exists(beside) else "tensorboard"


if __name__ == "__main__":
    command_line.run(main)
