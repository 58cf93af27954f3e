"""An episode of images as a picture: who is who, and what the adapted network took them for."""

import numpy as np

RIGHT, WRONG, SUPPORT = (30, 150, 60), (205, 30, 30), (120, 120, 120)
_BORDER, _GAP = 4, 2


def episode_picture(
    support_x: np.ndarray,
    support_y: np.ndarray,
    query_x: np.ndarray,
    query_y: np.ndarray,
    predictions: np.ndarray,
    columns: int = 6,
) -> np.ndarray:
    """Draw one task, a row a class.

    On the left, in gray frames, a support image of the class. On the right its query images, in
    green frames where the prediction is right and in red ones where it is wrong; a wrong one has
    beneath it the support image of the class that it was taken for.

    Args:
        support_x: Images, `[examples, height, width, 1 or 3]`.
        support_y: Their classes, `[examples]`.
        query_x: Images, `[queries, height, width, 1 or 3]`.
        query_y: Their classes, `[queries]`.
        predictions: The predicted classes, `[queries]`.
        columns: How many query images of a class to show, at most. Defaults to `6`.

    Returns:
        `[height, width, 3]`, uint8.
    """
    classes = np.unique(support_y)
    low = min(support_x.min(), query_x.min())
    span = max(support_x.max(), query_x.max()) - low
    factor = max(1, 56 // support_x.shape[1])
    examples = {
        c: _pixels(support_x[np.argmax(support_y == c)], low, span, factor) for c in classes
    }
    rows = []
    for c in classes:
        cells = [_cell(examples[c], SUPPORT, None)]
        cells.append(np.full((cells[0].shape[0], 12, 3), 255, np.uint8))
        for i in np.flatnonzero(query_y == c)[:columns]:
            image = _pixels(query_x[i], low, span, factor)
            wrong = predictions[i] != c
            taken_for = examples.get(predictions[i]) if wrong else None
            cells.append(_cell(image, WRONG if wrong else RIGHT, taken_for))
        rows.append(np.concatenate(cells, axis=1))
    widest = max(row.shape[1] for row in rows)
    fill = lambda row: ((0, 0), (0, widest - row.shape[1]), (0, 0))  # noqa: E731
    return np.concatenate([np.pad(row, fill(row), constant_values=255) for row in rows])


def _pixels(image: np.ndarray, low: float, span: float, factor: int) -> np.ndarray:
    gray = (255 * (image - low) / max(span, 1e-12)).astype(np.uint8)
    large = gray.repeat(factor, axis=0).repeat(factor, axis=1)
    return np.broadcast_to(large, (*large.shape[:2], 3))


def _cell(image: np.ndarray, color: tuple[int, int, int], beneath: np.ndarray | None) -> np.ndarray:
    """An image in a frame, with room beneath for another one of half its size."""
    height, width, _ = image.shape
    cell = np.full(
        (height + height // 2 + 2 * _BORDER + 3 * _GAP, width + 2 * (_BORDER + _GAP), 3),
        255,
        np.uint8,
    )
    end = _GAP + 2 * _BORDER + height
    cell[_GAP:end, _GAP : _GAP + 2 * _BORDER + width] = color
    cell[_GAP + _BORDER : end - _BORDER, _GAP + _BORDER : _GAP + _BORDER + width] = image
    if beneath is not None:
        small = beneath[::2, ::2][: height // 2, : width // 2]
        left = _GAP + _BORDER + width // 4
        cell[end : end + small.shape[0], left : left + small.shape[1]] = small
    return cell
