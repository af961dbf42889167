"""A check as files: JSON, JUnit's XML, Markdown."""

from __future__ import annotations

from pathlib import Path

from ntkit._disk import StrPath
from ntkit._output import check_file, new_file
from ntkit.checking._junit import junit_of
from ntkit.checking._result import CheckResult
from ntkit.checking._text import markdown_of
from ntkit.exceptions import InputError

__all__ = ["write_check"]


def write_check(
    result: CheckResult,
    *,
    json: StrPath | None = None,
    junit: StrPath | None = None,
    markdown: StrPath | None = None,
    force: bool = False,
) -> None:
    """Write what a check found, for programs and for people.

    Parameters
    ----------
    result : CheckResult
        What was found.
    json : path-like, optional
        File for :meth:`CheckResult.to_json`.
    junit : path-like, optional
        File for JUnit's XML, a test case for each limit; one with too few samples is an error
        there, for it must not pass.
    markdown : path-like, optional
        File for a summary, as pull requests show it.
    force : bool, default=False
        Whether to replace files that exist.

    Raises
    ------
    InputError
        If one exists or cannot be written; none is written then.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from ntkit.checking import check_predictions, write_check
    >>> found = check_predictions([0, 1] * 20, [0, 1] * 20, limits={"average": 90})
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = Path(folder) / "check.md"
    ...     write_check(found, markdown=file)
    ...     print(file.read_text(encoding="utf-8").splitlines()[0])
    ### Passed: the predictions, 40 samples.
    """
    given = ((json, result.to_json()), (junit, junit_of(result)), (markdown, markdown_of(result)))
    files = [(Path(path), content) for path, content in given if path is not None]
    for path, _ in files:
        check_file(path, force=force)
    if len({path.resolve() for path, _ in files}) < len(files):
        raise InputError("Two of the files to write have one name; choose another one.")
    for path, content in files:
        with new_file(path) as file:
            file.write_text(content, encoding="utf-8")
