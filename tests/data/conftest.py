"""Where the tests find the published data sets; without them they are skipped."""

import os
import pathlib

import pytest


@pytest.fixture(scope="session")
def published_data() -> pathlib.Path:
    folder = pathlib.Path(os.environ.get("KERAS_IMAML_DATA_DIR", "not set"))
    if not folder.is_dir():
        pytest.skip("needs the published data sets: set KERAS_IMAML_DATA_DIR to a TFDS folder")
    return folder
