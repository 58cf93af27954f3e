"""Random numbers that layers draw: other ones for each task, the same in every evaluation.

Keras draws by stateless operations, from the state of a `keras.random.SeedGenerator`. Here the
state and the number of a task together begin a stream of random numbers. So tasks have masks of
their own, wherever they are computed, and an inner problem is one function. The states themselves
stay as they are until a meta-step ends, see `RandomStreams.advance`.

Tested with Keras 3.13 and 3.15. Without the private generator of unseeded draws, every task would
draw the same; `self_check` refuses that.
"""

import contextlib
import random
import threading
from collections.abc import Iterator
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from keras_imaml._compat.replacement import Replacement

try:
    from keras.src.random import seed_generator as _seeds

    _stock_global = _seeds.global_seed_generator
except (ImportError, AttributeError):  # a private place of Keras: then unseeded draws stay the same
    _seeds = _stock_global = None

_BITS = 0x7FFFFFFF  # what the seed of a stateless operation can hold, beside its sign
_FACTORS = (-4658895280553007687, -7723592293110705685)
_STEP = -7046029254386353131  # as the factors, of SplitMix64
_stock_next = keras.random.SeedGenerator.next
_context = threading.local()


class _Task(NamedTuple):
    """What draws within an evaluation: one task, which stands for all of them.

    Attributes:
        streams: Of the learner.
        number: A scalar, of the task.
        network: The number of the network.
        graph: In which the network is called.
        drawn: By the `id` of a generator, how often it has drawn.
    """

    streams: "RandomStreams"
    number: tf.Tensor
    network: int
    graph: Any
    drawn: dict[int, int]

    def next(self, generator: keras.random.SeedGenerator) -> tf.Tensor:
        """The seed of a draw, two integers."""
        if _in_loop(self.graph):
            raise ValueError(
                f"The generator {generator.name!r} draws in a loop, whose steps would all get the "
                "same numbers for a task. Draw all numbers before the loop, or build its steps "
                "one by one, such as by `unroll=True` of a recurrent layer."
            )
        self.streams.generators[id(generator)] = generator
        count = self.drawn[id(generator)] = self.drawn.get(id(generator), -1) + 1
        first, second = tf.unstack(tf.cast(generator.state.value, tf.int64))
        salt = self.network if generator is self.streams.unseeded else 0
        key = mixed(mixed(mixed(first) + second) + tf.cast(self.number, tf.int64))
        key = mixed(key + (count << 32) + salt)
        seed = tf.bitwise.bitwise_and(tf.stack([key, mixed(key)]), _BITS)
        return tf.cast(seed, generator.state.dtype)


class RandomStreams:
    """What the networks of a learner draw from.

    Args:
        unseeded: The generator of draws without one, such as `keras.random.normal(shape)`; see
            `own_generator`. Defaults to `None`: the one that all of Keras shares.

    Attributes:
        generators: Those that have drawn, by their `id`; known once a network was evaluated.
    """

    def __init__(self, unseeded: keras.random.SeedGenerator | None = None) -> None:
        self.unseeded: Any = unseeded
        self.generators: dict[int, keras.random.SeedGenerator] = {}
        self._networks = 0

    def join(self) -> int:
        """The number of a further network, whose unseeded draws are others."""
        self._networks += 1
        return self._networks

    def advance(self) -> None:
        """Let all that drew draw anew from now on."""
        for generator in self.generators.values():
            _stock_next(generator)

    @contextlib.contextmanager
    def of_task(self, number: tf.Tensor, network: int) -> Iterator[None]:
        """Within it, Keras draws from the stream of a task."""
        graph = tf.compat.v1.get_default_graph()
        with _drawing(_Task(self, number, network, graph, {})):
            yield


class _Refused(NamedTuple):
    """Draws by what must not draw."""

    who: str

    @property
    def streams(self) -> Any:
        return self

    @property
    def unseeded(self) -> Any:
        return self.next(None)

    def next(self, generator: Any) -> Any:
        raise ValueError(
            f"{self.who} draws random numbers, which would be the same for every task and in every "
            "step. Expected a function of targets and outputs alone: let a layer of the network "
            "draw, such as keras.layers.GaussianNoise."
        )


def own_generator() -> keras.random.SeedGenerator:
    """A generator that `keras.utils.set_random_seed` determines, with a variable of its own.

    That of Keras belongs to a thread, of which every replica has one. Layers that are made later
    get the seeds that they would get without this.
    """
    python = random.Random()
    python.setstate(random.getstate())
    return keras.random.SeedGenerator(python.randint(1, 10**9))


def draws_refused(who: str) -> contextlib.AbstractContextManager:
    """Within it, a draw by Keras is a `ValueError`.

    Args:
        who: What must not draw, at the beginning of a sentence.
    """
    return _drawing(_Refused(who))


def mixed(x: tf.Tensor) -> tf.Tensor:
    """A permutation of the integers of 64 bits after which neighbors have nothing in common.

    References:
        Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, 2014 (SplitMix64).
    """
    x += tf.constant(_STEP, tf.int64)
    for bits, factor in zip((30, 27), _FACTORS, strict=True):
        x = tf.bitwise.bitwise_xor(x, _shifted(x, bits)) * tf.constant(factor, tf.int64)
    return tf.bitwise.bitwise_xor(x, _shifted(x, 31))


def _in_loop(start: Any) -> bool:
    """Whether the graph under construction is that of a loop within the graph `start`."""
    graph = tf.compat.v1.get_default_graph()
    while graph is not start and graph is not None:
        if type(graph).__name__ == "WhileBodyFuncGraph":
            return True
        graph = getattr(graph, "outer_graph", None)
    return False


def _shifted(x: tf.Tensor, bits: int) -> tf.Tensor:
    """To the right, with zeros from the left whatever the sign is."""
    moved = tf.bitwise.right_shift(x, tf.constant(bits, tf.int64))
    return tf.bitwise.bitwise_and(moved, tf.constant((1 << (64 - bits)) - 1, tf.int64))


@contextlib.contextmanager
def _drawing(context: Any) -> Iterator[None]:
    outer = getattr(_context, "now", None)
    _context.now = context
    try:
        with _by_task, _unseeded_by_task:
            yield
    finally:
        _context.now = outer


def _next(generator: keras.random.SeedGenerator, ordered: bool = True) -> tf.Tensor:
    context = getattr(_context, "now", None)  # other threads may be at something else
    return _stock_next(generator, ordered) if context is None else context.next(generator)


def _global_seed_generator() -> keras.random.SeedGenerator:
    context = getattr(_context, "now", None)
    generator = None if context is None else context.streams.unseeded
    return generator or _stock_global()


_by_task = Replacement(
    lambda function: setattr(keras.random.SeedGenerator, "next", function), _next, _stock_next
)
_unseeded_by_task = Replacement(
    lambda function: setattr(_seeds, "global_seed_generator", function),
    _global_seed_generator,
    _stock_global,
)
