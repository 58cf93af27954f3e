"""Command-line trainers: `python -m trainers.train`, `.evaluate`, `.adapt`, `.export`."""
