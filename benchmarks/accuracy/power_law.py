"""What a power law through two points of a learning curve predicts for more meta-steps.

    python -m benchmarks.accuracy.power_law --curve=FILE --through=1200,3000 --steps=20000

The error on training queries is taken to fall as a power of the number of meta-steps. `--curve` is
a `learning_curve.csv` of `benchmarks.accuracy.keep_run`. Where the curve goes on to `--steps`, its
accuracy there is printed, too.
"""

import math
import pathlib
from collections.abc import Sequence

from absl import app, flags

from benchmarks.accuracy import result_files

FLAGS = flags.FLAGS


def define_flags() -> None:
    """Not at import: flags of other benchmarks have the same names."""
    flags.DEFINE_string("curve", None, "A file of steps and accuracies.", required=True)
    flags.DEFINE_list("through", None, "Two numbers of meta-steps of the curve.", required=True)
    flags.DEFINE_integer("steps", 20000, "The meta-steps of the prediction.", lower_bound=1)


def predicted(curve: dict[int, float], first: int, last: int, steps: int) -> float:
    """The accuracy after `steps`, by the power law through the errors after `first` and `last`."""
    exponent = math.log((1 - curve[last]) / (1 - curve[first])) / math.log(last / first)
    return 1 - (1 - curve[last]) * (steps / last) ** exponent


def main(argv: Sequence[str]) -> None:
    """Print the prediction."""
    if len(argv) > 1:
        raise app.UsageError(f"Unexpected arguments: {argv[1:]}")
    file = pathlib.Path(FLAGS.curve)
    if not file.is_file():
        raise app.UsageError(f"Expected a file. Received: --curve={file}")
    curve = result_files.learning_curve(file)
    points = [int(text) for text in FLAGS.through if text.isdecimal() and int(text) in curve]
    if len(points) != 2 or len(FLAGS.through) != 2 or points[0] == points[1]:
        raise app.UsageError(
            f"Invalid value for `--through`. Expected two different ones of {[*curve]}. "
            f"Received: --through={','.join(FLAGS.through)}"
        )
    accuracy = predicted(curve, *points, FLAGS.steps)
    print(f"Predicted after {FLAGS.steps} steps: {100 * accuracy:.1f} %")
    if FLAGS.steps in curve:
        print(f"Measured after {FLAGS.steps} steps: {100 * curve[FLAGS.steps]:.1f} %")


if __name__ == "__main__":
    define_flags()
    app.run(main)
