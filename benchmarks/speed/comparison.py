"""The times of workers side by side: a table for the reader, a record for JSON."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.speed.workers import OWN_WORKERS


def record(
    milliseconds: Mapping[str, Sequence[float]], flops: int, ceilings: Sequence[float]
) -> dict[str, Any]:
    """Medians and ratios of one workload.

    Args:
        milliseconds: The times of each worker, one a round; `"ours"` is among them.
        flops: Operations of the matrix products of one meta-step.
        ceilings: Operations a second of a large matrix product, one a round.
    """
    median_of_ours = statistics.median(milliseconds["ours"])
    ceiling = statistics.median(ceilings)
    floor = 1e3 * flops / ceiling
    rows = {}
    for name, times in milliseconds.items():
        median = statistics.median(times)
        by_round = [a / b for a, b in zip(times, milliseconds["ours"], strict=True)]
        rows[name] = {
            "median_ms": median,
            "min_ms": min(times),
            "max_ms": max(times),
            "ratio_to_ours": median / median_of_ours,
            "ratio_by_round_min": min(by_round),
            "ratio_by_round_max": max(by_round),
            "times_the_floor": median / floor,
            "all_ms": list(times),
        }
    return {
        "gflop": flops / 1e9,
        "ceiling_gflop_per_s": ceiling / 1e9,
        "floor_ms": floor,
        "workers": rows,
    }


def table(figures: Mapping[str, Any]) -> str:
    """The record of one workload, for people; the fastest first."""
    lines = [
        f"{'who':<16} {'median ms':>10} {'min':>9} {'max':>9} {'to ours':>8} {'to floor':>9}",
    ]
    rows = sorted(figures["workers"].items(), key=lambda item: item[1]["median_ms"])
    for name, row in rows:
        lines.append(
            f"{name:<16} {row['median_ms']:>10.1f} {row['min_ms']:>9.1f} {row['max_ms']:>9.1f} "
            f"{row['ratio_to_ours']:>8.2f} {row['times_the_floor']:>9.1f}"
        )
    lines.append(
        f"{'floor':<16} {figures['floor_ms']:>10.1f}   {figures['gflop']:.1f} GFLOP at the "
        f"{figures['ceiling_gflop_per_s']:.0f} GFLOP/s of a 2048 x 2048 matrix product"
    )
    return "\n".join(lines)


def verdicts(figures: Mapping[str, Any]) -> list[str]:
    """A sentence for each peer."""
    sentences = []
    for name, row in figures["workers"].items():
        if name not in OWN_WORKERS:
            ratio = row["ratio_to_ours"]
            word, ratio = ("faster", ratio) if ratio >= 1 else ("slower", 1 / ratio)
            sentences.append(f"ours is {ratio:.2f} times {word} than {name}")
    return sentences
