"""A warning where half precision is emulated, and silence where it is not or nothing is known."""

import warnings

import keras
import pytest
import tensorflow as tf

import keras_imaml as ki
from keras_imaml._compat import half_precision

OLD = "processor\t: 0\nflags\t\t: fpu avx2 avx512f avx512_vnni\n"
NEW = "processor\t: 0\nflags\t\t: fpu avx2 avx512f avx512_bf16\n"
NEWEST = "processor\t: 0\nflags\t\t: fpu amx_bf16 avx512_fp16\n"
ARM = "processor\t: 0\nFeatures\t: fp asimd\n"


@pytest.fixture
def machine(tmp_path, monkeypatch):
    def set_machine(cpuinfo, limit=None, gpu=False, platform="linux"):
        path = tmp_path / "cpuinfo"
        if cpuinfo is not None:
            path.write_text(cpuinfo)
        monkeypatch.setattr(half_precision, "_PROCESSOR", str(path))
        monkeypatch.setattr(half_precision.sys, "platform", platform)
        monkeypatch.delenv("DNNL_MAX_CPU_ISA", raising=False)
        monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", limit or "")
        devices = lambda kind: ["gpu"] if gpu and kind == "GPU" else []  # noqa: E731
        monkeypatch.setattr(tf.config, "list_physical_devices", devices)

    return set_machine


@pytest.mark.parametrize(
    ("dtype", "settings", "warns"),
    [
        ("bfloat16", {"cpuinfo": OLD}, True),
        ("bfloat16", {"cpuinfo": NEW}, False),
        ("bfloat16", {"cpuinfo": NEWEST}, False),
        ("bfloat16", {"cpuinfo": NEW, "limit": "avx512_core"}, True),
        ("bfloat16", {"cpuinfo": NEW, "limit": "AVX512_CORE_BF16"}, False),
        ("bfloat16", {"cpuinfo": OLD, "limit": "ALL"}, True),
        ("bfloat16", {"cpuinfo": OLD, "gpu": True}, False),
        ("bfloat16", {"cpuinfo": OLD, "platform": "darwin"}, False),
        ("bfloat16", {"cpuinfo": ARM}, False),
        ("bfloat16", {"cpuinfo": None}, False),
        ("float16", {"cpuinfo": NEW}, True),
        ("float16", {"cpuinfo": NEWEST}, False),
        ("float16", {"cpuinfo": NEWEST, "limit": "AVX512_CORE_BF16"}, True),
    ],
)
def test_emulation_is_known_by_the_processor(dtype, settings, warns, machine):
    machine(**settings)
    message = half_precision.emulated(dtype)
    assert (message is not None) == warns
    assert not warns or (dtype in message and "\n" not in message)


@pytest.mark.parametrize("dtype", ["mixed_bfloat16", "mixed_float16", "float32"])
def test_a_learner_warns_once(dtype, machine):
    machine(OLD)
    inputs = keras.Input((2,))
    x = keras.layers.Dense(2, dtype=dtype)(inputs)
    network = keras.Model(inputs, keras.layers.Dense(1, dtype="float32", name="head")(x))
    with warnings.catch_warnings(record=True) as records:
        warnings.simplefilter("always")
        ki.MetaLearner(network, ki.MAML(), adapt="head")
    messages = [w for w in records if "no instructions" in str(w.message)]
    assert len(messages) == (dtype != "float32")
    assert all(w.filename == __file__ for w in messages)


@pytest.mark.parametrize("cpuinfo", [OLD, NEW])
def test_the_trainers_say_it_in_one_line(cpuinfo, machine, capsys):
    from trainers import experiment

    machine(cpuinfo)
    with warnings.catch_warnings():
        experiment._say_if_emulated()
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == (cpuinfo == OLD)
    assert all(line.startswith("Warning: Layers compute in bfloat16") for line in lines)
