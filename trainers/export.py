r"""Export a run as a SavedModel that adapts: support and query examples in, logits out.

    python -m trainers.export --run_dir=runs/glyphs --output=saved_models/glyphs

--request writes a task of the test classes as a request to TensorFlow Serving, ready to post. A run
with --tied_head is exported for any --way. With --notransductive (recommended where queries
come one by one) a query never sees another.
"""

import os
from collections.abc import Sequence

from absl import flags

from trainers import command_line, run_folder

FLAGS = flags.FLAGS


def define_flags() -> None:
    """Define the flags that no other program shares."""
    from trainers import settings

    settings.define_path("output", "Folder of the SavedModel to write.", allow_override=True)
    settings.define_path(
        "request", "File for a request to TensorFlow Serving (JSON).", allow_override=True
    )


def main(argv: Sequence[str]) -> None:
    """Export as the flags say."""
    of_run = run_folder.settings_of_run()
    command_line.check_folder("output")
    if FLAGS.request:
        command_line.check_file("request")

    import keras_imaml as ki
    from trainers import experiment

    ki.parallel_tasks(FLAGS.cores or None)
    episodes = experiment.tasks("test")
    learner, checkpoints = experiment.restored(episodes, of_run, FLAGS.way)
    learner.export(FLAGS.output, verbose=False)
    mode = "transductive" if learner.queries_interact else "non-transductive"
    print(f"SavedModel after {checkpoints.step} steps, {mode}: {FLAGS.output}")
    if FLAGS.request:
        (support_x, support_y), (query_x, query_y) = episodes.take(1).get_single_element()
        labels = None if learner.learned_loss else support_y
        os.makedirs(os.path.dirname(FLAGS.request) or ".", exist_ok=True)
        with open(FLAGS.request, "w", encoding="utf-8") as stream:
            stream.write(ki.serving_request(support_x, labels, query_x) + "\n")
        what = "targets" if experiment.is_regression() else "classes"
        print(f"Request of one task: {FLAGS.request}; the {what} of its queries:", end=" ")
        print(query_y.numpy().tolist())


if __name__ == "__main__":
    command_line.run(
        main, ("run_dir", "output"), arguments=run_folder.with_flags_of_run, define=define_flags
    )
