"""Audits of all labels of a model that gives every sample several, with one correction for all."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ntkit._doc import documented
from ntkit._key import Key
from ntkit._shown import InNotebook, NotebookView, ShownTable, frame_of
from ntkit._text import as_json, counted, escaped, listed, percent, plain_table, printable, table
from ntkit._types import Array
from ntkit._version import __version__
from ntkit.attributes import Block, FeatureSet
from ntkit.attributes.column_values import origins_of
from ntkit.attributes.feature_set import common_enough
from ntkit.attributes.findings import Finding
from ntkit.jobs.audit.result import COLUMNS, Audit
from ntkit.metrics import compare

_RARE = 0.02  # share of samples up to which a note compares with an answer that never changes
_SHOWN = 20  # labels in the terminal
_NAME = 48  # characters of a finding's name in the terminal
_NAMED = 8  # labels in a note
_KEPT = 256 << 20  # bytes of the attributes that stay in memory for the next label


@documented
@dataclass(frozen=True, eq=False)
class LabelAudits(InNotebook, Mapping[str, Audit]):
    """Audits of the labels of a model, by name, with one correction for all.

    :func:`ntkit.audit_model` returns it for a model that gives every sample several labels.

    Parameters
    ----------
    audits : mapping of str to Audit
        The labels that ntkit could audit, in the model's order.
    not_audited : mapping of str to str
        The other labels, each with the reason.
    counts : mapping of str to tuple of int
        For every label, the number of samples where it is known, and of those that have it.
    alpha : float
        Largest p-value of a finding, after one correction for the tests of all labels.
    {notes}

    Examples
    --------
    >>> from ntkit.jobs.audit import LabelAudits
    >>> audits = LabelAudits({}, {"drain": "none of 9 samples has it"}, {"drain": (9, 0)}, 0.05)
    >>> list(audits), audits.not_audited["drain"]
    ([], 'none of 9 samples has it')
    """

    audits: Mapping[str, Audit]
    not_audited: Mapping[str, str]
    counts: Mapping[str, tuple[int, int]]
    alpha: float
    notes: tuple[str, ...] = ()

    def __getitem__(self, label: str) -> Audit:
        return self.audits[label]

    def __iter__(self) -> Iterator[str]:
        return iter(self.audits)

    def __len__(self) -> int:
        return len(self.audits)

    @property
    def strongest(self) -> tuple[str, Finding] | None:
        """The label with the finding of the highest score, and this finding, if there is any."""
        first = [(name, audit.findings[0]) for name, audit in self.items() if audit.findings]
        return max(first, key=lambda pair: pair[1].score, default=None)

    @property
    def folders(self) -> dict[str, str]:
        """Name of the folder of each audit, as :func:`write_audit` writes them."""
        plain = (re.sub(r"[^\w-]+", "_", label)[:60] for label in self)
        return {
            label: f"{i}_{name}" for i, (label, name) in enumerate(zip(self, plain, strict=True))
        }

    def as_dict(self) -> dict[str, Any]:
        """The summary for JSON, with a row for each label; its audit has all values."""
        return {
            "version": __version__,
            "alpha": self.alpha,
            "correction": "Holm",
            "labels_corrected_for": len(self),
            "notes": list(self.notes),
            "labels": [self._row(name) for name in self.counts],
        }

    def _row(self, name: str) -> dict[str, Any]:
        n, n_with = self.counts[name]
        row = {"label": name, "samples": n, "positives": n_with}
        audit = self.audits.get(name)
        if audit is None:
            return row | {"not_audited": self.not_audited[name]}
        right = ~audit.predictions.wrong
        has = audit.predictions.y_index == audit.predictions.classes.tolist().index(name)
        parts = {"accuracy": has | ~has, "accuracy_with": has, "accuracy_without": ~has}
        rows = compare([right], [("slice", part, members) for part, members in parts.items()])
        found = {"findings": [finding.name for finding in audit.findings], "not_audited": None}
        return row | {each.name: each.value for each in rows} | found

    def to_json(self) -> str:
        """The summary as JSON text."""
        return as_json(self.as_dict())

    def to_frame(self) -> Any:
        """A pandas DataFrame with a row for each finding of a label.

        Columns: ``label``, and those of :meth:`ntkit.Audit.to_frame`.
        """
        rows = [
            {"label": name, **audit.facts_of(i)}
            for name, audit in self.items()
            for i in range(len(audit.findings))
        ]
        return frame_of(rows, {"label": str, **COLUMNS})

    def rows(self) -> list[list[str]]:
        """The table of the labels as texts, with its header first; accuracies in percent."""
        header = ["label", "samples", "with it", "right", "right with it"]
        rows = [[*header, "right without", "findings", "strongest finding"]]
        for row in map(self._row, self.counts):
            counts = [row["label"], str(row["samples"]), str(row["positives"])]
            if row["not_audited"] is not None:
                rows.append([*counts, *["–"] * 4, f"not audited: {row['not_audited']}"])
                continue
            keys = ("accuracy", "accuracy_with", "accuracy_without")
            shares = [percent(row[key], unit="") for key in keys]
            named = row["findings"]
            rows.append([*counts, *shares, str(len(named)), named[0] if named else "–"])
        return rows

    def __str__(self) -> str:
        return self.summary()

    def summary(self, *, markdown: bool = False) -> str:
        """Two sentences and a table of the labels; with ``markdown=True`` of all of them."""
        header, *rows = self.rows()
        sentences = self.sentences()
        if markdown:
            lines = [[escaped(printable(cell)) for cell in row] for row in rows]
            return "\n\n".join([" ".join(sentences), table([header, *lines], "<>>>>>><")])
        order = sorted(range(len(rows)), key=lambda i: self._rank(rows[i][0]))
        chosen = [rows[i] for i in (sorted(order[:_SHOWN]))]
        lines = [[_cut(cell) for cell in row] for row in chosen]
        more = len(rows) - len(lines)
        whose = " of cross-fitted heads" * any(audit.cross_fitted for audit in self.values())
        title = f"Accuracies{whose} in %:"
        if more:
            title = f"{_SHOWN} of {len(rows)} labels, chosen by their strongest finding. {title}"
        return "\n".join([*sentences, title, "", plain_table([header, *lines], "<>>>>>><")])

    def _rank(self, name: str) -> float:
        """Sort key of the labels for a short table: findings, then problems."""
        if name in self.not_audited:
            return 0.0
        found = self.audits[name].findings
        return -found[0].score if found else 1.0

    def sentences(self) -> list[str]:
        """How many labels ntkit audited, and whose errors depend on some attribute."""
        known = sorted(self.counts[name][0] for name in self)
        first = f"ntkit audited {len(self)} of {counted(len(self.counts), 'label')}"
        if known:
            fewest = f"{known[0]} to " * (known[0] < known[-1])
            first += f" on {fewest}{counted(known[-1], 'sample')}"
        first += "."
        if not self.audits:
            return [first]
        n_tests = sum(sum(audit.n_looked_at.values()) for audit in self.values())
        some = sum(bool(audit.findings) for audit in self.values())
        passed = f"(p ≤ {self.alpha:g} after Holm's correction for {counted(len(self), 'label')})"
        n_of_two = sum(audit.found.n_conjunctions for audit in self.values())
        of_two = f" and {n_of_two} of conjunctions" * bool(n_of_two)
        tests = f"ntkit made {counted(n_tests, 'test')} of attributes{of_two}."
        if not some:
            return [first, f"{tests} No label's errors depend on any of them {passed}."]
        whose = "one label depend" if some == 1 else f"{some} labels depend"
        return [first, f"{tests} The errors of {whose} on some of them {passed}."]

    def _shown(self) -> NotebookView:
        return NotebookView(self.sentences(), [ShownTable(self.rows())])

    def __repr__(self) -> str:
        found = sum(bool(audit.findings) for audit in self.values())
        return f"LabelAudits({len(self)} of {len(self.counts)} labels, {found} with findings)"


def _cut(cell: str) -> str:
    shown = printable(cell)
    return shown if len(shown) <= _NAME or shown.startswith("not audited") else f"{shown[:47]}…"


# -- samples of a label ---------------------------------------------------------------------------


def why_not(n: int, n_with: int) -> str | None:
    """Reason why n samples, of which some have the label, cannot be audited; None if they can."""
    if not n:
        return "no sample has a known value"
    if not n_with:
        return f"none of {counted(n, 'sample')} has it"
    return f"all {n} samples have it" if n_with == n else None


def rare_notes(counts: Mapping[str, tuple[int, int]]) -> list[str]:
    """One note on the labels that nearly all samples have, or lack, of their counts; or none."""
    rare = [
        f"{name!r} ({n_with} of {n} samples have it)"
        for name, (n, n_with) in counts.items()
        if 0 < min(n_with, n - n_with) <= _RARE * n
    ]
    if not rare:
        return []
    shown, these = (
        listed(rare, _NAMED, " ({} in all)"),
        "these labels" if rare[1:] else "this label",
    )
    return [
        f"The same answer for all samples would be right on {100 * (1 - _RARE):g} % or more for "
        f"{these}: {shown}."
    ]


# -- attributes of a label ------------------------------------------------------------------------


def kept_in_memory(feature_set: FeatureSet) -> FeatureSet:
    """The same attributes, which are computed once unless they are too large."""
    kept = list[Block]()

    def blocks() -> Iterator[Block]:
        if kept:
            yield from kept
            return
        made, size = list[Block](), 0
        for block in feature_set.blocks():
            size += block.values.data.nbytes
            made = [*made, block] if size <= _KEPT else []
            yield block
        kept.extend(made)

    return replace(feature_set, make=blocks)


def attributes_of(
    feature_sets: Sequence[FeatureSet],
    name: str,
    names: Sequence[str],
    has: Array,
    rows: Array | None = None,
) -> list[FeatureSet]:
    """Attributes of the samples of a label: some rows, without its own column and its copies."""
    some = feature_sets if rows is None else [_of_rows(each, rows) for each in feature_sets]
    own, others = origins_of("metadata", [name]), origins_of("metadata", {*names} - {name})
    return [_without(each, own, others, has) if each.kind == "metadata" else each for each in some]


def _of_rows(feature_set: FeatureSet, rows: Array) -> FeatureSet:
    """The attributes of some rows that enough of them have; thresholds are those of all rows."""

    def blocks() -> Iterator[Block]:
        for block in some.blocks():
            n = len(rows) if block.known is None else int(block.known.sum())
            at = np.flatnonzero(common_enough(np.asarray(block.values.sum(axis=0)).ravel(), n))
            if len(at):
                names = tuple(block.names[i] for i in at)
                origins = tuple(block.origin(int(i)) for i in at)
                yield Block(names, block.values[:, at], block.known, origins)

    some = feature_set.take(rows)
    return replace(some, make=blocks)


def _without(feature_set: FeatureSet, own: set[str], others: set[str], has: Array) -> FeatureSet:
    """The attributes without a label's column and its copies, which say only what the label is."""

    def blocks() -> Iterator[Block]:
        for block in feature_set.blocks():
            origin, copies = block.origin(0), False
            if origin in others:
                known = slice(None) if block.known is None else block.known
                same = (np.asarray(block.values[:, 0]) == has)[known]
                copies = bool(same.all() or not same.any())
            if Key.of(origin).origin not in own and not copies:
                yield block

    return replace(feature_set, make=blocks)
