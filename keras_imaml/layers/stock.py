"""How a layer of this package turns into stock Keras in an adapted model."""

from typing import Any, Protocol, runtime_checkable


@runtime_checkable
class BecomesStock(Protocol):
    """A layer that is a stock layer but for the class, once a task is solved."""

    def become_stock(self) -> None:
        """Become the stock layer, with the weights as they are."""


@runtime_checkable
class StockOperations(Protocol):
    """A layer without weights that stock operations replace in a functional model."""

    def with_stock_operations(self, inputs: Any) -> Any:
        """The result of `call`, by `keras.ops`."""
