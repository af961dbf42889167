"""GroupInference: infer an attribute for all samples from a few with known values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike
from scipy import sparse
from scipy.special import softmax
from sklearn.base import BaseEstimator, ClassifierMixin, _fit_context
from sklearn.linear_model import LogisticRegression
from sklearn.utils import check_array
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_feature_names, check_is_fitted, column_or_1d

from ntkit._checks import UNKNOWN, check_index, known_labels
from ntkit._doc import documented
from ntkit._types import Array
from ntkit.estimators._base import checked_weight
from ntkit.estimators._l1_head import alone_with_liblinear, without_convergence_warnings
from ntkit.exceptions import InputError
from ntkit.solver.loss import rows_per_chunk
from ntkit.study import Fold, Rows, n_distinct, scaler_of, seed_of, stratified_folds

_MAX_ITER = 500
_TOL = 1e-8


def value_shares(p: Array, known: Array, weight: Array, possible: Array) -> Array:
    r"""Shares of the values among the samples of one class, by expectation-maximisation."""
    # q_na ∝ π_a p_na and π_a = (1 + Σ_n w_n q_na) / (A + Σ_n w_n). Here p are probabilities under
    # equal shares, and q is 1 for the known value and 0 for others (Saerens, Latinne and
    # Decaestecker, Neural Computation 14, 2002).
    is_known = known >= 0
    mass = np.bincount(known[is_known], weights=weight[is_known], minlength=p.shape[1])
    p, weight, total = p[~is_known], weight[~is_known], weight.sum()
    shares = possible / possible.sum()
    for _ in range(_MAX_ITER):
        q = p * shares
        q /= np.maximum(q.sum(axis=1, keepdims=True), np.finfo(float).tiny)
        new = possible * (1 + mass + weight @ q) / (possible.sum() + total)
        change = np.abs(new - shares).max()
        shares = new
        if change < _TOL:
            break
    return np.asarray(shares)


def with_shares(p: Array, shares: Array) -> Array:
    """Probabilities (N, A) adjusted by the square root of the shares (A,)."""
    # Equal shares (power 0) are never right, and the estimate alone (power 1) fails if the
    # attribute is predicted badly.
    q = p * shares**0.5
    total = q.sum(axis=1, keepdims=True)
    return np.asarray(np.where(total > 0, q / np.where(total > 0, total, 1), shares / shares.sum()))


def member_weights(q: Array, y_index: Array, known: Array, weight: Array) -> Array:
    """Weights (N,) of the samples as members of their groups class × value."""
    # With these weights, the mean of the n known and N inferred members has the smallest mean
    # squared error, if the share 1 - ρ of wrong members is two standard deviations away from the
    # right ones: the variance is 1 / n or 1 / N, and the squared bias is 4 (1 - ρ)². So a group
    # that nobody can read consists of its known members.
    member = q.max(axis=1)
    group = y_index * q.shape[1] + q.argmax(axis=1)
    mass = np.where(known, 0.0, weight)
    size = np.bincount(group, weights=mass)
    purity = np.bincount(group, weights=mass * member) / np.maximum(size, np.finfo(float).tiny)
    share = 1 / (1 + _WRONG_MEMBER**2 * size * (1 - purity) ** 2)
    return np.asarray(np.where(known, member, member * share[group]))


_WRONG_MEMBER = 2.0  # distance between wrong and right members of a group, in deviations


@dataclass(frozen=True)
class ScaledFeatures:
    """A matrix (N, D) and the units of its columns."""

    X: Any
    mean: Array
    scale: Array

    def rows(self, index: Array) -> Any:
        """Some rows, in those units."""
        if sparse.issparse(self.X):
            return self.X[index] @ sparse.diags(1 / self.scale)
        return (np.asarray(self.X[index], dtype=np.float64) - self.mean) / self.scale

    def logits(self, coef: Array, intercept: Array) -> Array:
        """Logits of a head (K, D), (K,) in those units for every row: shape (N, K)."""
        W = coef / self.scale
        b = intercept - W @ self.mean
        logits = np.empty((self.X.shape[0], len(W)))
        step = self.X.shape[0] if sparse.issparse(self.X) else rows_per_chunk(self.X, len(W))
        for start in range(0, len(logits), max(1, step)):
            rows = slice(start, start + step)
            logits[rows] = self.X[rows] @ W.T + b
        return logits


def named_views(feature_sets: Any) -> dict[Any, Any]:
    """Check feature sets: one matrix, or several by name or in order."""
    several = isinstance(feature_sets, list | tuple) and all(
        np.ndim(v) == 2 or len(getattr(v, "shape", ())) == 2 for v in feature_sets
    )
    if several:
        feature_sets = dict(enumerate(feature_sets))
    # One kind of sparse matrix is a mapping as well.
    elif sparse.issparse(feature_sets) or not isinstance(feature_sets, Mapping):
        return {0: _checked(feature_sets, "X")}
    if not feature_sets:
        raise InputError("No feature set was passed; pass at least one matrix of shape (N, D).")
    views = {name: _checked(X, f"the feature set {name!r}") for name, X in feature_sets.items()}
    if len({X.shape[0] for X in views.values()}) > 1:
        listed = ", ".join(f"{name!r}: {X.shape[0]}" for name, X in views.items())
        raise InputError(
            f"The feature sets have different numbers of samples ({listed}); pass one "
            "row per sample in each."
        )
    return views


def scaled_features(X: Any) -> ScaledFeatures:
    """A feature set with the units of its columns: deviations, or the largest value if sparse."""
    if sparse.issparse(X):
        largest = abs(X).max(axis=0).toarray().ravel()
        return ScaledFeatures(X, np.zeros(X.shape[1]), np.where(largest > 0, largest, 1.0))
    scaler = scaler_of(Rows.of(X))
    return ScaledFeatures(X, scaler.mean_, scaler.scale_)


def _checked(X: Any, name: str) -> Any:
    return check_array(
        X, accept_sparse="csr", dtype=[np.float64, np.float32], input_name=name, copy=False
    )


PENALTIES = (
    *(("l2", C) for C in (1e-3, 1e-2, 0.1, 1.0, 10.0)),
    *(("l1", C) for C in (0.1, 0.3, 1.0, 3.0, 10.0)),
)
"""Candidate penalties: an attribute is spread over many neurons, or is one word."""
SCALES = (1.0, 0.5, 0.7, 1.4, 2.0, 2.8, 4.0)
"""Candidate factors of the logits.

A strong penalty makes a head less certain than it should be. Probabilities that are too equal make
common values seem more common than they are.
"""
ERRORS = (0.02, 0.05, 0.1, 0.15)
"""Candidate shares of wrong labels."""
_HEAD_MAX_ITER = 300
_MORE = 0.1  # share of all samples, added to every group
_LEAST_SHARE = 1e-3  # weight of a penalty in the mean, relative to the best
_LEAST_WEIGHT = 1e-9  # weight of a sample for a value


def _balanced(known: Rows, q: Array) -> Array:
    """Weights (M, A) of the samples as each value, by its probability."""
    # Every group of class and value has about the same total, because the head should distinguish
    # values within a class, whatever their shares. A tenth of all samples is added to each group's
    # count, so that one wrong label does not weigh as much as all others. The mean over the samples
    # is 1.
    weight = known.weight[:, None] * q
    mass = np.zeros((known.y_index.max() + 1, q.shape[1]))
    np.add.at(mass, known.y_index, weight)
    balanced = weight / (mass + _MORE * mass.sum())[known.y_index]
    return np.asarray(balanced * (len(weight) / balanced.sum()))


def _folds(known: Rows, value: Array, n_splits: int, seed: int) -> list[Fold]:
    """Folds stratified by group, or by attribute if a group has too few samples; else none."""
    n_splits = min(n_splits, int(n_distinct(value, known.contents).min()))
    if n_splits < 2:
        return []
    _, group = np.unique(np.stack([known.y_index, value]), axis=1, return_inverse=True)
    sizes = n_distinct(group.reshape(-1), known.contents)
    strata = group.reshape(-1) if sizes.min() >= n_splits else value
    return stratified_folds(strata, n_splits, seed, known.contents)


@dataclass(frozen=True)
class AttributeHead:
    """Mean of the heads of all penalties, and its accuracy on unseen samples."""

    coef: Array
    intercept: Array
    loss: float
    accuracy: float
    penalty: tuple[str, float]
    error: float
    unseen: Array
    posterior: Array


def checked_penalties(penalties: Any) -> Sequence[tuple[str, float]]:
    """Penalties as a user passes them; None means ``PENALTIES``."""
    if penalties is None:
        return PENALTIES
    pairs = [tuple(pair) if isinstance(pair, list | tuple) else (pair,) for pair in penalties]
    good = [len(p) == 2 and p[0] in ("l1", "l2") and isinstance(p[1], Real) for p in pairs]
    if not all(good) or not good or not all(0 < float(C) < np.inf for _, C in pairs):
        raise InputError(
            "penalties must be pairs such as ('l2', 1.0) or ('l1', 0.3), at least one; got "
            f"{penalties!r}."
        )
    return pairs


def best_head(
    known: Rows,
    value: Array,
    n_values: int,
    penalties: Sequence[tuple[str, float]],
    *,
    errors: Sequence[float],
    cv: int,
    seed: int,
) -> AttributeHead | None:
    r"""Fit heads with all penalties and average them; None without folds."""
    # A label a is wrong with probability ε, and the true value is then equally likely to be any
    # other, so the loss is -log((1 - ε) p_a + ε (1 - p_a) / (A - 1)). Every penalty has its own ε
    # and factor of the logits (temperature scaling), with the smallest cross-validated loss. Logits
    # and ε are then averaged over the penalties with weights exp(-M · loss) (pseudo-Bayesian model
    # averaging: Geisser and Eddy 1979), because a few dozen samples, some with wrong labels, do not
    # determine the best penalty. The heads of the mean are fitted to every value, weighted by the
    # probability that it is right.
    folds = _folds(known, value, cv, seed)
    if not folds:
        return None
    one_hot = np.eye(n_values)[value]
    weight = _balanced(known, one_hot).sum(axis=1)

    def calibrated(penalty: tuple[str, float]) -> tuple[float, float, float, Array]:
        """Smallest loss, its factor of the logits, its ε, and the probabilities (M, A)."""
        logits = np.empty_like(one_hot)
        for train, test in folds:
            fold = known.take(train)
            W, b = _fitted(fold.X, _balanced(fold, one_hot[train]), penalty, seed)
            logits[test] = known.X[test] @ W.T + b
        best: tuple[float, float, float, Array] | None = None
        for scale in SCALES:
            p = softmax(scale * logits, axis=1)
            right = p[np.arange(len(p)), value]
            for error in errors:
                likelihood = (1 - error) * right + error * (1 - right) / (n_values - 1)
                losses = -np.log(np.maximum(likelihood, np.finfo(float).tiny))
                loss = float(np.average(losses, weights=weight))
                if best is None or loss < best[0] - 1e-9:
                    best = loss, scale, error, p
        assert best is not None
        return best

    with without_convergence_warnings():
        tried = [calibrated(penalty) for penalty in penalties]
        losses = np.array([loss for loss, *_ in tried])
        best = int(losses.argmin())
        share = np.exp(-len(weight) * (losses - losses[best]))
        share[share < _LEAST_SHARE] = 0
        share /= share.sum()
        p = np.einsum("t,tma->ma", share, [one[3] for one in tried])
        error = float(share @ [one[2] for one in tried])
        channel = one_hot * (1 - error) + (1 - one_hot) * error / (n_values - 1)
        posterior = p * channel + np.finfo(float).tiny
        posterior /= posterior.sum(axis=1, keepdims=True)
        W, b = np.zeros((n_values, known.X.shape[1])), np.zeros(n_values)
        for (_, scale, _, _), part, penalty in zip(tried, share, penalties, strict=True):
            if part > 0:
                part_W, part_b = _fitted(known.X, _balanced(known, posterior), penalty, seed)
                W, b = W + part * scale * part_W, b + part * scale * part_b
    accuracy = float(np.average(p.argmax(axis=1) == value, weights=weight))
    return AttributeHead(W, b, float(losses[best]), accuracy, penalties[best], error, p, posterior)


def _fitted(X: Any, weight: Array, penalty: tuple[str, float], seed: int) -> tuple[Array, Array]:
    """Weights (A, D) and biases (A,) of a head, for samples with weights (M, A) for each value."""
    kind, C = penalty
    n_values = weight.shape[1]
    rows, a = np.nonzero(weight > _LEAST_WEIGHT)
    X, weight = X[rows], weight[rows, a]
    if kind == "l2":
        model = LogisticRegression(C=C, max_iter=_HEAD_MAX_ITER).fit(X, a, sample_weight=weight)
        if n_values > 2:
            return model.coef_, model.intercept_
        # Of two rows scikit-learn keeps only the second.
        zeros = np.zeros_like(model.coef_)
        return np.vstack([zeros, model.coef_]), np.append(0.0, model.intercept_)
    W, b = np.zeros((n_values, X.shape[1])), np.zeros(n_values)
    # liblinear fits two classes only, so each value is fitted against the others.
    for value in range(1 if n_values == 2 else 0, n_values):
        model = LogisticRegression(
            C=C, l1_ratio=1.0, solver="liblinear", max_iter=_HEAD_MAX_ITER, random_state=seed
        )
        with alone_with_liblinear():
            model.fit(X, a == value, sample_weight=weight)
        W[value], b[value] = model.coef_[0], model.intercept_[0]
    return W, b


@documented
@dataclass(eq=False, repr=False, kw_only=True)
class GroupInference(ClassifierMixin, BaseEstimator):
    r"""Infer an attribute, or groups, of all samples from the samples with known values.

    As in :mod:`sklearn.semi_supervised`, the attribute is -1 (or None, or NaN) if it is unknown.
    The class is designed for twenty to two hundred known samples.

    1. For each feature set, linear heads that distinguish the values are fitted to the known
       samples. Every group of class and value has about the same weight. The penalties differ in
       kind and strength, because an attribute is spread over many neurons, or is one word, or one
       column. The heads are averaged with weights from their cross-validated log loss. The feature
       set with the smallest loss is used. A share ``answer_error`` of the known values is expected
       to be wrong.
    2. The shares of the values in each class are estimated from all samples, by
       expectation-maximisation (Saerens, Latinne and Decaestecker, 2002). Without this step,
       samples mistaken for a rare group would outnumber it.
    3. The probabilities of the values are those of the head times the square root of the shares,
       because the shares are only estimated. A known sample keeps its value.
    4. An inferred sample counts as a member of its group by its probability, and
       :math:`1 + 4 N (1 - \rho)^2` times less in a group with N inferred members and the mean
       probability ρ, so that doubtful members do not outweigh the known ones. A known sample counts
       by the probability that its value is right, from the head and ``answer_error``.

    If no feature set predicts the attribute, nothing is inferred: ``feature_set_`` is None, and
    only the known samples have a label.

    Parameters
    ----------
    cv : int, default=5
        Folds, stratified by class and value; fewer if a value is known for fewer samples.
    answer_error : "auto" or float, default="auto"
        Share of the known values that may be wrong. A sample whose value contradicts the prediction
        from the other samples then weighs less (``weights_``), and stays in its group. "auto"
        estimates the share, between 2 and 15 %; with 0 all known samples weigh 1.
    penalties : sequence of (str, float), default=None
        Candidate penalties: "l1" or "l2", and the inverse strength, for columns with deviation 1
        (if sparse: with largest value 1). None uses five of each kind, in a wide range.
    min_accuracy : float, default=0.2
        Cross-validated accuracy that the best feature set must reach, on a scale from 0 (chance) to
        1 (all right); below it nothing is inferred. 0.2 is 60 % for two values, minus the effect of
        wrong labels; 0 always infers.
    {random_state}

    Attributes
    ----------
    classes_ : ndarray of shape (A,)
        Values of the attribute.
    label_distributions_ : ndarray of shape (N, A)
        Probability of each value for each sample: 1 for a known value; zeros if nothing is known
        about the sample.
    weights_ : ndarray of shape (N,)
        Weight of each sample as a member of its group (class and most probable value); 0 if nothing
        is known about the sample.
    transduction_ : ndarray of shape (N,)
        The known or most probable value of each sample; -1 (numbers) or None if there is none.
    unseen_distributions_ : ndarray of shape (N, A)
        Probability of each value by heads that did not see the known value of the sample; zeros if
        no feature set predicts the attribute.
    feature_set_ : object
        Name (or number) of the feature set in use; None if there is none.
    scores_ : dict
        Cross-validated accuracy of each feature set, the mean over class × value.
    losses_ : dict
        Cross-validated log loss of each feature set with its best penalty, in nats.
    penalty_ : (str, float) or None
        Kind and inverse strength of the penalty with the largest weight.
    answer_error_ : float
        Share of the known values that is taken to be wrong; NaN if no feature set is used.
    shares_ : ndarray of shape (K, A)
        Estimated shares of the values in each class.
    y_classes_ : ndarray of shape (K,)
        The classes of ``y``.
    n_known_ : int
        Samples (of positive weight) whose attribute is known.
    n_features_in_ : int
        Number of columns, if there is one feature set.
    feature_names_in_ : ndarray of str
        Names of its columns, if it is a DataFrame.

    References
    ----------
    Geisser, Eddy: A Predictive Approach to Model Selection. Journal of the American Statistical
    Association 74, 1979.

    Saerens, Latinne, Decaestecker: Adjusting the Outputs of a Classifier to New a Priori
    Probabilities: A Simple Procedure. Neural Computation 14, 2002.

    Examples
    --------
    >>> import numpy as np
    >>> from ntkit.estimators import GroupInference
    >>> rng = np.random.default_rng(0)
    >>> y = rng.integers(0, 2, 400)
    >>> mark = np.where(rng.random(400) < 0.9, y, 1 - y)
    >>> X = np.column_stack([y, 3 * mark]) + rng.normal(0, 1, (400, 2))
    >>> attribute = np.where(np.arange(400) < 60, mark, -1)  # 60 answers
    >>> inference = GroupInference(random_state=0).fit(X, y, attribute)
    >>> bool(np.mean(inference.transduction_ == mark) > 0.9)
    True
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "cv": [Interval(Integral, 2, None, closed="left")],
        "answer_error": [Interval(Real, 0, 0.5, closed="left"), StrOptions({"auto"})],
        "penalties": [list, tuple, None],
        "min_accuracy": [Interval(Real, 0, 1, closed="both")],
        "random_state": ["random_state"],
    }

    cv: int = 5
    answer_error: float | str = "auto"
    penalties: Sequence[tuple[str, float]] | None = None
    min_accuracy: float = 0.2
    random_state: Any = None

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(
        self,
        feature_sets: Any,
        y: ArrayLike,
        attribute: ArrayLike,
        sample_weight: ArrayLike | None = None,
    ) -> GroupInference:
        """Infer the attribute of all samples.

        Parameters
        ----------
        feature_sets : array-like or sparse matrix of shape (N, D), or dict or list of several
            Feature sets that may predict the attribute: embeddings, earlier layers, words, columns.
        y : array-like of shape (N,)
            Class labels.
        attribute : array-like of shape (N,)
            Value of the attribute, of any type; -1, None or NaN if it is unknown. Groups of one
            class each can be used instead.
        sample_weight : array-like of shape (N,), optional
            Weights; a sample of weight 0 counts as absent.

        {fitted}

        Raises
        ------
        InputError
            If no value is known, or lengths differ.
        """
        given = {"y": y, "attribute": attribute, "sample_weight": sample_weight}
        check_index(feature_sets=feature_sets, **given)
        _check_feature_names(self, feature_sets, reset=True)
        matrices = named_views(feature_sets)
        n = next(iter(matrices.values())).shape[0]
        if len(matrices) == 1:
            self.n_features_in_ = next(iter(matrices.values())).shape[1]
        self.y_classes_, y_index = np.unique(_one_each(y, n, "y"), return_inverse=True)
        weight = checked_weight(sample_weight, np.empty((n, 1)))
        value = self._values(attribute, weight)
        known = np.flatnonzero(value >= 0)
        if not len(known):
            raise InputError(
                "attribute is unknown for all samples (of positive weight); label some."
            )
        self.n_known_ = len(known)

        head = self._read(matrices, known, y_index[known], value[known], weight[known])
        self.shares_ = np.full((len(self.y_classes_), len(self.classes_)), np.nan)
        certainty = np.ones(len(known))
        q = np.zeros((n, len(self.classes_)))
        if head is not None:
            p = self._equal_shares(matrices[self.feature_set_])
            self._learn_shares(p, y_index, value, weight)
            p[known] = head.unseen
            q = self._posterior(p, y_index)
            certainty = head.posterior[np.arange(len(known)), value[known]]
        self.unseen_distributions_, self.label_distributions_ = q.copy(), q
        self.label_distributions_[known] = np.eye(len(self.classes_))[value[known]]
        self.transduction_ = self._labels(self.label_distributions_)
        self.weights_ = member_weights(self.label_distributions_, y_index, value >= 0, weight)
        self.weights_[known] = np.maximum(certainty, _LEAST_WEIGHT)
        return self

    def predict_proba(self, feature_sets: Any, y: ArrayLike | None = None) -> Array:
        """Probability of each value for other samples, shape (N, A).

        Parameters
        ----------
        feature_sets : as for ``fit``
            The same feature sets of other samples.
        y : array-like of shape (N,), optional
            Their classes; without them the values count as equally common.

        Raises
        ------
        InputError
            If no feature set predicts the attribute, or the feature sets or classes differ from
            those of ``fit``.
        """
        check_is_fitted(self, "transduction_")
        check_index(feature_sets=feature_sets, y=y)
        _check_feature_names(self, feature_sets, reset=False)
        matrices = named_views(feature_sets)
        if len(self.classes_) == 1:
            return np.ones((next(iter(matrices.values())).shape[0], 1))
        if self.feature_set_ is None:
            raise InputError(
                "No feature set predicts the attribute (see scores_), so it cannot be inferred for "
                "other samples; label more samples."
            )
        p = self._equal_shares(self._same_view(matrices))
        if y is None:
            return p
        y = _one_each(y, len(p), "y")
        strange = np.setdiff1d(y, self.y_classes_)
        if len(strange):
            raise InputError(
                f"y has the class {strange.tolist()[0]!r}, which fit did not see; fit "
                "with samples of it."
            )
        return self._posterior(p, np.searchsorted(self.y_classes_, y))

    def predict(self, feature_sets: Any, y: ArrayLike | None = None) -> Array:
        """The most probable value of other samples, shape (N,)."""
        most_probable = self.predict_proba(feature_sets, y).argmax(axis=1)
        return np.asarray(self.classes_[most_probable])

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags

    # -- the steps --------------------------------------------------------------------------

    def _values(self, attribute: ArrayLike, weight: Array) -> Array:
        """Index of each sample's value, -1 if it is unknown or the sample has no weight."""
        labels, is_known = known_labels(attribute, "attribute")
        if len(is_known) != len(weight):
            raise InputError(
                f"attribute has {len(is_known)} values but there are {len(weight)} samples; pass "
                "one for each."
            )
        labels, is_known = labels[weight[is_known] > 0], is_known & (weight > 0)
        if len(labels):
            check_classification_targets(labels)
        self.classes_, index = np.unique(labels, return_inverse=True)
        value = np.full(len(weight), UNKNOWN)
        value[is_known] = index
        return value

    def _read(
        self, matrices: dict[Any, Any], index: Array, y_index: Array, value: Array, weight: Array
    ) -> AttributeHead | None:
        """Step 1: the best feature set, and its head."""
        self.scores_, self.losses_ = dict[Any, float](), dict[Any, float]()
        self.feature_set_, self.penalty_ = None, None
        self.answer_error_ = np.nan
        n_values = len(self.classes_)
        penalties = checked_penalties(self.penalties)
        if n_values < 2:
            return None
        seed = seed_of(self.random_state)
        best: AttributeHead | None = None
        self._names = list(matrices)
        errors = ERRORS if self.answer_error == "auto" else [float(self.answer_error)]
        for name, X in matrices.items():
            feature_set = scaled_features(X)
            known = Rows(feature_set.rows(index), y_index, weight, np.arange(len(self.y_classes_)))
            options: dict[str, Any] = {"errors": errors, "cv": self.cv, "seed": seed}
            head = best_head(known, value, n_values, penalties, **options)
            if head is None:
                return None
            self.scores_[name], self.losses_[name] = head.accuracy, head.loss
            if best is None or head.loss < best.loss - 1e-9:
                best, self.feature_set_ = head, name
                self._mean, self._scale = feature_set.mean, feature_set.scale
        assert best is not None
        chance = 1 / n_values
        least = chance + self.min_accuracy * (1 - chance)
        # A correct prediction agrees with a label as often as the label is right.
        agreement = least * (1 - best.error) + (1 - least) * best.error / (n_values - 1)
        if self.min_accuracy > 0 and best.accuracy < agreement:
            self.feature_set_ = None
            return None
        self._head, self.penalty_, self.answer_error_ = best, best.penalty, best.error
        return best

    def _equal_shares(self, X: Any) -> Array:
        """Probabilities under equal shares, (N, A)."""
        feature_set = ScaledFeatures(X, self._mean, self._scale)
        return np.asarray(
            softmax(feature_set.logits(self._head.coef, self._head.intercept), axis=1)
        )

    def _learn_shares(self, p: Array, y_index: Array, value: Array, weight: Array) -> None:
        """Step 2: shares of the values in each class."""
        occurs = np.zeros(self.shares_.shape, dtype=bool)
        occurs[y_index[value >= 0], value[value >= 0]] = True
        # A group of one class cannot occur in another class; an attribute's value can.
        nested = len(self.y_classes_) > 1 and (occurs.sum(axis=0) == 1).all()
        for label in range(len(self.y_classes_)):
            of_class = y_index == label
            possible = (
                occurs[label] if nested and occurs[label].any() else np.full(p.shape[1], True)
            )
            self.shares_[label] = value_shares(
                p[of_class], value[of_class], weight[of_class], possible
            )

    def _posterior(self, p: Array, y_index: Array) -> Array:
        """Step 3: probabilities of the values given the class, (N, A)."""
        q = np.empty_like(p)
        for label in range(len(self.y_classes_)):
            of_class = y_index == label
            q[of_class] = with_shares(p[of_class], self.shares_[label])
        return q

    def _labels(self, q: Array) -> Array:
        labels = self.classes_[q.argmax(axis=1)]
        nothing = q.sum(axis=1) == 0
        if not nothing.any():
            return np.asarray(labels)
        if labels.dtype.kind in "iuf":
            signed = labels.astype(np.result_type(labels.dtype, np.int8), copy=True)
            signed[nothing] = UNKNOWN
            return np.asarray(signed)
        labels = labels.astype(object)
        labels[nothing] = None
        return np.asarray(labels)

    def _same_view(self, matrices: dict[Any, Any]) -> Any:
        """The feature set in use, of other samples."""
        if set(matrices) != set(self._names):
            raise InputError(
                f"The feature sets are {list(matrices)!r}, but fit got {self._names!r}; pass the "
                "same."
            )
        X = matrices[self.feature_set_]
        if X.shape[1] != len(self._scale):
            raise InputError(
                f"X has {X.shape[1]} features, but {type(self).__name__} is expecting "
                f"{len(self._scale)} features as input."
            )
        return X


def _one_each(values: ArrayLike, n: int, name: str) -> Array:
    array = np.asarray(column_or_1d(np.asarray(values), warn=False))
    if len(array) != n:
        raise InputError(f"{name} has {len(array)} labels but there are {n} samples.")
    return array
