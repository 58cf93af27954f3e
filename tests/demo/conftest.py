"""The page in a process of its own, and a browser without a window."""

import os
import shutil

import pytest

from tests.demo.browser import PROGRAM

BROWSER = os.environ.get("KERAS_IMAML_BROWSER") or shutil.which("chromium")
BROWSER = BROWSER or (str(PROGRAM) if PROGRAM.exists() else None)


@pytest.fixture(scope="session")
def chromium():
    if BROWSER is None:
        pytest.skip("needs a browser: make browser, or set KERAS_IMAML_BROWSER")
    from benchmarks.pictures import demo

    with demo.browser(BROWSER) as browser:
        yield browser


@pytest.fixture(scope="package")
def server():
    """The address of a page, and its process, which must still live in the end."""
    from benchmarks.pictures import demo

    with demo.server() as (address, process):
        yield address, process
        assert process.poll() is None


@pytest.fixture
def handlers():
    """What the page calls, by name. Gradio is not imported where tests are only collected."""
    from trainers.demo import page

    return {endpoint.api_name: endpoint.fn for endpoint in page.page().fns.values()}


@pytest.fixture
def window(chromium, server):
    """A new window of the page."""
    from benchmarks.pictures import demo

    page = demo.opened(chromium, server[0])
    yield page
    page.context.close()
