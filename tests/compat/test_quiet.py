"""What TensorFlow says at start-up stays off the terminal; all else gets there."""

import os
import subprocess
import sys

import pytest

PROGRAM = """
import os
from keras_imaml._compat import quiet
with quiet.without_noise():
    for line in {lines!r}:
        os.write(2, (line + "\\n").encode())
os.write(2, b"after\\n")
"""
NOISE = [
    "WARNING: All log messages before absl::InitializeLog() is called are written to STDERR",
    "I0000 00:00:1.2 3 port.cc:153] oneDNN custom operations are on.",
    "To enable the following instructions: AVX2, in other operations, rebuild TensorFlow",
]
WORDS = ["E0000 00:00:1.2 3 other.cc:1] a real error", "WARNING: of another program", "a line"]


def stderr_of(program, **environment):
    process = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "KERAS_BACKEND": "tensorflow", **environment},
    )
    return process.stderr.splitlines()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("level", "shown"),
    [("2", WORDS), pytest.param("0", NOISE + WORDS, marks=pytest.mark.slow)],
)
def test_only_noise_is_left_out(level, shown):
    lines = stderr_of(PROGRAM.format(lines=["begin", *NOISE, *WORDS]), TF_CPP_MIN_LOG_LEVEL=level)
    before = lines.index("begin")
    assert lines[before + 1 :] == [*shown, "after"]
    assert level == "0" or before == 0  # nothing of the import


@pytest.mark.slow
def test_an_error_within_is_told():
    program = "from keras_imaml._compat import quiet\n"
    program += "with quiet.without_noise(): raise ValueError('told')"
    with pytest.raises(subprocess.CalledProcessError) as error:
        stderr_of(program)
    assert "ValueError: told" in error.value.stderr
