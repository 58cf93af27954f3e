"""The weights of a task in the place of a network's variables while it is called."""

from typing import Any

import keras


class TaskScope(keras.StatelessScope):
    """A stateless scope that notes which variables are read and which are assigned.

    Args:
        state_mapping: Pairs of a variable and its value for the task.
        collect_losses: Whether `add_loss` within the scope is collected. Defaults to `False`.

    Attributes:
        read: By `id`, the variables whose value in this scope was asked for.
        others: By `id`, the variables that were asked for and have no value here.
        assigned: The variables that were assigned.
    """

    def __init__(self, state_mapping: Any, collect_losses: bool = False) -> None:
        self.read: dict[int, keras.Variable] = {}
        self.others: dict[int, keras.Variable] = {}
        self.assigned: list[keras.Variable] = []
        super().__init__(state_mapping, collect_losses=collect_losses)

    def get_current_value(self, variable: keras.Variable) -> Any:
        """See `keras.StatelessScope`."""
        value = super().get_current_value(variable)
        (self.others if value is None else self.read)[id(variable)] = variable
        return value

    def add_update(self, update: Any) -> None:
        """See `keras.StatelessScope`: Keras calls this for an assignment."""
        self.assigned.append(update[0])
        super().add_update(update)
