"""The files of an audit: its page for a person, its values as JSON and its table."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace

from ntkit._disk import StrPath
from ntkit._doc import documented
from ntkit._labels import spreadsheet
from ntkit._output import check_folder, new_folder
from ntkit._text import as_json
from ntkit.attributes.feature_set import values_by_name
from ntkit.attributes.findings import SHOWN
from ntkit.exceptions import InputError
from ntkit.jobs.audit.changes import change_for
from ntkit.jobs.audit.labels import LabelAudits
from ntkit.jobs.audit.result import Audit
from ntkit.jobs.command_line import settings_files
from ntkit.pages.audit_page import AuditPage, audit_html, labels_html
from ntkit.pages.change_cards import ShownChange
from ntkit.samples.looks import Inputs

__all__ = ["write_audit"]

WEIGHTS = "weights.csv"


@documented
def write_audit(
    audit: Audit | LabelAudits,
    path: StrPath,
    *,
    inputs: Inputs | None = None,
    title: str = "",
    go_on: str | Mapping[str, str] | None = None,
    force: bool = False,
) -> None:
    """Write ``audit.html``, ``audit.json`` and ``table.md`` into a folder: all files or none.

    The page is for an expert on the subject. It shows each finding in words, with examples and
    three buttons. It works offline and saves ``answers.json`` for :func:`read_answers`. The audits
    of several labels get a folder each, and these files with a summary of all labels. If no last
    layer can be retrained, ``weights.csv`` has a weight of each sample for each of these findings,
    from :meth:`ntkit.Audit.weights`, to train another model with. Its column ``id`` has the names
    of ``audit.inputs``. Without names, a column ``row`` has the rows as you passed them, from 0 on.

    Parameters
    ----------
    audit : Audit or LabelAudits
        The result of an audit.
    path : path-like
        Output folder.
    inputs : Inputs, optional
        Raw inputs for the examples; by default ``audit.inputs``. Of one audit only.
    title : str
        Name of the audited model, such as its file name.
    go_on : str or mapping of str to str, optional
        Command that uses the answers; the page shows it. By default ``ntkit debias`` with the
        model. For several labels, a command for each.
    {force}

    Raises
    ------
    InputError
        If the folder cannot be written, or the number of inputs is not that of the samples.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import ntkit
    >>> from ntkit.jobs.audit.files import write_audit
    >>> y, film = [0, 1] * 50, [0, 1, 0, 1, 0, 1, 0, 1, 1, 0] * 10
    >>> audit = ntkit.audit(y, film, texts=[f"a {'film' if f else 'movie'}" for f in film])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_audit(audit, Path(folder) / "audit")
    ...     sorted(file.name for file in (Path(folder) / "audit").iterdir())
    ['.ntkit.json', 'audit.html', 'audit.json', 'table.md', 'weights.csv']
    """
    check_folder(path, force=force)
    if isinstance(audit, LabelAudits):
        files = label_files(audit, title=title, go_on=go_on if isinstance(go_on, Mapping) else None)
    else:
        command = go_on if isinstance(go_on, str) else None
        files = audit_files(audit, inputs=inputs, title=title, go_on=command)
        files |= {"table.md": f"{audit.summary(markdown=True)}\n"}
    with new_folder(path, force=force) as folder:
        files |= settings_files()
        for name, text in files.items():
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_text(text, encoding="utf-8", newline="")


def audit_files(
    audit: Audit,
    *,
    inputs: Inputs | None = None,
    title: str = "",
    go_on: str | None = None,
) -> dict[str, str]:
    """The page with the first findings, and the JSON of an audit, by file name."""
    content = audit.to_json()
    digest = hashlib.sha256(content.encode()).hexdigest()[:16]
    page = _page(audit, digest, inputs or audit.inputs or Inputs(), title)
    files = {"audit.html": audit_html(replace(page, go_on=go_on)), "audit.json": f"{content}\n"}
    weights = {} if audit.model and audit.repairable else _weights(audit)
    if weights:
        named = map(page.inputs.name, range(len(audit.predictions.y_index)))
        columns = [map(str, named), *weights.values()]
        first = "row" if page.inputs.ids is None else "id"
        header = [first, *(f"sample_weight {name}" for name in weights)]
        files[WEIGHTS] = spreadsheet([header, *zip(*columns, strict=True)])
    return files


def _weights(audit: Audit) -> dict[str, list[str]]:
    """Weights for an own fit by each finding that is asked about, if its value is known enough."""
    weights = dict[str, list[str]]()
    for finding in audit.questions:
        try:
            weights[finding.name] = [f"{each:.6g}" for each in audit.weights(finding.name)]
        except InputError:  # unknown for a whole class
            continue
    return weights


def _page(audit: Audit, digest: str, inputs: Inputs, title: str) -> AuditPage:
    shown, new, changes = audit.shown[:SHOWN], audit.retraining, audit.changes
    entries = [answer.as_dict() for one in shown for answer in audit.answers(one.name).answers]
    flipped = dict[str, tuple[str, int, int]]()  # change, flipped predictions and copies
    for finding in shown if changes is not None else ():
        assert changes is not None
        change = change_for(finding, changes.columns)
        if change is not None and (counts := changes.flipped(change.name))[1]:
            flipped[finding.name] = (change.name, *counts)
    return AuditPage(
        title=title,
        digest=digest,
        facts=audit.as_dict(),
        findings=audit.findings,
        entries=[{k: v for k, v in entry.items() if k != "answer"} for entry in entries],
        repairable=audit.repairable,
        unlabelled=audit.unlabelled,
        values=values_by_name(audit.feature_sets, [finding.name for finding in shown]),
        predictions=audit.predictions,
        inputs=inputs,
        retraining=None if new is None else _page(new, digest, inputs, title),
        changes=None
        if changes is None
        else [
            ShownChange(
                each.as_dict(),
                each.before,
                each.after,
                each.sentences(),
            )
            for each in changes.changes
        ],
        tried="" if changes is None else changes.note(),
        flipped=flipped,
    )


def label_files(
    audits: LabelAudits, *, title: str = "", go_on: Mapping[str, str] | None = None
) -> dict[str, str]:
    """The summary as a page and as JSON, and the files of each audit in a folder of its own."""
    folders, files = audits.folders, dict[str, str]()
    for name, audit in audits.items():
        made = audit_files(audit, title=title, go_on=(go_on or {}).get(name))
        made |= {"table.md": f"{audit.summary(markdown=True)}\n"}
        files |= {f"{folders[name]}/{file}": text for file, text in made.items()}
    header, *rows = audits.rows()
    linked = [(row, folders.get(row[0])) for row in rows]
    facts = audits.as_dict()
    for row in facts["labels"]:
        row["folder"] = folders.get(row["label"])
    page = labels_html(title, header, linked, audits.sentences(), audits.notes)
    return files | {
        "audit.html": page,
        "audit.json": f"{as_json(facts)}\n",
        "table.md": f"{audits.summary(markdown=True)}\n",
    }
