"""DFR and group DRO: heads for groups; unknown groups are inferred."""

from __future__ import annotations

from dataclasses import dataclass, replace
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
from joblib import Parallel, delayed
from numpy.typing import ArrayLike
from scipy.linalg import cho_factor, cho_solve
from scipy.special import expit, logsumexp
from scipy.stats import chi2_contingency
from sklearn.exceptions import ConvergenceWarning
from sklearn.preprocessing import StandardScaler
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, StrOptions

from ntkit._checks import combined, rates
from ntkit._doc import documented
from ntkit._key import group_name
from ntkit._process import warn
from ntkit._types import Array
from ntkit.attributes import Attribute
from ntkit.estimators._base import OPTIONAL_C, StudyClassifier
from ntkit.estimators._group_inference import GroupInference
from ntkit.estimators._l1_head import l1_head, on_raw_units, without_convergence_warnings
from ntkit.exceptions import InputError
from ntkit.head import LinearHead
from ntkit.solver.fit_head import FittedHead
from ntkit.study import Rows, Study, checked_numbers, scaler_of, seed_of

_FEW = 0.01  # in a group: wrong labels put this share of another class into it
_WEAK, _CHANCE = 0.1, 0.001  # Cramér's V and p-value of groups that are independent of the class


@documented
@dataclass(eq=False, repr=False, kw_only=True)
class GroupedClassifier(StudyClassifier):
    """Base of the estimators that need groups and have the parameter ``group_inference``."""

    _takes: ClassVar[tuple[str, ...]] = ("groups", "attribute", "feature_sets")
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "group_inference": [GroupInference, None]
    }

    group_inference: GroupInference | None = None

    def _with_known(
        self, study: Study, groups: Any = None, attribute: Any = None, feature_sets: Any = None
    ) -> Study:
        """The study with the group number of each row; inferred groups count as probable."""
        inference = self.group_inference
        if inference is None:
            inference = GroupInference(random_state=getattr(self, "random_state", 0))
        rows, of = completed_groups(
            groups, attribute, study.train, type(self).__name__, inference, feature_sets
        )
        self.groups_, self.group_inference_ = np.asarray(of.names), of.inference
        return Study(replace(rows, groups=of.value))


def completed_groups(
    groups: ArrayLike | None,
    attribute: ArrayLike | None,
    rows: Rows,
    name: str,
    inference: GroupInference,
    feature_sets: Any,
) -> tuple[Rows, Attribute]:
    """Rows and the group of each, inferred if it is unknown."""
    # With `attribute` the groups are class × attribute.
    if groups is not None and attribute is not None:
        raise InputError("Pass groups or attribute, not both.")
    values, what = (groups, "groups") if attribute is None else (attribute, "attribute")
    one = "group" if attribute is None else "attribute"
    classes, y, n = rows.classes, rows.y, len(rows)
    if values is None:
        raise InputError(
            f"{name} needs the group of every sample; pass groups= to fit. Usually it is one label "
            "for every pair of class and spurious attribute (groups=y balances the classes alone)."
        )
    values = combined(values, what)
    shape = np.asarray(values, dtype=object).shape
    if shape not in ((n,), (n, 1)):
        raise InputError(f"{what} must have one label per sample, shape ({n},); got shape {shape}.")
    if attribute is None and _are_classes(values, y):
        return rows, Attribute(what, rows.y_index, tuple(classes.tolist()))
    labelled = Attribute.from_labels(what, values)
    if not labelled.names:
        raise InputError(
            f"{name} needs the {one} of some samples, but {what} is -1, None or NaN for all of "
            "them; label some."
        )
    known = labelled.value >= 0
    if attribute is None:
        _warn_of_several_classes(labelled.labels[known], known, rows, classes)
    if known.all() and attribute is not None:
        return rows, labelled.crossed(y)
    if known.all():
        mass = np.bincount(labelled.value, weights=rows.weight)
        if (mass <= 0).any():
            raise InputError(
                f"The group {labelled.names[int(np.argmin(mass))]!r} has no sample of positive "
                "weight; leave its samples out."
            )
        return rows, labelled

    labelled = labelled.inferred(
        inference, rows.X if feature_sets is None else feature_sets, y, rows.weight
    )
    assert labelled.weight is not None
    complete = labelled if attribute is None else labelled.crossed(y)
    if labelled.inference.feature_set_ is None:
        n_groups = 0 if attribute is None else len(classes) * len(labelled.names)
        complete, sentence = with_rest(complete, y, n_groups)
        warn(f"No feature set predicts the {one}, so {sentence}.", UserWarning)
    else:
        rows = replace(rows, weight=rows.weight * labelled.weight)
    kept = np.flatnonzero(rows.weight > 0)
    if len(kept) < n:
        rows, complete = rows.take(kept), complete.take(kept)
    return rows, complete.where(complete.value >= 0)


FEWEST_KNOWN = 3
"""Number of labelled samples that a group needs, if its other samples are unknown."""


def with_rest(groups: Attribute, y: Array, n_groups: int) -> tuple[Attribute, str]:
    """Groups with the samples that have none, if nothing predicts it; and what they are."""
    # Balancing over known groups alone is far worse than balancing the classes if some groups have
    # few samples or none: the attribute is then correlated with the class by what was labelled.
    classes, y_index = np.unique(y, return_inverse=True)
    if len(groups.names) < n_groups or min(groups.counts) < FEWEST_KNOWN:
        alone = f"fewer than {FEWEST_KNOWN} samples of a group are known"
        sentence = f"the head balances only the classes, because {alone}"
        return replace(groups, value=y_index, names=tuple(classes.tolist())), sentence
    rest = groups.value < 0
    there, index = np.unique(y_index[rest], return_inverse=True)
    value = groups.value.copy()
    value[rest] = len(groups.names) + index
    names = (*groups.names, *(group_name(label, "unknown") for label in classes[there]))
    sentence = "the samples of a class without it are one more group"
    return replace(groups, value=value, names=names), sentence


def _warn_of_several_classes(labels: Array, known: Array, rows: Rows, classes: Array) -> None:
    """Warn if an attribute was passed as groups: it has to be crossed with the class."""
    present = rows.weight > 0
    y = classes[rows.y_index[known & present]]
    mixed = _of_several_classes(labels[present[known]], y)
    if mixed is not None:
        warn(
            f"The group {mixed!r} has several classes, and groups are correlated with the class: "
            "balancing such groups does not break that correlation. Pass them as attribute= (ntkit "
            "debias --answers TABLE), so that groups are class × attribute.",
            UserWarning,
        )


def _of_several_classes(groups: Array, y: Array) -> Any:
    """A group with several classes, if the groups are correlated with the class; else None."""
    # Balancing such groups keeps the correlation. Groups that are independent of the class
    # (Pearson's test) have no correlation to keep.
    names, group = np.unique(groups, return_inverse=True)
    classes, label = np.unique(y, return_inverse=True)
    counts = np.zeros((len(names), len(classes)))
    np.add.at(counts, (group, label), 1)
    mixed = counts.max(axis=1, initial=0) < (1 - _FEW) * counts.sum(axis=1)
    if min(counts.shape) < 2 or not mixed.any():
        return None
    test = chi2_contingency(counts, correction=False)
    strength = np.sqrt(test.statistic / (counts.sum() * (min(counts.shape) - 1)))
    independent = test.pvalue > _CHANCE or strength < _WEAK
    return None if independent else names.tolist()[mixed.argmax()]


def _are_classes(values: ArrayLike, y: Array) -> bool:
    """Whether the groups are the classes themselves; -1 and NA may be classes."""
    groups = np.asarray(values)
    return groups.dtype.kind in "iufU" and np.array_equal(groups.reshape(-1), y)


def halves(rows: Rows, group: Array, rng: np.random.RandomState) -> tuple[Array, Array]:
    """Random halves, each with its share of every group of every class."""
    cell = group * (int(rows.y_index.max()) + 1) + rows.y_index
    order = np.lexsort((rng.permutation(len(cell)), cell))
    halves = order[::2], order[1::2]
    n_groups, n_classes = len(np.unique(group)), len(np.unique(rows.y_index))
    if all(
        len(np.unique(group[half])) == n_groups and len(np.unique(rows.y_index[half])) == n_classes
        for half in halves
    ):
        return halves
    warn(
        "A group or class has a single sample, so C was not chosen on separate samples. Label more "
        "samples of it, or pass one value as Cs.",
        UserWarning,
    )
    return order, order


_TRIES = 20  # balanced draws before a class without samples is an error


@documented
@dataclass(eq=False, repr=False, kw_only=True)
class DFRClassifier(GroupedClassifier):
    r"""Last-layer retraining on group-balanced data (deep feature reweighting, DFR).

    Needs embeddings, class labels and group labels. With all group labels it is an upper bound for
    the methods without them. If only some are known (the others -1, None or NaN),
    :class:`GroupInference` infers the rest.

    Samples that the network was not trained on are best. ``variant="subsample"`` is the published
    method (arXiv 2204.02937, "Deep Feature Reweighting", and arXiv 2210.11369). A group-balanced
    subsample B has as many samples of every group as the smallest group. An L1-regularised head on
    standardised embeddings minimises

    .. math:: \|W\|_1 + C \sum_{n \in B} s_n\, \ell(W \tilde z_n + b,\, y_n) .

    1. The samples are split into halves, with every group in both. Heads for all ``Cs`` are fitted
       to a balanced subsample of one half. The best worst-group accuracy on the other half chooses
       C.
    2. ``n_retrains`` heads with that C are fitted to new balanced subsamples of all samples,
       standardised over all samples. The result is the mean of their weights and biases, with the
       standardisation folded in.

    ``variant="weighted"`` is one convex fit to all samples. Every group has the same total weight.
    It has an L2 penalty and no standardisation:

    .. math::

        \frac{1}{G} \sum_g \frac{1}{S_g} \sum_{n \in g} s_n\, \ell(W z_n + b,\, y_n)
        + \frac{1}{2 C S} \|W\|^2 , \qquad S_g = \sum_{n \in g} s_n,\ S = \sum_g S_g .

    Parameters
    ----------
    variant : {"subsample", "weighted"}, default="subsample"
        The published subsampling with an L1 penalty, or group weights with an L2 penalty.
    Cs : array-like, default=(1.0, 0.7, 0.3, 0.1, 0.07, 0.03, 0.01)
        Candidate inverse strengths of the L1 penalty; a single one is not tuned. A tie goes to the
        weaker penalty, as in the authors' script. "subsample" only.
    n_retrains : int, default=20
        Number of heads to average (papers: 20 on validation data, 10 on training data). "subsample"
        only.
    C : float or None, default=None
        Inverse strength of the L2 penalty, as in scikit-learn's ``LogisticRegression``. None
        standardises the embeddings and chooses the penalty by cross-validated accuracy, the mean
        over the worse half of the groups. "weighted" only.
    {group_inference}
        None means ``GroupInference()`` with the same ``random_state``.
    tol : float, default=1e-4
        Tolerance of the solver. With three or more classes, 1e-3 takes a third of the time.
    max_iter : int, default=1000
        Most iterations of the solver. An L1 fit that uses them all is averaged without a warning;
        see ``n_iter_``.
    {device}
        "weighted" only.
    n_jobs : int, default=None
        Threads that fit the heads to average, with three or more classes. Two classes use
        liblinear, which is fast and not reproducible in threads.
    {random_state}

    Attributes
    ----------
    {classes_, coef_}
        For embeddings without standardisation.
    {intercept_, head_, groups_}
    group_counts_ : ndarray of int, shape (G,)
        Number of samples of each group (of positive weight); "subsample" draws the smallest from
        each.
    C_ : float
        Inverse strength in use.
    {group_inference_}
    worst_group_accuracy_ : ndarray of shape (len(Cs),)
        Worst-group accuracy of each of ``Cs`` on the second half; NaN without tuning.
    {n_iter_}
        Maximum over the averaged heads.
    {n_features_in_, feature_names_in_}

    Notes
    -----
    Two classes are fitted by liblinear, as published, which penalises the bias slightly. Three or
    more classes are fitted by saga on the multinomial loss; each fit starts from the one before it.

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
        "C": OPTIONAL_C,
    }

    variant: str = "subsample"
    Cs: ArrayLike = (1.0, 0.7, 0.3, 0.1, 0.07, 0.03, 0.01)
    n_retrains: int = 20
    C: float | None = None  # type: ignore[assignment]
    tol: float = 1e-4
    n_jobs: int | None = None
    random_state: Any = None

    def _learn(self, study: Study) -> None:
        rows, group = study.train, study.train.groups
        assert group is not None
        self.group_counts_ = np.bincount(group[rows.weight > 0])
        Cs = np.array(checked_numbers("Cs", self.Cs))
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

    def _counts_rows(self) -> bool:
        return self.variant == "subsample" or self.C is None

    def _fit_weighted(self, rows: Rows, group: Array) -> None:
        mass = np.bincount(group, weights=rows.weight)
        balanced = rows.weight * (mass.sum() / (len(mass) * mass))[group]
        if self.C is not None:
            self.C_ = self.C
            self._set_head(self._fit_heads(rows, [balanced])[0])
            return
        seed = seed_of(self.random_state)
        chosen = self._tuned(rows, balanced, group, worse_half=True, seed=seed)
        self.C_ = 1 / (float(balanced.sum()) * chosen.alpha)
        self._set_head(chosen.head)

    def _tune(
        self, rows: Rows, group: Array, Cs: Array, rng: np.random.RandomState
    ) -> tuple[float, FittedHead | None]:
        """C with the best worst-group accuracy on the other half, and its head as a start."""
        if len(Cs) == 1:
            return float(Cs[0]), None
        fitting, judging = halves(rows, group, rng)
        drawn = rows.take(fitting[self._balanced_draw(rows.take(fitting), group[fitting], rng)])
        scaler = scaler_of(drawn)
        drawn, judged = _scaled(drawn, scaler), _scaled(rows.take(judging), scaler)

        options = self._l1_options()
        seed, best_rank, C, best, start = seed_of(rng), (-1.0, 0.0), 1.0, None, None
        for at in np.argsort(Cs, kind="stable"):  # each fit starts from the sparser one before
            start = l1_head(drawn, Cs[at], start=start, seed=seed, **options)
            right = start.logits(judged.X).argmax(axis=1) == judged.y_index
            accuracy, _ = rates(right, group[judging], judged.weight)
            self.worst_group_accuracy_[at] = accuracy.min()
            # The last digits of sums must not break a tie.
            rank = (round(float(accuracy.min()), 12), float(Cs[at]))
            if rank > best_rank:
                best_rank, C, best = rank, float(Cs[at]), start
        return C, best

    def _average(
        self, rows: Rows, group: Array, start: LinearHead | None, rng: np.random.RandomState
    ) -> FittedHead:
        """Mean of the heads of ``n_retrains`` balanced subsamples, for unscaled embeddings."""
        scaler = scaler_of(rows)
        draws = [
            (self._balanced_draw(rows, group, rng), seed_of(rng)) for _ in range(self.n_retrains)
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
        """Indices of a subsample with as many rows of every group, and with every class."""
        size = np.bincount(group)[np.unique(group)].min()
        for _ in range(_TRIES):
            order = np.lexsort((rng.permutation(len(group)), group))
            first = np.searchsorted(group[order], group[order])
            drawn = np.sort(order[np.arange(len(order)) - first < size])
            missing = np.setdiff1d(np.arange(len(self.classes_)), rows.y_index[drawn])
            if not len(missing):
                return np.asarray(drawn)
        raise InputError(
            f"{_TRIES} balanced draws of {size} sample(s) per group had no sample of class "
            f"{self.classes_[missing].tolist()[0]!r}; pass groups that lie within one class each, "
            "or use variant='weighted'."
        )


def _scaled(rows: Rows, scaler: StandardScaler) -> Rows:
    return replace(rows, X=scaler.transform(rows.X))


_ERM_TOL = 1e-6  # tolerance for the head to start from


@documented
@dataclass(eq=False, repr=False, kw_only=True)
class GroupDROClassifier(GroupedClassifier):
    r"""Last-layer retraining for the worst group (group distributionally robust optimisation).

    Needs embeddings, class labels and group labels; :class:`GroupInference` infers unknown groups
    (-1, None or NaN). It minimises the largest mean loss of a group, with an L2 penalty (arXiv
    1911.08731, Sec. 2 and Algorithm 1):

    .. math::

        \min_{W, b}\ \max_{q \in \Delta_G}\ \sum_g q_g L_g(W, b) + \frac{1}{2 C S} \|W\|^2 ,
        \qquad L_g = \frac{1}{S_g} \sum_{n \in g} s_n\, \ell(W z_n + b,\, y_n) ,

    with :math:`S_g = \sum_{n \in g} s_n` and :math:`S = \sum_g S_g`. From the ERM head and equal
    weights of the groups it repeats

    1. :math:`q_g \leftarrow q_g \exp(\eta L_g)`, normalised;
    2. a gradient step on :math:`\sum_g q_g L_g` and the penalty, over all samples.

    The problem is convex in the head. The iteration ends when :math:`\max_g L_g - \sum_g q_g L_g`
    is below ``tol`` and the remaining decrease by gradient steps is below a tenth of ``tol``. The
    result is the head with the smallest objective so far, so it is never worse than the ERM head.

    Parameters
    ----------
    eta : float, default=0.01
        η, the step of the group weights, as published. A convex full-batch problem allows larger
        steps: 0.1 needs a tenth of the iterations.
    {C}
        Inverse strength of the penalty. The paper shows that the penalty must be strong for a
        network that fits every sample.
    tol : float, default=1e-3
        Largest distance of the worst group's mean loss from the optimum, in nats.
    max_iter : int, default=50000
        Most gradient steps; a ConvergenceWarning if they do not suffice. The published η takes
        thousands.
    device : {"cpu", "cuda", "auto", "ray"}, default="cpu"
        Device of the ERM head; the steps run on the CPU.
    {group_inference}
        None means ``GroupInference(random_state=0)``.

    Attributes
    ----------
    {classes_, coef_, intercept_, head_, groups_}
    group_weights_ : ndarray of shape (G,)
        q, in the order of ``groups_``.
    group_losses_ : ndarray of shape (G,)
        Mean loss of each group under the head, in nats.
    {group_inference_}
    erm_head_ : LinearHead
        ERM head of the same C, at which the iteration starts.
    n_iter_ : ndarray of shape (1,)
        Number of gradient steps.
    {n_features_in_, feature_names_in_}

    Notes
    -----
    The gradient step uses the metric of a matrix that bounds the Hessian of the equally weighted
    loss: :math:`a\,\mathrm{Cov}(z) + I / (C S)` with a = 1/4 for one logit and 1/2 for several
    (Böhning, 1992), times :math:`1 / \max(1, G \max_g q_g)`. Such a step never increases the
    weighted loss, so there is no step size to choose.

    References
    ----------
    Sagawa, Koh, Hashimoto, Liang: Distributionally Robust Neural Networks for Group Shifts: On
    the Importance of Regularization for Worst-Case Generalization. ICLR 2020, arXiv 1911.08731.

    Böhning: Multinomial Logistic Regression Algorithm. Annals of the Institute of Statistical
    Mathematics 44, 1992.

    Examples
    --------
    >>> from ntkit.estimators import GroupDROClassifier
    {marked}
    >>> clf = GroupDROClassifier(eta=0.1).fit(X, y, groups=2 * y + mark)
    >>> bool(abs(clf.coef_[0, 0]) > 2 * abs(clf.coef_[0, 1]))
    True
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "eta": [Interval(Real, 0, None, closed="neither")],
    }

    eta: float = 0.01
    C: float = 1.0
    tol: float = 1e-3
    max_iter: int = 50_000

    def _learn(self, study: Study) -> None:
        rows, group = study.train, study.train.groups
        assert group is not None
        tol = min(self.tol, _ERM_TOL)
        erm = self._solved(rows.X, rows.y_index, rows.weight, tol=tol)
        self.erm_head_ = LinearHead(erm.coef, erm.intercept, self.classes_)

        mass = np.bincount(group, weights=rows.weight)
        n_groups, share = len(mass), rows.weight / mass[group]
        penalty = 1 / (self.C * rows.weight.sum())
        loss = _sigmoid_losses if len(erm.coef) == 1 else _softmax_losses
        mean, inverse, curvature = _metric(rows.X, share / n_groups, penalty, len(erm.coef))
        dtype = rows.X.dtype
        W, b = erm.coef.astype(np.float64), erm.intercept.astype(np.float64)
        q, lowest, n_iter = np.full(n_groups, 1 / n_groups), np.inf, 0
        while True:
            values, residual = loss(rows.X @ W.astype(dtype).T + b, rows.y_index)
            losses = np.bincount(group, weights=share * values)
            objective = float(losses.max()) + 0.5 * penalty * float((W**2).sum())
            if objective < lowest:
                lowest, best = objective, (W, b)
                self.group_weights_, self.group_losses_ = q, losses
            gap = losses.max() - q @ losses
            q = q * np.exp(self.eta * (losses - losses.max()))
            q = q / q.sum()

            residual *= (share * q[group])[:, None]
            slope = residual.sum(axis=0)
            gradient = (residual.T.astype(dtype) @ rows.X).astype(np.float64)
            centered = gradient - slope[:, None] * mean + penalty * W
            step_W, step_b = centered @ inverse, slope / curvature
            promise = float((centered * step_W).sum() + slope @ step_b)
            # The metric bounds the curvature from above, so this decrease is a lower bound.
            if gap <= self.tol and promise <= 0.1 * self.tol:
                break
            if n_iter == self.max_iter:
                warn(
                    f"The worst group's loss is not within tol={self.tol} of its optimum after "
                    f"max_iter={self.max_iter} steps; raise eta or max_iter, or lower C.",
                    ConvergenceWarning,
                )
                break
            n_iter += 1
            rate = 1 / max(1.0, n_groups * float(q.max()))
            # b is the bias of centred embeddings minus W mean: both of its parts change.
            W, b = W - rate * step_W, b - rate * (step_b - step_W @ mean)
        coef, intercept = (part.astype(dtype) for part in best)
        self._set_head(FittedHead(coef, intercept, self.classes_, n_iter))


def _metric(X: Array, weight: Array, penalty: float, n_logits: int) -> tuple[Array, Array, float]:
    """Mean of the embeddings, inverse of a bound on the Hessian, and its entry for the bias."""
    curvature = 0.25 if n_logits == 1 else 0.5
    mean = (X.T @ weight.astype(X.dtype)).astype(np.float64)
    root = (X - mean.astype(X.dtype)) * np.sqrt(weight)[:, None].astype(X.dtype)
    bound = curvature * (root.T @ root).astype(np.float64)
    diagonal = np.einsum("ii->i", bound)
    diagonal += penalty + 10 * np.finfo(X.dtype).eps * max(float(diagonal.sum()), 1e-30)
    factor = cho_factor(bound, lower=True, check_finite=False, overwrite_a=True)
    # Solved once: SciPy's and NumPy's threads would wait for each other in every step.
    inverse = cho_solve(factor, np.eye(len(bound)), check_finite=False, overwrite_b=True)
    return mean, inverse, curvature


def _sigmoid_losses(logits: Array, y_index: Array) -> tuple[Array, Array]:
    """Loss of each row and its derivative with respect to the logit."""
    sign = np.where(y_index == 1, 1.0, -1.0)
    margin = sign * logits[:, 0]
    return np.logaddexp(0, -margin), (-sign * expit(-margin))[:, None]


def _softmax_losses(logits: Array, y_index: Array) -> tuple[Array, Array]:
    """Loss of each row and its derivative with respect to the logits."""
    at = np.arange(len(logits)), y_index
    log_sum = logsumexp(logits, axis=1)
    residual = np.exp(logits - log_sum[:, None])
    values = log_sum - logits[at]
    residual[at] -= 1
    return values, residual
