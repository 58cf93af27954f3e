"""The machine of a run, and the memory of its process."""

import os
import platform
import re
import sys
from collections.abc import Mapping
from typing import Any

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))  # of the checkout


def describe() -> dict[str, Any]:
    """The machine of this run, for the record."""
    model = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            names = [line.partition(":")[2].strip() for line in lines if "model name" in line]
        model = names[0] if names else model
    except OSError:  # not Linux
        pass
    affinity = getattr(os, "sched_getaffinity", None)
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    return {
        "cores": len(affinity(0)) if affinity else os.cpu_count(),
        "cpu": model,
        "system": platform.platform(),
        "python": platform.python_version(),
        "load_average_at_start": load,
    }


def busy(facts: Mapping[str, Any]) -> str:
    """A warning if other programs ran when this one started; empty if not."""
    load = facts["load_average_at_start"]
    if not load or load < 0.5:
        return ""
    return (
        f"Warning: the load average was {load:.1f} at the start, so other programs are running. "
        "They slow the peers that wait for all threads at barriers (PyTorch) more than us: do not "
        "quote these ratios.\n"
    )


def resident() -> tuple[int, int]:
    """Bytes that the process holds, and the most that it has held."""
    try:
        with open("/proc/self/status", encoding="ascii") as lines:
            sizes = dict(re.findall(r"^(VmRSS|VmHWM):\s+(\d+) kB$", lines.read(), re.MULTILINE))
        # Not ru_maxrss: a child's starts at the size that its parent had when it was started.
        return 1024 * int(sizes["VmRSS"]), 1024 * int(sizes["VmHWM"])
    except (OSError, KeyError):  # not Linux
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        peak *= 1 if sys.platform == "darwin" else 1024
        return peak, peak
