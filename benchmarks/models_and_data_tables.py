"""Tables of the models and data: what is lost, over all cells together, and who is told of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import product
from typing import Any

import numpy as np

from data_real import REAL
from models_and_data import (
    CASES,
    COMPLAINTS,
    EVERY_KIND,
    FALL,
    INCOMPLETE,
    LEVEL,
    METHODS,
    NO_ANSWER,
    NO_ORDER,
    RIGHT,
    WRONG,
    Run,
    cases_of,
    options_of,
)
from runner import mean_std, table

GROWTH = 0.05
RIGHT_ORDERS = (*RIGHT, "both shortcuts")
ORDERS = {
    "nothing": NO_ORDER,
    **{name: (name,) for name in (*RIGHT_ORDERS, COMPLAINTS, INCOMPLETE, *WRONG)},
    "a method": METHODS,
}
"""What a person says; everything but nothing is an order."""
QUESTION = "Is it there?"
"""What the person was asked who gave labels."""


def reliance(run: Run, j: int, when: str) -> float:
    """Gap between the groups that agree with a shortcut and those that contradict it."""
    means = [
        np.mean([group[when] for group in run["groups"] if group["agrees"][j] == agrees])
        for agrees in (True, False)
    ]
    return abs(float(means[0] - means[1]))


def relied_on_more(run: Run) -> list[int]:
    """Shortcuts on which the new model relies more than the old one."""
    shortcuts = range(len(EVERY_KIND[run["input"]].shortcuts))
    return [j for j in shortcuts if reliance(run, j, "after") - reliance(run, j, "before") > GROWTH]


def lost(run: Run, by: str = "lost") -> list[dict[str, Any]]:
    """Groups that are lost, by a test of the run alone or (``"lost_of_all"``) of all runs."""
    return [group for group in run["groups"] if group.get(by)]


def lost_to_shortcuts(run: Run) -> list[list[int]]:
    """For each group that is lost to shortcuts, those shortcuts."""
    to = [[j for j in relied_on_more(run) if not group["agrees"][j]] for group in lost(run)]
    return [shortcuts for shortcuts in to if shortcuts]


def mark_lost_of_all(results: Iterable[Run]) -> int:
    """Mark what is lost by Holm's correction over all groups of all written models; their number.

    Models that were not written cannot lose anything. They are not tested, which makes it stricter.
    """
    groups = [group for run in results if run["written"] for group in run["groups"]]
    adjusted = 0.0
    for i, group in enumerate(sorted(groups, key=lambda group: group["p"])):
        adjusted = max(adjusted, (len(groups) - i) * group["p"])
        fell = group["before"] - group["after"] > FALL
        group["lost_of_all"] = bool(adjusted < LEVEL and fell)
    return len(groups)


def mentioned(run: Run, shortcuts: list[int], phrase: str = "") -> bool:
    """Whether a line of the summary that holds a phrase names one of these shortcuts."""
    lines = [line for line in run["summary"].splitlines() if phrase in line]
    signs = signs_of(run, shortcuts)
    return any(sign in line for line in lines for sign in signs)


def signs_of(run: Run, shortcuts: Sequence[int]) -> list[str]:
    """Parts of names that stand for these shortcuts."""
    own = EVERY_KIND[run["input"]].signs
    return [QUESTION, *(sign for j in shortcuts for sign in own[j])]


def told(run: Run, group: dict[str, Any]) -> bool:
    """Whether the summary tells of a lost group: of its class, or of it by the shortcut."""
    signs = signs_of(run, range(len(EVERY_KIND[run["input"]].signs)))
    lines = run["summary"].splitlines()
    unchecked = [line for line in lines if line.startswith("Not checked")]
    parts = [part for line in unchecked for part in line.partition(": ")[2].split("; ")]
    for line in (line.strip() for line in lines if line.startswith("  ")):
        attribute = line.partition(": class ")[0] if ": class " in line else ""
        parts += [f"{attribute} {part}" for part in line.split("; ")]
    return any(
        f"class {group['class']}" in part
        and (any(sign in part for sign in signs) or f"class {group['class']}:" in part)
        for part in parts
    )


def n_told(run: Run, by: str = "lost") -> int:
    """How many of the lost groups the summary tells of."""
    return sum(told(run, group) for group in lost(run, by))


def n_named(run: Run) -> int:
    """How many of the groups lost to a shortcut the summary names."""
    return sum(mentioned(run, to, "relies more on") for to in lost_to_shortcuts(run))


def percent(run: Run, when: str, of: Any) -> float:
    """Accuracy of the worst group (of=min) or of all (of=np.mean; groups are equally large)."""
    return 100 * float(of([group[when] for group in run["groups"]]))


def moved(some: list[Run], of: Any) -> str:
    """Mean over runs of the worst group or the average, before and after."""
    old, new = (np.mean([percent(run, when, of) for run in some]) for when in ("before", "after"))
    return f"{old:.1f} → {new:.1f}"


# -- tables -----------------------------------------------------------------------------------


def tables(results: list[Run]) -> str:
    """Totals by order, each lost group of a right order, the models, and each kind of input."""
    n_tests = mark_lost_of_all(results)
    header = ["the shortcut is in", "a person says", "written", "worst group, made up", "real"]
    header += ["average", "groups lost, each run", "all together", "reported", "largest loss"]
    parts = [f"{totals(results)} Holm's correction over all: {n_tests} groups of written models."]
    parts.append(f"\n## All inputs together\n\n{table(header, [*by_order(results)])}")
    header = header[1:]
    for case in CASES:
        of_case = [run for run in results if run["case"] == case]
        rows = [[said, *sums(some)] for said, some in by_saying(of_case).items()]
        parts.append(f"\n## The shortcut is in: {case}\n\n{table(header, rows)}")
    parts.append("\n## Groups lost after a right order\n")
    parts.append("By the test over all cells, where the model did not have the shortcut.\n")
    header = [
        "input",
        "shortcut in",
        "a person says",
        "seed",
        "group",
        "accuracy",
        "worst group",
        "told",
    ]
    parts.append(table(header, [*lost_rows(results)]))
    header = ["input", "shortcut in", "worst group", "average", "mentioned without an answer"]
    parts.append(f"\n## The models before\n\n{table(header, [*model_rows(results)])}")
    header = ["shortcut in", "a person says", "written", "worst group", "average"]
    header += ["groups lost, each run", "all together", "reported", "to a shortcut", "named"]
    for name, kind in EVERY_KIND.items():
        cells = product(cases_of(kind), options_of(kind))
        some = {cell: [r for r in results if of(r) == (name, *cell)] for cell in cells}
        written = {cell: runs for cell, runs in some.items() if any(r["written"] for r in runs)}
        rows = [[*cell, *row(of_cell)] for cell, of_cell in written.items()]
        if rows:
            parts.append(f"\n## {name[0].upper()}{name[1:]}\n\n{table(header, rows)}")
    return "\n".join(parts) + "\n"


def of(run: Run) -> tuple[str, str, str]:
    """Input, case and order of a run."""
    return run["input"], run["case"], run["said"]


def by_saying(results: list[Run]) -> dict[str, list[Run]]:
    """Runs by order, in the order of the page."""
    found = {
        said: [run for run in results if run["said"] == said] for said in sum(ORDERS.values(), ())
    }
    return {said: some for said, some in found.items() if some}


def by_order(results: list[Run]) -> Iterable[list[str]]:
    """A row for each case and kind of order."""
    for case, (order, sayings) in product(CASES, ORDERS.items()):
        some = [run for run in results if run["case"] == case and run["said"] in sayings]
        if some:
            yield [case, order, *sums(some)]


def sums(some: list[Run]) -> list[str]:
    """Number of written models, accuracies, and groups that are lost."""
    halves = [[run for run in some if (run["input"] in REAL) == real] for real in (False, True)]
    cells = [f"{sum(run['written'] for run in some)} of {len(some)}"]
    cells += [*(moved(half, min) if half else "–" for half in halves), moved(some, np.mean)]
    n_groups = sum(len(run["groups"]) for run in some)
    losses = [g["before"] - g["after"] for run in some for g in lost(run, "lost_of_all")]
    n_told_of = sum(n_told(run, "lost_of_all") for run in some)
    told_of, most = (str(n_told_of), f"{100 * max(losses):.1f}") if losses else ("–", "–")
    n_lost = sum(len(lost(run)) for run in some)
    return [*cells, f"{n_lost} of {n_groups}", str(len(losses)), told_of, most]


def lost_rows(results: list[Run]) -> Iterable[list[str]]:
    """Each group that a right order loses on a model without the shortcut."""
    sayings = (*RIGHT_ORDERS, COMPLAINTS)
    some = [run for run in results if run["said"] in sayings and CASES[run["case"]][0] < 0.9]
    for run in sorted(some, key=lambda run: (sayings.index(run["said"]), *of(run), run["seed"])):
        for group in lost(run, "lost_of_all"):
            called = f"{group['class']}, {'with' if group['values'][0] else 'without'} it"
            change = f"{100 * group['before']:.1f} → {100 * group['after']:.1f}"
            name, case, said = of(run)
            yield [
                *(name, case, said, str(run["seed"]), called, change, moved([run], min)),
                "yes" if told(run, group) else "no",
            ]


def model_rows(results: list[Run]) -> Iterable[list[str]]:
    """What each model is worth, and how often the summary mentions a shortcut with no answer."""
    for name, kind in EVERY_KIND.items():
        every = list(range(len(kind.shortcuts)))
        for case in cases_of(kind):
            some = [run for run in results if of(run) == (name, case, NO_ANSWER)]
            if some:
                accuracies = (
                    mean_std([percent(r, "before", k) for r in some]) for k in (min, np.mean)
                )
                n = sum(mentioned(run, every) for run in some)
                yield [name, case, *accuracies, f"{n} of {len(some)}"]


def row(of_cell: list[Run]) -> list[str]:
    """What debias made of the model: means and sums over the seeds."""
    states = Counter(run["state"] for run in of_cell if run["state"] and not run["written"])
    shown = "".join(f", {n} {state}" for state, n in states.items())
    cells = [f"{sum(run['written'] for run in of_cell)} of {len(of_cell)}{shown}"]
    cells += [moved(of_cell, min), moved(of_cell, np.mean)]
    n_lost = sum(len(lost(run)) for run in of_cell)
    n_to = sum(len(lost_to_shortcuts(run)) for run in of_cell)
    cells.append(f"{n_lost} of {sum(len(run['groups']) for run in of_cell)}")
    cells.append(str(sum(len(lost(run, "lost_of_all")) for run in of_cell)))
    cells += [str(sum(map(n_told, of_cell))) if n_lost else "–", str(n_to)]
    return [*cells, str(sum(map(n_named, of_cell))) if n_to else "–"]


def totals(results: list[Run]) -> str:
    """Models written without an order, and losses that nobody is told of."""
    silent = [run for run in results if run["said"] in NO_ORDER]
    harmful = [run for run in results if lost_to_shortcuts(run)]
    named = [run for run in harmful if n_named(run) == len(lost_to_shortcuts(run))]
    by = "lost", "lost_of_all"
    n_lost, n_all = (sum(len(lost(run, each)) for run in results) for each in by)
    n_told_lost, n_told_all = (sum(n_told(run, each) for run in results) for each in by)
    seeds = ", ".join(map(str, sorted({run["seed"] for run in results})))
    return (
        f"Seeds {seeds}. Without an order a model was written in "
        f"{sum(run['written'] for run in silent)} of {len(silent)} runs. Groups were lost to a "
        f"shortcut in {len(harmful)} of {len(results)} runs; the summary named them all in "
        f"{len(named)} of these. {n_lost} groups were lost by the test of each run, and the "
        f"summary reported {n_told_lost}; {n_all} by the test over all runs, and it reported "
        f"{n_told_all}."
    )
