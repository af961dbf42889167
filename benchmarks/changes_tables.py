"""Tables of the results of changes.py."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np

from evidence_tables import table

Findings = dict[str, Any]
METHODS = {
    "ERM, tuned C": "ERM",
    "DFR †": "DFR †",
    "group-balanced †": "group-balanced †",
    "copies": "copies",
    "copies in place": "copies in place",
    "copies and penalty": "copies and penalty",
    "groups and copies †": "groups and copies †",
    "groups, copies where they enter †": "groups, copies where they enter †",
}
RULE_ROWS = {
    "copies and penalty": "smallest γ",
    "copies and largest penalty": "largest γ",
    "copies in place and penalty": "in place, smallest γ",
    "copies in place and largest penalty": "in place, largest γ",
    "by the smallest cell": "smallest group",
    "by the smallest cell, largest penalty": "smallest group, largest γ",
}
MASKS = {
    "class-balanced": "none suppressed",
    "NeuronTune by errors": "by errors",
    "NeuronTune by change": "by change",
    "NeuronTune by change, 50 %": "by change, half",
    "random masks, as many as NeuronTune by change, 50 %": "random, half",
}
PENALTIES = ("", *(f", penalty {γ}" for γ in (1, 10, 100, 1000, 10_000)))
CANDIDATES = (
    "group-balanced †",
    "copies",
    "copies in place",
    "copies and penalty",
    "copies in place and penalty",
    "copies, penalty 1000",
    "copies in place, penalty 1000",
    "groups and copies †",
    "groups, copies where they enter †",
)
RULES = (
    "class × attribute",
    "class × attribute × {original, changed}",
    "class × {original, changed}",
    "smallest class × {original, changed}",
)
WEIGHTS = (0, 1, 10, 100, 1000, 10_000)
SELECTION = (
    ("copies", "class × {original, changed}", "smallest", 1000),
    ("copies", "class × {original, changed}", "largest", 1000),
    ("copies", "smallest class × {original, changed}", "largest", 10_000),
    ("copies in place", "class × {original, changed}", "smallest", 1000),
    ("copies in place", "class × {original, changed}", "largest", 10_000),
    ("copies in place", "smallest class × {original, changed}", "smallest", 1000),
    ("copies in place", "smallest class × {original, changed}", "smallest", 10_000),
    ("copies in place", "smallest class × {original, changed}", "largest", 10_000),
    ("the better of both", "smallest class × {original, changed}", "largest", 10_000),
)
"""Rows, what they are judged by, which weight within one standard error, the largest weight."""
IN_VIEW = (
    ("Rotten Tomatoes", "film / movie"),
    ("Digits", "top left"),
    ("Sneaker / boot", "noise"),
    ("Adult, 95 %", "all columns"),
)
"""Problems that the rules were found on."""
SETTINGS = {"biased": "", "no counterexample": ", 100 %"}
Key = tuple[str, str, str]


def tables(results: Sequence[Findings]) -> str:
    """All tables, as Markdown."""
    parts: dict[str, dict[Key, list[Findings]]] = defaultdict(lambda: defaultdict(list))
    for found in results:
        key = found["problem"], found["setting"], found["change"]
        parts[found["part"]][key].append(found)
    shown = []
    if of := parts.get("methods"):
        shown += [
            "Worst group / mean over groups, test set, %. The number of seeds is in brackets.",
            by_problem(of, METHODS),
            "The same at an intercept tuned with group labels of balanced samples.",
            by_problem(of, METHODS, ("tuned worst", "tuned mean")),
            "Average accuracy at the groups' shares of the training rows, %.",
            by_problem(of, METHODS, ("adjusted",)),
            "Rules that choose the weight γ of the penalty, worst group / mean over groups.",
            by_problem(of, RULE_ROWS),
            "The same rules and others: points of the worst group below the best of all rows and "
            "weights, mean (largest) over problems and settings.",
            selection(of),
            "By γ, copies and originals.",
            by_problem(of, {f"copies{p}": p.strip(", ") or "no penalty" for p in PENALTIES}),
            "By γ, copies in place of their originals.",
            by_problem(of, {f"copies in place{p}": p.strip(", ") or "none" for p in PENALTIES}),
            "NeuronTune's estimators, fitted to the originals alone.",
            by_problem(of, MASKS),
            "One of the candidates chosen by a cross-fitted accuracy: points of the worst group "
            "below the best of them, mean over seeds.",
            regrets(of, CANDIDATES),
            "The same, candidates that need no group label.",
            regrets(of, [name for name in CANDIDATES if "†" not in name]),
        ]
    if of := parts.get("shares"):
        shown += [share_tables(of)]
    if of := parts.get("alike"):
        shown += [
            "Cross-validated AUC of a linear classifier between copies and the real samples of the "
            "group that they enter (class, value).",
            of_alike(of),
        ]
    return "\n\n".join(shown) + "\n"


def label(key: Key, found: Sequence[Findings]) -> str:
    """First cell of a row: problem, setting, change, seeds."""
    problem, setting, change = key
    return f"{problem}{SETTINGS[setting]}: {change} ({len(found)})"


def by_problem(
    of: dict[Key, list[Findings]], names: dict[str, str], figures: Sequence[str] = ("worst", "mean")
) -> str:
    """A row for each problem and a column for each method."""
    rows = []
    for key, found in of.items():
        cells = []
        for name in names:
            some = [f["rows"][name] for f in found if name in f["rows"]]
            cells.append(cell(some, figures) if some else "")
        rows.append([label(key, found), *cells])
    return table(["", *names.values()], rows)


def cell(rows: Sequence[Findings], figures: Sequence[str]) -> str:
    """Means over seeds, the first with its deviation."""
    values = [[row[figure] for row in rows] for figure in figures]
    first = f"{np.mean(values[0]):.1f}"
    if len(rows) > 1:
        first += f" ± {np.std(values[0], ddof=1):.1f}"
    return " / ".join([first, *(f"{np.mean(v):.1f}" for v in values[1:])])


def regrets(of: dict[Key, list[Findings]], candidates: Sequence[str]) -> str:
    """Worst group lost by each rule."""
    rows, sums = [], defaultdict(list)
    for key, found in of.items():
        cells, best_of = [], []
        for rule in RULES:
            lost = []
            for one in found:
                there = [n for n in candidates if "crossed" in one["rows"].get(n, {})]
                if len(there) < 2:
                    continue
                scores = [one["rows"][n]["crossed"][rule] for n in there]
                worst = [one["rows"][n]["worst"] for n in there]
                lost.append(max(worst) - worst[int(np.argmax(scores))])
                best_of.append(there[int(np.argmax(worst))])
            if lost:
                sums[rule].append(np.mean(lost))
                cells.append(f"{np.mean(lost):.1f}")
        if cells:
            common = max(dict.fromkeys(best_of), key=best_of.count)
            rows.append([label(key, found), common, *cells])
    rows.append(["**mean**", "", *(f"**{np.mean(sums[rule]):.1f}**" for rule in RULES)])
    rows.append(["**largest**", "", *(f"**{np.max(sums[rule]):.1f}**" for rule in RULES)])
    return table(["", "most often the best", *RULES], rows)


def named(kind: str, weight: float) -> str:
    """Name of a row."""
    return f"{kind}, penalty {weight:g}".replace("1e+04", "10000") if weight else kind


def picked(one: Findings, kind: str, score: str, which: str, most: float) -> float | None:
    """Worst group of what a rule picks, from one line of results."""
    kinds = ("copies", "copies in place") if kind == "the better of both" else (kind,)
    rows = [
        (k, row)
        for k in kinds
        for w in WEIGHTS
        if w <= most and "crossed" in (row := one["rows"].get(named(k, w), {}))
    ]
    if not rows:
        return None
    values = [row["crossed"][score] for _, row in rows]
    best = int(np.argmax(values))
    counts, accuracy = one["train"], values[best] / 100
    n = min(counts[0] + counts[1], counts[2] + counts[3])
    error = 100 * np.sqrt(accuracy * (1 - accuracy) / n)
    if not score.startswith("smallest"):
        error = rows[best][1].get("error", error / 1.5)
    within = [
        row
        for (k, row), value in zip(rows, values, strict=True)
        if k == rows[best][0] and value >= values[best] - error
    ]
    return float(within[-1 if which == "largest" else 0]["worst"])


def selection(of: dict[Key, list[Findings]]) -> str:
    """What each rule loses next to the best of all rows and weights."""
    lines = []
    for rule in SELECTION:
        lost: dict[bool, list[float]] = {True: [], False: []}
        for (problem, _, change), found in of.items():
            values = [picked(one, *rule) for one in found]
            if None in values:
                continue
            names = [named(k, w) for k in ("copies", "copies in place") for w in WEIGHTS]
            best = max(
                np.mean([one["rows"][n]["worst"] for one in found])
                for n in names
                if all(n in one["rows"] for one in found)
            )
            lost[(problem, change) in IN_VIEW].append(float(best - np.mean(values)))
        both = lost[True] + lost[False]
        cells = [f"{np.mean(v):.1f} ({max(v):.1f})" if v else "" for v in (both, *lost.values())]
        kind, score, which, most = rule
        lines.append([f"{kind}; {score}; {which} γ, at most {most}", *cells])
    return table(["", "all", "found on these", "others"], lines)


def share_tables(of: dict[Key, list[Findings]]) -> str:
    """Of each problem: kinds of rows and masks by share."""
    parts = []
    for key, found in of.items():
        names = [n for n in found[0]["rows"] if "|" in n]
        kinds = dict.fromkeys(n.split(" | ")[0] for n in names)
        all_shares = list(dict.fromkeys(n.split(" | ")[2] for n in names))
        rows = []
        for kind in kinds:
            for mask in ("change", "errors", "random"):
                for figures in (("worst", "mean"), ("tuned worst", "tuned mean")):
                    cells = []
                    for share in all_shares:
                        some = []
                        for one in found:
                            own = [
                                row
                                for name, row in one["rows"].items()
                                if " | " in name
                                and name.split(" | ")[0] == kind
                                and name.split(" | ")[1].startswith(mask)
                                and name.split(" | ")[2] == share
                            ]
                            if own:
                                some.append({f: np.mean([r[f] for r in own]) for f in figures})
                        cells.append(cell(some, figures) if some else "")
                    at = "" if figures[0] == "worst" else ", intercept tuned"
                    rows.append([f"{kind}, by {mask}{at}".replace("by random", "random"), *cells])
        heads = [f"{float(s):.0%}".replace("%", " %") for s in all_shares]
        parts += [label(key, found), table(["", *heads], rows)]
    return "\n\n".join(parts)


def of_alike(of: dict[Key, list[Findings]]) -> str:
    """AUC by class and value."""
    rows = []
    for key, found in of.items():
        cells = []
        for group in ("0, 0", "0, 1", "1, 0", "1, 1"):
            known = [f["rows"][group]["auc"] for f in found if f["rows"][group]["auc"] is not None]
            cells.append(f"{np.mean(known):.2f}" if known else "")
        if any(cells):
            rows.append([label(key, found), *cells])
    return table(["", "0, 0", "0, 1", "1, 0", "1, 1"], rows)
