"""LEACE: erase a concept from the embeddings, retrain the head, fold both into one head."""

from __future__ import annotations

from dataclasses import dataclass, replace
from numbers import Real
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import eigh
from sklearn.utils import gen_batches
from sklearn.utils._param_validation import Interval, StrOptions

from ntkit._checks import check_labels
from ntkit._doc import documented
from ntkit._labels import none_if_unknown
from ntkit._process import warn
from ntkit._types import Array
from ntkit.estimators._base import VALIDATION_SET, FromHead
from ntkit.exceptions import InputError, SuppressionWarning
from ntkit.solver.fit_head import FittedHead
from ntkit.study import Rows, Study, identification_sets, identified, seed_of

_BATCH = 4096  # rows in float64 at a time
_NO_CORRELATION = 1e-8  # rounding error of a correlation of embedding and concept


@documented
@dataclass(eq=False, repr=False, kw_only=True)
class LEACEClassifier(FromHead):
    r"""Last-layer retraining on embeddings without a concept (least-squares concept erasure).

    Needs embeddings, class labels and labels of the concept to erase. Without concept labels the
    concept is whether the original head misclassifies a sample; that use is experimental and not
    from the paper.

    With one-hot concepts c the erased embedding is (arXiv 2306.03819, Sec. 4)

    .. math::

        r(z) = z - \Sigma_z^{1/2}\, U U^\top \Sigma_z^{-1/2} (z - \mathrm E z) ,

    with the columns of U an orthonormal basis of the range of :math:`\Sigma_z^{-1/2} \Sigma_{zc}`.
    After r, no linear classifier predicts the concept better than a constant, and of all such
    affine maps r changes the embeddings least. It is :math:`r(z) = P z + (I - P)\, \mathrm E z`
    with an oblique projection P. So a head (W, b) retrained on r(z) is the plain linear head

    .. math:: W' = W P , \qquad b' = b + W (I - P)\, \mathrm E z

    on unchanged embeddings.

    Parameters
    ----------
    shrinkage : "auto" or float in [0, 1], default="auto"
        Share of the mean variance times I in the estimate of :math:`\Sigma_z`. 0 is the published
        formula. "auto" is the optimal linear shrinkage of Bodnar et al., as in the paper's code.
        Any value erases the concept exactly. The value changes the direction of the erasure, whose
        estimate needs more samples than neurons without shrinkage. Weights count there by their
        effective number of samples, at any scale.
    {identification}
        Cannot be combined with ``concepts``, which replace it.
    {head}
        Not used if concept labels are passed.
    {C, class_weight, tol, max_iter, device, random_state}

    Attributes
    ----------
    {classes_, coef_}
        For embeddings from which nothing was erased.
    {intercept_, head_}
    eraser_ : ndarray of float64, shape (D, D)
        The projection P; the identity if the concept is not linearly encoded.
    eraser_mean_ : ndarray of float64, shape (D,)
        Mean embedding, which the eraser does not change.
    rank_ : int
        Number of erased dimensions, less than the number of concepts.
    shrinkage_ : float
        Shrinkage in use.
    concepts_ : ndarray
        Concept labels; ``[False, True]`` (misclassified) if none were passed.
    n_errors_ : ndarray of shape (K,)
        Misclassified samples of each class, if no concepts were passed.
    erm_head_ : LinearHead
        The original head, if no concepts were passed.
    {n_iter_, n_features_in_, feature_names_in_}

    References
    ----------
    Belrose, Schneider-Joseph, Ravfogel, Cotterell, Raff, Biderman: LEACE: Perfect Linear Concept
    Erasure in Closed Form. NeurIPS 2023, arXiv 2306.03819.

    Bodnar, Gupta, Parolya: On the Strong Convergence of the Optimal Linear Shrinkage Estimator
    for Large Dimensional Covariance Matrix. Journal of Multivariate Analysis 132, 2014,
    arXiv 1308.2608.

    Examples
    --------
    >>> from ntkit.estimators import LEACEClassifier
    {marked}
    >>> clf = LEACEClassifier(shrinkage=0).fit(X, y, concepts=mark)
    >>> Z = clf.erase(X)
    >>> bool(np.allclose(Z[mark == 0].mean(axis=0), Z[mark == 1].mean(axis=0)))
    True
    """

    _takes: ClassVar[tuple[str, ...]] = ("concepts", *VALIDATION_SET)
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "shrinkage": [Interval(Real, 0, 1, closed="both"), StrOptions({"auto"})],
    }

    shrinkage: float | str = "auto"
    identification: Any = 5
    class_weight: Any = "balanced"

    def _with_known(self, study: Study, concepts: ArrayLike | None = None) -> Study:
        """Add the concept of each sample.

        concepts : array-like of shape (N,), optional
            Concept of each sample, of any type, such as its spurious attribute.
        X_val : array-like of shape (M, D), optional
            Embeddings of a validation set, used instead of ``concepts``: the eraser is estimated on
            these samples, with the original head's errors as the concept.
        """
        if concepts is None:
            return study
        if study.validation is not None:
            raise InputError(
                "concepts label the samples of X; pass either concepts or X_val, not both."
            )
        n = len(study.train)
        if np.shape(concepts) not in ((n,), (n, 1)):
            raise InputError(
                f"concepts must have one label per sample, shape ({n},); got shape "
                f"{np.shape(concepts)}."
            )
        (labels,) = check_labels(concepts=none_if_unknown(concepts))
        self.concepts_, concept = np.unique(labels, return_inverse=True)
        present = np.unique(concept[study.train.weight > 0])
        if len(present) < 2:
            raise InputError(
                f"All concepts are {self.concepts_[present].tolist()[0]!r}, so there is nothing to "
                "erase; add samples of another concept."
            )
        self._concept = concept  # not in the study, whose values and groups others set
        return study

    def _learn(self, study: Study) -> None:
        rows = study.train
        concept = self.__dict__.pop("_concept", None)
        if concept is None:
            tune, known, concept = self._errors(study)
        else:
            tune, known = rows, rows
        left, right = self._erasure(known, concept)
        self.eraser_ = np.eye(rows.X.shape[1]) - left @ right

        weight = tune.balanced(self.class_weight)
        X, dtype = tune.X, tune.X.dtype
        along = (X - self.eraser_mean_.astype(dtype)) @ right.T.astype(dtype)
        erased = replace(tune, X=X - along @ left.T.astype(dtype))
        self._set_head(self._folded(self._fit_heads(erased, [weight])[0], left, right))

    def erase(self, X: ArrayLike) -> NDArray[Any]:
        """Return the embeddings without the concept, shape (N, D)."""
        X = self._embeddings(X)
        mean = self.eraser_mean_
        return np.asarray((mean + (X - mean) @ self.eraser_.T).astype(X.dtype))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        # With two features the errors lie along a useful direction.
        tags.classifier_tags.poor_score = True
        return tags

    def _counts_rows(self) -> bool:
        return bool(self.identification != "train")

    # -- the concept ------------------------------------------------------------------------

    def _errors(self, study: Study) -> tuple[Rows, Rows, Array]:
        """Rows to retrain on, rows with a known concept, and the concept: misclassified or not."""
        seed = seed_of(self.random_state)
        tune, identify, folds = identification_sets(study, self.identification, seed)
        original = self._original_head(tune)
        folds = None if self.head is not None else folds
        logits, identify = identified(original, tune, tune.weight, identify, folds, self._fit_heads)
        wrong = logits.argmax(axis=1) != identify.y_index
        counted = wrong & (identify.weight > 0)
        self.concepts_ = np.array([False, True])
        self.n_errors_ = np.bincount(identify.y_index[counted], minlength=len(self.classes_))
        if not counted.any():
            warn(
                "The original head misclassifies no sample, so nothing is erased; pass concepts, "
                "or an X_val that the head was not fitted to.",
                SuppressionWarning,
            )
        return tune, identify, wrong.astype(int)

    # -- the eraser -------------------------------------------------------------------------

    def _erasure(self, rows: Rows, concept: Array) -> tuple[Array, Array]:
        """Factors (D, rank), (rank, D) of I - P, which removes the concept."""
        one_hot = np.eye(len(self.concepts_))[concept]
        self.eraser_mean_, covariance, cross = _moments(rows.X, one_hot, rows.weight)
        variances, axes = eigh(covariance)
        self.shrinkage_ = (
            _optimal_shrinkage(variances, rows.weight / rows.weight.sum())
            if self.shrinkage == "auto"
            else float(self.shrinkage)
        )
        variances = (1 - self.shrinkage_) * variances + self.shrinkage_ * variances.mean()
        kept = variances > len(variances) * np.finfo(np.float64).eps * variances.max()
        std, axes = np.sqrt(variances[kept])[:, None], axes[:, kept]
        # Coordinates along the axes: a rotation of those of the symmetric square root.
        basis, correlation, _ = np.linalg.svd(axes.T @ cross / std, full_matrices=False)
        basis = basis[:, correlation > _NO_CORRELATION]
        self.rank_ = basis.shape[1]
        return axes @ (std * basis), (basis / std).T @ axes.T

    def _folded(self, solution: FittedHead, left: Array, right: Array) -> FittedHead:
        """Fold the eraser in front of a head into the head."""
        dtype = solution.coef.dtype
        removed = (solution.coef.astype(np.float64) @ left) @ right
        return FittedHead(
            (solution.coef - removed).astype(dtype),
            (solution.intercept + removed @ self.eraser_mean_).astype(dtype),
            solution.classes,
            solution.n_iter,
        )


def _moments(X: Array, Z: Array, weight: Array) -> tuple[Array, Array, Array]:
    """Mean and covariance of X, and its cross-covariance with Z, in float64."""
    share = weight / weight.sum()
    batches = list(gen_batches(len(X), _BATCH))
    mean = np.sum([share[at] @ X[at].astype(np.float64) for at in batches], axis=0)
    targets = Z - share @ Z
    covariance = np.zeros((X.shape[1], X.shape[1]))
    cross = np.zeros((X.shape[1], Z.shape[1]))
    for at in batches:
        centered = X[at].astype(np.float64) - mean
        weighted = centered * share[at, None]
        covariance += weighted.T @ centered
        cross += weighted.T @ targets[at]
    return np.asarray(mean), covariance, cross


def _optimal_shrinkage(variances: Array, share: Array) -> float:
    """Weight of the spherical target in Bodnar, Gupta and Parolya's estimator, from eigenvalues."""
    n_samples = float(1 / (share**2).sum())  # Kish's effective number, from shares of the weight
    squared_trace = variances.sum() ** 2
    spread = (variances**2).sum() - squared_trace / len(variances)
    rounding = np.finfo(np.float64).eps * squared_trace
    return float(np.clip(squared_trace / n_samples / max(spread, rounding, 1e-300), 0, 1))
