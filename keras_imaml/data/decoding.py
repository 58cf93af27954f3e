"""Decode an image file to a square uint8 image."""

import tensorflow as tf


def decode(encoded: tf.Tensor, image_size: int, channels: int) -> tf.Tensor:
    """Decodes PNG, JPEG, BMP or GIF (its first frame) and resizes to a square.

    Args:
        encoded: Scalar string tensor, the content of a file.
        image_size: Height and width of the result in pixels. The aspect ratio is not kept.
        channels: 1 for gray, 3 for RGB.

    Returns:
        A uint8 tensor of shape `(image_size, image_size, channels)`.

    Example:

    ```python
    from keras_imaml.data.decoding import decode

    encoded = tf.io.encode_png(np.zeros((105, 105, 1), "uint8"))
    decode(encoded, image_size=28, channels=1).shape  # (28, 28, 1)
    ```
    """
    # Decode to RGB first, because not every format decodes to gray directly.
    image = tf.io.decode_image(encoded, channels=3, expand_animations=False)
    if channels == 1:
        image = tf.image.rgb_to_grayscale(image)
    size = (image_size, image_size)
    height, width = tf.shape(image)[0], tf.shape(image)[1]

    def resized() -> tf.Tensor:
        # Area averages keep thin strokes when shrinking, but give blocks when enlarging.
        shrinks = tf.logical_and(height >= image_size, width >= image_size)
        values = tf.cond(
            shrinks,
            lambda: tf.image.resize(image, size, method="area"),
            lambda: tf.image.resize(image, size, method="bilinear", antialias=True),
        )
        return tf.saturate_cast(tf.round(values), tf.uint8)

    fits = tf.logical_and(height == image_size, width == image_size)
    return tf.ensure_shape(tf.cond(fits, lambda: image, resized), (*size, channels))
