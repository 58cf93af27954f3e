"""Requests to a server of exported learners."""

import json
from typing import Any

import keras
import numpy as np


def serving_request(
    support_x: Any,
    support_y: Any,
    query_x: Any,
    signature: str | None = None,
    sample_weight: Any = None,
) -> str:
    """The body of a request to TensorFlow Serving's REST API: adapt to a task and predict.

    Post it to `http://HOST:8501/v1/models/NAME:predict`. The server answers with
    `{"outputs": {"logits": [...], "probabilities": [...], "adapted": true, ...}}`. Support and
    query sets have different lengths, so that the request is of the server's columnar form.

    Args:
        support_x: Inputs of the support set, `[examples, ...]`. A list or dict of arrays for
            a network of several inputs.
        support_y: Their targets. `None` for a learner that adapts by a learned loss.
        query_x: Inputs of the query set, `[queries, ...]`.
        signature: The signature to call. Defaults to `"adapt_and_predict"`, or
            `"adapt_and_predict_weighted"` with weights.
        sample_weight: Weights of the support examples, for a learner that was exported with
            `sample_weight=True`. Defaults to `None`.

    Returns:
        JSON. Floating-point numbers keep six significant digits.

    Example:

    ```python
    (support_x, support_y), (query_x, query_y) = next(iter(ki.data.glyphs("test")))
    with open("/tmp/request.json", "w") as stream:
        stream.write(ki.serving_request(support_x, support_y, query_x))
    ```
    """
    parts = {"support_x": support_x, "support_y": support_y, "query_x": query_x}
    if sample_weight is not None:
        parts["sample_weight"] = sample_weight
    if signature is None:
        weighted = sample_weight is not None
        signature = "adapt_and_predict_weighted" if weighted else "adapt_and_predict"
    inputs = {
        key: _plain(value)
        for name, part in parts.items()
        if part is not None
        for key, value in _columns(name, part)
    }
    return json.dumps({"signature_name": signature, "inputs": inputs}, separators=(",", ":"))


def _columns(name: str, part: Any) -> list[tuple[str, Any]]:
    """One array by its name; several by the names that `export` gives them."""
    if isinstance(part, dict):
        return [(f"{name}_{key}", value) for key, value in part.items()]
    if not isinstance(part, (list, tuple)):
        return [(name, part)]
    if name == "support_y":
        return [(f"{name}_{i}" if i else name, value) for i, value in enumerate(part)]
    return [(f"{name}_{i}", value) for i, value in enumerate(part)]


def _plain(values: Any) -> Any:
    array = keras.ops.convert_to_numpy(values)
    if np.issubdtype(array.dtype, np.floating):
        if not np.isfinite(array).all():
            raise ValueError(
                "Invalid value for the task. Expected finite numbers, which JSON can hold. "
                "Received: NaN or infinity"
            )
        array = np.vectorize(lambda x: float(f"{x:.6g}"), otypes=[float])(array)
    return array.tolist()
