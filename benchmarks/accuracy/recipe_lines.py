"""The runs of one recipe on one row of the paper's tables: their mean and its interval."""

from typing import Any, NamedTuple

from benchmarks.accuracy import result_files
from benchmarks.accuracy.published import Row


class Line(NamedTuple):
    """The runs of one recipe on one row."""

    row: Row
    recipe: str
    mode: str
    records: list[dict[str, Any]]

    @property
    def accuracy(self) -> float:
        """The mean over the seeds, in percent."""
        return result_files.over_seeds(self.records)[0]

    @property
    def half_width(self) -> float:
        """Half the 95 % interval of that mean over all tasks of all seeds, in percent."""
        return result_files.over_seeds(self.records)[1]

    @property
    def adapted(self) -> str:
        """What adapts: `"head"` or `"all_weights"`.

        Without meta-steps, on features of a classifier: `"classifier"` or
        `"classifier_all_weights"`.
        """
        record = self.records[0]
        head = list(record["settings"]["adapt"]) == ["head"]
        if record["steps"] == 0:
            return "classifier" if head else "classifier_all_weights"
        return "head" if head else "all_weights"

    @property
    def self_training(self) -> bool:
        """Whether queries adapt, too."""
        return self.records[0]["settings"]["wrapper"] == "self_training"
