r"""Export a run as a SavedModel that adapts: support and query examples in, logits out.

    python -m trainers.export --run_dir=runs/glyphs --output=saved_models/glyphs

--request writes a task of the test classes as a request to TensorFlow Serving, ready to post. A run
with --tied_head is exported for any --way. With --notransductive (recommended where queries
come one by one) a query never sees another.
"""

from collections.abc import Sequence

from absl import flags

from trainers import settings

FLAGS = flags.FLAGS
flags.DEFINE_string("output", None, "Folder of the SavedModel to write.")

flags.DEFINE_string("request", None, "File for a request to TensorFlow Serving (JSON).")


def main(argv: Sequence[str]) -> None:
    """Export as the flags say."""
    of_run = settings.add_flags_of_run(argv)

    import keras_imaml as ki
    from trainers import experiment

    ki.parallel_tasks(FLAGS.cores or None)
    episodes = experiment.tasks("test")
    learner, checkpoints = experiment.restored(episodes, of_run, FLAGS.way)
    learner.export(FLAGS.output, verbose=False)
    mode = "transductive" if learner.transductive else "non-transductive"
    print(f"SavedModel after {checkpoints.step} steps, {mode}: {FLAGS.output}")
    if FLAGS.request:
        (support_x, support_y), (query_x, query_y) = episodes.take(1).get_single_element()
        labels = None if learner.learned_loss else support_y
        with open(FLAGS.request, "w", encoding="utf-8") as stream:
            stream.write(ki.serving_request(support_x, labels, query_x) + "\n")
        classes = query_y.numpy().tolist()
        print(f"Request of one task: {FLAGS.request}; the classes of its queries: {classes}")


if __name__ == "__main__":
    settings.run(main, required=("run_dir", "output"))
