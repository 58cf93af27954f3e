"""Strokes of a few figures, in units of half a canvas, and canvases with them."""

import math

import numpy as np

_TURN = [2 * math.pi * step / 16 for step in range(17)]
FIGURES = {
    "ring": [[(0.6 * math.cos(t), 0.6 * math.sin(t)) for t in _TURN]],
    "cross": [[(-0.6, -0.6), (0.6, 0.6)], [(0.6, -0.6), (-0.6, 0.6)]],
    "bar": [[(0.0, -0.7), (0.0, 0.7)]],
    "corner": [[(-0.5, -0.6), (-0.5, 0.6), (0.6, 0.6)]],
    "wave": [[(-0.7 + 0.1 * i, 0.5 * math.sin(i)) for i in range(15)]],
}


def moved(strokes, scale=1.0, right=0.0, down=0.0):
    """The same figure at another place, of another size."""
    return [[(scale * x + right, scale * y + down) for x, y in stroke] for stroke in strokes]


def canvas(strokes, size=280, width=8):
    """Gray, uint8, dark ink on white paper."""
    image = np.full((size, size), 255, np.uint8)
    rows, columns = np.mgrid[:size, :size]
    for stroke in strokes:
        points = size / 2 * (1 + np.array(stroke))
        for (x, y), (dx, dy) in zip(points, np.diff(points, axis=0), strict=False):
            share = ((columns - x) * dx + (rows - y) * dy) / (dx**2 + dy**2)
            share = np.clip(share, 0, 1)  # of the segment, up to its place nearest to a pixel
            image[np.hypot(rows - y - share * dy, columns - x - share * dx) < width / 2] = 0
    return image
