"""The table of candidates and that of the dial, in Markdown: a column is added here."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ntkit.debiasing._candidates import Candidate
from ntkit.debiasing._price import Price

__all__ = ["dial_of", "table_of"]


def table_of(candidates: Sequence[Candidate], *, balanced: bool, markdown: bool) -> str:
    """All candidates, accuracies in percent; ← marks the chosen one.

    Parameters
    ----------
    candidates : sequence of Candidate
        The rows.
    balanced : bool
        Whether the one chosen is balanced over groups, by which all are rated as well.
    markdown : bool
        Whether names are escaped; a terminal shows them as they are.
    """
    groups = any(c.worst_group is not None for c in candidates)
    header = ["candidate", "suppressed", "held-out score", "average", "worst class"]
    header += ["worst group"] * groups + ["worst balanced group"] * balanced
    rows = [header]
    for c in candidates:
        cells = [
            f"{c.name}{' ←' if c.chosen else ''}",
            str(c.n_suppressed),
            _with_spread(c.score, c.spread.get("score"), digits=3, factor=1),
            _with_spread(c.average, c.spread.get("average")),
            _with_spread(c.worst_class, c.spread.get("worst_class")),
        ]
        cells += [_with_spread(c.worst_group, c.spread.get("worst_group"))] * groups
        rows.append(cells + [_with_spread(c.worst_named)] * balanced)
    return _aligned(rows, escaped=markdown)


def dial_of(prices: Sequence[Price], taken: Price, *, balanced: bool) -> str:
    """Mixtures with the original head, accuracies in percent; ← marks the one taken."""
    groups = any(p.worst_group is not None for p in prices)
    header = ["share of the new head", "mended", "broken", "average", "worst class"]
    header += ["worst group"] * groups + ["worst balanced group"] * balanced
    rows = [header]
    for p in prices:
        mark = " ←" if p == taken else ""
        cells = [f"{100 * p.t:.0f} %{mark}", str(p.n_mended), str(p.n_broken)]
        cells += [f"{100 * value:.1f}" for value in (p.average, p.worst_class)]
        cells += [_with_spread(p.worst_group)] * groups
        worst = None if p.worst_named is None else p.worst_named.accuracy
        rows.append(cells + [_with_spread(worst)] * balanced)
    return _aligned(rows)


def _aligned(rows: list[list[str]], *, escaped: bool = False) -> str:
    if escaped:
        rows = [[re.sub(r"([\\`*<|])", r"\\\1", cell) for cell in row] for row in rows]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ["| " + " | ".join(map(str.ljust, row, widths)) + " |" for row in rows]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)


def _with_spread(
    value: float | None, spread: float | None = None, digits: int = 1, factor: float = 100
) -> str:
    if value is None:
        return "–"
    text = f"{factor * value:.{digits}f}"
    return text if spread is None else f"{text} ± {factor * spread:.{digits}f}"
