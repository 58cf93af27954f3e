"""TensorBoard's event files read back."""

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.util import tensor_util


class Run:
    """What is in one folder of event files: everything by tag."""

    def __init__(self, folder):
        self.files = EventAccumulator(str(folder), {"tensors": 0, "images": 0})
        self.files.Reload()

    def tags(self, plugin="scalars"):
        """The tags of a plugin: scalars, images, histograms."""
        name = lambda tag: self.files.SummaryMetadata(tag).plugin_data.plugin_name  # noqa: E731
        return {tag for tag in self.files.Tags()["tensors"] if name(tag) == plugin}

    def points(self, tag):
        """The numbers of a curve by their step."""
        return {e.step: float(tensor_util.make_ndarray(e.tensor_proto)) for e in self._of(tag)}

    def pictures(self, tag):
        """How large the picture is, and its PNG, by step."""
        tensors = {e.step: tensor_util.make_ndarray(e.tensor_proto) for e in self._of(tag)}
        return {step: (int(p[0]), int(p[1]), p[2]) for step, p in tensors.items()}

    def _of(self, tag):
        return self.files.Tensors(tag)
