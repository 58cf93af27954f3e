"""oneDNN is asked for before TensorFlow is loaded, and its absence is told once."""

import os
import subprocess
import sys
import warnings

import pytest
import tensorflow as tf

from keras_imaml._compat import grouped_convolution, onednn


@pytest.mark.parametrize(
    ("before", "code", "after"),
    [
        pytest.param(None, "import keras_imaml", "1", marks=pytest.mark.slow),
        pytest.param("0", "import keras_imaml", "0", marks=pytest.mark.slow),
        pytest.param(None, "import tensorflow, keras_imaml", "None", marks=pytest.mark.slow),
    ],
)
def test_an_import_asks_for_it_in_time(before, code, after):
    environment = {name: v for name, v in os.environ.items() if name != onednn.VARIABLE}
    environment |= {} if before is None else {onednn.VARIABLE: before}
    result = subprocess.run(
        [sys.executable, "-c", f"{code}; import os; print(os.environ.get('{onednn.VARIABLE}'))"],
        capture_output=True,
        text=True,
        check=True,
        env=environment,
    )
    assert result.stdout.split()[-1] == after


def _without_kernels(monkeypatch):
    def fails(x, filters):
        raise tf.errors.InvalidArgumentError(None, None, "no grouped convolutions")

    monkeypatch.setattr(grouped_convolution, "_backpropagate", fails)
    monkeypatch.setattr(onednn.platform, "machine", lambda: "x86_64")
    return grouped_convolution.supports_groups.__wrapped__


def test_where_tensorflow_left_it_off_a_warning_says_what_to_do(monkeypatch):
    supports_groups = _without_kernels(monkeypatch)
    monkeypatch.delenv(onednn.VARIABLE)
    with pytest.warns(UserWarning, match=f"before keras and tensorflow.*{onednn.VARIABLE}=1"):
        assert not supports_groups(tf.float32)


@pytest.mark.parametrize(("value", "dtype"), [("0", tf.float32), (None, tf.float64)])
def test_there_is_no_warning_where_no_kernel_is_missing(monkeypatch, value, dtype):
    supports_groups = _without_kernels(monkeypatch)
    if value is None:
        monkeypatch.delenv(onednn.VARIABLE)
    else:
        monkeypatch.setenv(onednn.VARIABLE, value)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not supports_groups(dtype)
