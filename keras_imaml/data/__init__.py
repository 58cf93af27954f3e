"""Few-shot episodes as endless `tf.data.Dataset`s. A seed determines them.

Images have their channels last, whatever `keras.config.image_data_format()` says.
"""

from keras_imaml.data.arrays import from_arrays as from_arrays
from keras_imaml.data.cifar_fs import cifar_fs as cifar_fs
from keras_imaml.data.distorted import distorted as distorted
from keras_imaml.data.folder import from_folder as from_folder
from keras_imaml.data.from_tfds import from_tfds as from_tfds
from keras_imaml.data.function import from_function as from_function
from keras_imaml.data.glyphs import glyphs as glyphs
from keras_imaml.data.growing_steps import with_growing_steps as with_growing_steps
from keras_imaml.data.images import load_images as load_images
from keras_imaml.data.mini_imagenet import mini_imagenet as mini_imagenet
from keras_imaml.data.omniglot import omniglot as omniglot
from keras_imaml.data.sinusoid import sinusoid as sinusoid
from keras_imaml.data.table import from_table as from_table
from keras_imaml.data.unlabelled_sinusoid import unlabelled_sinusoid as unlabelled_sinusoid
