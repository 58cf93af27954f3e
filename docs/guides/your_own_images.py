# %% [markdown]
# # Your own images
#
# Start from folders of images. Get a model that learns new classes from a few photographs, and a
# SavedModel that does so without this package.
#
# This guide trains a learner, which takes images of 20 classes or more. With fewer classes, adapt a
# trained one in [two commands](../demo.md#your-photographs-in-two-commands).
#
# ## Folders
#
# Each split has a folder, with one folder per class in it. Training and test classes must differ:
#
#     my_images/train/<class>/<image>     20 classes or more
#     my_images/test/<class>/<image>
#
# [Most image files](../faq.md#which-image-files-are-read) are read, at any size. The next cell
# writes glyphs (synthetic characters) as a stand-in. Omit it and set `images` to your own folder.

# %%
import pathlib
import tempfile

import keras_imaml as ki  # before keras: it asks TensorFlow for its fast CPU kernels
import keras
import tensorflow as tf
from keras_imaml.data.folder import load_examples
from keras_imaml.data.glyphs import render

ki.parallel_tasks()
keras.utils.set_random_seed(0)
work = pathlib.Path(tempfile.mkdtemp())
images = work / "my_images"

for split, first_class, classes in (("train", 0, 60), ("test", 60, 20)):
    for number, drawings in enumerate(render(first_class, classes, 12, image_size=40)):
        folder = images / split / f"character_{first_class + number}"
        folder.mkdir(parents=True)
        for index, drawing in enumerate(drawings):
            png = tf.io.encode_png(255 - drawing[..., None])
            (folder / f"{index}.png").write_bytes(png.numpy())
print(len(list(images.rglob("*.png"))), "images")

# %% [markdown]
# ## Tasks
#
# `from_folder` reads all images into memory, resized, and draws tasks from them endlessly. A
# class needs `shot + query` images. `channels=3` and `image_size=84` are the usual choice for
# photographs.

# %%
settings = {"way": 5, "shot": 2, "query": 5, "image_size": 28, "channels": 1}
tasks = ki.data.from_folder(images, "train", seed=0, **settings).batch(8)
test_tasks = ki.data.from_folder(images, "test", seed=0, **settings).batch(8)

# %% [markdown]
# ## Train
#
# Any built Keras model with 5 outputs works, also
# [one with a pretrained backbone](pretrained_backbone.ipynb).

# %%
learner = ki.MetaLearner(
    ki.models.Conv4(5, input_shape=(28, 28, 1), filters=16),
    ki.IMAML(proximal_strength=0.2, inner=ki.inner.GradientDescent(steps=8, learning_rate=0.3)),
)
learner.compile(
    optimizer=keras.optimizers.Adam(3e-3),
    loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    metrics=["accuracy"],
)
learner.fit(tasks, steps_per_epoch=50, epochs=3, verbose=2)
print(ki.evaluate(learner, test_tasks, num_tasks=200, verbose=False))

# %% [markdown]
# ## Adapt to a new set of classes
#
# Five new classes with two images of each, in folders again. The result is an ordinary
# `keras.Model`; class number `k` is the k-th folder by name.

# %%
my_task = work / "my_task"
for folder in sorted((images / "test").iterdir())[:5]:
    (my_task / folder.name).mkdir(parents=True)
    for file in sorted(folder.iterdir())[:2]:
        (my_task / folder.name / file.name).write_bytes(file.read_bytes())

support, labels, names = load_examples(my_task, image_size=28, channels=1)
model = learner.adapt(support.astype("float32") / 255, labels)
model.save(work / "my_task.keras")

# Images of these classes that it was not given.
other_files = [sorted((images / "test" / name).iterdir())[2] for name in names]
for file in other_files:
    image = keras.utils.load_img(file, color_mode="grayscale", target_size=(28, 28))
    scores = model(keras.utils.img_to_array(image)[None] / 255)
    print(f"{file.parent.name}: {names[int(tf.argmax(scores[0]))]}")

# %% [markdown]
# ## Export the learner itself
#
# `export` writes a SavedModel that adapts: support and query images in, probabilities out. It loads
# with TensorFlow alone ([more on export](../export.md)).

# %%
learner.export(str(work / "few_shot"), verbose=False)
served_model = tf.saved_model.load(str(work / "few_shot"))
(support_x, support_y), (query_x, query_y) = next(iter(test_tasks.unbatch()))
answer = served_model.adapt_and_predict(support_x, support_y, query_x)
predicted = tf.argmax(answer["probabilities"], axis=-1, output_type=tf.int32)
right = tf.equal(predicted, query_y)
print(f"{int(tf.reduce_sum(tf.cast(right, tf.int32)))} of {len(query_y)} right")

# %% [markdown]
# The same from the command line, with the images in their folders. Training needs a third split,
# `my_images/validation`:
#
#     python -m trainers.train --flagfile=trainers/presets/folder.flags \
#         --data_dir=my_images --run_dir=runs/mine
#     python -m trainers.adapt --run_dir=runs/mine --support_dir=MY_CLASS_FOLDERS --output=my_model
#     python -m trainers.predict --model=my_model IMAGE...
