"""Check a table of answers that a program filled in: a person labels some of its samples."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import beta

from ntkit._contents import distinct
from ntkit._disk import StrPath, sha256_of
from ntkit._key import group_name
from ntkit._text import counted, listed, plain_table, with_interval
from ntkit._types import Array
from ntkit.attributes.answers import CONTENT, Entry, Labels, cell_text, content_cell
from ntkit.exceptions import InputError
from ntkit.jobs.attribute_reader import AttributeReader
from ntkit.jobs.label._files import LabelFolder, in_spelling, questions_table
from ntkit.jobs.label._label import files_of, labels_in, of_one_label, question_in
from ntkit.jobs.label._progress import how_to_label
from ntkit.jobs.label_tables import AnswerTable, named_rows
from ntkit.metrics import Row, compare
from ntkit.metrics.rows import Kind
from ntkit.samples.copies import without_copies
from ntkit.samples.looks import Inputs
from ntkit.samples.read import read
from ntkit.samples.samples import input_paths

CHECKS = 12
"""Number of answers to check; after one wrong answer, as many again."""
LIMIT = 0.1
"""Largest share of wrong answers, with every group counted alike. At 10 % a repair loses a quarter
of its gain, at 20 % half (``benchmarks/table_of_answers.py``)."""
CHECKED = "checked.csv"


@dataclass(frozen=True, eq=False)
class TableCheck:
    """The answers that a person checked, the estimated share of wrong ones, and the verdict."""

    path: Path
    table: str
    question: str
    groups: tuple[Row, ...]  # class × answer of the table: the answers that are checked, and right
    sizes: tuple[int, ...]  # of the groups in the table
    checked: int
    wrong: int
    unknown: int  # samples that nobody could label
    share_of_groups: tuple[float, tuple[float, float]]  # every group counts alike
    share_of_table: tuple[float, tuple[float, float]]
    verdict: str
    asked: tuple[str, ...]
    questions: str
    notes: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """All values for JSON."""
        groups = [
            {"name": row.name, "count": size, "checked": row.n, "wrong": row.n - row.right}
            for row, size in zip(self.groups, self.sizes, strict=True)
        ]
        values = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "sizes"}
        asked = self.questions if self.asked else None
        return values | {"groups": groups, "limit": LIMIT, "questions": asked}

    def __str__(self) -> str:
        shown = [pair for pair in zip(self.groups, self.sizes, strict=True) if pair[0].n]
        left = [group for group in self.groups if not group.n]
        share, limit = (f"{100 * x:.0f} %" for x in (self.share_of_groups[0], LIMIT))
        lines = [*self.notes, f"{self.question} No answer of {self.table} is checked yet."]
        if self.checked:
            skipped = f" Nobody could label {counted(self.unknown, 'more sample')}."
            lines[-1] = (
                f"{self.question} {counted(self.checked, 'answer')} of {self.table} checked, "
                f"{self.wrong} wrong.{skipped * bool(self.unknown)}"
            )
            header = ["class × answer", "in the table", "checked", "wrong"]
            rows = [[g.name, str(size), str(g.n), str(g.n - g.right)] for g, size in shown]
            lines += ["", plain_table([header, *rows], "<>>>"), ""]
            groups = with_interval(*self.share_of_groups)
            lines.append(f"Wrong, with every group counted alike as in a repair: {groups} %.")
            if not left:
                lines.append(f"Wrong in the whole table: {with_interval(*self.share_of_table)} %.")
            else:
                names = listed([group.name for group in left], 6)
                lines.append(f"Groups without a check, {len(left)} of {len(self.groups)}: {names}.")
        if self.verdict == "use":
            answers = shlex.quote(str(self.path / CHECKED))
            part = f" in {len(shown)} of {len(self.groups)} groups; the others have no check"
            lines += [
                f"Use the table: {share} is within the limit of {limit}{part * bool(left)}.",
                f"Repair with it: ntkit debias … --answers {answers}",
            ]
        elif self.verdict == "check more":
            more = (
                f"Check {len(self.asked)} more: {self.wrong} wrong of {self.checked} does not "
                f"settle whether more than {limit} are."
            )
            lines += [more] * (self.checked >= CHECKS)
            lines.append(how_to_label(self.path, len(self.asked), self.questions))
        else:
            why = f"{share} is more than the limit of {limit}"
            if self.checked < CHECKS:
                why = f"only {self.checked} of {CHECKS} answers could be checked"
            lines += [
                f"Do not use the table: {why}.",
                "Label samples yourself: ntkit label MODEL DATA -o OUT, without --check.",
            ]
        return "\n".join(lines)


def share_wrong(groups: Sequence[Row], sizes: Sequence[int]) -> tuple[float, tuple[float, float]]:
    """Estimated share of wrong answers with a 95 % interval, from groups of these sizes."""
    some = [pair for pair in zip(groups, sizes, strict=True) if pair[0].n]
    if not some:
        return float("nan"), (float("nan"), float("nan"))
    weight = np.array([size for _, size in some], dtype=float)
    weight /= weight.sum()
    estimate = float(weight @ [(group.n - group.right) / group.n for group, _ in some])
    # Clopper–Pearson with the effective number of samples (Korn and Graubard 1998).
    size = 1 / float((weight**2 / [group.n for group, _ in some]).sum())
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
    table: AnswerTable,
    out: StrPath,
    *,
    question: str | None = None,
    values: Sequence[str] | None = None,
    answers: Sequence[StrPath] = (),
    match_names: bool = False,
    random_state: int = 0,
    verbose: bool = False,
) -> TableCheck:
    """Ask a person about twelve samples of a table, compare, and estimate its wrong answers."""
    model = of_one_label(model)
    samples = read(data, model)
    (once,) = without_copies([samples], [model], verbose=verbose)
    samples = replace(samples, coarse=once.samples.coarse)
    reader = AttributeReader([samples])
    said, left = table.labels(reader, match_names)
    groups, titles = _groups(samples.y, said, table)
    names, identified = samples.unique_names, reader.identified
    groups, of_copies = _once(groups, said, identified.contents, table)
    with LabelFolder.alone(out, [*input_paths(model, samples), table.source, *answers]) as folder:
        _keep_to(folder, table)
        contents = identified.digests
        asked, said = _question_on(table, folder, question, values, names, said)
        before, labels, about = labels_in(
            folder, asked, samples, identified, answers, match_names=match_names
        )
        told = labels.of_contents(contents)
        labelled = np.array([value is not None for value in told]) & (groups >= 0)
        known = {*labels.contents.values()}
        seen = np.array([content in known for content in contents])
        # Labels from elsewhere are often of errors, so only those of samples that are drawn count.
        drawn = {*before.contents.values()} if folder.drawn is None else {*folder.drawn}
        sizes = tuple(int((groups == i).sum()) for i in range(len(titles)))
        wrong = told != said
        rows, verdict, checked = _draw(groups, labelled, wrong, seen, contents, drawn, random_state)
        parts, n = _by_group(groups, titles, checked, wrong), int(checked.sum())
        every = all(part.n for part in parts)  # else this is the share of some groups
        whole = share_wrong(parts if every else (), sizes if every else ())
        folder.drawn = sorted(drawn)
        notes = [*samples.notes, *of_copies, *filter(None, [left]), *about]
        notes += _note_on_others(int((labelled & ~checked).sum()))
        number = folder.batch + (folder.labels is None or labels.answers != before.answers)
        questions, files = f"questions-{number}.csv", dict[str, bytes]()
        if rows:
            shown = _without(samples.looks(), table.column, names)
            files = files_of(labels, np.array(rows), shown, contents, questions)
        if labelled.any():
            files[CHECKED] = _corrected(table, reader, told, names, contents)
        folder.write(labels, number, files)
        return TableCheck(
            path=folder.path,
            table=table.where,
            question=labels.question,
            groups=parts,
            sizes=sizes,
            checked=n,
            wrong=int((checked & wrong).sum()),
            unknown=sum(
                v is None and labels.contents[k] in drawn for k, v in labels.answers.items()
            ),
            share_of_groups=share_wrong(parts, (1,) * len(titles)),
            share_of_table=whole,
            verdict=verdict,
            asked=tuple(names[row] for row in rows),
            questions=questions,
            notes=tuple(notes),
        )


def _keep_to(folder: LabelFolder, table: AnswerTable) -> None:
    """Make a folder that of a table; an error if it is that of another one."""
    sha256 = sha256_of(table.source)
    if folder.labels is not None and folder.check != sha256:
        what = "belongs to another table" if folder.check else "has labels without --check"
        raise InputError(
            f"{folder.path} {what}, so its samples were drawn differently. Choose another "
            f"folder to check {table.where}."
        )
    folder.check = sha256


def _without(inputs: Inputs, column: str, names: Sequence[str]) -> Inputs:
    """What samples look like, without the column that a person is asked about."""
    facts = {name: values for name, values in (inputs.table or {}).items() if name != column}
    return replace(inputs, ids=names, table=facts or None)


def _question_on(
    source: AnswerTable,
    folder: LabelFolder,
    question: str | None,
    values: Sequence[str] | None,
    names: Sequence[str],
    said: Array,
) -> tuple[Labels, Array]:
    """The question on the answers of a table, and these in the spelling of its values."""
    if folder.labels is None:
        given = sorted({*said} - {None})
        question = question or source.column
        if values is None and {value.casefold() for value in given} != {"yes", "no"}:
            values = given
    asked = question_in(folder, question, values)
    entries = [Entry(name, value) for name, value in zip(names, said, strict=True)]
    spelt = [entry.answer for entry in in_spelling(asked, entries, source.where)]
    return asked, np.array(spelt, dtype=object)


def _draw(
    groups: Array,
    labelled: Array,
    wrong: Array,
    seen: Array,
    contents: Sequence[str],
    drawn: set[str],
    random_state: int,
) -> tuple[list[int], str, Array]:
    """Rows to check next, the verdict, and which are checked; it adds to the drawn contents."""
    n_groups = int(groups.max()) + 1
    while True:
        of_draw = np.array([content in drawn for content in contents])
        checked = labelled & of_draw
        n = int(checked.sum())
        share = share_wrong(_by_group(groups, [""] * n_groups, checked, wrong), (1,) * n_groups)
        more = CHECKS - n % CHECKS
        rows = next_checks(groups, seen & of_draw, checked, contents, more, random_state)
        verdict = verdict_on(n, share[0], can_ask=bool(rows))
        rows = rows if verdict == "check more" else []
        drawn |= {contents[row] for row in rows}
        if not seen[rows].any():
            return rows, verdict, checked


def _by_group(
    groups: Array, titles: Sequence[str], checked: Array, wrong: Array
) -> tuple[Row, ...]:
    """Checked answers of each group, and how many of them are right."""
    subsets: list[tuple[Kind, str, Array]]
    subsets = [("group", title, checked & (groups == i)) for i, title in enumerate(titles)]
    return tuple(compare([~wrong], subsets))


def _note_on_others(n: int) -> list[str]:
    """A note on labels of samples that were not drawn to check the table, if there are any."""
    return [
        f"{counted(n, 'label')} of samples that were not drawn at random "
        f"{'corrects' if n == 1 else 'correct'} the table, and "
        f"{'is no check' if n == 1 else 'are no checks'}."
    ] * (n > 0)


def next_checks(
    groups: Array, seen: Array, checked: Array, contents: Sequence[Any], n: int, random_state: int
) -> list[int]:
    """Up to n further rows in random order, such that groups have equally many checks."""
    # Every group has one random order, so the checked rows of a group are a random sample of it.
    # It is of contents: copies and another order of the samples change nothing.
    rng = np.random.default_rng(random_state)
    first = dict[Any, int]()  # of each content

    def place(row: int) -> bytes:
        return blake2b(f"{random_state} {contents[row]}".encode(), digest_size=16).digest()

    for row in sorted(range(len(groups)), key=place):
        if groups[row] >= 0 and not seen[row]:
            first.setdefault(contents[row], row)
    left: list[list[int]] = [[] for _ in range(int(groups.max()) + 1)]
    for row in first.values():
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
    given = sorted({*said[known]})
    if not 2 <= len(given) <= 9:  # the page has nine keys
        one = f" ({given[0]!r})" * (len(given) == 1)
        raise InputError(
            f"For these samples {table.where} has {counted(len(given), 'different answer')}"
            f"{one}, and a check takes two to nine. Pass a table of an attribute with a few values."
        )
    if known.sum() < CHECKS:
        raise InputError(
            f"{table.where} has answers for {known.sum()} of these samples, and a check needs "
            f"{CHECKS}. Add rows to the table, or pass more samples."
        )
    pairs = [*zip(y.tolist(), said.tolist(), strict=True)]
    title_of = {pair: group_name(*pair) for pair in pairs if pair[1] is not None}
    distinct_pairs = sorted(title_of, key=title_of.__getitem__)
    number = {pair: i for i, pair in enumerate(distinct_pairs)}
    titles = [title_of[pair] for pair in distinct_pairs]
    return np.array([number.get(pair, -1) for pair in pairs]), titles


def _once(
    groups: Array, said: Array, digests: Array, table: AnswerTable
) -> tuple[Array, list[str]]:
    """The groups without copies, so that each content counts once; and notes."""
    counted_ones = np.flatnonzero(groups >= 0)
    first, number = distinct(digests[counted_ones])
    once = np.full(len(groups), -1)
    once[counted_ones[first]] = groups[counted_ones[first]]
    notes = list[str]()
    if n := len(counted_ones) - len(first):
        notes.append(
            f"{n} of {len(counted_ones)} samples with an answer are copies of others. Each content "
            "counts once."
        )
    answers = np.unique(said[counted_ones].astype(str), return_inverse=True)[1]
    several = np.bincount(np.unique(np.stack([number, answers]), axis=1)[0]) > 1
    if several.any():
        row = int(counted_ones[np.flatnonzero(several[number])[0]])
        notes.append(
            f"{table.where} has two answers for {counted(int(several.sum()), 'content')}, such as "
            f"for the sample in row {row + 1}."
        )
    return once, notes


def _corrected(
    table: AnswerTable, reader: AttributeReader, told: Array, names: Sequence[str],
    contents: Sequence[str],
) -> bytes:  # fmt: skip
    """The table as CSV, with a person's labels in place of its answers."""
    cells, values = [*map(content_cell, contents)], table.columns[table.column]
    right = {c: label for c, label in zip(contents, told, strict=True) if label is not None}
    if table.key is None:
        columns: dict[str, Sequence[str]] = {"id": names, CONTENT: cells}
        rows, values = [*range(len(told))], values[reader.positions(len(values))]
    else:
        keys = [name for name in (table.key, CONTENT) if name in table.columns]
        columns = {name: [*map(cell_text, table.columns[name])] for name in keys}
        by_content = {cell: row for row, cell in enumerate(cells)}
        digests = columns.get(CONTENT, [""] * len(values))
        rows = [by_content.get(digest, -1) for digest in digests]
        saved_again = max(rows) < 0
        by_name = [i for i, row in enumerate(rows) if row < 0 and (saved_again or not digests[i])]
        written = [columns[table.key][i] for i in by_name]
        named = named_rows(reader, table.key, written, table.where) if by_name else ()
        for i, row in zip(by_name, named, strict=True):
            rows[i] = int(row)
    answers = {
        i: (right.get(contents[row]) if row >= 0 else None) or cell_text(answer)
        for i, (row, answer) in enumerate(zip(rows, values, strict=True))
    }
    return questions_table(answers, columns, table.column, answers)
