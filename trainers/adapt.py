r"""Adapt a trained learner to labelled images of your own.

    python -m trainers.adapt --run_dir=runs/glyphs --support_dir=my_images --output=my_model

`--support_dir` holds one folder of images a class. The output is a SavedModel of the adapted
network (a plain Keras model, exported), with the class names in labels.txt in the order of its
logits.
"""

import os
from collections.abc import Sequence

from absl import flags

from trainers import settings

FLAGS = flags.FLAGS
flags.DEFINE_string("support_dir", None, "Folder with one folder of images a class.")
flags.DEFINE_string("output", None, "Folder of the SavedModel to write.")
flags.DEFINE_bool("invert", False, "Turn dark ink on light paper into light on dark.")


def main(argv: Sequence[str]) -> None:
    """Adapt as the flags say."""
    of_run = settings.add_flags_of_run(argv)
    if FLAGS.dataset in ("sinusoid", "unlabelled_sinusoid"):
        settings.refuse("the run is of sinusoids: expected one of images")

    import numpy as np

    import keras_imaml as ki
    from keras_imaml.data.folder import load_examples
    from trainers import experiment

    ki.parallel_tasks(FLAGS.cores or None)
    shape = experiment.tasks("test").element_spec[0][0].shape
    images, labels, names = load_examples(FLAGS.support_dir, shape[1], shape[3])
    if len(names) != FLAGS.way and not FLAGS.tied_head:
        settings.refuse(
            f"--support_dir={FLAGS.support_dir} has {len(names)} classes {names}: the run is "
            f"{FLAGS.way}-way, expected {FLAGS.way} folders"
        )
    learner, _ = experiment.restored(experiment.tasks("test"), of_run, len(names))
    support_x = images.astype("float32") / 255
    support_x = 1 - support_x if FLAGS.invert else support_x
    model = learner.adapt(support_x, labels)
    model.export(FLAGS.output, verbose=False)
    with open(os.path.join(FLAGS.output, "labels.txt"), "w", encoding="utf-8") as stream:
        stream.write("\n".join(names) + "\n")
    right = np.mean(np.argmax(model.predict(support_x, verbose=0), axis=1) == labels)
    print(
        f"Adapted to {len(images)} images of {len(names)} classes; {100 * right:.0f} % of them "
        "are classified right now"
    )
    print(f"SavedModel: {FLAGS.output}")


if __name__ == "__main__":
    settings.run(main, required=("run_dir", "support_dir", "output"))
