"""The results as one file, ``docs/benchmarks/results.csv``, and the tables of the pages.

    python benchmarks/results_csv.py

The rows file of :mod:`rows` makes the tables and the plot of the overview, and the tables of the
pages on results, methods and published numbers. results.csv also has earlier runs without such
rows (:mod:`committed`) and numbers of papers (:mod:`published`). Nothing is run.

The results page says what each column holds. Accuracies are of the test set, in %.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Sequence
from itertools import chain

import numpy as np
from scipy.stats import rankdata

import committed
import overview_tables
import rows as rows_file
import sentences
from committed import (
    CROSS,
    DEFAULTS,
    DFR,
    DOCS,
    FINE_TUNED,
    FROZEN,
    LIKE_TRAINING,
    OVER_GROUPS,
    PUBLISHED_DFR,
    RUN,
    TO_TUNE_BY,
    TUNED_BY,
    VALIDATION_ALONE,
    Row,
    numbers,
    plain,
)
from overview_data import BALANCED_VALIDATION, kind_of, source_of
from overview_data import OFFICIAL as OFFICIAL_WATERBIRDS
from overview_tables import REFERENCE, Runs, answers_and_name, names_of, runs_of, values
from published import BALANCED, HALF, OFFICIAL, PUBLISHED
from rows import ROWS, Fit, mean_of, shown_gain, worst
from runner import mean_std, table

COLUMNS = (
    *("data_set", "shortcut", "validation_set", "method", "labels", "tuned_by"),
    *("worst_group", "worst_group_sd", "average", "average_sd", "seeds", "kind", "source"),
)


def main() -> None:
    """Write the file, the tables and the plot."""
    fits = rows_file.read()
    rows = all_rows(fits)
    overview = of_overview_alone(fits)
    (DOCS / "overview_tables.md").write_text(overview_tables.tables(overview), encoding="utf-8")
    overview_tables.plot(overview, DOCS / "overview.svg")
    (DOCS / "results.csv").write_text(as_csv(rows), encoding="utf-8")
    (DOCS / "results_tables.md").write_text(full_tables(rows), encoding="utf-8")
    for name, tables in page_tables(rows, fits).items():
        page = DOCS / name
        page.write_text(with_tables(page.read_text(encoding="utf-8"), tables), encoding="utf-8")


def of_overview_alone(fits: Sequence[Fit]) -> list[Fit]:
    """Fits of the overview, whose training shares are known; the others are NeuronTune's."""
    return [fit for fit in fits if fit["shares"]]


def all_rows(fits: Sequence[Fit]) -> list[Row]:
    """Every row of the file."""
    runs = runs_of(of_overview_alone(fits))
    earlier = chain(committed.of_overview(runs.keys()), committed.of_waterbirds())
    known = chain(of_overview(runs), earlier, PUBLISHED, committed.of_others())
    return [dict.fromkeys(COLUMNS, "") | row for row in known]


def as_csv(rows: Sequence[Row]) -> str:
    """The text of the file."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def of_overview(runs: Runs) -> Iterator[Row]:
    """Means and deviations of the rows of ``overview.py``."""
    for name in names_of(runs):
        labels, shown = answers_and_name(name)
        method, by = plain(shown)
        for data, of_seeds in runs.items():
            if worst_groups := values(of_seeds, name, "worst"):
                averages = values(of_seeds, name, "average")
                yield {
                    **problem_of(data),
                    "method": method,
                    "labels": seen_labels(labels, shown),
                    "tuned_by": by,
                    **numbers("worst_group", mean_std(worst_groups)),
                    **numbers("average", mean_std(averages)),
                    **{"seeds": str(len(worst_groups)), "kind": RUN, "source": ROWS.name},
                }


def seen_labels(labels: str, shown: str) -> str:
    """The group labels that a row sees."""
    if shown.endswith("validation set †"):
        return VALIDATION_ALONE
    return {"0": "none", "half of validation": TO_TUNE_BY}.get(labels, labels)


def problem_of(data: str) -> Row:
    """Data set, shortcut and validation set of a problem of the overview."""
    if data == OFFICIAL_WATERBIRDS:
        return {"data_set": FROZEN, "shortcut": "injected", "validation_set": OFFICIAL}
    balanced = data.endswith(BALANCED_VALIDATION)
    return {
        "data_set": source_of(data),
        "shortcut": kind_of(source_of(data)) if balanced else kind_of(data),
        "validation_set": OVER_GROUPS if balanced else LIKE_TRAINING,
    }


# -- the tables of the page -----------------------------------------------------------------------

README_METHODS = (
    ("ERM", CROSS),
    ("class-balanced retraining", CROSS),
    ("NeuronTune, as described", TUNED_BY["NeuronTune, as described"]),
    ("random mask of its size", TUNED_BY["random mask of its size"]),
    ("JTT", DEFAULTS),
    ("ntkit, `auto`", CROSS),
    ("ntkit, `debias`", CROSS),
    ("DFR as published, validation set", TUNED_BY[PUBLISHED_DFR]),
    ("DFR, weighted, all rows", TUNED_BY[DFR]),
)
SHORT = (
    ("none", "ERM", CROSS),
    ("none", "class-balanced retraining", CROSS),
    ("none", "NeuronTune, as described", TUNED_BY["NeuronTune, as described"]),
    ("none", "random mask of its size", TUNED_BY["random mask of its size"]),
    ("none", "NeuronTune, ntkit's default", DEFAULTS),
    ("none", "JTT", DEFAULTS),
    ("none", "ntkit, `--method auto`", CROSS),
    ("none", "ntkit, `auto`", CROSS),
    ("one yes", "ntkit, `debias`", CROSS),
    ("48", "SSA", TUNED_BY["SSA"]),
    ("48", "ntkit, `debias`", CROSS),
    ("96", "ntkit, `debias`", CROSS),
    ("all", "group DRO, C not tuned", DEFAULTS),
    (VALIDATION_ALONE, "DFR as published, validation set", TUNED_BY[PUBLISHED_DFR]),
    ("all", "DFR, weighted, all rows", TUNED_BY[DFR]),
)
"""Rows of the first table."""
README = "../../README.md"
README_LABELS = ("none", "48", VALIDATION_ALONE, "all")
README_ROWS = tuple(key for key in SHORT if key[1:] in README_METHODS and key[0] in README_LABELS)
README_SETS = (FROZEN,)
SHORT_SETS = (FROZEN, "Sneaker/boot", "Rotten Tomatoes", "SpamAssassin", "Adult, 95 %")
IMAGES = (FROZEN, FINE_TUNED, "TuxScenes", "Sneaker/boot", "T-shirt/dress", "Pullover/coat")
OTHERS = (
    *("Rotten Tomatoes", "Rotten Tomatoes, L6", "Rotten Tomatoes, LSA"),
    *("SpamAssassin", "SpamAssassin, L6", "SpamAssassin, LSA", "Adult, 95 %", "Adult"),
)
NO_SHORTCUT = (
    "Rotten Tomatoes",
    "TuxScenes",
    "Sneaker/boot",
    "T-shirt/dress",
    "Pullover/coat",
    "Adult",
)
MARKS = {
    CROSS: "",
    TUNED_BY[DFR]: "",
    TUNED_BY[PUBLISHED_DFR]: "",
    TUNED_BY["NeuronTune, as described"]: "",
    TUNED_BY["‡"]: " (worst class)",
    TUNED_BY["‡†"]: " (worst group)",
    TUNED_BY["SSA"]: " (half the labels)",
    TUNED_BY["random mask of its size"]: "",
    DEFAULTS: " (defaults)",
}
"""How the tables of the page call what tunes a method; other rows are in the file alone."""


def page_tables(rows: Sequence[Row], fits: Sequence[Fit]) -> dict[str, dict[str, str]]:
    """Tables between markers, by page and by the name in the marker."""
    with_one = [row for row in rows if row["shortcut"] != "none"]
    overview = of_overview_alone(fits)
    runs = runs_of(overview)
    return {
        "results.md": {
            "main table": with_unasked(accuracies(with_one, SHORT, SHORT_SETS, mean=True), runs),
            "gains": gains(overview),
            "what the tables show": sentences.of_results(runs, overview),
            "seeds": sentences.seeds(runs),
            "without group labels": without_labels(runs),
        },
        "methods.md": {
            "balanced validation set": with_balanced(runs),
            "what the balanced set shows": sentences.of_methods(runs, overview),
        },
        "published.md": {"published": next_to_published(rows, fits)},
        README: {"results": accuracies(with_one, README_ROWS, README_SETS, mean=True)},
    }


def with_tables(page: str, tables: dict[str, str], by: str = "benchmarks/results_csv.py") -> str:
    """A page with the tables between their markers."""
    for name, text in tables.items():
        start, end = f"<!-- {name}, by {by} -->\n", "<!-- end -->"
        before, found, rest = page.partition(start)
        if not found or end not in rest:
            raise ValueError(f"the page lacks the markers {start!r} and {end!r}")
        page = f"{before}{start}\n{text}\n\n{end}{rest.partition(end)[2]}"
    return page


def full_tables(rows: Sequence[Row]) -> str:
    """All methods by data set."""
    with_one = [row for row in rows if row["shortcut"] != "none"]
    without = [row for row in rows if row["shortcut"] == "none"]
    own = [key for key in keys_of(rows) if key[2] in MARKS]
    parts = {
        "All methods: images": accuracies(with_one, own, IMAGES),
        "All methods: texts and tables": accuracies(with_one, own, OTHERS),
        "All methods: no shortcut": accuracies(without, own, NO_SHORTCUT),
    }
    return "\n\n".join(f"## {k}\n\n{v}" for k, v in parts.items()) + "\n"


def keys_of(rows: Sequence[Row]) -> list[tuple[str, str, str]]:
    """Labels, method and what tunes it, of all rows of the overview; few labels first."""
    own = [row for row in rows if of_main_table(row)]
    keys = dict.fromkeys((row["labels"], row["method"], row["tuned_by"]) for row in own)
    order = ("none", "groups, to tune", "one yes", "48", "96", VALIDATION_ALONE, "all")
    return sorted(keys, key=lambda key: order.index(key[0]))


def of_main_table(row: Row) -> bool:
    """Whether a row is of the overview with a validation set like the training set."""
    return (row["source"], row["validation_set"]) == (ROWS.name, LIKE_TRAINING)


def accuracies(
    rows: Sequence[Row],
    keys: Sequence[tuple[str, str, str]],
    sets: Sequence[str],
    *,
    mean: bool = False,
) -> str:
    """Worst group / average of some methods and data sets.

    ``mean`` adds the mean over all sets, and the mean of the worst group's standard deviations.
    """
    known: dict[tuple[str, str, str], dict[str, Row]] = {}
    for row in rows:
        if of_main_table(row):
            key = (row["labels"], row["method"], row["tuned_by"])
            known.setdefault(key, {})[row["data_set"]] = row
    all_sets = max(map(len, known.values()))
    lines = []
    for key in keys:
        found = known.get(key, {})
        cells = [
            f"{found[name]['worst_group']} / {found[name]['average']}" if name in found else "–"
            for name in sets
        ]
        if set(cells) == {"–"}:
            continue
        if mean:
            worst, average, deviation = (
                np.mean([float(row[name]) for row in found.values()])
                for name in ("worst_group", "average", "worst_group_sd")
            )
            shown = [f"{worst:.1f} / {average:.1f}", f"{deviation:.1f}"]
            cells = [*(shown if len(found) == all_sets else ["–", "–"]), *cells]
        name = key[1] + ("" if re.search("default|not tuned", key[1]) else MARKS[key[2]])
        lines.append([name, key[0], *cells])
    first = [f"mean of {all_sets} sets", "± over seeds"] if mean else []
    return table(["method", "labels", *first, *sets], lines)


def with_unasked(text: str, runs: Runs) -> str:
    """The table, with a word where nobody says yes."""
    (row,) = (line for line in text.splitlines() if "| one yes |" in line)
    none = {problem_of(data)["data_set"] for data in runs} - {
        problem_of(data)["data_set"] for data in sentences.answered(runs)
    }
    cells = zip(row.split(" | "), ["", "", "", "", *SHORT_SETS], strict=True)
    said = (f"{cell} (no yes)" if name in none and cell != "–" else cell for cell, name in cells)
    return text.replace(row, " | ".join(said))


GAINS = (
    ("0 | class-balanced", "class-balanced retraining"),
    ("0 | NeuronTune", "NeuronTune, as described"),
    ("0 | NeuronTune, default", "NeuronTune, ntkit's default"),
    ("0 | random mask", "random mask of its size"),
    ("0 | jtt", "JTT (defaults)"),
    ("0 | --method auto", "ntkit, `--method auto`"),
    ("0 | auto", "ntkit, `auto`"),
    ("48 | SSA", "SSA, 48 labels"),
    ("48 | debias", "ntkit, `debias`, 48 labels"),
    ("96 | debias", "ntkit, `debias`, 96 labels"),
    ("all | group DRO †", "group DRO, C not tuned"),
    ("all | DFR as published †", "DFR as published, validation set"),
    (REFERENCE, "DFR, weighted, all rows"),
)
PAIRS = (
    ("NeuronTune, as described, minus random masks", "0 | NeuronTune", "0 | random mask"),
    ("`auto` minus JTT (defaults)", "0 | auto", "0 | jtt"),
    ("`debias`, 48 labels, minus DFR, weighted", "48 | debias", REFERENCE),
)
ERM = "0 | ERM"


def biased(fits: Sequence[Fit]) -> list[Fit]:
    """Fits of the sets of the first table."""
    return [fit for fit in fits if kind_of(fit["data"]) in ("injected", "natural")]


def gains(fits: Sequence[Fit]) -> str:
    """Gain of the worst group over ERM with its interval, sets with a gain, and mean rank."""
    some = biased(fits)
    ranks = mean_ranks(some, [ERM, *(name for name, _ in GAINS)])
    lines = [["ERM", "–", "–", f"{ranks[ERM]:.1f}"]]
    lines += [[t, *shown_gain(some, name, ERM), f"{ranks[name]:.1f}"] for name, t in GAINS]
    lines += [[title, *shown_gain(some, name, other), "–"] for title, name, other in PAIRS]
    return table(
        ["method", "worst group minus ERM, points", "sets with a gain", "mean rank"], lines
    )


def mean_ranks(fits: Sequence[Fit], names: Sequence[str]) -> dict[str, float]:
    """Mean over sets of the rank by worst group, 1 the best."""
    means = [
        {data: mean_of(seeds) for data, seeds in rows_file.by_set(fits, name).items()}
        for name in names
    ]
    sets = set.intersection(*map(set, means))
    ranks = [rankdata([-each[data] for each in means]) for data in sorted(sets)]
    return dict(zip(names, np.mean(ranks, axis=0).tolist(), strict=True))


def with_balanced(runs: Runs) -> str:
    """Worst groups on sets whose validation set is balanced over the groups, means last."""
    sets = {data: found for data, found in runs.items() if kind_of(data) == "balanced"}
    sets = {d: found for d, found in sets.items() if set(BALANCED_ROWS) <= set(found[0])}
    found = {
        source_of(data): [float(np.mean(values(of_seeds, name, "worst"))) for name in BALANCED_ROWS]
        for data, of_seeds in sets.items()
    }
    found["mean"] = np.mean([*found.values()], axis=0).tolist()
    lines = [[data, *(f"{value:.1f}" for value in each)] for data, each in found.items()]
    return table(["data", *BALANCED_ROWS.values()], lines)


BALANCED_ROWS = {
    "0 | ERM, training rows": "ERM, training set",
    "0 | class-balanced, validation rows": "class-balanced, validation set",
    "0 | random mask": "random mask",
    "0 | NeuronTune": "NeuronTune, as described",
    "0 | auto": "`auto`",
    "all | DFR as published †": "DFR as published †",
    REFERENCE: "DFR, weighted, all rows †",
}
SHOWN_KINDS = ("injected", "natural", "none")
FREE = {
    "ERM": ERM,
    "JTT": "0 | jtt",
    "EVaLS": "0 | evals",
    "AFR": "0 | afr",
    "SELF": "0 | self",
    "LEIA": "0 | leia",
    "LEACE on errors": "0 | leace",
    "NeuronTune, as described": "0 | NeuronTune",
    "NeuronTune, ntkit's default": "0 | NeuronTune, default",
    "class-balanced retraining": "0 | class-balanced",
    "class-balanced, validation set": "0 | class-balanced, validation rows",
    "ntkit, `auto`": "0 | auto",
    "ntkit, `--method auto`": "0 | --method auto",
}
"""Methods without group labels, at defaults."""


def without_labels(runs: Runs) -> str:
    """Points below weighted DFR, by kind of shortcut."""
    lines, sets = [], [sentences.of_kind(runs, kind) for kind in SHOWN_KINDS]
    for title, name in FREE.items():
        below = [sentences.below(some, name) for some in sets]
        if all(below):
            lines.append([title, *(f"{sentences.mean(found):.1f}" for found in below)])
    shown = zip(("injected", "natural", "no shortcut"), sets, strict=True)
    return table(["method", *(f"{kind}, {len(some)} sets" for kind, some in shown)], lines)


OURS = {
    "ERM": "0 | ERM, training rows",
    BALANCED: "0 | class-balanced, validation rows",
    "JTT": "0 | jtt",
    "AFR": "0 | afr",
    "SELF": "0 | self",
    "EVaLS": "0 | evals",
    "LEIA": "0 | leia",
    "group DRO": "all | group DRO †",
    "DFR": "all | DFR as published †",
    "NeuronTune": "0 | NeuronTune",
}
"""Published row to our row on the official Waterbirds."""
TITLES = {"ERM": "ERM, training split", "NeuronTune": "NeuronTune, as described"}


def next_to_published(rows: Sequence[Row], fits: Sequence[Fit]) -> str:
    """Worst group / average of the papers and of our frozen network on Waterbirds."""
    runs = runs_of(of_overview_alone(fits))[OFFICIAL_WATERBIRDS]
    half = [f for f in fits if (f["part"], f["method"]) == ("half", "sgd, mask")]
    papers = {
        row["method"]: row
        for row in rows
        if row["kind"] == "published" and row["data_set"] == "Waterbirds"
    }
    lines = []
    for method, name in OURS.items():
        worst_groups, averages = (values(runs, name, key) for key in ("worst", "average"))
        cell = f"{shown(worst_groups)} / {np.mean(averages):.1f}"
        lines.append(
            [TITLES.get(method, method), linked(papers[method]), cell, papers[method]["labels"]]
        )
    lines.append([HALF, linked(papers[HALF]), shown([*map(worst, half)]), "none"])
    return table(["method", "paper", "ours, frozen", "labels in the paper"], lines)


def shown(found: Sequence[float]) -> str:
    """Mean and deviation, or the mean alone if all seeds are equal."""
    return mean_std(found).removesuffix(" ± 0.0")


def linked(paper: Row) -> str:
    """A published row's numbers, with a link to the paper."""
    number = re.findall(r"arXiv (\S+?)(?:,|$)", paper["source"])[0]
    return f"[{with_deviation(paper)}](https://arxiv.org/abs/{number})"


def with_deviation(row: Row) -> str:
    """Worst group, with its deviation unless it is 0, and the average if it is known."""
    deviation = row["worst_group_sd"]
    worst = row["worst_group"] + (f" ± {deviation}" if deviation not in ("", "0.0") else "")
    return worst + (f" / {row['average']}" if row["average"] else "")


if __name__ == "__main__":
    main()
