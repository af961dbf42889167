"""DFR: retrain the last layer on data balanced over known groups."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any, ClassVar

import numpy as np
from joblib import Parallel, delayed
from numpy.typing import ArrayLike
from sklearn.preprocessing import StandardScaler
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, StrOptions

from ntkit._doc import documented
from ntkit._types import Array
from ntkit.estimators._group_inference import GroupInference
from ntkit.estimators._l1_head import l1_head, on_raw_units, without_convergence_warnings
from ntkit.estimators._partial_groups import GroupedClassifier
from ntkit.exceptions import InputError
from ntkit.head import LinearHead
from ntkit.solver import FittedHead
from ntkit.study import Rows, penalty_path, scaler_of


def halves(rows: Rows, group: Array, rng: np.random.RandomState) -> tuple[Array, Array]:
    """Random halves, each with its share of every cell of group and class."""
    cell = group * (int(rows.y_index.max()) + 1) + rows.y_index
    order = np.lexsort((rng.permutation(len(cell)), cell))
    halves = order[::2], order[1::2]
    n_groups, n_classes = len(np.unique(group)), len(np.unique(rows.y_index))
    if all(
        len(np.unique(group[half])) == n_groups and len(np.unique(rows.y_index[half])) == n_classes
        for half in halves
    ):
        return halves
    warnings.warn(
        "A group or class has a single sample, which cannot be in both halves; C is chosen on the "
        "samples it is fitted on. Pass more samples of it, or a single value in Cs.",
        UserWarning,
        stacklevel=6,
    )
    return order, order


def means_by_group(values: Array, weight: Array, group: Array) -> Array:
    mass = np.bincount(group, weights=weight)
    return np.asarray(np.bincount(group, weights=weight * values) / mass)


_TRIES = 20  # balanced draws before a class that is never drawn is an error


@documented
@dataclass(eq=False, repr=False, kw_only=True)
class DFRClassifier(GroupedClassifier):
    r"""Last-layer retraining on group-balanced data (deep feature reweighting, DFR).

    Needs embeddings, class labels and group labels: it knows the answer that the label-free
    methods look for, so with all group labels it serves as their upper bound. Where only some
    are known (-1, None or NaN elsewhere), :class:`GroupInference` infers the others.

    Best are samples that the network was not trained on. ``variant="subsample"`` is the published
    method (arXiv 2204.02937, "Deep Feature Reweighting", and arXiv 2210.11369). A group-balanced
    subsample B holds as many samples of every group as the smallest group has; on it an
    L1-regularised head on standardised embeddings minimises

    .. math:: \|W\|_1 + C \sum_{n \in B} s_n\, \ell(W \tilde z_n + b,\, y_n) .

    1. The samples are halved, with every group in both halves. Heads for all ``Cs`` are fitted
       on a balanced subsample of one half; the best worst-group accuracy on the other half
       chooses C.
    2. ``n_retrains`` heads are fitted with that C on fresh balanced subsamples of all samples,
       standardised over all samples, and their weights and biases averaged. The mean head, with
       the standardisation folded in, is the result.

    ``variant="weighted"`` is one convex fit of all samples, each group weighted to the same
    mass, with an L2 penalty and no standardisation:

    .. math::

        \frac{1}{G} \sum_g \frac{1}{S_g} \sum_{n \in g} s_n\, \ell(W z_n + b,\, y_n)
        + \frac{1}{2 C S} \|W\|^2 , \qquad S_g = \sum_{n \in g} s_n,\ S = \sum_g S_g .

    Parameters
    ----------
    variant : {"subsample", "weighted"}, default="subsample"
        The published subsampling with an L1 penalty, or group weights with an L2 penalty.
    Cs : array-like, default=(1.0, 0.7, 0.3, 0.1, 0.07, 0.03, 0.01)
        Inverse strengths of the L1 penalty to choose from; a single one is not tuned. Ties go to
        the weaker penalty, as in the authors' script. "subsample" only.
    n_retrains : int, default=20
        Heads to average (the papers take 20 on held-out and 10 on training data). "subsample"
        only.
    C : float or None, default=1.0
        Inverse strength of the L2 penalty, as in scikit-learn's ``LogisticRegression``. None
        standardises the embeddings and chooses by cross-validated accuracy, the mean over the
        worse half of the groups, as ``AutoDebiasClassifier`` chooses its own. "weighted" only.
    {group_inference}
        None is ``GroupInference()`` with the same ``random_state``.
    tol : float, default=1e-4
        Tolerance of the solver. With three classes and more, 1e-3 takes a third of the time.
    max_iter : int, default=1000
        Most iterations of the solver. An L1 fit that uses them all is averaged as it is:
        ``n_iter_`` tells.
    {device}
        "weighted" only.
    n_jobs : int, default=None
        Threads for the heads to average, with three classes and more: liblinear, which fits two,
        is quick and not reproducible in threads.
    {random_state}

    Attributes
    ----------
    {classes_, coef_}
        They read the embeddings as they are.
    {intercept_, head_, groups_}
    group_counts_ : ndarray of int, shape (G,)
        Samples of each group (of positive weight); "subsample" draws the smallest count from
        each.
    C_ : float
        The inverse strength used.
    {group_inference_}
    worst_group_accuracy_ : ndarray of shape (len(Cs),)
        Worst-group accuracy of each of ``Cs`` on the tuning half; NaN where nothing was tuned.
    {n_iter_}
        The most over the averaged heads.
    {n_features_in_, feature_names_in_}

    Notes
    -----
    Two classes are fitted by liblinear, as published, which penalises the bias a little as well;
    three and more by saga on the multinomial loss, each fit started from the one before it.

    References
    ----------
    Kirichenko, Izmailov, Wilson: Last Layer Re-Training is Sufficient for Robustness to Spurious
    Correlations. ICLR 2023, arXiv 2204.02937.

    Izmailov, Kirichenko, Gruver, Wilson: On Feature Learning in the Presence of Spurious
    Correlations. NeurIPS 2022, arXiv 2210.11369.

    Examples
    --------
    >>> from ntkit.estimators import DFRClassifier
    {marked}
    >>> clf = DFRClassifier(random_state=0).fit(X, y, groups=2 * y + mark)
    >>> bool(abs(clf.coef_[0, 0]) > 5 * abs(clf.coef_[0, 1]))
    True
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "variant": [StrOptions({"subsample", "weighted"})],
        "Cs": ["array-like"],
        "n_retrains": [Interval(Integral, 1, None, closed="left")],
        "group_inference": [GroupInference, None],
        **GroupedClassifier._shared_constraints,
        "C": [*GroupedClassifier._shared_constraints["C"], None],
    }

    variant: str = "subsample"
    Cs: ArrayLike = (1.0, 0.7, 0.3, 0.1, 0.07, 0.03, 0.01)
    n_retrains: int = 20
    C: float | None = 1.0  # type: ignore[assignment]
    group_inference: GroupInference | None = None
    tol: float = 1e-4
    max_iter: int = 1000
    device: str = "cpu"
    n_jobs: int | None = None
    random_state: Any = None

    def _learn(self, rows: Rows, group: Array) -> None:
        self.group_counts_ = np.bincount(group[rows.weight > 0])
        Cs = self._checked_Cs()
        self.worst_group_accuracy_ = np.full(len(Cs), np.nan)
        if self.variant == "weighted":
            self._fit_weighted(rows, group)
            return

        present = rows.weight > 0
        if not present.all():
            rows, group = rows.take(present), group[present]
        rng = check_random_state(self.random_state)
        with without_convergence_warnings():
            self.C_, start = self._tune(rows, group, Cs, rng)
            self._set_head(self._average(rows, group, start, rng))

    def _fit_weighted(self, rows: Rows, group: Array) -> None:
        mass = np.bincount(group, weights=rows.weight)
        balanced = rows.weight * (mass.sum() / (len(mass) * mass))[group]
        if self.C is not None:
            self.C_ = self.C
            self._set_head(self._fit_head(rows, balanced))
            return
        gains = 1 / rows.deviations

        def fit(
            rows: Rows, weights: Sequence[Array], alphas: Sequence[float]
        ) -> Sequence[LinearHead]:
            return self._ridge_heads(rows, weights, alphas, gains)

        seed = _seed(check_random_state(self.random_state))
        path = penalty_path(fit, rows, balanced, group, worse_half=True, seed=seed, outcomes=False)
        self.C_ = 1 / (float(balanced.sum()) * path.alpha)
        self._set_head(self._fit_head(rows, balanced, gains=gains, C=self.C_))

    def _checked_Cs(self) -> Array:
        Cs = np.asarray(self.Cs, dtype=np.float64)
        if Cs.ndim != 1 or not len(Cs) or not (Cs > 0).all():
            raise InputError(f"Cs must be a list of positive numbers; got {self.Cs!r}.")
        return Cs

    def _tune(
        self, rows: Rows, group: Array, Cs: Array, rng: np.random.RandomState
    ) -> tuple[float, FittedHead | None]:
        """C of the best worst-group accuracy on the other half, and its head to start from."""
        if len(Cs) == 1:
            return float(Cs[0]), None
        fitting, judging = halves(rows, group, rng)
        drawn = rows.take(fitting[self._balanced_draw(rows.take(fitting), group[fitting], rng)])
        scaler = scaler_of(drawn)
        drawn, judged = _scaled(drawn, scaler), _scaled(rows.take(judging), scaler)

        options = self._l1_options()
        seed, best_rank, C, best, start = _seed(rng), (-1.0, 0.0), 1.0, None, None
        for at in np.argsort(Cs, kind="stable"):  # the sparsest head first: a path of warm starts
            start = l1_head(drawn, Cs[at], start=start, seed=seed, **options)
            right = start.logits(judged.X).argmax(axis=1) == judged.y_index
            accuracy = means_by_group(right, judged.weight, group[judging])
            self.worst_group_accuracy_[at] = accuracy.min()
            # No tie may be decided by the last digits of sums.
            rank = (round(float(accuracy.min()), 12), float(Cs[at]))
            if rank > best_rank:
                best_rank, C, best = rank, float(Cs[at]), start
        return C, best

    def _average(
        self, rows: Rows, group: Array, start: LinearHead | None, rng: np.random.RandomState
    ) -> FittedHead:
        """Mean of the heads of ``n_retrains`` balanced subsamples, on embeddings as they are."""
        scaler = scaler_of(rows)
        draws = [
            (self._balanced_draw(rows, group, rng), _seed(rng)) for _ in range(self.n_retrains)
        ]

        def one(index: Array, seed: int) -> FittedHead:
            drawn = _scaled(rows.take(index), scaler)
            return l1_head(drawn, self.C_, start=start, seed=seed, **self._l1_options())

        # liblinear fits in one thread at a time.
        n_jobs = 1 if len(self.classes_) == 2 else self.n_jobs
        heads = Parallel(n_jobs=n_jobs, require="sharedmem")(
            delayed(one)(index, seed) for index, seed in draws
        )
        head = LinearHead(
            np.stack([head.coef for head in heads]).mean(axis=0, dtype=np.float64),
            np.stack([head.intercept for head in heads]).mean(axis=0, dtype=np.float64),
            self.classes_,
        )
        return on_raw_units(head, scaler, rows.X.dtype, max(head.n_iter for head in heads))

    def _l1_options(self) -> dict[str, Any]:
        return {"classes": self.classes_, "tol": self.tol, "max_iter": self.max_iter}

    def _balanced_draw(self, rows: Rows, group: Array, rng: np.random.RandomState) -> Array:
        """Indices of a subsample with as many rows of every group, and every class in it."""
        size = np.bincount(group)[np.unique(group)].min()
        for _ in range(_TRIES):
            order = np.lexsort((rng.permutation(len(group)), group))
            first = np.searchsorted(group[order], group[order])
            drawn = np.sort(order[np.arange(len(order)) - first < size])
            missing = np.setdiff1d(np.arange(len(self.classes_)), rows.y_index[drawn])
            if not len(missing):
                return np.asarray(drawn)
        raise InputError(
            f"{_TRIES} balanced draws of {size} sample(s) per group held no sample of class "
            f"{self.classes_[missing].tolist()[0]!r}; pass groups that lie within one class each, "
            "or use variant='weighted'."
        )


def _scaled(rows: Rows, scaler: StandardScaler) -> Rows:
    return Rows(scaler.transform(rows.X), rows.y_index, rows.weight)


def _seed(rng: np.random.RandomState) -> int:
    return int(rng.randint(np.iinfo(np.int32).max))
