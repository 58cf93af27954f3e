"""The server of the demo page: memory, many classes, bad requests, and no network."""

import os
import pathlib
import shutil
import subprocess
import sys
import time

import numpy as np
import pytest

from benchmarks.pictures.figures import FIGURES, moved
from tests.demo.visitor import client, drawn

pytestmark = pytest.mark.slow

ROOT = pathlib.Path(__file__).parents[2]
REQUESTS = 1000
GROWTH = 40  # MiB that 1000 requests may add: what the allocator keeps, and no model a request


def memory(process):
    """Resident MiB of a process."""
    pages = int(pathlib.Path(f"/proc/{process.pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="needs /proc, as on Linux")
def test_memory_stays_flat_over_a_thousand_requests(server, tmp_path):
    address, process = server
    window = client(address)
    for name in ("ring", "cross"):
        window.predict(name, drawn(tmp_path, FIGURES[name], name), api_name="/omniglot_add")
    rng = np.random.default_rng(0)
    queries = [
        drawn(tmp_path, moved(FIGURES[name], rng.uniform(0.8, 1)), f"{name}_{number}")
        for number in range(4)
        for name in ("ring", "cross")
    ]
    kept, slowest = [], []
    for number in range(REQUESTS):
        begin = time.perf_counter()
        _, after, *_ = window.predict(queries[number % 8], api_name="/omniglot_query")
        slowest.append(time.perf_counter() - begin)
        assert after["label"] == ("ring", "cross")[number % 2]
        if number % 100 == 99:
            kept.append(memory(process))
    print(f"MiB {kept}; median {np.median(slowest):.3f} s")
    assert kept[-1] - kept[1] < GROWTH, kept


def test_adaptations_in_a_row_leave_no_models(server, tmp_path):
    address, process = server
    window = client(address)
    picture = drawn(tmp_path, FIGURES["bar"], "bar")
    kept = []
    for _ in range(25):
        for name in ("a", "b", "c"):
            window.predict(name, picture, api_name="/omniglot_add")
        window.predict(api_name="/omniglot_clear")
        kept.append(memory(process))
    assert kept[-1] - kept[4] < GROWTH, kept


def test_twenty_classes_and_no_more(server, tmp_path):
    address, _ = server
    window = client(address)
    for number in range(21):
        figure = FIGURES[sorted(FIGURES)[number % 5]]
        picture = drawn(tmp_path, moved(figure, 0.4 + 0.1 * (number // 5)), f"figure_{number}")
        status = window.predict(f"class {number}", picture, api_name="/omniglot_add")[2]
    assert status == "There are 20 classes, which is the most."
    answer = window.predict(picture, api_name="/omniglot_query")[1]
    assert len(answer["confidences"]) == 20


@pytest.mark.skipif(shutil.which("unshare") is None, reason="needs unshare, as on Linux")
def test_the_page_opens_without_a_network(tmp_path):
    inside = f"ip link set lo up 2>/dev/null; exec {sys.executable} -m tests.demo.without_network"
    command = ["unshare", "--net", "--map-root-user", "sh", "-c", inside]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if "unshare" in result.stderr and "Operation not permitted" in result.stderr:
        pytest.skip("this machine lets no process leave its network")
    assert result.returncode == 0, result.stderr
    assert "ring" in result.stdout
