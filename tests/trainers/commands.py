"""Command lines in processes of their own."""

import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).absolute().parents[2]


def command(name, *flags):
    return [sys.executable, "-m", f"trainers.{name}", *map(str, flags)]


def call(name, *flags, **settings):
    return subprocess.run(
        command(name, *flags), cwd=ROOT, capture_output=True, text=True, check=False, **settings
    )
