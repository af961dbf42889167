"""Plot of the accuracy of each group."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from numpy.typing import ArrayLike
from sklearn.utils.validation import check_is_fitted

from ntkit._doc import documented
from ntkit._text import percent
from ntkit.exceptions import InputError
from ntkit.head import LinearHead
from ntkit.inspection import _draw as draw
from ntkit.metrics import GroupReport, Row, group_report

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MOST = 12  # groups


@documented
@dataclass(eq=False, repr=False)
class GroupAccuracyDisplay(draw.Display):
    """Accuracy of each group with its confidence interval, optionally before and after.

    There is a row for each group, with the number of its samples. A diamond marks the worst group,
    before and after separately, because they may be two different groups. Of more than 12
    groups only the worst are drawn, worst first.

    Make it with :meth:`from_predictions` or :meth:`from_estimator`; the parameter becomes an
    attribute.

    Parameters
    ----------
    report : GroupReport
        Result of :func:`ntkit.metrics.group_report` with group labels.

    Attributes
    ----------
    shown_ : list of Row
        Rows of the report in the plot, from top to bottom.
    {ax_, figure_}
    after_, before_ : matplotlib ErrorbarContainer
        Accuracies and intervals, top to bottom; ``before_`` is None without a comparison.
    worst_after_, worst_before_ : matplotlib Line2D
        Marks of the worst group, if the plot includes it; else None.

    See Also
    --------
    ntkit.metrics.group_report : The same results as a table, and the method of the intervals.

    Examples
    --------
    >>> from ntkit.inspection import GroupAccuracyDisplay
    >>> display = GroupAccuracyDisplay.from_predictions(
    ...     [0, 0, 0, 1, 1, 1],
    ...     [0, 0, 1, 1, 1, 1],
    ...     groups=["0 on land", "0 at sea", "0 at sea", "1 on land", "1 at sea", "1 at sea"],
    ...     y_pred_before=[0, 1, 1, 1, 1, 0],
    ... )
    >>> display.report.worst_group.which, display.report.worst_group.value
    ('0 at sea', 0.5)
    """

    report: GroupReport

    def __post_init__(self) -> None:
        if not self.report.grouped:
            raise InputError("The report was made without group labels; pass it groups.")

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: ArrayLike,
        y: ArrayLike,
        *,
        groups: ArrayLike,
        before: Any = "auto",
        confidence: float = 0.95,
        ax: Axes | None = None,
    ) -> Self:
        """Draw the accuracies of a fitted classifier.

        Parameters
        ----------
        estimator : estimator or LinearHead
            Fitted classifier.
        {X, y, evaluated.groups}
        before : "auto", LinearHead, estimator or None, default="auto"
            Classifier to compare with. "auto" is the original head ``erm_head_`` of the estimator,
            if it has one; None compares with nothing.
        {confidence, ax}

        {drawn}
        """
        y_pred = _predicted(estimator, X, y)
        if isinstance(before, str):
            if before != "auto":
                raise InputError(
                    f'before must be "auto", a head, an estimator or None; got {before!r}.'
                )
            before = getattr(estimator, "erm_head_", None)
        return cls.from_predictions(
            y,
            y_pred,
            groups=groups,
            y_pred_before=None if before is None else _predicted(before, X, y),
            confidence=confidence,
            ax=ax,
        )

    @classmethod
    def from_predictions(
        cls,
        y_true: ArrayLike,
        y_pred: ArrayLike,
        *,
        groups: ArrayLike,
        y_pred_before: ArrayLike | None = None,
        confidence: float = 0.95,
        ax: Axes | None = None,
    ) -> Self:
        """Draw the accuracies of predictions.

        Parameters
        ----------
        {y_true, y_pred, evaluated.groups}
        y_pred_before : array-like of shape (N,), optional
            Predictions to compare with, such as the original model's.
        {confidence, ax}

        {drawn}
        """
        if groups is None:
            raise InputError(f"{cls.__name__} needs group labels; pass groups, one per sample.")
        report = group_report(
            y_true,
            y_pred,
            groups=groups,
            y_pred_before=y_pred_before,
            confidence=confidence,
        )
        return cls(report).plot(ax)

    def _draw(self, ax: Axes) -> None:
        rows = [row for row in self.report.rows if row.kind == "group"]
        self.shown_ = draw.first_of(rows, _MOST, lambda row: row.value)
        places, old = [row.name for row in self.shown_], self.report.before
        self.before_ = self.worst_before_ = None
        if old is not None:
            was = {row.name: row for row in old.rows if row.kind == "group"}
            self.before_ = draw.errorbar(
                ax, draw.points_of([was[name] for name in places]), draw.GREY, before=True
            )
            self.worst_before_ = _diamond(ax, old.worst_group, places, before=True)
        offset = 0.0 if old is None else 0.16
        self.after_ = draw.errorbar(ax, draw.points_of(self.shown_), draw.BLUE, offset=offset)
        self.worst_after_ = _diamond(ax, self.report.worst_group, places, offset=offset)
        self._label(ax, len(rows))

    def _label(self, ax: Axes, n_groups: int) -> None:
        n, worst = len(self.shown_), self.report.worst_group
        title = f"worst group: {percent(worst.value)}"
        if worst.before is not None:
            title = f"worst group: {percent(worst.before)} → {percent(worst.value)}"
        if n < n_groups:
            title += f" ({n} worst of {n_groups} groups)"
        coverage = f"{100 * self.report.confidence:g} % interval"
        entries = [
            ("o", draw.BLUE, draw.BLUE, "accuracy"),
            ("D", draw.VERMILLION, draw.VERMILLION, "worst group"),
        ]
        if self.before_ is not None:
            entries[:1] = [
                ("o", draw.GREY, "white", "before"),
                ("o", draw.BLUE, draw.BLUE, "after"),
            ]
        names = [(str(row.name), f"  ({row.n})") for row in self.shown_]
        draw.label_shares(ax, names, f"accuracy, {coverage}", title, entries)


def _diamond(
    ax: Axes, worst: Row, places: list[Any], *, before: bool = False, offset: float = -0.16
) -> Any:
    """Mark the worst group if the plot includes it."""
    if worst.which not in places:
        return None
    (mark,) = ax.plot(
        worst.value,
        places.index(worst.which) + offset,
        "D",
        color=draw.VERMILLION,
        markerfacecolor="white" if before else draw.VERMILLION,
        markersize=draw.font_size(ax) * 0.9,
        zorder=4,
    )
    return mark


def _predicted(model: Any, X: ArrayLike, y: ArrayLike) -> Any:
    if not hasattr(model, "predict"):
        raise InputError(
            f"GroupAccuracyDisplay needs classifiers or heads; got {type(model).__name__}."
        )
    if isinstance(model, LinearHead):
        return model.predict(draw.check_samples(X, y, model)[0])
    check_is_fitted(model)
    return model.predict(X)
