"""Check a table of answers that a program filled in: a person labels some of its samples."""

from __future__ import annotations

import csv
import io
import shlex
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import beta

from ntkit._disk import StrPath, sha256_of
from ntkit._join import NameIndex
from ntkit._labels import guarded_cell, listed
from ntkit._text import counted, plain_table, with_interval
from ntkit._types import Array
from ntkit.attributes import CONTENT, Labels, cell_text, content_cell
from ntkit.exceptions import InputError
from ntkit.jobs.audit import AttributeReader
from ntkit.jobs.label._files import LabelFolder, TakenAnswers
from ntkit.jobs.label._label import files_of, question_of
from ntkit.jobs.label._progress import how_to_label
from ntkit.jobs.label._tables import AnswerTable
from ntkit.model import loaded
from ntkit.samples import input_paths, names_of, read, sample_digests

CHECKS = 12
"""Number of answers to check; after one wrong answer, as many again."""
LIMIT = 0.1
"""Largest share of wrong answers, with every group counted alike. At 11 % a repair loses a third of
its gain, at 25 % half (``benchmarks/table_of_answers.py``)."""
CHECKED = "checked.csv"


@dataclass(frozen=True)
class CheckedGroup:
    """A group class × answer of the table: its size, and its checked and wrong answers."""

    name: str
    count: int
    checked: int
    wrong: int


@dataclass(frozen=True, eq=False)
class TableCheck:
    """The answers that a person checked, the estimated share of wrong ones, and the verdict."""

    path: Path
    table: AnswerTable
    labels: Labels
    groups: tuple[CheckedGroup, ...]
    asked: tuple[str, ...]
    questions: str
    notes: tuple[str, ...] = ()

    @property
    def checked(self) -> int:
        """Number of answers that a person checked."""
        return sum(group.checked for group in self.groups)

    @property
    def wrong(self) -> int:
        """Number of wrong ones among them."""
        return sum(group.wrong for group in self.groups)

    def share(self, *, alike: bool) -> tuple[float, tuple[float, float]]:
        """Estimated share of wrong answers with a 95 % interval, groups counted alike or not."""
        return share_wrong(self.groups, alike=alike)

    @property
    def verdict(self) -> str:
        """``use``, ``do not use``, or ``check more``."""
        return verdict_on(self.checked, self.share(alike=True)[0], bool(self.asked))

    def as_dict(self) -> dict[str, Any]:
        """All values for JSON."""
        shares = {}
        for name, alike in (("wrong_of_groups", True), ("wrong_of_table", False)):
            share, bounds = self.share(alike=alike)
            shares[name] = {"share": share, "interval": list(bounds)} if self.checked else None
        return {
            "question": self.labels.question,
            "values": list(self.labels.values),
            "checked": self.checked,
            "wrong": self.wrong,
            **shares,
            "limit": LIMIT,
            "verdict": self.verdict,
            "groups": [asdict(group) for group in self.groups],
            "asked": list(self.asked),
            "table": str(self.path / CHECKED) if self.checked else None,
            "notes": list(self.notes),
        }

    def __str__(self) -> str:
        where, question = self.table.where, self.labels.question
        lines = [*self.notes]
        if self.checked:
            unknown = len(self.labels.answers) - self.labels.n_answers
            skipped = f" Nobody could label {counted(unknown, 'more sample')}." * bool(unknown)
            lines.append(
                f"{question} {counted(self.checked, 'answer')} of {where} checked, {self.wrong} "
                f"wrong.{skipped}"
            )
            header = ["class × answer", "in the table", "checked", "wrong"]
            rows = [[g.name, *map(str, (g.count, g.checked, g.wrong))] for g in self.groups]
            lines += ["", plain_table([header, *rows], "<>>>"), ""]
            groups, table = (with_interval(*self.share(alike=alike)) for alike in (True, False))
            lines += [
                f"Wrong, with every group counted alike as in a repair: {groups} %.",
                f"Wrong in the whole table: {table} %.",
            ]
        else:
            lines.append(f"{question} No answer of {where} is checked yet.")
        return "\n".join([*lines, *self._next()])

    def _next(self) -> list[str]:
        share, limit = f"{100 * self.share(alike=True)[0]:.0f} %", f"{100 * LIMIT:.0f} %"
        if self.verdict == "use":
            table = shlex.quote(str(self.path / CHECKED))
            return [
                f"Use the table: {share} is within the limit of {limit}.",
                f"Repair with it: ntkit debias … --answers {table}",
            ]
        if self.verdict == "check more":
            more = (
                f"Check {len(self.asked)} more: {self.wrong} wrong of {self.checked} does not "
                f"settle whether more than {limit} are."
            )
            how = how_to_label(self.path, len(self.asked), self.questions)
            return [more, how] if self.checked >= CHECKS else [how]
        if self.checked < CHECKS:
            why = f"only {self.checked} of {CHECKS} answers could be checked."
        else:
            why = f"{share} is more than the limit of {limit}."
        return [
            f"Do not use the table: {why}",
            "Label samples yourself: ntkit label MODEL DATA -o OUT, without --check.",
        ]


def share_wrong(
    groups: Sequence[CheckedGroup], *, alike: bool
) -> tuple[float, tuple[float, float]]:
    """Estimated share of wrong answers with a 95 % interval, groups counted alike or not."""
    some = [group for group in groups if group.checked]
    if not some:
        return float("nan"), (float("nan"), float("nan"))
    weight = np.array([1 if alike else group.count for group in some], dtype=float)
    weight /= weight.sum()
    n = np.array([group.checked for group in some])
    estimate = float(weight @ [group.wrong / group.checked for group in some])
    # Clopper–Pearson with the effective number of samples (Korn and Graubard 1998).
    size = 1 / float((weight**2 / n).sum())
    x = min(estimate * size, size)
    low = beta.ppf(0.025, x, size - x + 1) if x > 0 else 0.0
    high = beta.ppf(0.975, x + 1, size - x) if x < size else 1.0
    return estimate, (float(low), float(high))


def verdict_on(checked: int, share: float, can_ask: bool) -> str:
    """The verdict after so many checks with this estimated share of wrong answers."""
    doubt = checked < 2 * CHECKS and (checked != CHECKS or 0 < share <= LIMIT)
    if doubt and can_ask:
        return "check more"
    return "use" if checked >= CHECKS and share <= LIMIT else "do not use"


def check_table(
    model: Any,
    data: Any,
    table: StrPath,
    out: StrPath,
    *,
    question: str | None = None,
    values: Sequence[str] | None = None,
    key: str | None = None,
    answers: Sequence[StrPath] = (),
    match_names: bool = False,
    random_state: int = 0,
    verbose: bool = False,
) -> TableCheck:
    """Ask a person about twelve samples of a table, compare, and estimate its wrong answers."""
    model = loaded(model)
    samples = read(data, model)
    source = AnswerTable.read(table, "attribute", key)
    said, left = source.labels(AttributeReader([samples]), match_names)
    groups, titles = _groups(samples.y, said, source)
    with LabelFolder.alone(out, [*input_paths(model, samples), table, *answers]) as folder:
        sha256 = sha256_of(table)
        if folder.labels is not None and folder.check != sha256:
            what = "belongs to another table" if folder.check else "has labels without --check"
            raise InputError(
                f"{folder.path} {what}, so its samples were drawn differently. Choose another "
                f"folder to check {source.where}."
            )
        folder.check = sha256
        names, digests = samples.unique_names, sample_digests(samples, verbose=verbose)
        contents = [digest.hex() for digest in digests]
        if folder.labels is None:
            distinct = sorted({*said} - {None})
            question = question or source.column
            if values is None and {value.casefold() for value in distinct} != {"yes", "no"}:
                values = distinct
        asked = question_of(folder, question, values)
        said = _spelt(said, asked, source)
        taken = TakenAnswers(names, contents, match_names)
        before = folder.take_kept(asked, taken)
        labels = folder.take(before, [*folder.answer_files(), *answers], taken)

        told = labels.attribute(names)
        checked = np.array([value is not None for value in told]) & (groups >= 0)
        wrong = checked & (told != said)
        parts = tuple(
            CheckedGroup(
                title,
                *(int((groups[rows] == i).sum()) for rows in (slice(None), checked, wrong)),
            )
            for i, title in enumerate(titles)
        )
        seen = {*labels.contents.values()}
        seen_rows = np.array([content in seen for content in contents])
        number = folder.batch + (folder.labels is None or labels.answers != before.answers)
        questions = f"questions-{number}.csv"
        result = TableCheck(folder.path, source, labels, parts, (), questions, ())
        n = CHECKS - result.checked % CHECKS
        rows = next_checks(groups, seen_rows | checked, checked, contents, n, random_state)
        result = replace(result, asked=tuple(names[row] for row in rows))
        files = dict[str, bytes]()
        if result.verdict == "check more":
            inputs = samples.looks()
            hidden = {n: v for n, v in (inputs.table or {}).items() if n != source.column}
            shown = replace(inputs, ids=names, table=hidden or None)
            files = files_of(labels, np.array(rows), shown, contents, questions)
        else:
            result = replace(result, asked=())
        if result.checked:
            key_names = names_of(samples, source.key) if source.key else names
            files[CHECKED] = _corrected(source, told, key_names or (), contents)
        folder.write(labels, number, files)
        return replace(result, notes=(*samples.notes, *([left] if left else ()), *taken.notes))


def next_checks(
    groups: Array,
    seen: Array,
    checked: Array,
    contents: Sequence[str],
    n: int,
    random_state: int,
) -> list[int]:
    """Up to n further rows in random order, such that groups have equally many checks."""
    # Every group has one random order, so the checked rows of a group are a random sample of it.
    rng = np.random.default_rng(random_state)
    order, taken = rng.permutation(len(groups)), set[str]()
    left: list[list[int]] = [[] for _ in range(int(groups.max()) + 1)]
    for row in order.tolist():
        if groups[row] >= 0 and not seen[row] and contents[row] not in taken:
            taken.add(contents[row])
            left[groups[row]].append(row)
    counts = np.bincount(groups[checked], minlength=len(left)).astype(float)
    ties, chosen = rng.random(len(left)), list[int]()
    while len(chosen) < n and any(left):
        group = min((g for g, rows in enumerate(left) if rows), key=lambda g: (counts[g], ties[g]))
        chosen.append(left[group].pop(0))
        counts[group] += 1
    return [int(row) for row in rng.permutation(chosen)]


def _groups(y: Array, said: Array, table: AnswerTable) -> tuple[Array, list[str]]:
    """Class × answer of each sample, −1 without an answer, and their names."""
    known = np.array([value is not None for value in said])
    distinct = sorted({*said[known]})
    if not 2 <= len(distinct) <= 9:  # the page has nine keys
        one = f" ({distinct[0]!r})" * (len(distinct) == 1)
        raise InputError(
            f"For these samples {table.where} has {counted(len(distinct), 'different answer')}"
            f"{one}, and a check takes two to nine. Pass a table of an attribute with a few values."
        )
    if known.sum() < CHECKS:
        raise InputError(
            f"{table.where} has answers for {known.sum()} of these samples, and a check needs "
            f"{CHECKS}. Add rows to the table, or pass more samples."
        )
    titles = np.array([f"{label} × {value}" for label, value in zip(y, said, strict=True)])
    groups = np.full(len(y), -1)
    names, groups[known] = np.unique(titles[known], return_inverse=True)
    return groups, names.tolist()


def _spelt(said: Array, asked: Labels, table: AnswerTable) -> Array:
    """The table's answers in the spelling of the question's values."""
    spelling = {value.casefold(): value for value in asked.values}
    strange = sorted({v for v in said if v is not None and v.casefold() not in spelling})
    if strange:
        raise InputError(
            f"{table.where} has the answer {strange[0]!r:.40}, but the possible labels are "
            f"{listed(asked.values)}. Name all answers of the table with --values."
        )
    return np.array([value and spelling[value.casefold()] for value in said], dtype=object)


def _corrected(
    table: AnswerTable, told: Array, names: Sequence[str], contents: Sequence[str]
) -> bytes:
    """The table as CSV, with a person's labels in place of its answers."""
    index, cells_of_contents = NameIndex(names), [*map(content_cell, contents)]
    by_content = {cell: row for row, cell in enumerate(cells_of_contents)}
    keys = (name for name in (table.key, CONTENT) if name in table.columns)
    columns: dict[str, Any] = {str(name): table.columns[str(name)] for name in keys}
    if table.key is None:  # a row per sample
        columns = {"id": names, CONTENT: cells_of_contents}
    lines = [[*columns, table.column]]
    for i, answer in enumerate(table.columns[table.column]):
        cells = {name: cell_text(values[i]) for name, values in columns.items()}
        if cells.get(CONTENT) in by_content:
            row = by_content[cells[CONTENT]]
        else:
            row = i if table.key is None else next(iter(index.rows(cells[table.key])), -1)
        label = told[row] if row >= 0 else None
        lines.append([*map(guarded_cell, cells.values()), label or cell_text(answer)])
    file = io.StringIO(newline="")
    csv.writer(file).writerows(lines)
    return file.getvalue().encode()
