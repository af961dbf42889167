"""Plots of an audit and of a check."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from ntkit._doc import documented
from ntkit.attributes.findings import Finding
from ntkit.exceptions import InputError
from ntkit.inspection import _draw as draw
from ntkit.metrics import Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MOST = 12  # rows
_COLORS = {"pass": draw.BLUE, "fail": draw.VERMILLION}  # grey: too few samples, or no limit


_LIMIT = ("max_drop", "accuracy")  # of a change, and of an accuracy


def _point(row: Row) -> draw.Point:
    """The change of a row with its interval; the accuracy of one model alone."""
    value, interval = row.value, row.interval
    if row.change is not None:
        value, interval = row.change, row.change_interval
    return value, *(interval or (value, value))


@documented
@dataclass(eq=False, repr=False)
class AuditDisplay(draw.Display):
    """Accuracy with and without the attribute of each finding, with 95 % intervals.

    A row is the class in which the samples that conflict with the finding are most certainly wrong:
    ``finding.worst``. At most 12 findings are drawn, in the order of the audit.

    Make it with :meth:`from_result`; the parameter becomes an attribute.

    Parameters
    ----------
    result : Audit
        Result of :func:`ntkit.audit` or :func:`ntkit.audit_model`.

    Attributes
    ----------
    shown_ : list of Finding
        Findings in the plot, from top to bottom.
    {ax_, figure_}
    with_, without_ : matplotlib ErrorbarContainer
        Accuracies and intervals, top to bottom.

    See Also
    --------
    CheckDisplay : Plot of a check. ntkit.Audit.to_frame : All findings as a table.

    Examples
    --------
    >>> import ntkit
    >>> from ntkit.inspection import AuditDisplay
    >>> y, film = [0, 1] * 50, [0, 1, 0, 1, 0, 1, 0, 1, 1, 0] * 10
    >>> texts = ["a film" if f else "a movie" for f in film]
    >>> display = AuditDisplay.from_result(ntkit.audit(y, film, texts=texts))
    >>> [finding.name for finding in display.shown_]
    ['word:film']
    """

    result: Any

    @classmethod
    def from_result(cls, result: Any, *, ax: Axes | None = None) -> Self:
        """Draw the findings of an audit.

        Parameters
        ----------
        result : Audit
            Result of :func:`ntkit.audit` or :func:`ntkit.audit_model`.
        {ax}

        {drawn}
        """
        if not hasattr(result, "findings"):
            raise InputError(f"{cls.__name__} needs an audit; got {type(result).__name__}.")
        return cls(result).plot(ax)

    def _draw(self, ax: Axes) -> None:
        findings = self.result.findings
        self.shown_: list[Finding] = [*findings[:_MOST]]
        pairs = [(f.worst, f.beside(f.worst)) for f in self.shown_]
        having = [one if one.which else other for one, other in pairs]
        lacking = [other if one.which else one for one, other in pairs]
        self.without_ = draw.errorbar(ax, draw.points_of(lacking), draw.GREY, before=True)
        self.with_ = draw.errorbar(ax, draw.points_of(having), draw.BLUE, offset=0.16)
        n = len(findings)
        title = f"{n} finding{'s' * (n != 1)}" if n else "No findings"
        if n > _MOST:
            title = f"First {_MOST} of {n} findings"
        names = [(f.name, f"  (class {draw.short(f.worst.name, 12)})") for f in self.shown_]
        entries = [
            ("o", draw.GREY, "white", "without it"),
            ("o", draw.BLUE, draw.BLUE, "with it"),
        ]
        draw.label_shares(ax, names, "accuracy in the class, 95 % interval", title, entries)


@documented
@dataclass(eq=False, repr=False)
class CheckDisplay(draw.Display):
    """Change of each subset of a check, with its interval and its limit.

    A line marks the largest drop that the limits allow. Of one model alone, the accuracy and its
    minimum are drawn. Blue rows pass, vermillion ones fail one of their limits; a grey row has
    too few samples, or no limit. Of more than 12 subsets only the worst are drawn.

    Make it with :meth:`from_result`; the parameter becomes an attribute.

    Parameters
    ----------
    result : CheckResult
        Result of :func:`ntkit.check`.

    Attributes
    ----------
    shown_ : list of Row
        Rows of the check in the plot, from top to bottom.
    {ax_, figure_}
    changes_ : list of matplotlib ErrorbarContainer
        Change, or accuracy, and interval of each row.
    limits_ : list of matplotlib Line2D
        Limit of each row that has one, top to bottom.

    See Also
    --------
    AuditDisplay : Plot of an audit. ntkit.CheckResult.to_frame : All rows as a table.

    Examples
    --------
    >>> from ntkit.inspection import CheckDisplay
    >>> from ntkit.jobs.check import check_predictions
    >>> y, new = [0, 1] * 50, [0, 1] * 45 + [1, 1] * 5
    >>> result = check_predictions(y, new, y_pred_before=y, limits={"max_drop": 2})
    >>> display = CheckDisplay.from_result(result)
    >>> [row.title for row in display.shown_]
    ['class 0', 'average', 'class 1']
    """

    result: Any

    @classmethod
    def from_result(cls, result: Any, *, ax: Axes | None = None) -> Self:
        """Draw the changes of a check.

        Parameters
        ----------
        result : CheckResult
            Result of :func:`ntkit.check` or :func:`ntkit.jobs.check.check_predictions`.
        {ax}

        {drawn}
        """
        if not hasattr(result, "rows") or not hasattr(result, "n_comparisons"):
            raise InputError(f"{cls.__name__} needs a check; got {type(result).__name__}.")
        return cls(result).plot(ax)

    def _draw(self, ax: Axes) -> None:
        rows = [row for row in self.result.rows if row.n]
        self.shown_ = sorted(rows, key=_point)[:_MOST]
        self.changes_, self.limits_ = list[Any](), list[Any]()
        for at, row in enumerate(self.shown_):
            limit = next((v for v in row.verdicts if v.limit == _LIMIT[row.change is None]), None)
            color = _COLORS.get(row.outcome or "", draw.GREY)
            self.changes_.append(draw.errorbar(ax, [_point(row)], color, offset=at))
            if limit is not None:
                bound = limit.bound if row.change is None else -limit.bound
                (line,) = ax.plot([bound, bound], [at - 0.35, at + 0.35], color=draw.BLACK)
                self.limits_.append(line)
        compared = any(row.change is not None for row in rows)
        title = {"pass": "passed", "fail": "failed"}.get(self.result.outcome, "too few samples")
        if len(rows) > len(self.shown_):
            title += f" ({_MOST} worst of {len(rows)} rows)"
        what = "change of accuracy" if compared else "accuracy"
        names = [(row.title, f"  ({row.n})") for row in self.shown_]
        entries = [
            ("o", draw.BLUE, draw.BLUE, "pass"),
            ("o", draw.VERMILLION, draw.VERMILLION, "fail"),
            ("o", draw.GREY, draw.GREY, "undecided"),
            ("|", draw.BLACK, draw.BLACK, "limit"),
        ]
        if compared:
            ax.axvline(0, color=draw.GREY, linewidth=0.8, zorder=0)
        draw.label_shares(ax, names, f"{what}, confidence bounds of the check", title, entries)
