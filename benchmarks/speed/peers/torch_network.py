"""The networks in PyTorch, as functions of one flat weight vector."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812

from benchmarks.speed.peers.protocol import Problem

EPSILON = 1e-3  # of the normalization, as in keras_imaml


class Network:
    """Loss of one task, `(phi [size], x, y) -> scalar`.

    Images are channels first, kernels `[out, in, height, width]`; the weights of the head are
    permuted once, here, so that flattening needs no permutation.
    """

    def __init__(self, problem: Problem) -> None:
        self.settings = problem.settings
        self.weights = list(zip(problem.names, problem.weights, strict=True))
        self.shapes = [self._to_torch(name, w).shape for name, w in self.weights]
        self.sizes = [int(np.prod(shape)) for shape in self.shapes]
        self.loss = self._squared_error if self.settings.network == "mlp" else self._cross_entropy

    def theta(self) -> torch.Tensor:
        """The meta-learned weights, `[size]`."""
        parts = [self._to_torch(name, w).ravel() for name, w in self.weights]
        return torch.from_numpy(np.concatenate(parts))

    def tasks(self, problem: Problem) -> list[torch.Tensor]:
        """The tasks as tensors."""

        def convert(a: np.ndarray) -> torch.Tensor:
            if a.dtype.kind == "i":
                return torch.from_numpy(a.astype(np.int64))
            return torch.from_numpy(
                np.ascontiguousarray(np.moveaxis(a, -1, 2)) if a.ndim == 5 else a
            )

        return [convert(a) for a in problem.tasks]

    def answer(self, gradient: torch.Tensor) -> np.ndarray:
        """A flat gradient in Keras' layout."""
        parts = np.split(gradient.detach().numpy(), np.cumsum(self.sizes)[:-1])
        restored = [
            self._to_keras(name, part.reshape(shape), weight.shape).ravel()
            for (name, weight), part, shape in zip(self.weights, parts, self.shapes, strict=True)
        ]
        return np.concatenate(restored)

    def _cross_entropy(self, phi: torch.Tensor, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return F.cross_entropy(self._conv4(self._unravel(phi), x), y)

    def _squared_error(self, phi: torch.Tensor, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        weights = self._unravel(phi)
        for kernel, bias in zip(weights[:-2:2], weights[1:-2:2], strict=True):
            x = torch.relu(x @ kernel + bias)
        return F.mse_loss(x @ weights[-2] + weights[-1], y)

    def _conv4(self, weights: Sequence[torch.Tensor], x: torch.Tensor) -> torch.Tensor:
        stride = 2 if self.settings.downsample == "stride" else 1
        for block in range(4):
            kernel, bias, gamma, beta = weights[4 * block : 4 * block + 4]
            x = _same_convolution(x, kernel, bias, stride)
            variance, mean = torch.var_mean(x, dim=(0, 2, 3), correction=0, keepdim=True)
            scale = torch.rsqrt(variance + EPSILON) * gamma[:, None, None]
            x = torch.relu((x - mean) * scale + beta[:, None, None])
            if stride == 1:
                x = F.avg_pool2d(x, 2)
        return x.flatten(1) @ weights[-2] + weights[-1]

    def _unravel(self, phi: torch.Tensor) -> list[torch.Tensor]:
        parts = phi.split(self.sizes)
        return [part.view(shape) for part, shape in zip(parts, self.shapes, strict=True)]

    def _to_torch(self, name: str, weight: np.ndarray) -> np.ndarray:
        if weight.ndim == 4:
            return weight.transpose(3, 2, 0, 1)
        if self._is_head_of_images(name):
            side = round((weight.shape[0] / self.settings.filters) ** 0.5)
            image = weight.reshape(side, side, self.settings.filters, -1)
            return image.transpose(2, 0, 1, 3).reshape(weight.shape)
        return weight

    def _to_keras(self, name: str, part: np.ndarray, shape: Any) -> np.ndarray:
        if part.ndim == 4:
            return part.transpose(2, 3, 1, 0)
        if self._is_head_of_images(name):
            side = round((shape[0] / self.settings.filters) ** 0.5)
            image = part.reshape(self.settings.filters, side, side, -1)
            return image.transpose(1, 2, 0, 3).reshape(shape)
        return part

    def _is_head_of_images(self, name: str) -> bool:
        return self.settings.network == "conv4" and name == "head/kernel"


def _same_convolution(
    x: torch.Tensor, kernel: torch.Tensor, bias: torch.Tensor, stride: int
) -> torch.Tensor:
    """TensorFlow's SAME: where the padding is odd, the last row and column get the odd one."""
    outputs = -(-x.shape[-1] // stride)
    padding = max((outputs - 1) * stride + kernel.shape[-1] - x.shape[-1], 0)
    before, after = padding // 2, padding - padding // 2
    if before == after:
        return F.conv2d(x, kernel, bias, stride, before)
    return F.conv2d(F.pad(x, (before, after, before, after)), kernel, bias, stride)
