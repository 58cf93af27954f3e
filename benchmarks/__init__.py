"""Measurements: `python -m benchmarks.speed`."""
