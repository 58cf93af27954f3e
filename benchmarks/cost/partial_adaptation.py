r"""What parts of a large transformer cost when they adapt: memory and time of a meta-step.

    python -m benchmarks.cost.partial_adaptation

An encoder of the size of BERT (base: 12 blocks of width 768, 110 million weights) with random
weights, made of Keras layers (or KerasHub's, by `--encoder=keras_hub`), and a head. Each row is a
process of its own; the memory is the largest resident size of the process less what it held with
the network built. `lora` is of rank 4 on queries and values; `lora_merged` the same as the layers
of Keras compute it, with a kernel for each task.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from absl import app, flags

from benchmarks import machine
from benchmarks.cost import meta_gradient as cost
from benchmarks.machine import ROOT

FLAGS = flags.FLAGS
PARTS = ("head", "norm", "lora", "lora_merged")
_RANK = 4

flags.DEFINE_list("adapt", list(PARTS), f"What adapts, of {PARTS}.")
flags.DEFINE_integer("blocks", 12, "Blocks of the encoder.", lower_bound=1)
flags.DEFINE_integer("width", 768, "Width of the encoder; heads are of 64.", lower_bound=64)
flags.DEFINE_integer("vocabulary", 30522, "Words.", lower_bound=2)
flags.DEFINE_enum("encoder", "keras", ["keras", "keras_hub"], "Layers of Keras, or a BertBackbone.")
flags.DEFINE_integer("length", 16, "Words of a sentence.", lower_bound=1)
flags.DEFINE_integer("tasks", 4, "Tasks of a meta-batch.", lower_bound=1)
flags.DEFINE_integer("examples", 2, "Support examples of a task; as many queries.", lower_bound=1)
flags.DEFINE_integer("inner_steps", 3, "Inner steps; as many linear ones.", lower_bound=1)
flags.DEFINE_integer("repeats", 2, "Timed steps, of which the fastest counts.", lower_bound=1)
flags.DEFINE_integer("seed", 0, "Of weights and sentences.", lower_bound=0)
flags.DEFINE_string("only", None, "Measure this part in this process, and print JSON.")


def encoder(blocks: int, width: int, vocabulary: int, length: int, classes: int) -> Any:
    """Words to logits: blocks of attention and a wide layer, normalized after each (as BERT)."""
    import keras
    from keras import layers

    words = keras.Input((length,), dtype="int32")
    places = keras.ops.zeros_like(words) + keras.ops.arange(length)
    x = layers.Embedding(vocabulary, width, name="words")(words)
    x = x + layers.Embedding(512, width, name="places")(places)
    x = layers.LayerNormalization(name="norm_0")(x)
    for block in range(1, blocks + 1):
        heads = layers.MultiHeadAttention(width // 64, 64, name=f"attention_{block}")
        x = layers.LayerNormalization(name=f"norm_attention_{block}")(x + heads(x, x))
        y = layers.Dense(4 * width, "gelu", name=f"wide_{block}")(x)
        y = layers.Dense(width, name=f"narrow_{block}")(y)
        x = layers.LayerNormalization(name=f"norm_{block}")(x + y)
    return keras.Model(words, layers.Dense(classes, name="head")(x[:, 0]), name="encoder")


def hub_encoder(blocks: int, width: int, vocabulary: int, length: int, classes: int) -> Any:
    """The same with the backbone of KerasHub, dropout and all."""
    import keras
    import keras_hub

    backbone = keras_hub.models.BertBackbone(vocabulary, blocks, width // 64, width, 4 * width)
    words = keras.Input((length,), dtype="int32")
    inputs = {
        "token_ids": words,
        "segment_ids": keras.ops.zeros_like(words),
        "padding_mask": keras.ops.ones_like(words),
    }
    logits = keras.layers.Dense(classes, name="head")(backbone(inputs)["pooled_output"])
    return keras.Model(words, logits, name="encoder")


def selector(network: Any, part: str) -> Callable[[Any], bool]:
    """Which weights adapt; freezes all others but the head."""
    if part.startswith("lora"):
        for layer in network._flatten_layers():
            if layer.name in ("query", "value"):
                layer.enable_lora(_RANK)

    def is_chosen(variable: Any) -> bool:
        return part.partition("_")[0] in variable.path

    for variable in network.trainable_variables:
        variable.trainable = is_chosen(variable) or "head" in variable.path
    return is_chosen


def measure(part: str) -> dict[str, Any]:
    """One meta-step of iMAML, in this process."""
    import contextlib

    import keras_imaml as ki
    from keras_imaml.batching import task_network

    import keras
    import numpy as np
    import tensorflow as tf

    keras.utils.set_random_seed(FLAGS.seed)
    build = encoder if FLAGS.encoder == "keras" else hub_encoder
    network = build(FLAGS.blocks, FLAGS.width, FLAGS.vocabulary, FLAGS.length, 2)
    chosen = selector(network, part)
    if part == "lora_merged":
        task_network.low_rank_products = contextlib.nullcontext
    steps = FLAGS.inner_steps
    linear = ki.linear.ConjugateGradient(steps, tolerance=0.0)
    algorithm = ki.IMAML(1.0, ki.inner.GradientDescent(steps, 0.01), linear)
    learner = ki.MetaLearner(network, algorithm, adapt=chosen)
    learner.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    rng = np.random.default_rng(FLAGS.seed)
    shape = (FLAGS.tasks, FLAGS.examples)

    def draw() -> Any:
        x = rng.integers(0, FLAGS.vocabulary, (*shape, FLAGS.length)).astype("int32")
        return x, rng.integers(0, 2, shape).astype("int32")

    data = tf.nest.map_structure(tf.constant, (draw(), draw()))
    resident_memory, _ = machine.resident()
    since = time.perf_counter()
    step = tf.function(learner.train_step, autograph=False)
    loss = float(step(data)["loss"])
    first_step_seconds = time.perf_counter() - since
    seconds = []
    for _ in range(FLAGS.repeats):
        since = time.perf_counter()
        loss = float(step(data)["loss"])
        seconds.append(time.perf_counter() - since)
    if not np.isfinite(loss):
        raise cost.CostError(f"the loss is not finite: {loss}")
    return {
        "weights": network.count_params(),
        "adapted": learner.parameters.size,
        "held": resident_memory / 2**20,
        "memory_mib": (machine.resident()[1] - resident_memory) / 2**20,
        "first": first_step_seconds,
        "seconds": min(seconds),
    }


def main(argv: Sequence[str]) -> None:
    """Print a table in Markdown."""
    if len(argv) > 1:
        raise app.UsageError(f"Unexpected arguments: {argv[1:]}")
    unknown_parts = {*FLAGS.adapt, *([FLAGS.only] if FLAGS.only else [])} - set(PARTS)
    if unknown_parts:
        raise app.UsageError(
            f"--adapt: expected some of {PARTS}. Received: {sorted(unknown_parts)}"
        )
    if FLAGS.only:
        print(json.dumps(measure(FLAGS.only)))
        return
    facts = machine.describe()
    print(
        f"seed {FLAGS.seed}, {facts['cores']} cores of {facts['cpu']}; {FLAGS.tasks} tasks of "
        f"{FLAGS.examples} + {FLAGS.examples} sentences of {FLAGS.length} words; iMAML, "
        f"{FLAGS.inner_steps} inner and as many linear steps\n"
    )
    print("| adapts | of weights | numbers | MiB network | MiB step | s first step | s step |")
    print("|---|---|---|---|---|---|---|", flush=True)
    for part in FLAGS.adapt:
        row = _in_a_process(part)
        print(
            f"| {part} | {row['weights']:,} | {row['adapted']:,} | {row['held']:.0f} | "
            f"{row['memory_mib']:.0f} | {row['first']:.1f} | {row['seconds']:.3f} |",
            flush=True,
        )


def _in_a_process(part: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.cost.partial_adaptation", f"--only={part}"]
    command += [argument for argument in sys.argv[1:] if not argument.startswith("--adapt")]
    environment = {**os.environ, "KERAS_BACKEND": "tensorflow", "PYTHONPATH": ROOT}
    process = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment)
    if process.returncode:
        error_lines = "\n".join(process.stderr.splitlines()[-5:])
        raise cost.CostError(f"{part} ended with code {process.returncode}:\n{error_lines}")
    return json.loads(process.stdout.splitlines()[-1])


if __name__ == "__main__":
    app.run(main)
