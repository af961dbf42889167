"""One pass over the rows: the weighted loss of a linear head and its gradient, chunk by chunk."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from mmap import mmap
from typing import Any

import numpy as np
from scipy.special import expit, log_expit
from sklearn import get_config

from ntkit._extras import MappedFile, import_ray, start_ray
from ntkit._types import Array

_CHUNK = 16  # MiB at most: memory-mapped rows are read once for both products
# Products of BLAS may set the flag for an invalid value though all values are finite, depending on
# what the memory around them holds (OpenBLAS issue 1924); rows and heads are checked elsewhere.
_product = np.errstate(invalid="ignore")


def is_mapped(X: Any) -> bool:
    """Whether an array is a view of a memory-mapped file, which may be larger than memory."""
    while isinstance(X, np.ndarray):
        X = X.base
    return isinstance(X, mmap) or getattr(X, "has_mapped", False)


def rows_per_chunk(X: Array, n_logits: int) -> int:
    """Number of rows that take 16 MiB with their logits, or scikit-learn's ``working_memory``."""
    row_bytes = X.shape[1] * X.itemsize + 4 * 8 * n_logits
    memory = min(_CHUNK, float(get_config()["working_memory"]))
    return max(1, int(memory * 2**20 // row_bytes))


class NumpyPasses:
    """Passes on the CPU, over an array or a memory map, of which ``width`` columns are used."""

    # Products run in the precision of the rows, sums over chunks in double precision.

    def __init__(
        self, X: Array, y_index: Array, weight: Array, kept: Array, offset: Array | None = None
    ) -> None:
        self.n_rows, self.width, self.dtype = len(X), len(kept), X.dtype
        self.kept, self.n_columns = kept, X.shape[1]
        self.columns: Array | None = None
        if len(kept) < X.shape[1]:
            if is_mapped(X):
                self.columns = kept  # selected from results: never copied from the rows
            else:
                X = X[:, kept]
        self.X, self.y_index, self.weight, self.offset = X, y_index, weight, offset

    @_product
    def mean(self, weights: Array | None = None) -> Array:
        """Weighted mean of the rows, (width,), or of B rows of weights, (B, width), in one pass."""
        weights = self.weight if weights is None else weights
        total = np.zeros((*weights.shape[:-1], self.X.shape[1]))
        for rows in self._chunks(len(np.atleast_2d(weights))):
            total += weights[..., rows].astype(self.dtype) @ self.X[rows]
        return total if self.columns is None else total[..., self.columns]

    def sample(self, n_rows: int) -> tuple[Array, Array]:
        """About ``n_rows`` rows at equal distances, and their weights."""
        step = max(1, self.n_rows // n_rows)
        rows = np.asarray(self.X[::step])
        return rows if self.columns is None else rows[:, self.columns], self.weight[::step]

    @_product
    def loss(self, W: Array, b: Array) -> tuple[float, Array, Array]:
        """Weighted loss of the logits ``z W^T + b``; its derivatives by b, (K,), and W."""
        loss = _sigmoid_loss if len(W) == 1 else _softmax_loss
        operand = np.ascontiguousarray(self._over_all_columns(W).T, dtype=self.dtype)
        value, slope, gradient = 0.0, np.zeros(len(W)), np.zeros((len(W), self.X.shape[1]))
        for rows in self._chunks(len(W)):
            chunk = self.X[rows]
            logits = (chunk @ operand).astype(np.float64) + b
            if self.offset is not None:
                logits += self.offset[rows]
            part, residual = loss(logits, self.y_index[rows], self.weight[rows])
            value += part
            slope += residual.sum(axis=0)
            gradient += (chunk.T @ residual.astype(self.dtype)).T
        return value, slope, gradient if self.columns is None else gradient[:, self.columns]

    @_product
    def variances(self, weights: Array, means: Array) -> Array:
        """Variance of each column for each row of weights, shape (B, width), in one pass."""
        total = np.zeros((len(weights), self.X.shape[1]))
        center = means.mean(axis=0) if self.columns is None else 0.0
        for rows in self._chunks(len(weights)):
            total += weights[:, rows] @ (self.X[rows].astype(np.float64) - center) ** 2
        if self.columns is not None:
            total = total[:, self.columns]
        return np.maximum(total - (means - center) ** 2, 0.0)

    @_product
    def losses(
        self, weights: Array, which: Array, W: Array, b: Array
    ) -> tuple[Array, Array, Array]:
        """Values of ``loss`` for B heads, each with its weights, in one pass."""
        n_heads, n_logits = b.shape
        flat = self._over_all_columns(W.reshape(n_heads * n_logits, -1))
        operand = np.ascontiguousarray(flat.T, dtype=self.dtype)
        values, slopes = np.zeros(n_heads), np.zeros((n_heads, n_logits))
        gradients = np.zeros((n_heads * n_logits, self.X.shape[1]))
        for rows in self._chunks(n_heads * n_logits):
            chunk, labels = self.X[rows], self.y_index[rows]
            logits = (chunk @ operand).astype(np.float64) + b.ravel()
            head_weights = weights[which, rows]
            if n_logits == 1:
                sign = np.where(labels == 1, 1.0, -1.0)[:, None]
                values -= np.einsum("bn,nb->b", head_weights, log_expit(sign * logits))
                residuals = head_weights.T * -sign * expit(-sign * logits)
            else:
                residuals = np.empty_like(logits)
                for i in range(n_heads):
                    block = slice(i * n_logits, (i + 1) * n_logits)
                    value, residuals[:, block] = _softmax_loss(
                        logits[:, block], labels, head_weights[i]
                    )
                    values[i] += value
            slopes += residuals.sum(axis=0).reshape(slopes.shape)
            gradients += (chunk.T @ residuals.astype(self.dtype)).T
        if self.columns is not None:
            gradients = gradients[:, self.columns]
        return values, slopes, gradients.reshape(W.shape)

    def _over_all_columns(self, W: Array) -> Array:
        if self.columns is None:
            return W
        whole = np.zeros((len(W), self.X.shape[1]))
        whole[:, self.columns] = W
        return whole

    def _chunks(self, n_logits: int) -> Iterator[slice]:
        n_rows = rows_per_chunk(self.X, n_logits)
        for start in range(0, self.n_rows, n_rows):
            yield slice(start, min(start + n_rows, self.n_rows))


def _sigmoid_loss(logits: Array, y_index: Array, weight: Array) -> tuple[float, Array]:
    """Weighted loss of one logit per row, and its derivative by the logits, both (N, 1)."""
    sign = np.where(y_index == 1, 1.0, -1.0)[:, None]
    value = -float(weight @ log_expit(sign * logits)[:, 0])
    return value, weight[:, None] * -sign * expit(-sign * logits)


def _softmax_loss(logits: Array, y_index: Array, weight: Array) -> tuple[float, Array]:
    """Weighted loss of one logit per class, and its derivative by the logits, both (N, K)."""
    rows = np.arange(len(logits))
    residual = logits - logits.max(axis=1, keepdims=True)
    of_label = residual[rows, y_index]
    np.exp(residual, out=residual)
    residual[rows, y_index] = 0  # next to the 1 of a certain sample others would be rounded away
    others = residual.sum(axis=1)
    total = others + np.exp(of_label)
    value = float(weight @ np.where(of_label < 0, np.log(total) - of_label, np.log1p(others)))
    residual *= (weight / total)[:, None]
    residual[rows, y_index] = -weight * (others / total)
    return value, residual


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
        """As of :class:`NumpyPasses`."""
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


class RayPasses:
    """Passes on a Ray cluster, one actor for each core that is free."""

    # An array is sent to the actors once per fit. A memory-mapped file is not: they open it by its
    # path, which must be the same on all machines.

    def __init__(
        self, X: Array, y_index: Array, weight: Array, kept: Array, offset: Array | None = None
    ) -> None:
        self._ray = import_ray("device='ray'")
        start_ray(self._ray)
        self.n_rows, self.width, self.dtype = len(X), len(kept), X.dtype
        self.kept, self.n_columns = kept, X.shape[1]
        free = int(self._ray.available_resources().get("CPU", 0))
        n_actors = min(max(1, free), self.n_rows)
        cuts = np.linspace(0, self.n_rows, n_actors + 1).astype(int)
        actor = self._ray.remote(num_cpus=min(1, free), scheduling_strategy="SPREAD")(_Share)
        file = MappedFile.of(X)
        self._actors = [
            actor.remote(
                X[rows] if file is None else (file, rows),
                y_index[rows],
                weight[rows],
                kept,
                None if offset is None else offset[rows],
            )
            for rows in (slice(*cut) for cut in pairwise(cuts))
        ]

    def mean(self) -> Array:
        """As of :class:`NumpyPasses`."""
        return np.asarray(sum(self._asked("mean")))

    def sample(self, n_rows: int) -> tuple[Array, Array]:
        """As of :class:`NumpyPasses`."""
        shares = self._asked("sample", -(-n_rows // len(self._actors)))
        rows, weights = zip(*shares, strict=True)
        return np.concatenate(rows), np.concatenate(weights)

    def loss(self, W: Array, b: Array) -> tuple[float, Array, Array]:
        """As of :class:`NumpyPasses`."""
        values, slopes, gradients = zip(*self._asked("loss", W, b), strict=True)
        return float(sum(values)), np.asarray(sum(slopes)), np.asarray(sum(gradients))

    def _asked(self, method: str, *arguments: Any) -> list[Any]:
        sent = [self._ray.put(argument) for argument in arguments]
        return list(self._ray.get([getattr(a, method).remote(*sent) for a in self._actors]))


class _Share(NumpyPasses):
    """The rows of one actor."""

    def __init__(self, X: Any, *others: Any) -> None:
        if isinstance(X, tuple):
            file, rows = X
            X = file.open()[rows]
        super().__init__(X, *others)


Passes = NumpyPasses | RayPasses


def passes_over(
    X: Array,
    y_index: Array,
    weight: Array,
    *,
    kept: Array,
    offset: Array | None = None,
    device: str = "cpu",
) -> Passes:
    """Passes over embeddings on the best device."""
    if device == "cpu":
        return NumpyPasses(X, y_index, weight, kept, offset)
    if device == "ray":
        return RayPasses(X, y_index, weight, kept, offset)
    return TorchPasses(X, y_index, weight, kept, offset, device=device)


def stacked(first: Array, second: Array) -> Any:
    """Join two arrays of rows: a view of neighbouring or mapped rows, else a copy."""
    if is_mapped(first) or is_mapped(second):
        return _Stacked(first, second)
    whole = first.base
    if whole is not None and whole is second.base and whole.ndim == 2 and first.flags.c_contiguous:
        start, stop = first.ctypes.data, first.ctypes.data + first.nbytes
        if first.nbytes and stop == second.ctypes.data and second.flags.c_contiguous:
            row = (start - whole.ctypes.data) // whole.strides[0]
            return whole[row : row + len(first) + len(second)]
    return np.concatenate([first, second])


class _Stacked:
    """Array that passes and folds can use: a shape, and rows by slice or by index."""

    has_mapped = True

    def __init__(self, first: Array, second: Array) -> None:
        self._first, self._second = first, second
        self.dtype = np.result_type(first, second)
        self.shape = (len(first) + len(second), first.shape[1])
        self.nbytes = first.nbytes + second.nbytes

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def itemsize(self) -> int:
        return self.dtype.itemsize

    def __getitem__(self, index: slice | Array) -> Array:
        cut = len(self._first)
        if isinstance(index, slice):
            start, stop, step = index.indices(len(self))
            skipped = max(0, -(-(cut - start) // step)) * step  # rows of the first array
            first = self._first[start : min(stop, cut) : step]
            second = self._second[max(0, start + skipped - cut) : max(0, stop - cut) : step]
            if not len(second):
                return first
            return np.concatenate([first, second]) if len(first) else second
        before = index < cut
        rows = np.empty((len(index), self.shape[1]), dtype=self.dtype)
        rows[before] = self._first[index[before]]
        rows[~before] = self._second[index[~before] - cut]
        return rows
