"""Plain conjugate gradient from zero, for arrays of any framework: `[size]` or `[tasks, size]`."""

from collections.abc import Callable
from typing import Any


def solve(product: Callable[[Any], Any], rhs: Any, steps: int) -> Any:
    """`steps` iterations on `A w = rhs`."""
    w, r, p = 0.0 * rhs, rhs, rhs
    rr = _dot(r, r)
    for step in range(steps):
        image = product(p)
        alpha = rr / _dot(p, image)
        w = w + alpha * p
        if step + 1 < steps:
            r = r - alpha * image
            rr, before = _dot(r, r), rr
            p = r + (rr / before) * p
    return w


def _dot(a: Any, b: Any) -> Any:
    return (a * b).sum(-1)[..., None]
