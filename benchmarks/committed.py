"""Rows of results.csv from the committed tables of runs that have no rows of their own.

These are earlier runs on Waterbirds, on the problems apart, and on parts of CelebA and MultiNLI.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Set
from pathlib import Path

from overview_data import kind_of, source_of
from published import OFFICIAL

DOCS = Path(__file__).parents[1] / "docs" / "benchmarks"
Row = dict[str, str]
RUN = "run"
TO_TUNE_BY = "groups, to tune"
VALIDATION_ALONE = "of the validation set"
LIKE_TRAINING = "like the training set"
OVER_GROUPS = "balanced over the groups"
CROSS = "cross-validation"
DEFAULTS = "ntkit's defaults"
CONFIGURATIONS = "24 configurations, {} of half of the validation set"
TUNED_BY = {
    "‡": CONFIGURATIONS.format("worst class"),
    "‡†": CONFIGURATIONS.format("worst group †"),
    "◊": DEFAULTS,
    "DFR, weighted, all rows †": CROSS + ", worst group †",
    "DFR, weighted, validation set †": CROSS + ", worst group †",
    "DFR as published, validation set †": "half of its rows, worst group †",
    "group DRO, C not tuned †": DEFAULTS,
    "NeuronTune, as described": "epoch by the worst class",
    "NeuronTune, ntkit's default": DEFAULTS,
    "SSA": "worst group of half of the labels",
    "GSR": "worst group of half of the labels",
    "random mask of its size": "as NeuronTune",
}
"""By the mark at the end of a row's name, or by the name; others are cross-validated."""
DFR, PUBLISHED_DFR = "DFR, weighted, all rows †", "DFR as published, validation set †"
FROZEN, FINE_TUNED = "Waterbirds, frozen", "Waterbirds, fine-tuned"


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
        return full_name(name), TUNED_BY.get(name, CROSS)
    return full_name(method), TUNED_BY.get(name, TUNED_BY.get(mark, CROSS))


def full_name(method: str) -> str:
    """One name for class-balanced retraining; the rows it is fitted on may follow."""
    return re.sub(r"^class-balanced(?! retraining)", "class-balanced retraining", method)


NOT_TUNED = ("AFR", "JTT", "SELF", "LEIA", "EVaLS", "LEACE", "errors times 20")
"""Rows of the Waterbirds tables that are not tuned."""


def row_of_waterbirds(data: str, validation: str, name: str, by: str, source: str) -> Row:
    """What a row of the Waterbirds tables is, without its numbers."""
    return {
        **{"data_set": data, "shortcut": "injected", "validation_set": validation},
        "method": full_name(name.replace(" †", "")),
        "labels": "all" if "†" in name else "none",
        **{"tuned_by": by, "seeds": "3", "kind": RUN, "source": source},
    }


def of_waterbirds() -> Iterator[Row]:
    """Frozen and fine-tuned networks with the official validation split, or halves of it."""
    yield from of_whole()
    yield from of_rivals()
    yield from of_fine_tuned()


def of_overview(known: Set[str]) -> Iterator[Row]:
    """The earlier run of ``overview.py``, of the problems that are not run anew."""
    name = "overview_earlier"
    (header, *worst) = rows_under(name, "### Worst group, %")
    (_, *average) = rows_under(name, "### Average by training shares, %")
    last = (DOCS / f"{name}_tables.md").read_text(encoding="utf-8").splitlines()[-1]
    seeds = dict(each.split(": ") for each in last.removeprefix("Seeds of ")[:-1].split("; "))
    for line, other in zip(worst, average, strict=True):
        labels = {"0": "none", "half of validation": TO_TUNE_BY}.get(line[0], line[0])
        method, by = plain(line[1])
        for data, cell, mean in zip(header[2:], line[2:], other[2:], strict=True):
            if cell != "–" and data not in known:
                yield {
                    "data_set": source_of(data),
                    "shortcut": kind_of(data),
                    "validation_set": LIKE_TRAINING,
                    **{"method": method, "labels": labels, "tuned_by": by},
                    **numbers("worst_group", cell),
                    **numbers("average", mean),
                    **{"seeds": seeds[data], "kind": RUN, "source": f"{name}_tables.md"},
                }


def of_others() -> Iterator[Row]:
    """The problems apart, and parts of public sets."""
    yield from of_apart()
    yield from of_routes()
    yield from of_public()


def of_whole() -> Iterator[Row]:
    """Both tables with the whole validation split."""
    for data, file, heading in (
        (FROZEN, "waterbirds", "### The validation split as validation set"),
        (FINE_TUNED, "waterbirds_finetuned", "### The whole validation split as validation set"),
    ):
        for name, worst, _, adjusted, *_ in rows_under(file, heading)[1:]:
            by = CROSS + (", worst group †" if "DFR" in name else "")
            if name in NOT_TUNED or "not tuned" in name:
                by = DEFAULTS
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


INJECTED_APART = ("Clip art", "Digits", "Emoji", "Intents", "Letters")
"""Problems of :mod:`data_apart` whose attribute is injected. The others' is natural, at a share."""
BY_HALF = CROSS + ", worse half of the groups †"
ASKED = "ntkit, labels asked"
OF_APART = {
    "class-balanced": ("class-balanced retraining", "none", CROSS),
    "DFR †": ("DFR", "all", BY_HALF),
    "DFR at its defaults †": ("DFR", "all", DEFAULTS),
}
"""Columns of the table to method, labels and what tunes it. The others are counts of labels."""


def row_of_apart(name: str, validation: str, source: str, seeds: str) -> Row:
    """What a row of the problems apart is, without its method and numbers."""
    shortcut = "injected" if name in INJECTED_APART else "natural"
    return {
        **{"data_set": name, "shortcut": shortcut, "validation_set": validation},
        **{"seeds": seeds, "kind": RUN, "source": source},
    }


def of_apart() -> Iterator[Row]:
    """A few dozen labels on problems that no rule was tuned on."""
    first, *_ = (DOCS / "apart_tables.md").read_text(encoding="utf-8").splitlines()
    seeds = str(len(first.partition(" seeds ")[2].split(",")))
    by_problem = "### By problem: worst-group accuracy in %, mean ± standard deviation"
    for heading in (by_problem, "### Wrong labels by problem"):
        (_, *columns), *lines = rows_under("apart", heading)
        for name, *cells in lines:
            found = dict(zip(columns, cells, strict=True))
            median = found.pop("labels then, median", "")
            start = row_of_apart(name, "none", "apart_tables.md", seeds)
            for column, cell in found.items():
                count = column.replace(" labels", "").replace(" ends", f" ends, median {median}")
                method, labels, by = OF_APART.get(column, (ASKED, count, BY_HALF))
                what = {"method": method, "labels": labels, "tuned_by": by}
                yield start | what | numbers("worst_group", cell)


def of_routes() -> Iterator[Row]:
    """One answer or one change on the problems apart."""
    for half in ("half that chose", "half that stayed aside"):
        for name, said, *cells, seeds in rows_under("routes", f"### The {half}")[1:]:
            original, ours, dfr, _, mean, mean_dfr, default, by_half = cells
            heads = [("ntkit, `debias`", said, CROSS, ours, mean)]
            if said == "one answer":  # what else is said has the same references
                heads += [
                    ("ERM, the original head", "none", "not by ntkit", original, "–"),
                    ("DFR", "all", TUNED_BY[DFR], dfr, mean_dfr),
                    ("DFR", "all", DEFAULTS, default, "–"),
                    ("DFR", "all", BY_HALF, by_half, "–"),
                ]
            start = row_of_apart(name, LIKE_TRAINING, "routes_tables.md", seeds)
            yield from (start | head_of(*head) for head in heads)
        for name, _, ours, dfr, _, seeds in rows_under(
            "routes", f"### Without counterexamples: the {half}"
        )[1:]:
            validation = f"{LIKE_TRAINING}, no counterexample"
            start = row_of_apart(name, validation, "routes_tables.md", seeds)
            yield start | head_of("ntkit, `debias`", "one change", CROSS, ours, "–")
            yield start | head_of("DFR", "all", BY_HALF, dfr, "–")


def head_of(method: str, labels: str, by: str, worst: str, average: str) -> Row:
    """Method and numbers of a row."""
    found = {"method": method, "labels": labels, "tuned_by": by}
    return found | numbers("worst_group", worst) | numbers("average", average)


NOT_TUNED_PUBLIC = ("JTT", "AFR", "SELF", "EVaLS", "LEIA", "LEACE", "group DRO")


def of_public() -> Iterator[Row]:
    """Our runs on parts of CelebA and MultiNLI."""
    for data in ("CelebA", "MultiNLI"):
        text = (DOCS / "public_tables.md").read_text(encoding="utf-8")
        seeds = text.partition(f"### {data}\n")[2].partition("\nSeeds: ")[2].partition(".")[0]
        for name, _, worst, average in rows_under("public", f"### {data}")[1:]:
            labels = "all" if name.startswith(("DFR", "group DRO")) else "none"
            method, by = name, DEFAULTS if name in NOT_TUNED_PUBLIC else CROSS
            if name.startswith("DFR"):
                by = TUNED_BY[DFR]
            elif name.startswith("ntkit"):
                method, labels, by = ASKED, name.split()[1], BY_HALF
            elif name in TUNED_BY:  # its average is over the groups
                by, average = TUNED_BY[name], "–"
            yield {
                **{"data_set": f"{data}, part", "shortcut": "natural"},
                **{"validation_set": LIKE_TRAINING, "seeds": seeds, "kind": RUN},
                **{"source": "public_tables.md"},
                **head_of(method, labels, by, worst, average),
            }
