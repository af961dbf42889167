"""Picture of how far the mask depends on the identification samples."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils import check_random_state

from ntkit._doc import documented
from ntkit._types import Array
from ntkit.estimators import NeuronTuneClassifier
from ntkit.exceptions import InputError
from ntkit.inspection._display import Display
from ntkit.inspection._matplotlib import (
    GREY,
    SKY,
    VERMILLION,
    check_samples,
    headroom,
    label_axes,
    legend_share,
    lost_neurons,
    name_neurons,
    neuron_names_of,
    neurontune_of,
    percent_tick,
    require_matplotlib,
    show_legend,
)
from ntkit.spuriousness import non_constant_neurons
from ntkit.study import Rows, make_mask

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_logger = logging.getLogger(__name__)


@documented
@dataclass(eq=False, repr=False)
class MaskStabilityDisplay(Display):
    """How often each neuron is suppressed when the identification samples are drawn again.

    Neurons stand in the order of the share of bootstrap draws in which the rule chooses them.
    A mask that owes nothing to chance is a step from 1 to 0; the slope between is what other
    samples of the same size would have decided otherwise. The fitted mask has its own colour.

    Make it with :meth:`from_estimator`; the parameters are kept as attributes.

    Parameters
    ----------
    frequency : ndarray of shape (D,)
        Share of the draws in which a neuron is suppressed, in [0, 1].
    suppressed : ndarray of bool, shape (D,)
        The fitted mask.
    n_draws : int
        Bootstrap draws.
    neuron_names : sequence of str, optional
        Names of the neurons; by default the numbers of their columns.

    Attributes
    ----------
    order : ndarray of int, shape (D,)
        Neurons from left to right.
    n_always, n_sometimes, n_never : int
        Neurons suppressed in all draws, in some, in none.
    {ax_, figure_}
    bars_ : matplotlib StepPatch
        Frequencies of all neurons, left to right.
    fitted_bars_ : matplotlib StepPatch
        Those of the fitted mask, over them; 0 in the places of the others.
    fitted_marks_ : matplotlib Line2D
        Marks under the neurons of the fitted mask.

    See Also
    --------
    SpuriousnessDisplay : The scores behind the mask.

    Examples
    --------
    >>> import numpy as np
    >>> from ntkit.inspection import MaskStabilityDisplay
    >>> display = MaskStabilityDisplay(
    ...     np.array([0.0, 1.0, 0.4]), suppressed=np.array([False, True, False]), n_draws=10
    ... ).plot()
    >>> display.order, display.n_always, display.n_sometimes, display.n_never
    (array([1, 2, 0]), 1, 1, 1)
    """

    frequency: Array
    _: KW_ONLY
    suppressed: Array
    n_draws: int
    neuron_names: Sequence[str] | None = None

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: ArrayLike,
        y: ArrayLike,
        *,
        n_draws: int = 200,
        random_state: Any = 0,
        verbose: bool = False,
        ax: Axes | None = None,
    ) -> Self:
        """Draw identification samples with replacement, and apply the estimator's rule to each.

        The original head stays as it is (``erm_head_``): what is drawn again are the samples it
        is judged on, all of them at once, so that a class may lose its errors, as it might have.
        A neuron counts as suppressed where the first round of the rule finds it; with
        ``aggregation="per_class"``, where any class's weights lose it. What a mask costs
        (``max_cost``) is not asked: that is not a matter of these samples.

        Parameters
        ----------
        estimator : NeuronTuneClassifier, NeuronTuneClassifierCV or SpuriousNeuronSelector
            Fitted.
        X : array-like of shape (N, D)
            Identification samples: the ``X_val`` of ``fit``. On samples that the original head
            was fitted on it makes fewer errors than the cross-fitted heads of ``fit``, and the
            draws need not agree with the fitted mask.
        {y, n_draws, random_state}
        verbose : bool, default=False
            Log the progress at level INFO rather than DEBUG.
        {ax}

        {drawn}

        Raises
        ------
        InputError
            If it is another kind of estimator, the samples do not fit it, or ``n_draws`` is
            less than 1.
        {NotFittedError, MissingDependencyError}
        """
        caller = f"{cls.__name__}.from_estimator"
        require_matplotlib(caller)
        clf = neurontune_of(estimator, caller)
        if n_draws < 1:
            raise InputError(f"n_draws must be at least 1; got {n_draws}.")
        Z, labels = check_samples(X, y, clf.erm_head_)
        return cls(
            _frequency(clf, Z, labels, n_draws, random_state, verbose),
            suppressed=lost_neurons(clf),
            n_draws=n_draws,
            neuron_names=neuron_names_of(clf),
        ).plot(ax)

    @property
    def order(self) -> Array:
        """Neurons by frequency, those of the fitted mask first where it is the same."""
        return np.lexsort([np.logical_not(self.suppressed), -self.frequency])

    @property
    def n_always(self) -> int:
        """Neurons suppressed in every draw."""
        return int((self.frequency == 1).sum())

    @property
    def n_never(self) -> int:
        """Neurons suppressed in no draw."""
        return int((self.frequency == 0).sum())

    @property
    def n_sometimes(self) -> int:
        """Neurons suppressed in some draws and not in others."""
        return len(self.frequency) - self.n_always - self.n_never

    def _draw(self, ax: Axes) -> None:
        order = self.order
        value, fitted = self.frequency[order], self.suppressed[order]
        edges = np.arange(len(order) + 1) - 0.5
        n_fitted = int(fitted.sum())
        # Those of the mask lie over all: side by side, thin bars of two colours show seams.
        self.bars_, self.fitted_bars_ = (
            ax.stairs(np.where(kind, value, 0), edges, fill=True, color=color, label=label)
            for kind, color, label in (
                (np.ones_like(fitted), SKY, f"not in it: {len(order) - n_fitted}"),
                (fitted, VERMILLION, f"in the fitted mask: {n_fitted}"),
            )
        )
        at = np.flatnonzero(fitted)
        (self.fitted_marks_,) = ax.plot(
            at, np.full(len(at), -0.03), "|", color=VERMILLION, markersize=5, markeredgewidth=1
        )
        ax.set_xlim(-0.5, len(order) - 0.5)
        ax.set_ylim(-0.06, 1.04)
        self._label(ax, order)
        handles = [self.fitted_bars_, self.bars_]
        if value[len(value) // 3] > 1 - legend_share(ax, 2):
            headroom(ax, 1)
            show_legend(ax, handles, "upper right", ncols=2)
        else:
            show_legend(ax, handles, "upper right")

    def _label(self, ax: Axes, order: Array) -> None:
        label_axes(
            ax,
            xlabel="neurons, most often suppressed first",
            ylabel=f"share of {self.n_draws} draws",
            title=f"suppressed always {self.n_always}, sometimes {self.n_sometimes}, "
            f"never {self.n_never}",
        )
        ax.set_yticks(np.linspace(0, 1, 6))
        ax.yaxis.set_major_formatter(percent_tick)
        ax.grid(axis="y", color=GREY, alpha=0.25, linewidth=0.6)
        ax.set_axisbelow(True)
        name_neurons(ax, order, self.neuron_names)


def _frequency(
    clf: NeuronTuneClassifier,
    Z: Array,
    labels: Array,
    n_draws: int,
    random_state: Any,
    verbose: bool,
) -> Array:
    """Share of the draws in which each neuron is suppressed, (D,)."""
    original = clf.erm_head_.astype(Z.dtype)
    logits, y_index = original.logits(Z), np.searchsorted(clf.classes_, labels)
    wrong = logits.argmax(axis=1) != y_index
    random, n = check_random_state(random_state), len(Z)
    times = np.zeros(Z.shape[1], dtype=int)
    for draw in range(n_draws):
        # Rows repeated rather than weighted: medians of equal weights take a tenth of the time.
        counts = random.multinomial(n, np.full(n, 1 / n))
        rows = np.repeat(np.arange(n), counts)
        sample = Rows(Z[rows], y_index[rows], np.ones(n))
        scores = clf._score(sample, logits[rows], original)
        # ... but a sample drawn twice is one sample still.
        errors = np.bincount(y_index[wrong & (counts > 0)], minlength=len(clf.classes_))
        scores[errors < clf.min_misclassified] = np.nan
        mask = make_mask(
            scores,
            non_constant_neurons(sample.X),
            threshold=clf.threshold,
            aggregation=clf.aggregation,  # type: ignore[arg-type]
            max_suppressed=clf.max_suppressed,
            min_neurons=clf.min_neurons,
        )
        times += np.atleast_2d(mask.columns).any(axis=0)
        _logger.log(
            logging.INFO if verbose else logging.DEBUG,
            "draw %d of %d: %d neurons suppressed",
            *(draw + 1, n_draws, int(mask.everywhere.sum())),
        )
    return times / n_draws
