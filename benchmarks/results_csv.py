"""The results as one file, ``docs/benchmarks/results.csv``, and the tables of the results page.

    python benchmarks/results_csv.py

Everything is read from the committed tables of the other scripts, and from :mod:`published`, which
lists numbers of papers with their sources. Nothing is run.

The results page says what each column holds. Accuracies are of the test set, in %.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path

import numpy as np

from evidence_tables import table
from overview_data import kind_of
from published import BALANCED, HALF, OFFICIAL, PUBLISHED

DOCS = Path(__file__).parents[1] / "docs" / "benchmarks"
COLUMNS = (
    *("data_set", "shortcut", "validation_set", "method", "labels", "tuned_by"),
    *("worst_group", "worst_group_sd", "average", "average_sd", "seeds", "kind", "source"),
)
Row = dict[str, str]
RUN = "run"
LIKE_TRAINING = "like the training set"
CROSS = "cross-validation"
DEFAULTS = "ntkit's defaults"
CONFIGURATIONS = "24 configurations, {} of half of the validation set"
TUNED_BY = {
    "‡": CONFIGURATIONS.format("worst class"),
    "‡†": CONFIGURATIONS.format("worst group †"),
    "◊": DEFAULTS,
    "DFR †": CROSS + ", worst group †",
    "group DRO, C not tuned †": DEFAULTS,
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
    (DOCS / "results_tables.md").write_text(full_tables(rows), encoding="utf-8")
    for name, tables in page_tables(rows).items():
        page = DOCS / name
        page.write_text(with_tables(page.read_text(encoding="utf-8"), tables), encoding="utf-8")


def all_rows() -> list[Row]:
    """Every row of the file."""
    own = (of_overview(), of_waterbirds(), of_rivals(), of_fine_tuned())
    known = chain(*own, PUBLISHED, of_apart(), of_routes(), of_public())
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
        return full_name(name), TUNED_BY.get(name, CROSS)
    return full_name(method), TUNED_BY.get(name, TUNED_BY.get(mark, CROSS))


def full_name(method: str) -> str:
    """One name for class-balanced retraining; the rows it is fitted on may follow."""
    return re.sub(r"^class-balanced(?! retraining)", "class-balanced retraining", method)


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
                    **{"seeds": seeds[data], "kind": RUN, "source": "overview_tables.md"},
                }


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
"""Columns of ``apart.py`` to method, labels and what tunes it. The others are counts of labels."""


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
                    ("DFR", "all", TUNED_BY["DFR †"], dfr, mean_dfr),
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
                by = TUNED_BY["DFR †"]
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


# -- the tables of the page -----------------------------------------------------------------------

SHORT = (
    ("none", "ERM", CROSS),
    ("none", "class-balanced retraining", CROSS),
    ("none", "NeuronTune, our reading", CROSS),
    ("none", "JTT", TUNED_BY["‡"]),
    ("none", "JTT", DEFAULTS),
    ("none", "ntkit, `--method auto`", CROSS),
    ("none", "ntkit, `auto`", CROSS),
    ("groups, to tune", "JTT", TUNED_BY["‡†"]),
    ("one yes", "ntkit, `debias`", CROSS),
    ("48", "SSA", TUNED_BY["SSA"]),
    ("48", "ntkit, `debias`", CROSS),
    ("96", "ntkit, `debias`", CROSS),
    ("all", "group DRO", TUNED_BY["‡†"]),
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
    CROSS: "",
    TUNED_BY["DFR †"]: "",
    TUNED_BY["‡"]: " (worst class)",
    TUNED_BY["‡†"]: " (worst group)",
    TUNED_BY["SSA"]: " (half the labels)",
    TUNED_BY["random mask of its size"]: "",
    DEFAULTS: " (defaults)",
}
"""How the tables of the page call what tunes a method; other rows are in the file alone."""


def page_tables(rows: Sequence[Row]) -> dict[str, dict[str, str]]:
    """Tables between markers, by page and by the name in the marker."""
    with_one = [row for row in rows if row["shortcut"] != "none"]
    return {
        "results.md": {
            "main table": accuracies(with_one, SHORT, SHORT_SETS, mean=True),
            "problems that no rule was tuned on": below_dfr(rows),
            "without group labels": by_rule(rows),
        },
        "published.md": {"published": next_to_published(rows)},
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
    """Worst group / average of some methods and data sets.

    ``mean`` adds the mean over all sets, and the mean of the worst group's standard deviations.
    """
    known: dict[tuple[str, str, str], dict[str, Row]] = {}
    for row in rows:
        if row["source"] == "overview_tables.md":
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
        lines.append([key[1] + MARKS[key[2]], key[0], *cells])
    first = [f"mean of {all_sets} sets", "± over seeds"] if mean else []
    return table(["method", "labels", *first, *sets], lines)


def below_dfr(rows: Sequence[Row]) -> str:
    """Points below DFR on problems that no rule was tuned on, and on those of the first table."""
    overall = rows_under("apart", "### Points of worst-group accuracy below DFR with all groups")
    apart = {row: f"{mean} / {worst}" for row, mean, worst, _ in overall[1:]}
    text = (DOCS / "routes_tables.md").read_text(encoding="utf-8")
    aside = text.partition("### The half that stayed aside\n")[2]
    found = re.findall(r"(one \w+): mean (\S+), worst (\S+) \((\d+) problems", aside)
    routes = {said: (f"{mean} / {worst}", n) for said, mean, worst, n in found}
    (answer, n_answer), (change, n_change) = routes["one answer"], routes["one change"]

    def on_sets(labels: str) -> list[str]:
        own = [r for r in rows if r["source"] == "overview_tables.md" and r["shortcut"] != "none"]
        dfr, ours = (
            {r["data_set"]: float(r["worst_group"]) for r in own if wanted(r)}
            for wanted in (
                lambda r: (r["method"], r["tuned_by"]) == ("DFR", TUNED_BY["DFR †"]),
                lambda r: (r["method"], r["labels"]) == ("ntkit, `debias`", labels),
            )
        )
        gaps = [dfr[name] - worst for name, worst in ours.items()]
        return [f"{np.mean(gaps):.1f} / {max(gaps):.1f}", str(len(gaps))]

    lines = [
        *([f"{n} labels", apart[f"{n} labels"], "7", *on_sets(str(n))] for n in (48, 96)),
        ["labels until `ntkit label` says enough", apart["when asking ends"], "7", "–", "–"],
        ["one answer", answer, n_answer, *on_sets("one yes")],
        ["one change", change, n_change, "–", "–"],
    ]
    header = ["a person gives", "no rule was tuned on", "problems", "first table", "sets"]
    return table(header, lines)


KINDS = ("injected", "natural", "none")
RULES = ("worst class", "worst class × correctness group", "worst group †")
FREE = {
    "JTT": "JTT",
    "EVaLS": "EVaLS",
    "AFR": "AFR",
    "SELF": "SELF",
    "LEIA": "LEIA",
    "LEACE on errors": "LEACE on errors",
    "NeuronTune": "NeuronTune, threshold tuned",
    "class-balanced retraining": "class-balanced, rows tuned",
    "ntkit, `auto`": "",
    "ntkit, `--method auto`": "",
    "DFR †": "DFR, rows tuned †",
}
"""Methods to their row in the table of rules; ntkit's have nothing to tune, DFR is to compare."""


def by_rule(rows: Sequence[Row]) -> str:
    """Points below DFR at defaults (NeuronTune: λ = 0), and with what each rule chooses."""
    short = {line[1]: line[2::3] for line in rows_under("overview", "### In short")[1:]}
    rules, *lines = rows_under("overview", "### Who chooses among 24 configurations")
    chosen = {line[0]: dict(zip(rules, line, strict=True)) for line in lines}
    shown = {"injected": "injected", "natural": "natural", "none": "no shortcut"}
    table_rows = []
    for method, row in FREE.items():
        untuned = "NeuronTune, our reading" if method == "NeuronTune" else method
        default = short.get(untuned) or gaps_of(rows, method)
        cells = [" / ".join(default)]
        for rule in RULES:
            names = [f"{shown[kind]}: {rule}" for kind in KINDS]
            cells.append(" / ".join(chosen[row][name] for name in names) if row else "–")
        label = "NeuronTune (default: λ = 0)" if method == "NeuronTune" else method
        table_rows.append([label, *cells])
    header = ["method", "defaults", "worst class", "worst class × correctness", "worst group †"]
    return table(header, table_rows)


def gaps_of(rows: Sequence[Row], method: str) -> list[str]:
    """Points below DFR of a method at ntkit's defaults, the mean of each kind of shortcut."""
    own = [row for row in rows if row["source"] == "overview_tables.md"]

    def worst(name: str, by: str) -> dict[tuple[str, str], float]:
        return {
            (row["data_set"], row["shortcut"]): float(row["worst_group"])
            for row in own
            if (row["method"], row["tuned_by"]) == (name, by)
        }

    dfr, found = worst("DFR", TUNED_BY["DFR †"]), worst(method, DEFAULTS)
    return [
        f"{np.mean([dfr[key] - value for key, value in found.items() if key[1] == kind]):.1f}"
        for kind in KINDS
    ]


TO_TUNE = "worst group †"
Ours = tuple[str, str]
NEXT_TO: dict[str, tuple[Ours, Ours, Ours, Ours]] = {
    "ERM": (
        ("ERM on the training split, tuned C", CROSS),
        ("ERM", "worst class"),
        ("ERM on the training split, tuned C", CROSS),
        ("ERM, the network's own head", ""),
    ),
    BALANCED: (
        ("class-balanced retraining on the validation set, tuned C", CROSS),
        ("class-balanced retraining, rows tuned", "worst class"),
        ("class-balanced retraining on the validation set, tuned C", CROSS),
        ("class-balanced retraining on the other half", "worst class"),
    ),
    "JTT": (("JTT", DEFAULTS), ("JTT", TO_TUNE), ("JTT", DEFAULTS), ("JTT", TO_TUNE)),
    "AFR": (("AFR", DEFAULTS), ("AFR, second grid", TO_TUNE), ("AFR", DEFAULTS), ("AFR", TO_TUNE)),
    "SELF": (
        ("SELF", DEFAULTS),
        ("SELF, second grid", TO_TUNE),
        ("SELF", DEFAULTS),
        ("SELF", TO_TUNE),
    ),
    "EVaLS": (
        ("EVaLS", DEFAULTS),
        ("EVaLS", "worst class"),
        ("EVaLS", DEFAULTS),
        ("EVaLS", "worst class"),
    ),
    "LEIA": (("LEIA", DEFAULTS), ("LEIA, second grid", TO_TUNE), ("", ""), ("", "")),
    "group DRO": (
        ("group DRO on all rows, C not tuned", DEFAULTS),
        ("group DRO, rows tuned", TO_TUNE),
        ("group DRO on all rows, C not tuned", DEFAULTS),
        ("", ""),
    ),
    "DFR": (
        ("DFR on the validation set", CROSS),
        ("DFR, rows tuned", TO_TUNE),
        ("DFR on the validation set", CROSS),
        ("DFR on the half that finds neurons", TO_TUNE),
    ),
    "NeuronTune": (
        ("NeuronTune, penalty as for `auto`", CROSS),
        ("NeuronTune, threshold tuned, training split", "worst class"),
        ("NeuronTune, penalty as for `auto`", CROSS),
        ("NeuronTune on training", "worst class"),
    ),
    HALF: (("", ""), ("", ""), ("", ""), ("NeuronTune on the other half", "worst class")),
}
"""Published row to our rows, by name and what tunes them: frozen network with the whole split and
with halves, fine-tuned network with the whole split and with halves."""


def next_to_published(rows: Sequence[Row]) -> str:
    """Worst group of the papers and of our two networks on Waterbirds."""

    def ours(data: str, half: str, method: str, by: str) -> str:
        validation = f"{half}{OFFICIAL}"
        for row in rows:
            place = (row["data_set"], row["validation_set"], row["method"], row["kind"])
            if place == (data, validation, method, RUN) and by in row["tuned_by"]:
                return with_deviation(row)
        if method:
            raise ValueError(f"no row {data}, {validation}: {method}, tuned by {by}")
        return "–"

    papers = {
        row["method"]: row
        for row in rows
        if row["kind"] == "published" and row["data_set"] == "Waterbirds"
    }
    places = [(data, half) for data in (FROZEN, FINE_TUNED) for half in ("", "half of the ")]
    lines = []
    for method, known in NEXT_TO.items():
        paper = papers[method]
        cells = [ours(*place, *row) for place, row in zip(places, known, strict=True)]
        lines.append([method, linked(paper), *cells, paper["labels"]])
    header = ["method", "paper", "frozen, whole", "frozen, halves"]
    header += ["fine-tuned, whole", "fine-tuned, halves", "labels in the paper"]
    return table(header, lines)


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
