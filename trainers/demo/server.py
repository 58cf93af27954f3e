"""Start the page on this machine."""

import argparse
import importlib.util
import logging
import os
import threading
from collections.abc import Sequence
from typing import Any

from trainers import command_line

_SECONDS_BETWEEN_LOOKS = 0.01
_SOURCES = b"default-src 'self' data: blob: 'unsafe-inline' 'unsafe-eval'"


def parser() -> argparse.ArgumentParser:
    """The flags."""
    arguments = argparse.ArgumentParser(
        "trainers.demo", description="Draw characters of your own, and a learner has learned them."
    )
    arguments.add_argument(
        "--host", default="127.0.0.1", help="address to listen at; 0.0.0.0: every network"
    )
    arguments.add_argument("--port", type=int, default=7860, help="0: a free one (default: 7860)")
    arguments.add_argument(
        "--warm_up",
        type=int,
        default=5,
        help="make graphs in advance for up to so many classes, and then for one more than a "
        "visitor has: 1.0 GB of memory for 5, 1.4 GB for 10, 2.2 GB for 20; 0: none, and the "
        "first adaptation to each number of classes takes some seconds (default: 5)",
    )
    arguments.add_argument("--browser", action="store_true", help="open the page in a browser")
    arguments.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return arguments


def main(argv: Sequence[str] | None = None) -> None:
    """Serve the page as the command line says, until Ctrl-C."""
    given = parser().parse_args(argv)
    with command_line.errors_in_one_line("demo", given.debug):
        if importlib.util.find_spec("gradio") is None:
            command_line.refuse(
                "the page needs Gradio, which is not installed: pip install 'keras-imaml[demo]'"
            )
        serve(given.host, given.port, given.browser, given.warm_up)


def serve(
    host: str = "127.0.0.1", port: int = 7860, browser: bool = False, warm_up: int = 5
) -> None:
    """Serve the page and print its address, until Ctrl-C."""
    # No telemetry, no look for newer versions; before Gradio is imported.
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["HF_HUB_OFFLINE"] = "1"
    logging.getLogger("uvicorn.error").addFilter(_is_worth_a_line)
    import gradio
    from starlette.middleware import Middleware

    import keras_imaml as ki
    from trainers.demo import page

    blocks = page.page()
    if port == 0:
        port = _free_port(host)
    _, address, _ = blocks.launch(
        server_name=host,
        server_port=port,
        inbrowser=browser,
        share=False,
        quiet=True,
        prevent_thread_lock=True,
        ssr_mode=False,
        footer_links=[],
        theme=page.theme(),
        css=page.CSS,
        max_file_size="10mb",
        state_session_capacity=100,
        app_kwargs={"middleware": [Middleware(OnlyFromHere)]},
    )
    _look_less_often(blocks)
    print(f"keras_imaml {ki.__version__}, Gradio {gradio.__version__}")
    print(f"Open {address} in a browser. Ctrl-C ends.", flush=True)
    if warm_up > 0:
        threading.Thread(target=_warm_up, args=(warm_up,), daemon=True).start()
    try:
        blocks.block_thread()
    finally:
        blocks.close(verbose=False)


class OnlyFromHere:
    """A middleware that lets the browser fetch nothing from another host."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer a request, with the header that says so."""

        async def with_header(message: Any) -> None:
            if message["type"] == "http.response.start":
                header = (b"content-security-policy", _SOURCES)
                message = {**message, "headers": [*message["headers"], header]}
            await send(message)

        await self.app(scope, receive, with_header)


def _look_less_often(blocks: Any) -> None:
    """Gradio looks for requests a thousand times a second: a tenth of a core, with nobody there."""
    queue: Any = getattr(blocks, "_queue", None)
    if hasattr(queue, "sleep_when_free"):  # neither is public
        queue.sleep_when_free = _SECONDS_BETWEEN_LOOKS


def _warm_up(most: int) -> None:
    """Make the graphs that most visitors need, before they do."""
    from trainers.demo import learners

    learners.early_graphs.set()
    learners.warm_up("sinusoid")
    for classes in range(2, min(most, learners.MOST_CLASSES) + 1):
        for name in ("omniglot", "mini_imagenet"):
            learners.warm_up(name, classes)


def _is_worth_a_line(record: logging.LogRecord) -> bool:
    """Whether a line of the server's log is no window that was closed meanwhile."""
    error = record.exc_info and record.exc_info[0]
    return not (error and error.__name__ == "ClientDisconnect")


def _free_port(host: str) -> int:
    import socket

    with socket.socket() as taken:
        taken.bind((host, 0))
        return taken.getsockname()[1]
