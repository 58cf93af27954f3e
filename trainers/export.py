r"""Export a run as a SavedModel that adapts: support and query examples in, logits out.

    python -m trainers.export --run_dir=runs/glyphs --output=saved_models/glyphs

A run with --tied_head is exported for any --way. With --notransductive (recommended where queries
come one by one) a query never sees another.
"""

from collections.abc import Sequence

from absl import flags

from trainers import settings

FLAGS = flags.FLAGS
flags.DEFINE_string("output", None, "Folder of the SavedModel to write.")


def main(argv: Sequence[str]) -> None:
    """Export as the flags say."""
    of_run = settings.add_flags_of_run(argv)

    import keras_imaml as ki
    from trainers import experiment

    ki.parallel_tasks(FLAGS.cores or None)
    learner, checkpoints = experiment.restored(experiment.tasks("test"), of_run, FLAGS.way)
    learner.export(FLAGS.output, verbose=False)
    mode = "transductive" if learner.transductive else "non-transductive"
    print(f"SavedModel after {checkpoints.step} steps, {mode}: {FLAGS.output}")


if __name__ == "__main__":
    settings.run(main, required=("run_dir", "output"))
