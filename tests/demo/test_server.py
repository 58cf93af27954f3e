"""The server of the demo page: memory, many classes, bad requests, and no network."""

import os
import pathlib
import shutil
import subprocess
import sys
import time

import numpy as np
import pytest

from benchmarks.pictures import demo
from benchmarks.pictures.figures import FIGURES, canvas, moved
from tests.demo.visitor import Visitor
from trainers.demo.image_task import ImageTask

pytestmark = pytest.mark.slow

ROOT = pathlib.Path(__file__).parents[2]
REQUESTS = 400
GROWTH = 16  # MiB that requests may add: what the allocator keeps, and no model a request


def memory(process):
    """Resident MiB of a process."""
    pages = int(pathlib.Path(f"/proc/{process.pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


NEEDS_PROC = pytest.mark.skipif(
    not os.path.exists("/proc/self/statm"), reason="needs /proc, as on Linux"
)


@NEEDS_PROC
def test_a_page_without_visitors_costs_next_to_nothing(server):
    ticks = []
    for _ in range(2):
        time.sleep(3)
        fields = pathlib.Path(f"/proc/{server[1].pid}/stat").read_text().rpartition(")")[2].split()
        ticks.append(int(fields[11]) + int(fields[12]))
    assert ticks[1] - ticks[0] < 0.04 * 3 * os.sysconf("SC_CLK_TCK")


@NEEDS_PROC
def test_memory_stays_flat_over_hundreds_of_requests(server, tmp_path):
    address, process = server
    window, names = Visitor(address), ("ring", "cross")
    for name in names:
        window.ask("omniglot_add", None, None, name, window.drawing(tmp_path, FIGURES[name]))
    rng = np.random.default_rng(0)
    queries = [
        window.drawing(tmp_path, moved(FIGURES[name], rng.uniform(0.8, 1)))
        for _ in range(4)
        for name in names
    ]
    kept = []
    for number in range(REQUESTS):
        after = window.ask("omniglot_query", None, queries[number % 8])[2]
        assert after["label"] == names[number % 2]
        if number % 40 == 39:
            kept.append(memory(process))
    assert kept[-1] - kept[1] < GROWTH, kept


@NEEDS_PROC
def test_adaptations_in_a_row_leave_no_models(server, tmp_path):
    address, process = server
    window, kept = Visitor(address), []
    drawing = window.drawing(tmp_path, FIGURES["bar"])
    for _ in range(20):
        for name in "ab":
            window.ask("omniglot_add", None, None, name, drawing)
        window.ask("omniglot_clear", None, None)
        kept.append(memory(process))
    assert kept[-1] - kept[4] < GROWTH, kept


def test_twenty_classes_of_five_examples_and_no_more(handlers):
    task, drawing = ImageTask("omniglot"), {"composite": canvas(FIGURES["ring"])}
    for number in range(20):
        figure = moved(FIGURES[sorted(FIGURES)[number % 5]], 0.4 + 0.1 * (number // 5))
        image = task.drawing(canvas(figure))
        for _ in range(5):
            task.add(f"class {number}", image)
    status = handlers["omniglot_add"](task, None, "class 20", drawing)[2]
    assert status == "There are 20 classes, which is the most."
    after = handlers["omniglot_query"](task, drawing)[2]
    assert len(after) == 20 and sum(after.values()) == pytest.approx(1, abs=1e-5)


def test_a_hundred_photographs_get_one_message(handlers, tmp_path):
    rng, task = np.random.default_rng(0), ImageTask("mini_imagenet")
    files = [demo.photograph(tmp_path, "coast", rng) for _ in range(100)]
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no image")
    begin = time.process_time()
    status = handlers["mini_imagenet_add_files"](task, None, "coast", [str(broken), *files])[2]
    assert time.process_time() - begin < 5
    assert len(task.examples) == 5
    assert "broken.jpg cannot be read" in status and "95 files" in status
    assert status.count("which is the most") == 1 and len(status) < 400


@pytest.mark.skipif(shutil.which("unshare") is None, reason="needs unshare, as on Linux")
def test_the_page_opens_without_a_network(tmp_path):
    program = f"ip link set lo up 2>/dev/null; exec {sys.executable} -m tests.demo.without_network"
    command = ["unshare", "--net", "--map-root-user", "sh", "-c", program]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if "unshare" in result.stderr and "Operation not permitted" in result.stderr:
        pytest.skip("this machine lets no process leave its network")
    assert result.returncode == 0, result.stderr
    assert "ring" in result.stdout
