"""Opens the page and asks it a question where no other host can be reached.

unshare --net --map-root-user sh -c 'ip link set lo up; python -m tests.demo.without_network'
"""

import contextlib
import pathlib
import socket
import tempfile

from benchmarks.pictures import demo
from benchmarks.pictures.figures import FIGURES
from tests.demo.visitor import Visitor


def main():
    with contextlib.suppress(OSError), socket.create_connection(("192.0.2.1", 80), timeout=2):
        raise SystemExit("There is a network")
    with demo.server() as (address, _), tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        window = Visitor(address)
        for name in ("ring", "cross"):
            window.ask("omniglot_add", None, None, name, window.drawing(folder, FIGURES[name]))
        answer = window.ask("omniglot_query", None, window.drawing(folder, FIGURES["ring"]))
        print(answer[2]["label"])


if __name__ == "__main__":
    main()
