"""Write what an audit found into a folder: all of it, or nothing."""

from __future__ import annotations

import hashlib
from dataclasses import replace

from ntkit._disk import StrPath
from ntkit._doc import documented
from ntkit._output import check_folder, new_folder
from ntkit.attributes import values_by_name
from ntkit.jobs.audit._result import Audit
from ntkit.pages import Inputs
from ntkit.pages.audit_page import SHOWN, AuditPage, audit_html


@documented
def write_audit(
    audit: Audit,
    path: StrPath,
    *,
    inputs: Inputs | None = None,
    title: str = "",
    go_on: str | None = None,
    force: bool = False,
) -> None:
    """Write ``audit.html``, ``audit.json`` and ``table.md`` into a folder, complete or not at all.

    The page is for somebody who knows the subject: each finding in words, with examples, and three
    buttons. It opens offline and saves the answers as ``answers.json``, for :func:`read_answers`.

    Parameters
    ----------
    audit : Audit
        What was found.
    path : path-like
        The folder.
    inputs : Inputs, optional
        Raw inputs to show examples of; by default those that the audit was given.
    title : str
        What was looked at, such as the model's file name.
    go_on : str, optional
        Command that acts on the answers, for the page to show; by default ``ntkit debias`` of the
        model.
    {force}

    Raises
    ------
    InputError
        If it cannot be written, or there are more or fewer inputs than samples.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import ntkit
    >>> from ntkit.jobs.audit import write_audit
    >>> y, film = [0, 1] * 50, [0, 1, 0, 1, 0, 1, 0, 1, 1, 0] * 10
    >>> audit = ntkit.audit(y, film, texts=[f"a {'film' if f else 'movie'}" for f in film])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_audit(audit, Path(folder) / "audit")
    ...     sorted(file.name for file in (Path(folder) / "audit").iterdir())
    ['.ntkit.json', 'audit.html', 'audit.json', 'table.md']
    """
    check_folder(path, force=force)
    files = audit_files(audit, inputs=inputs, title=title, go_on=go_on)
    with new_folder(path, force=force) as folder:
        for name, text in (files | {"table.md": f"{audit.summary(markdown=True)}\n"}).items():
            (folder / name).write_text(text, encoding="utf-8")


def audit_files(
    audit: Audit,
    *,
    inputs: Inputs | None = None,
    title: str = "",
    go_on: str | None = None,
    most: int = SHOWN,
) -> dict[str, str]:
    """The page, with the first findings of each list, and the JSON of an audit, by file name."""
    content = audit.to_json()
    digest = hashlib.sha256(content.encode()).hexdigest()[:16]
    page = _page(audit, digest, inputs or audit.inputs or Inputs(), title, most)
    return {"audit.html": audit_html(replace(page, go_on=go_on)), "audit.json": f"{content}\n"}


def _page(audit: Audit, digest: str, inputs: Inputs, title: str, most: int) -> AuditPage:
    shown, new = audit.findings[:most], audit.retraining
    answers = [answer for one in shown for answer in audit.answers(one.name).answers]
    return AuditPage(
        title=title,
        digest=digest,
        facts=audit.as_dict(),
        findings=audit.findings,
        entries=[
            {name: value for name, value in answer.as_dict().items() if name != "answer"}
            for answer in answers
        ],
        model=audit.model,
        unlabelled=audit.unlabelled,
        values=values_by_name(audit.feature_sets, [finding.name for finding in shown]),
        predictions=audit.predictions,
        inputs=inputs,
        retraining=None if new is None else _page(new, digest, inputs, title, most),
    )
