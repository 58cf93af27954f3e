r"""Export a run as a SavedModel that adapts: support and query examples in, logits out.

    python -m trainers.export --run_dir=runs/glyphs --output=exports/glyphs

--request writes a task of the test classes as a request to TensorFlow Serving, ready to post. A run
with --model.tied_head is exported for any --data.way. With --notransductive (recommended where
queries come one by one) a query never sees another.
"""

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from trainers import command_line

if TYPE_CHECKING:
    from trainers.settings import Machine, Settings


def export(
    settings: "Settings",
    run_dir: str,
    output: str,
    request: str | None = None,
    machine: "Machine | None" = None,
) -> None:
    """Export a run as a SavedModel that adapts: support and query examples in, logits out.

    Args:
        settings: How the run is exported: its own settings or others.
        run_dir: Its folder.
        output: Folder of the SavedModel to write.
        request: File for a request to TensorFlow Serving (JSON).
        machine: What it is computed on. Defaults to `None`: as this process is set up.
    """
    import keras_imaml as ki
    from trainers import experiment, run_folder

    of_run = run_folder.settings_of_run(settings, run_dir)
    command_line.check_folder("output", output)
    if request:
        command_line.check_file("request", request)
    if machine:
        ki.parallel_tasks(machine.cores or None)
    way = experiment.most_classes(settings)
    learner, checkpoints = experiment.restored(settings, of_run, run_dir, way)
    learner.export(output, verbose=False)
    mode = "transductive" if learner.queries_interact else "non-transductive"
    print(f"SavedModel after {checkpoints.step} steps, {mode}: {output}")
    if request:
        episodes = experiment.tasks(settings, "test")
        task = episodes.take(1).get_single_element()
        (support_x, support_y), (query_x, query_y) = map(experiment.only_present, task)
        labels = None if learner.learned_loss else support_y
        os.makedirs(os.path.dirname(request) or ".", exist_ok=True)
        with open(request, "w", encoding="utf-8") as stream:
            stream.write(ki.serving_request(support_x, labels, query_x) + "\n")
        kind = "targets" if experiment.is_regression(settings) else "classes"
        print(f"Request of one task: {request}; the {kind} of its queries:", end=" ")
        print(query_y.numpy().tolist())


PROGRAM = command_line.Program(export, group="export")


def main(argv: Sequence[str] | None = None) -> None:
    """Export as the command line says."""
    command_line.run(PROGRAM, argv)


if __name__ == "__main__":
    main()
