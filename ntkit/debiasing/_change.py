"""What becomes of the worst group and the average, on a set that has a name."""

from __future__ import annotations

from dataclasses import dataclass

from ntkit.metrics import GroupReport

__all__ = ["AT_A_COST", "AccuracyChange"]

AT_A_COST = "Accepted at a cost."
_SAME = 1e-9


@dataclass(frozen=True)
class AccuracyChange:
    """Accuracies before and after, in [0, 1].

    Attributes
    ----------
    where : str
        The set, as "test set".
    what : str
        "worst group", or "worst class" where no groups are known.
    worst_before, worst_after, average_before, average_after : float
        Accuracies.
    sure : bool
        Whether the 95 % interval of the change of the worst does not hold 0.
    """

    where: str
    what: str
    worst_before: float
    worst_after: float
    average_before: float
    average_after: float
    sure: bool

    @classmethod
    def of(cls, figures: GroupReport, where: str) -> AccuracyChange:
        """The change that a report with predictions before shows."""
        worst, average = figures.worst_group, figures.summary("average")
        low, high = worst.change_interval or (0.0, 0.0)
        return cls(
            where,
            str(worst.label),
            float(worst.accuracy_before or 0.0),
            worst.accuracy,
            float(average.accuracy_before or 0.0),
            average.accuracy,
            low > 0 or high < 0,
        )

    @property
    def verdict(self) -> str:
        """A word or two; "Better" only where neither the worst group nor the average fell."""
        worst = self.worst_after - self.worst_before
        average = self.average_after - self.average_before
        if min(worst, average) >= -_SAME and max(worst, average) > _SAME:
            return "Better." if self.sure else "Better, by a margin that chance may explain."
        if worst > _SAME:
            return AT_A_COST
        if max(abs(worst), abs(average)) <= _SAME:
            return f"Written, without a change on the {self.where}."
        return f"Written, though lower on the {self.where}."

    def __str__(self) -> str:
        return self.told()

    def told(self, by: str = "") -> str:
        """The figures in a sentence; ``by`` says which head, where it is not the one written."""
        return (
            f"{self.where.capitalize()}{by}, {self.what}: {100 * self.worst_before:.1f} → "
            f"{100 * self.worst_after:.1f} %; average: {100 * self.average_before:.1f} → "
            f"{100 * self.average_after:.1f} %."
        )
