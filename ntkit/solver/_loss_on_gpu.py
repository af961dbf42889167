"""The same pass by PyTorch, on a GPU."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ntkit.solver._loss import NumpyPasses

__all__ = ["TorchPasses"]

Array = NDArray[Any]


class TorchPasses(NumpyPasses):
    """Passes through PyTorch: on a GPU, where the rows stay if they fit."""

    def __init__(
        self,
        X: Array,
        y_index: Array,
        weight: Array,
        kept: Array,
        offset: Array | None = None,
        *,
        device: str,
    ) -> None:
        import torch

        super().__init__(X, y_index, weight, kept, offset)
        self.torch, self.device = torch, device
        self._resident: list[Any] | None = None
        if self.X.nbytes < _free_memory(torch, device) // 2:
            self._resident = [self._sent(self.X[rows]) for rows in self._chunks(1)]

    def loss(self, W: Array, b: Array) -> tuple[float, Array, Array]:
        torch = self.torch
        operand = self._sent(self._over_all_columns(W).T.astype(self.dtype))
        bias = self._sent(b)
        value, slope, gradient = 0.0, np.zeros(len(W)), np.zeros((len(W), self.X.shape[1]))
        for i, rows in enumerate(self._chunks(1)):
            chunk = self._resident[i] if self._resident else self._sent(self.X[rows])
            logits = (chunk @ operand).double() + bias
            if self.offset is not None:
                logits += self._sent(self.offset[rows])
            weight, labels = self._sent(self.weight[rows]), self._sent(self.y_index[rows])
            part, residual = _torch_loss(torch, logits, labels, weight)
            value += float(part)
            slope += residual.sum(0).cpu().numpy()
            gradient += (chunk.T @ residual.to(chunk.dtype)).T.double().cpu().numpy()
        return value, slope, gradient if self.columns is None else gradient[:, self.columns]

    def _sent(self, array: Array) -> Any:
        return self.torch.as_tensor(np.array(array), device=self.device)


def _free_memory(torch: Any, device: str) -> int:
    return int(torch.cuda.mem_get_info(device)[0]) if device != "cpu" else 1 << 62


def _torch_loss(torch: Any, logits: Any, labels: Any, weight: Any) -> tuple[Any, Any]:
    """As ``_sigmoid_loss`` and ``_softmax_loss``, on tensors."""
    functional = torch.nn.functional
    if logits.shape[1] == 1:
        sign = (2 * (labels == 1) - 1)[:, None]
        value = -(weight @ functional.logsigmoid(sign * logits)[:, 0])
        return value, weight[:, None] * -sign * torch.sigmoid(-sign * logits)
    chosen = functional.one_hot(labels, logits.shape[1])
    value = -(weight @ (functional.log_softmax(logits, 1) * chosen).sum(1))
    return value, weight[:, None] * (torch.softmax(logits, 1) - chosen)
