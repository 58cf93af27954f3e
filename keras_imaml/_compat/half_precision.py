"""Whether this machine computes in half precision: one without the instructions emulates them."""

import os
import sys
import warnings

import keras
import tensorflow as tf

from keras_imaml._compat.keras_attributes import all_layers

# Flags of processors whose instructions oneDNN uses for a dtype.
_INSTRUCTIONS = {
    "bfloat16": ("avx512_bf16", "amx_bf16"),
    "float16": ("avx512_fp16", "amx_fp16"),
}
# Limits of oneDNN (`ONEDNN_MAX_CPU_ISA`) that leave the instructions out.
_BELOW_BFLOAT16 = (
    *("SSE41", "AVX", "AVX2", "AVX2_VNNI", "AVX2_VNNI_2"),
    *("AVX512_CORE", "AVX512_CORE_VNNI"),
)
_BELOW = {
    "bfloat16": _BELOW_BFLOAT16,
    "float16": (*_BELOW_BFLOAT16, "AVX512_CORE_BF16"),
}
_PROCESSOR = "/proc/cpuinfo"


def warn_of_emulation(model: keras.Model) -> None:
    """Warn if layers of a network compute in half precision, and this machine emulates it.

    Args:
        model: The network.
    """
    dtypes = {layer.compute_dtype for layer in all_layers(model, include_self=False)}
    for dtype in sorted(dtypes & set(_INSTRUCTIONS)):
        message = emulated(dtype)
        if message:
            warnings.warn(message, stacklevel=3)


def emulated(dtype: str) -> str | None:
    """What emulation costs, in one line; None where it is not needed, or nothing is known.

    Args:
        dtype: `"bfloat16"` or `"float16"`.
    """
    if any(tf.config.list_physical_devices(kind) for kind in ("GPU", "TPU")):
        return None
    if _has_instructions(dtype) is not False:
        return None
    return (
        f"Layers compute in {dtype}, for which this processor has no instructions "
        f"({' or '.join(_INSTRUCTIONS[dtype])}): a step may take ten times as long as in float32. "
        "Leave out --mixed_precision, or make the network without dtype='mixed_...'."
    )


def _has_instructions(dtype: str) -> bool | None:
    """None if this system does not say."""
    if not sys.platform.startswith("linux"):
        return None
    limit = os.environ.get("ONEDNN_MAX_CPU_ISA") or os.environ.get("DNNL_MAX_CPU_ISA") or "ALL"
    if limit.upper() in _BELOW[dtype]:
        return False
    try:
        with open(_PROCESSOR, encoding="utf-8") as file:
            flags = next((line for line in file if line.startswith("flags")), None)
    except OSError:
        return None
    return None if flags is None else any(i in flags.split() for i in _INSTRUCTIONS[dtype])
