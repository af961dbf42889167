"""The results as one file, ``docs/benchmarks/results.csv``, and the tables of the results page.

    python benchmarks/results_csv.py

Everything is read from the committed tables of the other scripts, and from :mod:`published`, which
lists numbers of papers with their sources. Nothing is run.

Columns: data_set, shortcut (injected, natural or none), validation_set (how it relates to the
training set), method, labels (which group labels the method sees), tuned_by, worst_group,
worst_group_sd, average (over groups by their training shares), average_sd, seeds, source.
Accuracies are of the test set, in %.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path

import numpy as np

from evidence_tables import table
from overview_data import kind_of
from published import BALANCED, HALF, PUBLISHED

DOCS = Path(__file__).parents[1] / "docs" / "benchmarks"
COLUMNS = (
    *("data_set", "shortcut", "validation_set", "method", "labels", "tuned_by"),
    *("worst_group", "worst_group_sd", "average", "average_sd", "seeds", "source"),
)
Row = dict[str, str]
LIKE_TRAINING = "like the training set"
OFFICIAL = "official validation split"
CROSS = "cross-validation"
CONFIGURATIONS = "24 configurations, {} of half of the validation set"
TUNED_BY = {
    "‡": CONFIGURATIONS.format("worst class"),
    "‡†": CONFIGURATIONS.format("worst group †"),
    "◊": "ntkit's defaults",
    "DFR †": CROSS + ", worst group †",
    "group DRO, C not tuned †": "ntkit's defaults",
    "SSA": "worst group of half of the labels",
    "GSR": "worst group of half of the labels",
    "random mask of its size": "as NeuronTune",
}
"""By the mark at the end of a row's name, or by the name; others are cross-validated."""
FROZEN, FINE_TUNED = "Waterbirds, frozen", "Waterbirds, fine-tuned"


def main() -> None:
    """Write the file and the tables of the page."""
    rows = all_rows()
    (DOCS / "results.csv").write_text(as_csv(rows), encoding="utf-8")
    for name, text in page_tables(rows).items():
        (DOCS / name).write_text(text, encoding="utf-8")


def all_rows() -> list[Row]:
    """Every row of the file."""
    known = chain(of_overview(), of_waterbirds(), of_rivals(), of_fine_tuned(), PUBLISHED)
    return [dict.fromkeys(COLUMNS, "") | row for row in known]


def as_csv(rows: Sequence[Row]) -> str:
    """The text of the file."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


# -- reading the tables ---------------------------------------------------------------------------


def rows_under(name: str, heading: str | None) -> list[list[str]]:
    """Cells of the first table under a heading of a file of tables, the header first."""
    text = (DOCS / f"{name}_tables.md").read_text(encoding="utf-8")
    if heading is not None:
        _, found, text = text.partition(f"{heading}\n")
        if not found:
            raise ValueError(f"{name}_tables.md has no heading {heading!r}")
    lines = text.splitlines()
    first = next(i for i, line in enumerate(lines) if line.startswith("|"))
    rows = []
    for line in lines[first:]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    return [row for row in rows if not set("".join(row)) <= set("-: ")]


def numbers(key: str, cell: str) -> Row:
    """Mean and deviation of a cell."""
    mean, _, deviation = cell.partition(" ± ")
    return {} if mean == "–" else {key: mean, f"{key}_sd": deviation}


def plain(name: str) -> tuple[str, str]:
    """Method without its mark, and what tunes it."""
    method, _, mark = name.rpartition(" ")
    if mark not in ("‡", "‡†", "◊", "†"):
        return name, TUNED_BY.get(name, CROSS)
    return method, TUNED_BY.get(name, TUNED_BY.get(mark, CROSS))


def of_overview() -> Iterator[Row]:
    """The tables of ``overview.py``."""
    (header, *worst) = rows_under("overview", "### Worst group, %")
    (_, *average) = rows_under("overview", "### Average by training shares, %")
    last = (DOCS / "overview_tables.md").read_text(encoding="utf-8").splitlines()[-1]
    seeds = dict(each.split(": ") for each in last.removeprefix("Seeds of ")[:-1].split("; "))
    for line, other in zip(worst, average, strict=True):
        assert line[:2] == other[:2]
        labels = {"0": "none", "half of validation": "groups, to tune"}.get(line[0], line[0])
        method, by = plain(line[1])
        for data, cell, mean in zip(header[2:], line[2:], other[2:], strict=True):
            if cell != "–":
                yield {
                    "data_set": data.removesuffix(", no shortcut"),
                    "shortcut": kind_of(data),
                    "validation_set": LIKE_TRAINING,
                    **{"method": method, "labels": labels, "tuned_by": by},
                    **numbers("worst_group", cell),
                    **numbers("average", mean),
                    **{"seeds": seeds[data], "source": "overview_tables.md"},
                }


DEFAULTS = ("AFR", "JTT", "SELF", "LEIA", "EVaLS", "LEACE", "errors times 20")
"""Rows of the Waterbirds tables that are not tuned."""


def row_of_waterbirds(data: str, validation: str, name: str, by: str, source: str) -> Row:
    """What a row of the Waterbirds tables is, without its numbers."""
    return {
        **{"data_set": data, "shortcut": "injected", "validation_set": validation},
        "method": name.replace(" †", ""),
        "labels": "all" if "†" in name else "none",
        **{"tuned_by": by, "seeds": "3", "source": source},
    }


def of_waterbirds() -> Iterator[Row]:
    """Both tables with the whole validation split."""
    for data, file, heading in (
        (FROZEN, "waterbirds", "### The validation split as validation set"),
        (FINE_TUNED, "waterbirds_finetuned", "### The whole validation split as validation set"),
    ):
        for name, worst, _, adjusted, *_ in rows_under(file, heading)[1:]:
            by = CROSS + (", worst group †" if "DFR" in name else "")
            if name in DEFAULTS or "not tuned" in name:
                by = "ntkit's defaults"
            elif "own head" in name:
                by = "nothing"
            elif name.endswith("half of it"):
                by = "worst class of half of the validation set"
            elif name.endswith("C = 1"):
                by = "nothing, C = 1"
            start = row_of_waterbirds(data, OFFICIAL, name, by, f"{file}_tables.md")
            yield start | numbers("worst_group", worst) | numbers("average", adjusted)


def of_rivals() -> Iterator[Row]:
    """Every method with as many configurations; each half of the validation split."""
    (_, *rows) = rows_under("waterbirds_rivals", None)
    for name, tried, by_class, _, by_group, _, adjusted in rows:
        for rule, worst, mean in (
            ("worst class", by_class, adjusted),
            ("worst group †", by_group, "–"),
        ):
            by = f"{tried} configurations, {rule} of half of the validation set"
            start = row_of_waterbirds(
                FROZEN, f"half of the {OFFICIAL}", name, by, "waterbirds_rivals_tables.md"
            )
            if rule == "worst group †" and start["labels"] == "none":
                start["labels"] = "groups, to tune"
            yield start | numbers("worst_group", worst) | numbers("average", mean)


def of_fine_tuned() -> Iterator[Row]:
    """NeuronTune's protocol: half of the validation split finds neurons, half chooses."""
    heading = "### Half of the validation split finds neurons, half chooses"
    for name, worst, _, adjusted, by_group, *_ in rows_under("waterbirds_finetuned", heading)[1:]:
        for rule, cell, mean in (
            ("worst class", worst, adjusted),
            ("worst group †", by_group, "–"),
        ):
            by = f"{rule} of half of the validation set"
            if name.endswith("by SFit"):
                by = "SFit"
            start = row_of_waterbirds(
                FINE_TUNED, f"half of the {OFFICIAL}", name, by, "waterbirds_finetuned_tables.md"
            )
            if rule == "worst group †" and start["labels"] == "none":
                start["labels"] = "groups, to tune"
            if cell != "–":
                yield start | numbers("worst_group", cell) | numbers("average", mean)


# -- the tables of the page -----------------------------------------------------------------------

SHORT = (
    ("none", "ERM", CROSS),
    ("none", "class-balanced retraining", CROSS),
    ("none", "NeuronTune as published", CROSS),
    ("none", "JTT", TUNED_BY["‡"]),
    ("one yes", "ntkit, `debias`", CROSS),
    ("48", "ntkit, `debias`", CROSS),
    ("96", "ntkit, `debias`", CROSS),
    ("all", "DFR", TUNED_BY["DFR †"]),
)
"""Rows of the first table."""
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
    CROSS: "CV",
    TUNED_BY["‡"]: "worst class",
    TUNED_BY["‡†"]: "worst group †",
    TUNED_BY["DFR †"]: "worst group †",
    TUNED_BY["SSA"]: "half of the labels",
    TUNED_BY["random mask of its size"]: "as NeuronTune",
}
"""How the tables of the page call what tunes a method; other rows are in the file alone."""


def page_tables(rows: Sequence[Row]) -> dict[str, str]:
    """The short table, and all methods by data set with the papers' numbers next to ours."""
    with_one = [row for row in rows if row["shortcut"] != "none"]
    without = [row for row in rows if row["shortcut"] == "none"]
    own = [key for key in keys_of(rows) if key[2] in MARKS]
    parts = {
        "Published numbers next to ours": next_to_published(rows),
        "All methods: images": accuracies(with_one, own, IMAGES),
        "All methods: texts and tables": accuracies(with_one, own, OTHERS),
        "All methods: no shortcut": accuracies(without, own, NO_SHORTCUT),
    }
    return {
        "results_short_tables.md": accuracies(with_one, SHORT, SHORT_SETS, mean=True) + "\n",
        "results_tables.md": "\n\n".join(f"## {k}\n\n{v}" for k, v in parts.items()) + "\n",
    }


def keys_of(rows: Sequence[Row]) -> list[tuple[str, str, str]]:
    """Labels, method and what tunes it, of all rows of the overview; few labels first."""
    own = [row for row in rows if row["source"] == "overview_tables.md"]
    keys = dict.fromkeys((row["labels"], row["method"], row["tuned_by"]) for row in own)
    order = ("none", "groups, to tune", "one yes", "48", "96", "all")
    return sorted(keys, key=lambda key: order.index(key[0]))


def accuracies(
    rows: Sequence[Row],
    keys: Sequence[tuple[str, str, str]],
    sets: Sequence[str],
    *,
    mean: bool = False,
) -> str:
    """Worst group / average of some methods and data sets; first the mean over all sets."""
    known: dict[tuple[str, str, str], dict[str, tuple[str, str]]] = {}
    for row in rows:
        if row["source"] == "overview_tables.md":
            key = (row["labels"], row["method"], row["tuned_by"])
            known.setdefault(key, {})[row["data_set"]] = (row["worst_group"], row["average"])
    all_sets = max(map(len, known.values()))
    lines = []
    for key in keys:
        found = known.get(key, {})
        cells = [" / ".join(found[name]) if name in found else "–" for name in sets]
        if mean:
            columns = np.array([[float(each) for each in pair] for pair in found.values()])
            shown = " / ".join(f"{each:.1f}" for each in columns.mean(axis=0))
            cells.insert(0, shown if len(found) == all_sets else "–")
        if set(cells) != {"–"}:
            lines.append([key[1], key[0], MARKS[key[2]], *cells])
    first = [f"mean of {all_sets} sets"] if mean else []
    return table(["method", "labels", "tuned by", *first, *sets], lines)


TO_TUNE = "worst group †"
NEXT_TO = {
    "ERM": (("ERM on the training split, tuned C", ""), ("ERM, the network's own head", "")),
    BALANCED: (("class-balanced on the validation set, tuned C", ""),) * 2,
    "JTT": (("JTT", TO_TUNE), ("JTT", TO_TUNE)),
    "AFR": (("AFR, second grid", TO_TUNE), ("AFR", TO_TUNE)),
    "SELF": (("SELF, second grid", TO_TUNE), ("SELF", TO_TUNE)),
    "EVaLS": (("EVaLS", "worst class"), ("EVaLS", "worst class")),
    "LEIA": (("LEIA, second grid", TO_TUNE), ("", "")),
    "group DRO": (("group DRO on all rows, C not tuned", ""),) * 2,
    "DFR": (("DFR on the validation set", ""),) * 2,
    "NeuronTune": (
        ("NeuronTune, penalty by half of it", ""),
        ("NeuronTune on training", "worst class"),
    ),
    HALF: (("", ""), ("NeuronTune on the other half", "worst class")),
}
"""Published row to the rows of our frozen and fine-tuned network, and what tunes these."""


def next_to_published(rows: Sequence[Row]) -> str:
    """Worst group of the papers and of our two networks on Waterbirds; CelebA of the papers."""

    def ours(data: str, method: str, by: str) -> str:
        for row in rows:
            same = (row["data_set"], row["method"]) == (data, method) and by in row["tuned_by"]
            if same and row["source"] != "overview_tables.md":
                return with_deviation(row)
        return "–"

    papers = {
        (row["data_set"], row["method"]): row
        for row in rows
        if row["validation_set"] == "published"
    }
    lines = []
    for method, (frozen, tuned) in NEXT_TO.items():
        birds, faces = papers.get(("Waterbirds", method)), papers.get(("CelebA", method))
        some = birds or faces
        assert some is not None
        lines.append(
            [
                method,
                some["labels"],
                *(with_deviation(row) for row in (birds, faces)),
                ours(FROZEN, *frozen),
                ours(FINE_TUNED, *tuned),
                some["source"],
            ]
        )
    header = ["method", "group labels in the paper", "Waterbirds, paper", "CelebA, paper"]
    header += ["Waterbirds, frozen, ours", "Waterbirds, fine-tuned, ours", "source"]
    return table(header, lines)


def with_deviation(row: Row | None) -> str:
    """Worst group, with its deviation, and the average if it is known."""
    if row is None:
        return "–"
    worst = row["worst_group"] + (f" ± {row['worst_group_sd']}" if row["worst_group_sd"] else "")
    return worst + (f" / {row['average']}" if row["average"] else "")


if __name__ == "__main__":
    main()
