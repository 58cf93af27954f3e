"""Opens the page and asks it a question where no other host can be reached.

unshare --net --map-root-user sh -c 'ip link set lo up; python -m tests.demo.without_network'
"""

import contextlib
import pathlib
import socket
import tempfile

from benchmarks.pictures import demo
from benchmarks.pictures.figures import FIGURES
from tests.demo.visitor import client, drawn


def main():
    with contextlib.suppress(OSError), socket.create_connection(("192.0.2.1", 80), timeout=2):
        raise SystemExit("There is a network")
    with demo.server() as (address, _), tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        window = client(address)
        for figure in ("ring", "cross"):
            picture = drawn(folder, FIGURES[figure], figure)
            window.predict(figure, picture, api_name="/omniglot_add")
        answer = window.predict(drawn(folder, FIGURES["ring"], "q"), api_name="/omniglot_query")
        print(answer[1]["label"])


if __name__ == "__main__":
    main()
