"""The last layer of a classifier as a value: weights, bias, classes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ntkit._labels import refuse_twins
from ntkit._shown import Bar, InNotebook, NotebookView, ShownTable
from ntkit.exceptions import InputError

__all__ = ["LinearHead"]

_BLOCK = 1 << 25  # bytes of embeddings
_SHOWN = 20  # rows in a notebook


@dataclass(frozen=True, eq=False, repr=False)
class LinearHead(InNotebook):
    """A linear classification head, ``logits = Z @ coef.T + intercept``.

    ntkit reads this value from a model, learns a better one, and writes it back. A suppressed
    neuron is a column of zeros in ``coef``.

    Parameters
    ----------
    coef : array-like of shape (K, D)
        Weights; one row per logit, one column per neuron.
    intercept : array-like of shape (K,)
        Bias.
    classes : array-like of shape (C,)
        Class labels in the order of the logits. ``K = C``, except for a single sigmoid unit:
        ``K = 1`` and ``C = 2``, where a positive logit means ``classes[1]``.

    Raises
    ------
    InputError
        If the shapes do not fit, a weight is NaN or infinite, or a class is repeated.

    Examples
    --------
    >>> from ntkit import LinearHead
    >>> head = LinearHead([[1.0, 0.0, -2.0]], [0.5], classes=["cat", "dog"])
    >>> head
    LinearHead(n_neurons=3, 1 silent, classes=['cat', 'dog'], one sigmoid logit, float64)
    >>> head.predict([[1.0, 7.0, 0.0], [0.0, 7.0, 1.0]])
    array(['dog', 'cat'], dtype='<U3')
    """

    coef: NDArray[Any]
    intercept: NDArray[Any]
    classes: NDArray[Any]

    def __post_init__(self) -> None:
        coef = np.asarray(self.coef)
        if coef.dtype not in (np.float32, np.float64):
            coef = coef.astype(np.float64)
        intercept = np.atleast_1d(np.asarray(self.intercept, dtype=coef.dtype))
        classes = np.atleast_1d(np.asarray(self.classes))
        if coef.ndim != 2 or 0 in coef.shape:
            raise InputError(f"coef must have shape (K, D) with K, D >= 1; got {coef.shape}.")
        if intercept.shape != coef.shape[:1]:
            raise InputError(
                f"intercept must have shape ({len(coef)},), one bias per row of coef; "
                f"got {intercept.shape}."
            )
        expected = 2 if len(coef) == 1 else len(coef)
        if classes.shape != (expected,):
            raise InputError(
                f"A head with {len(coef)} logit(s) needs {expected} classes; "
                f"got an array of shape {classes.shape}."
            )
        if len(np.unique(classes)) != len(classes):
            raise InputError(f"The classes of a head must differ; got {classes.tolist()}.")
        refuse_twins(classes.tolist(), "The classes of a head")
        for name, array in (("coef", coef), ("intercept", intercept)):
            if not np.isfinite(array).all():
                raise InputError(f"{name} contains NaN or infinite values.")
        # A value must not change, so it has copies that can only be read.
        for name, array in (("coef", coef), ("intercept", intercept), ("classes", classes)):
            if array.dtype.hasobject:
                kept = array.copy()
                kept.setflags(write=False)
                kept = kept[...]
            else:
                kept = np.frombuffer(array.tobytes(), dtype=array.dtype).reshape(array.shape)
            object.__setattr__(self, name, kept)

    @property
    def n_neurons(self) -> int:
        """Width D of the embedding that the head reads."""
        return int(self.coef.shape[1])

    @property
    def n_logits(self) -> int:
        """Number K of logits: one per class, or 1 for a single sigmoid unit."""
        return int(self.coef.shape[0])

    def logits(self, Z: ArrayLike) -> NDArray[Any]:
        """Logits of embeddings (N, D), one column per class: (N, C); one logit z becomes [0, z]."""
        logits = self.decision_function(Z)
        return np.stack([np.zeros_like(logits), logits], axis=1) if logits.ndim == 1 else logits

    def decision_function(self, Z: ArrayLike) -> NDArray[Any]:
        """Logits of embeddings (N, D) in scikit-learn's shape: (N,) for one logit, else (N, K).

        All methods raise an InputError if the width of the embeddings is not the head's.
        """
        Z = np.asarray(Z)
        if Z.ndim != 2 or Z.shape[1] != self.n_neurons:
            raise InputError(
                f"The head reads embeddings of shape (N, {self.n_neurons}); got {Z.shape}."
            )
        with np.errstate(invalid="ignore"):  # set though all is finite (OpenBLAS issue 1924)
            if Z.dtype == self.coef.dtype or Z.nbytes <= _BLOCK:
                logits = Z @ self.coef.T
            else:  # the product would convert many rows at once
                step = max(1, _BLOCK // (Z.itemsize * Z.shape[1]))
                blocks = (Z[start : start + step] for start in range(0, len(Z), step))
                logits = np.concatenate([block @ self.coef.T for block in blocks])
        logits = logits + self.intercept
        return np.asarray(logits[:, 0] if self.n_logits == 1 else logits)

    def predict_proba(self, Z: ArrayLike) -> NDArray[Any]:
        """Class probabilities (N, C) of embeddings (N, D): softmax of the logits, or sigmoid."""
        logits = self.logits(Z)
        logits = logits - logits.max(axis=1, keepdims=True)
        odds = np.exp(logits)
        return np.asarray(odds / odds.sum(axis=1, keepdims=True))

    def predict(self, Z: ArrayLike) -> NDArray[Any]:
        """Class label of each of the embeddings (N, D), shape (N,)."""
        logits = self.decision_function(Z)
        index = (logits > 0).astype(int) if self.n_logits == 1 else logits.argmax(axis=1)
        return np.asarray(self.classes[index])

    def scaled(self, gains: ArrayLike, shift: ArrayLike = 0.0) -> LinearHead:
        """Fold an affine map of the neurons into the head.

        The result computes on ``Z`` what this head computes on ``(Z - shift) * gains``. Masks
        (gains of 0 and 1), attenuation and standardisation all fold this way.

        Parameters
        ----------
        gains, shift : array-like, broadcastable to (D,)
            Factor and offset of each neuron.

        Raises
        ------
        ValueError
            If ``gains`` or ``shift`` do not fit the neurons, or a weight becomes NaN or infinite.

        Examples
        --------
        >>> from ntkit import LinearHead
        >>> head = LinearHead([[1.0, 2.0]], [0.0], [0, 1])
        >>> head.scaled([1.0, 0.0]).coef
        array([[1., 0.]])
        """
        coef = self.coef.astype(np.float64) * np.asarray(gains, dtype=np.float64)
        offset = coef @ np.broadcast_to(np.asarray(shift, dtype=np.float64), (self.n_neurons,))
        dtype = self.coef.dtype
        return LinearHead(coef.astype(dtype), (self.intercept - offset).astype(dtype), self.classes)

    def aligned_to(self, classes: ArrayLike) -> LinearHead:
        """The same head with its rows in the order of ``classes``, (C,), its own classes."""
        classes = np.atleast_1d(np.asarray(classes))
        if classes.shape != self.classes.shape or not np.isin(classes, self.classes).all():
            raise InputError(
                f"The head knows the classes {_listed(self.classes)}, "
                f"not {_listed(classes)}; use the same labels."
            )
        if self.n_logits == 1:
            sign = 1 if classes[1] == self.classes[1] else -1
            return LinearHead(sign * self.coef, sign * self.intercept, classes)
        order = [int(np.flatnonzero(self.classes == c)[0]) for c in classes]
        return LinearHead(self.coef[order], self.intercept[order], classes)

    def with_logits(self, n_logits: int) -> LinearHead:
        """A head of C logits, or of 1 for two classes, with the same probabilities.

        Two classes have one logit z or two, [0, z]; more classes have one each.

        Raises
        ------
        InputError
            If a head with these classes cannot have this number of logits.

        Examples
        --------
        >>> from ntkit import LinearHead
        >>> head = LinearHead([[1.0, 2.0]], [3.0], [0, 1])
        >>> head.with_logits(2).coef
        array([[0., 0.],
               [1., 2.]])
        """
        if n_logits == self.n_logits:
            return self
        if len(self.classes) != 2 or n_logits not in (1, 2):
            raise InputError(
                f"A head of {len(self.classes)} classes cannot have {n_logits} logits: two classes "
                "have 1 or 2, more classes have one each."
            )
        if n_logits == 1:
            coef, intercept = np.diff(self.coef, axis=0), np.diff(self.intercept)
        else:
            coef = np.concatenate([np.zeros_like(self.coef), self.coef])
            intercept = np.append(self.intercept.dtype.type(0), self.intercept)
        return LinearHead(coef, intercept, self.classes)

    def astype(self, dtype: Any) -> LinearHead:
        """Return the same head in float32 or float64."""
        if self.coef.dtype == dtype:
            return self
        return LinearHead(self.coef.astype(dtype), self.intercept.astype(dtype), self.classes)

    def __reduce__(self) -> tuple[Any, ...]:
        # Copied and unpickled arrays are writable, so the arrays are made read-only again.
        return type(self), (self.coef, self.intercept, self.classes)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, LinearHead):
            return NotImplemented
        return (
            np.array_equal(self.coef, other.coef)
            and np.array_equal(self.intercept, other.intercept)
            and np.array_equal(self.classes, other.classes)
        )

    def __hash__(self) -> int:
        # Equal numbers have equal hashes, for any precision and sign of zero.
        weights = [(a.astype(np.float64) + 0.0).tobytes() for a in (self.coef, self.intercept)]
        return hash((self.coef.shape, *weights, tuple(self.classes.tolist())))

    def _shown(self) -> NotebookView:
        """A row for each logit: its bias, and the size of its weights as a bar."""
        norms = np.linalg.norm(self.coef.astype(np.float64), axis=1)
        used = (self.coef != 0).sum(axis=1)
        classes = self.classes[-self.n_logits :].tolist()  # a single logit is the second class's
        rows = [["class", "bias", "weights other than 0", "norm of the weights"]]
        rows += [
            [str(name), f"{bias:.4g}", str(n), f"{norm:.4g}"]
            for name, bias, n, norm in zip(classes, self.intercept, used, norms, strict=True)
        ]
        most = norms.max() or 1.0
        bars = [Bar(float(norm / most)) for norm in norms[:_SHOWN]]
        lines = [repr(self)]
        if len(classes) > _SHOWN:
            lines.append(f"First {_SHOWN} of {len(classes)} classes.")
        return NotebookView(lines, [ShownTable(rows[: 1 + _SHOWN], bars)])

    def __repr__(self) -> str:
        logits = ", one sigmoid logit" if self.n_logits == 1 else ""
        silent = int((self.coef == 0).all(axis=0).sum())
        suppressed = f", {silent} silent" if silent else ""
        return (
            f"LinearHead(n_neurons={self.n_neurons}{suppressed}, "
            f"classes={_listed(self.classes)}{logits}, {self.coef.dtype})"
        )


def _listed(classes: NDArray[Any], most: int = 6) -> str:
    labels = classes.tolist()
    if len(labels) <= most:
        return repr(labels)
    shown = ", ".join(map(repr, labels[:3]))
    return f"[{shown}, ..., {labels[-1]!r}] ({len(labels)} classes)"
