"""Feature sets: sources of attributes, in blocks of yes or no for every sample."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.ndimage import gaussian_filter1d

from ntkit._doc import documented
from ntkit._key import Key, conditions_in
from ntkit._labels import meant_instead
from ntkit._types import Array
from ntkit.exceptions import InputError

_ROWS = 4096
_MOST = 1 << 22  # numbers of a rule that is read from a file
QUANTILES = {"low": 0.25, "above the median": 0.5, "high": 0.75}
"""Names of the values of a column of numbers, and the quantiles where they are cut."""
_WITH_MODES = ("image", "input")
_RARE, _MOST_UNKNOWN = 0.05, 1 / 3  # smallest share of a mode, largest share between two
_DEPTH, _SURELY = 2.0, 3.0  # a valley has at most half of the lower mode's density, at z ≥ 3
_PURE = 2.0  # from twice the density of the valley, at least 3/4 belong to one mode


@dataclass(frozen=True, eq=False)
class Rule:
    """Attribute of numbers as a rule: the largest of some linear functions of their columns."""

    # The rule is: high in a channel, high along a direction, or nearest to one of several centres.
    # If there is one function, its value must be at least 0; nearer to 0 than the margin, the
    # attribute is unknown. The numbers are those of a layer, the statistics of images ("image"), or
    # the rows that a model reads ("input").

    layer: str
    columns: Array
    weights: Array
    offsets: Array
    which: int = 0
    margin: float = 0.0

    def values(self, X: Array) -> Array:
        """Apply the rule to numbers X (N, columns): 1, 0, or −1 if unknown; int8, (N,)."""
        if X.ndim != 2 or self.columns.max() >= X.shape[1]:
            raise InputError(
                f"A rule reads column {self.columns.max()} of {self.layer!r}, which has "
                f"{X.shape[-1]} columns; the rule belongs to another model."
            )
        has_it = np.empty(len(X), dtype=np.int8)
        for at in range(0, len(X), _ROWS):
            scores = X[at : at + _ROWS][:, self.columns].astype(np.float64) @ self.weights.T
            scores += self.offsets
            single = scores.shape[1] == 1
            has = scores[:, 0] >= 0 if single else scores.argmax(axis=1) == self.which
            unknown = np.isnan(scores).any(axis=1)
            if single:
                unknown |= np.abs(scores[:, 0]) < self.margin
            has_it[at : at + _ROWS] = np.where(unknown, -1, has)
        return has_it

    def is_like(self, other: Rule) -> bool:
        """Whether two rules differ at most by the rounding of another machine."""
        numbers = [(self.weights, other.weights), (self.offsets, other.offsets)]
        numbers += [(np.array(self.margin), np.array(other.margin))]
        return (
            (self.layer, self.which) == (other.layer, other.which)
            and np.array_equal(self.columns, other.columns)
            and all(a.shape == b.shape and np.allclose(a, b, rtol=1e-4) for a, b in numbers)
        )

    def as_dict(self) -> dict[str, Any]:
        """The rule as values that JSON can hold; weights have six digits."""
        return {
            "layer": self.layer,
            "columns": self.columns.tolist(),
            "weights": [[float(f"{w:.6g}") for w in row] for row in self.weights.tolist()],
            "offsets": self.offsets.tolist(),
            "which": self.which,
            **({"margin": self.margin} if self.margin else {}),
        }

    @classmethod
    def from_dict(cls, given: Any) -> Rule | None:
        """Read the output of :meth:`as_dict`; None if it is anything else."""
        try:
            layer, which = given["layer"], given["which"]
            margin = float(given.get("margin", 0.0))
            columns, weights, offsets = (
                np.asarray(given[key]) for key in ("columns", "weights", "offsets")
            )
        except (AttributeError, KeyError, TypeError, ValueError, OverflowError):
            return None
        numbers = (columns, weights, offsets)
        if not isinstance(layer, str) or type(which) is not int or weights.size > _MOST:
            return None
        if not 0 <= margin < np.inf:
            return None
        if not all(n.size and n.dtype.kind in "if" and np.isfinite(n).all() for n in numbers):
            return None
        whole = columns.ndim == 1 and columns.dtype.kind == "i" and (columns >= 0).all()
        fits = weights.shape == (*offsets.shape, *columns.shape) and weights.ndim == 2
        if not whole or not fits or not 0 <= which < len(offsets):
            return None
        weights, offsets = weights.astype(np.float64), offsets.astype(np.float64)
        return cls(layer, columns, weights, offsets, which, margin)


def rule_of_column(layer: str, column: int, values: Array, what: str) -> Rule | None:
    """Rule for low, above the median or high in a column."""
    # The threshold lies half-way between the neighbouring values, so that the last bits of a number
    # do not matter.
    there = np.asarray(values, dtype=np.float64)
    there = there[~np.isnan(there)]
    if what not in QUANTILES or not len(there):
        return None
    at = [*QUANTILES].index(what)
    firsts, apart = _firsts(there[:, None], modes=layer in _WITH_MODES)
    ends = firsts[[0, 2], 0] if apart[0] and what != "above the median" else firsts[[at], 0]
    lower = [there[there < end].max(initial=-np.inf) for end in ends]
    if not np.isfinite(lower).all():
        return None
    cuts = (ends + lower) / 2
    cut, sign = float(cuts.mean()), -1.0 if what == "low" else 1.0
    margin = float(np.ptp(cuts)) / 2
    return Rule(
        layer, np.array([column]), np.array([[sign]]), np.array([-sign * cut]), margin=margin
    )


def _firsts(there: Array, *, modes: bool) -> tuple[Array, Array]:
    """First value of each column that is not low, is above the median, and is high, (3, D).

    Last comes which columns have two modes: values that are neither low nor high are unknown.
    """
    firsts: Array = np.quantile(there, [*QUANTILES.values()], axis=0, method="higher")
    apart = np.zeros(there.shape[1], dtype=bool)
    for j in range(there.shape[1] if modes else 0):
        valley = _valley(there[:, j])
        if valley is not None:
            firsts[[0, 2], j], apart[j] = valley, True
    return firsts, apart


def _valley(values: Array) -> tuple[float, float] | None:
    """First values within and above the valley between two clear modes; None without them."""
    # A kernel density with 0.6 of Silverman's bandwidth (1986, eq. 3.31), because that is too wide
    # for two modes. Counts under two kernels are compared by Anscombe's root, as Poisson's. Let the
    # density of a mode fall towards the other mode. Then where the density is twice that of the
    # valley, at most a quarter is of the other mode. Below, a value is unknown.
    n, x = len(values), values.astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        x = (x - x.min()) / (x.max() - x.min())  # in these units, no range is too small for bins
    if not np.isfinite(x).all():  # one value, or a range without an end
        return None
    quartiles = np.quantile(x, [0.25, 0.75])
    spread = min(float(x.std()), float(np.ptp(quartiles)) / 1.34) or float(x.std())
    width = 0.6 * spread * n**-0.2
    n_bins = int(np.clip(8 / width, 256, 4096))
    at = np.minimum((x * n_bins).astype(np.intp), n_bins - 1)
    counts, sigma = np.bincount(at, minlength=n_bins), width * n_bins
    density = gaussian_filter1d(counts.astype(np.float64), sigma, mode="constant")
    highest = np.maximum.accumulate
    mode = np.minimum(highest(density), highest(density[::-1])[::-1])  # the lower one
    below = np.cumsum(counts)
    fewest = max(FEWEST, _RARE * n)
    kernel = 2 * np.sqrt(np.pi) * sigma  # bins whose counts have the variance of the density
    z = np.sqrt(2 * kernel) * (np.sqrt(mode) - np.sqrt(density))
    clear = (below >= fewest) & (below <= n - fewest) & (mode >= _DEPTH * density) & (z >= _SURELY)
    if not clear.any():
        return None
    deepest = int(np.where(clear, mode - density, -1).argmax())
    dense = density >= _PURE * density[deepest]
    dense[deepest] = False
    first, last = (
        np.flatnonzero(dense[:deepest])[-1] + 1,
        deepest + np.flatnonzero(dense[deepest:])[0],
    )
    within, above = values[at >= first].min(), values[at >= last].min()
    unknown = np.mean((values >= within) & (values < above))
    return (float(within), float(above)) if unknown <= _MOST_UNKNOWN else None


def rules_of(names: Iterable[str], rule: Callable[[str], Rule | None]) -> dict[str, Rule]:
    """The rules of attributes and of the conditions of conjunctions, where there is one."""
    parts = [part for name in names for part in (name, *chain(*conditions_in(name)))]
    rules = {part: rule(part) for part in parts}
    return {part: one for part, one in rules.items() if one is not None}


SUPPORT = 0.01
"""Smallest share of samples that must have an attribute, and that must not have it."""
FEWEST = 5  # fewest samples of either kind; a test needs as many
OF_ENOUGH = f"of at least {FEWEST} samples"
"""What a worst group is of, next to smaller ones."""


@dataclass(frozen=True, eq=False)
class Block:
    """Some attributes of all samples.

    Attributes
    ----------
    names : tuple of str
        B names, such as ``word:film``.
    values : scipy sparse array or ndarray, of 0 and 1 and shape (N, B)
        Which sample has which attribute.
    known : ndarray of bool, shape (N,), or None
        Samples whose attribute is known; None for all.
    origins : tuple of str
        Source of each attribute, such as the column that it is a threshold of; by default the name
        itself.
    """

    names: tuple[str, ...]
    values: Any
    known: Array | None = None
    origins: tuple[str, ...] = ()

    def origin(self, i: int) -> str:
        """Source of attribute ``i``."""
        return self.origins[i] if self.origins else self.names[i]

    def column(self, i: int) -> Array:
        """Attribute ``i`` of every sample: 1, 0, or −1 where it is not known; int8, (N,)."""
        column = self.values[:, [i]]
        dense = column.toarray() if hasattr(column, "toarray") else np.asarray(column)
        values = dense[:, 0].astype(np.int8)
        if self.known is not None:
            values[~self.known] = -1
        return np.asarray(values)


@documented
@dataclass(frozen=True, eq=False)
class FeatureSet:
    """Attributes of one kind, computed when they are used.

    Parameters
    ----------
    kind : str
        Kind, such as ``word``.
    exact : bool
        Whether the input states the attributes (a word, a category); else they are inferred.
    n_samples : int
        N.
    make : callable
        Function that returns the blocks; it is called for each pass.
    rule : callable, optional
        Function that returns the rule of an attribute by name, for names that do not say how to
        compute it for other samples; None if there is no rule.
    notes : callable, optional
        Function that returns sentences on how the inputs were read.
    read : callable, optional
        Function that returns the values of an attribute by name, also of one that no block holds;
        None if there is none.

    Examples
    --------
    >>> import numpy as np
    >>> from ntkit.attributes import Block, FeatureSet
    >>> short = np.array([[True], [False], [True]])
    >>> feature_set = FeatureSet("length", True, 3, lambda: iter([Block(("length:short",), short)]))
    >>> feature_set.values("length:short").tolist()
    [1, 0, 1]
    """

    kind: str
    exact: bool
    n_samples: int
    make: Callable[[], Iterator[Block]]
    rule: Callable[[str], Rule | None] = field(default=lambda name: None)
    notes: Callable[[], list[str]] = field(default=list)
    read: Callable[[str], Array | None] = field(default=lambda name: None)

    def blocks(self) -> Iterator[Block]:
        """Return all attributes in blocks."""
        return self.make()

    def values(self, name: str) -> Array:
        """One attribute of every sample: 1, 0, or −1 where it is not known; int8, (N,).

        Raises
        ------
        {attribute.InputError}
        """
        values = self.read(name)
        return values_of([self], name) if values is None else values

    def take(self, rows: Array) -> FeatureSet:
        """The same attributes of some samples, in the order of these rows; thresholds stay."""

        def blocks() -> Iterator[Block]:
            for block in self.blocks():
                known = None if block.known is None else block.known[rows]
                yield replace(block, values=block.values[rows], known=known)

        def read(name: str) -> Array | None:
            values = self.read(name)
            return None if values is None else values[rows]

        return replace(self, n_samples=len(rows), make=blocks, read=read)


def values_of(feature_sets: Iterable[FeatureSet], name: str) -> Array:
    """Value of one attribute for every sample: 1, 0, or −1 if it is not known; int8, (N,)."""
    feature_sets, names = [*feature_sets], list[str]()
    for feature_set in feature_sets:
        for block in feature_set.blocks():
            if name in block.names:
                return block.column(block.names.index(name))
            names += block.names
    for parts in conditions_in(name):
        if {*parts} <= {*names}:
            return both_of(*values_by_name(feature_sets, parts))
    keys = map(Key.of, names)
    full = [str(key) for key in keys if f"{key.what}{key.condition}".startswith(name)]
    meant = repr(min(full, key=len)) if full else meant_instead(name, names)
    raise InputError(
        f"There is no attribute {name!r}; did you mean {meant}?"
        if meant
        else f"There is no attribute {name!r} among {len(names)}; use a name from the table."
    )


def values_by_name(feature_sets: Iterable[FeatureSet], names: Sequence[str]) -> list[Array]:
    """Some attributes of every sample, read in one pass over the feature sets."""
    pairs = {name: conditions_in(name) for name in names}
    parts = {part for split in pairs.values() for pair in split for part in pair}
    wanted, values = {*names, *parts}, dict[str, Array]()
    for feature_set in feature_sets if names else ():
        for block in feature_set.blocks():
            for i, name in enumerate(block.names):
                if name in wanted and name not in values:
                    values[name] = block.column(i)
    for name, split in pairs.items():
        if name not in values:
            pair = next(pair for pair in split if {*pair} <= values.keys())
            values[name] = both_of(*(values[part] for part in pair))
    return [values[name] for name in names]


def both_of(one: Array, other: Array) -> Array:
    """Whether both conditions hold: 1, 0, or −1 if that is not known."""
    return np.where((one == 0) | (other == 0), 0, np.minimum(one, other)).astype(np.int8)


def common_enough(counts: Array, n: int | Array) -> Array:
    """Whether enough of n samples have an attribute, and enough do not have it."""
    counts = np.asarray(counts)
    least = np.maximum(FEWEST, SUPPORT * np.asarray(n))
    return np.asarray((counts >= least) & (n - counts >= least))


_BYTES = 32 << 20  # of a block


def array(X: ArrayLike, *, kind: str = "array", names: Sequence[str] | None = None) -> FeatureSet:
    """Feature set of the columns of a matrix: high, low and above the median, for each column."""
    matrix = X if isinstance(X, np.ndarray) else np.asarray(X)  # a memory-mapped array stays mapped
    if matrix.ndim != 2 or matrix.dtype.kind not in "fiub":
        raise InputError(
            f"{kind} must be a matrix of numbers, one row per sample; got {matrix.dtype} of shape "
            f"{matrix.shape}."
        )
    if names is not None and len(names) != matrix.shape[1]:
        raise InputError(
            f"{kind} has {matrix.shape[1]} columns and {len(names)} names; pass one name for each "
            "column."
        )
    shown = [f"#{j}" for j in range(matrix.shape[1])] if names is None else list(names)

    return inferred(kind, [f"{kind} {name}" for name in shown], len(matrix), lambda: matrix)


def inferred(
    kind: str, names: Sequence[str], n_samples: int, matrix: Callable[[], Array]
) -> FeatureSet:
    """The attributes low, above the median and high of the named columns of a matrix."""

    def rule(attribute: str) -> Rule | None:
        key = Key.of(attribute)
        if key.origin not in names or key.condition.strip() not in QUANTILES:
            return None
        j = names.index(key.origin)
        return rule_of_column(kind, j, matrix()[:, j], key.condition.strip())

    def read(attribute: str) -> Array | None:
        of = rule(attribute)
        return None if of is None else of.values(matrix())

    def blocks() -> Iterator[Block]:
        return high_and_low(matrix(), names, modes=kind in _WITH_MODES)

    return FeatureSet(kind, False, n_samples, blocks, rule=rule, read=read)


def high_and_low(X: Array, names: Sequence[str], *, modes: bool = False) -> Iterator[Block]:
    """Blocks of the attributes low, above the median and high of the columns of X (N, D)."""
    step = max(1, _BYTES // max(1, 8 * len(X)))
    for start in range(0, X.shape[1], step):
        part = np.asarray(X[:, start : start + step], dtype=np.float64)
        known = ~np.isnan(part)
        whole = np.flatnonzero(known.all(axis=0)).tolist()
        part_names = list(names[start : start + step])
        yield from _quarters(part[:, whole], [part_names[j] for j in whole], modes=modes)
        for j in np.flatnonzero(~known.all(axis=0) & known.any(axis=0)).tolist():
            yield from _quarters(part[:, [j]], [part_names[j]], known[:, j], modes=modes)


def _quarters(
    part: Array, names: Sequence[str], known: Array | None = None, *, modes: bool
) -> Iterator[Block]:
    """The three attributes of each column; one block, if any attribute is common enough.

    With two modes, low says the same as high. Values between them are unknown, in their own block.
    """
    if not names:
        return
    there = part if known is None else part[known]
    firsts, apart = _firsts(there, modes=modes)
    reached = part[:, None, :] >= firsts
    between = reached[:, 0] & ~reached[:, 2] & apart
    reached[:, 0] = part < firsts[0]
    values = reached.transpose(0, 2, 1).reshape(len(part), -1)
    common = common_enough(values.sum(axis=0), len(there))
    unclear = between.any(axis=0)
    common[:: len(QUANTILES)] &= ~apart
    common[len(QUANTILES) - 1 :: len(QUANTILES)] &= ~unclear
    kept = np.flatnonzero(common)
    if len(kept):
        shown = [f"{name} {what}" for name in names for what in QUANTILES]
        origins = tuple(names[int(i) // len(QUANTILES)] for i in kept)
        yield Block(tuple(shown[i] for i in kept), values[:, kept], known, origins)
    for j in np.flatnonzero(unclear).tolist():
        clear = ~between[:, j] if known is None else known & ~between[:, j]
        if common_enough(reached[clear, 2, j].sum(), int(clear.sum())):
            yield Block((f"{names[j]} high",), reached[:, 2, [j]], clear, (names[j],))
