r"""The picture of README.md: an Omniglot learner that comes with the package, before and after.

    python -m benchmarks.pictures.hero --data_dir=DIR

Draws the first test tasks, in order, and shows the first one in which `--errors` queries are wrong
after adaptation: a task that is right throughout would promise too much.
"""

from collections.abc import Sequence

import numpy as np
from absl import app, flags

FLAGS = flags.FLAGS

flags.DEFINE_string("learner", "saved_models/omniglot_5way_1shot", "A SavedModel that adapts.")
flags.DEFINE_string("output", "docs/images/hero.png", "The picture to write.")
flags.DEFINE_integer("errors", 1, "Wrong queries of the task to show.", lower_bound=0)
flags.DEFINE_integer("tasks", 200, "Test tasks to look for it in, at most.", lower_bound=1)
flags.DEFINE_string("data_dir", None, "Folder of TensorFlow Datasets with Omniglot.")

_MARGIN, _HEADER = 24, 48


def panel(title: str, picture: np.ndarray) -> np.ndarray:
    """A picture with a title above it, on white."""
    from PIL import Image, ImageDraw, ImageFont

    height, width, _ = picture.shape
    image = Image.new("RGB", (width, height + _HEADER), "white")
    image.paste(Image.fromarray(picture), (0, _HEADER))
    font = ImageFont.load_default(size=24)
    ImageDraw.Draw(image).text((4, 6), title, fill="black", font=font)
    return np.asarray(image)


def main(argv: Sequence[str]) -> None:
    """Find the task and draw it."""
    if len(argv) > 1:
        raise app.UsageError(f"Unexpected arguments: {argv[1:]}")
    import keras_imaml as ki  # before TensorFlow
    from keras_imaml.callbacks.episode_picture import episode_picture

    import tensorflow as tf

    served = tf.saved_model.load(FLAGS.learner)
    tasks = ki.data.omniglot(
        "test", way=5, shot=1, query=6, seed=0, data_dir=FLAGS.data_dir, image_size=32
    )
    for number, (support, (query_x, query_y)) in enumerate(tasks.take(FLAGS.tasks)):  # noqa: B007
        adapted = served.adapt_and_predict(*support, query_x)["logits"].numpy().argmax(-1)
        if np.sum(adapted != query_y) == FLAGS.errors:
            break
    else:
        raise ValueError(
            f"No task with --errors={FLAGS.errors} among --tasks={FLAGS.tasks}. Search more tasks."
        )
    meta_learned = served.signatures["predict"](x=query_x)["logits"].numpy().argmax(-1)
    episode = [part.numpy() for part in (*support, query_x, query_y)]
    panels = []
    for when, predictions in (("Before", meta_learned), ("After one drawing per class", adapted)):
        correct = int(np.sum(predictions == episode[3]))
        title = f"{when}: {correct} of {len(predictions)} right"
        drawn = episode_picture(*episode, predictions).repeat(2, axis=0).repeat(2, axis=1)
        panels.append(panel(title, drawn))
    gap = np.full((panels[0].shape[0], 2 * _MARGIN, 3), 255, np.uint8)
    tf.io.write_file(
        FLAGS.output, tf.io.encode_png(np.concatenate([*panels[:1], gap, *panels[1:]], axis=1))
    )
    print(f"Written to {FLAGS.output}: test task {number} of seed 0")


if __name__ == "__main__":
    app.run(main)
