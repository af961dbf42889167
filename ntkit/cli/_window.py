"""A run in the person's browser: progress, questions, the steps to choose from, the result."""

from __future__ import annotations

import os
import queue
import sys
import tempfile
import threading
import time
import webbrowser
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from ntkit._disk import alone_in, read_json
from ntkit._output import new_file
from ntkit._process import watched
from ntkit._text import shortened
from ntkit.attributes.answers import Answer, read_answers
from ntkit.attributes.findings import Finding
from ntkit.cli._questions import n_seen
from ntkit.cli._say import say
from ntkit.cli._server import Server
from ntkit.exceptions import NtkitError
from ntkit.jobs.audit import Audit
from ntkit.jobs.command_line import from_here
from ntkit.jobs.debias import ANSWERS_FILE, REPORT_FILE, DebiasResult, Step
from ntkit.jobs.label import PAGE
from ntkit.pages.change_cards import may_confirm
from ntkit.pages.window_page import WINDOW_POLICY, steps_html, window_html

REPAIR = "repair-"
"""Folders of further repairs inside that of a run begin so."""
_LONGEST_NAME = 200
_CHANCE = 60  # seconds that a window which still asks has to fetch the last page
_PACE = 0.7  # seconds between two answers to a window, if nothing else turns up
_LARGEST, RESULT = 16 << 20, "result.json"
_LAST = frozenset({"repair", "keep", "next", "end"})  # words after which the run goes on
_TEXT_BROWSERS = ("www-browser", "links", "elinks", "lynx", "w3m")


class Idle(NtkitError):
    """Nobody answered for as long as the person allowed."""


class Window:
    """Shows a run in a browser on this machine, and hands on what the person says there.

    ``idle`` is in minutes; by default the run waits for ever. ``go_on`` is the command that goes on
    with a run that has ended.
    """

    def __init__(
        self,
        out: Path,
        title: str,
        hosts: Collection[str] = (),
        idle: float | None = None,
        go_on: str = "",
    ) -> None:
        self.out, self.title, self.idle, self.go_on = out, title, idle, go_on
        self.phase, self.version = "working", 0
        self.progress: dict[str, Any] | None = None
        self.answers: dict[str, dict[str, Any]] = {}
        self.content, self.message, self.repairs = "", "", list[list[str]]()
        self._allowed: dict[str, Callable[[Mapping[str, Any]], Any]] = {}
        self._said = queue.Queue[tuple[Any, threading.Event]]()
        self._done: threading.Event | None = None
        self._shown = dict[str, int]()  # the version that each window shows
        # Two runs that ask about one folder would write the same answers.
        self._alone, self._is_alone = ExitStack(), False
        page = window_html()
        policy = f"{WINDOW_POLICY}; frame-ancestors 'none'"
        hears = self._hears
        self.server = Server(page, policy, self._state, lambda: self.content, hears, hosts)
        self._turned = threading.Condition(self.server.lock)

    def __enter__(self) -> Window:
        self.server.start()
        self._watching = watched(self._progressed)
        self._watching.__enter__()
        self._opened = self._open()
        return self

    def __exit__(self, kind: Any, error: BaseException | None, *_: object) -> None:
        self._watching.__exit__(None, None, None)
        if isinstance(error, Exception) and not isinstance(error, Idle):
            self._show("ended", message="The run failed. The terminal says why.")
        if kind is None or isinstance(error, Exception):
            self._let_go()
        self.server.close()
        self._leave()
        with suppress(OSError):
            self._opened.unlink()
        with suppress(OSError):
            self._opened.parent.rmdir()

    # -- what a run calls --------------------------------------------------------------------

    def ask(self, audit: Audit, findings: tuple[Finding, ...]) -> Iterator[Answer]:
        """Yield what the person answers on the page, until the repair begins."""
        new = () if audit.retraining is None else audit.retraining.findings
        made: dict[str, Answer] = {}
        for finding in (*audit.findings, *new):
            made |= {each.name: each for each in audit.answers(finding.name).answers}
        for change in () if audit.changes is None else audit.changes.changes:
            if may_confirm(change.row.name, n_seen(change)):
                answer = Answer.on_change(change.row.name, "unsure")
                made[answer.name] = answer

        def answered(values: Mapping[str, Any]) -> Answer:
            name, answer, by = (values.get(key) for key in ("name", "answer", "by"))
            if not isinstance(name, str) or name not in made:
                raise ValueError("no such question")
            yes = "invariant" if name.startswith("change ") else "spurious"
            if answer not in (None, yes, "legitimate", "unsure"):
                raise ValueError("no such answer")
            who = shortened(by.strip(), _LONGEST_NAME) if isinstance(by, str) else ""
            given = replace(made[name], answer=answer or "unsure").signed()
            if answer is None:
                self.answers.pop(name, None)
            else:
                self.answers[name] = {"answer": answer, "at": given.at}
            return replace(given, by=who) if who else given

        page, file = (self.out / "audit.html").read_text(encoding="utf-8"), self.out / ANSWERS_FILE
        for given in read_answers(file).answers if file.is_file() else ():
            if given.name in made:
                self.answers[given.name] = {"answer": given.answer, "at": given.at}
        self._show("asking", page, {"answer": answered, "repair": lambda values: None})
        while (answer := self._next()) is not None:
            yield answer
        self._show("working")

    def review(self, steps: Sequence[Step]) -> int:
        """The number of the step that the person keeps; 0 is the original head."""

        def kept(values: Mapping[str, Any]) -> int:
            number = values.get("step")
            if type(number) is not int or not 0 <= number < len(steps):
                raise ValueError("no such step")
            return number

        page = steps_html(self.title, [step.as_dict() for step in steps])
        self._show("deciding", page, {"keep": kept})
        number = int(self._next())
        self._show("working")
        return number

    def label(self, table: Path) -> bool:
        """Keep the labels of a batch in a table at once; whether to ask about the next samples."""

        def kept(values: Mapping[str, Any]) -> None:
            with new_file(table) as file:
                file.write_text(str(values.get("table")), encoding="utf-8", newline="")

        page = (self.out / PAGE).read_text(encoding="utf-8")
        said = {"labels": kept, "next": lambda values: True, "end": lambda values: False}
        self._show("labelling", page, said)
        try:
            while (more := self._next()) is None:
                pass
        finally:
            self._leave()  # who reads the labels writes there
        self._show("working" if more else "ended", "" if more else page)
        return bool(more)

    def finish(self, result: Any) -> None:
        """Show the report, or the findings without one, and what the run decided."""
        pages = (self.out / name for name in (REPORT_FILE, "audit.html"))
        page = next((each.read_text(encoding="utf-8") for each in pages if each.is_file()), "")
        tells = result.decision if isinstance(result, DebiasResult) else result.headline
        self.repairs = _repairs(self.out)
        self._show("ended", page, message=f"{tells()} ntkit has ended.")

    # -- what the server calls ---------------------------------------------------------------

    def _state(self, tab: str, shown: int) -> dict[str, Any]:
        """What a window needs, as soon as it shows an older page, else after a moment.

        The window waits here and not by its own clock: browsers slow down the clocks of tabs in the
        background, up to a minute.
        """
        with self._turned:
            self._shown[tab] = shown
            self._turned.wait_for(lambda: self.version != shown, _PACE)
            return {
                "title": self.title,
                "phase": self.phase,
                "version": self.version,
                "progress": self.progress,
                "answers": dict(self.answers),
                "message": self.message,
                "has_page": bool(self.content),
                "repairs": self.repairs,
                "go_on": self.go_on,
            }

    def _hears(self, word: str, values: Mapping[str, Any]) -> None:
        """Hand on a word of the person, and wait until the run has kept it."""
        with self.server.lock:
            if word not in self._allowed:
                raise ValueError("not now")
            said, done = self._allowed[word](values), threading.Event()
            if word in _LAST:
                self._allowed = {}
            self._said.put((said, done))
        done.wait(_CHANCE)

    def _progressed(self, what: str, n: float, total: float | None) -> None:
        self.progress = {"what": what, "n": n, "total": total} if what else None

    # -- inside --------------------------------------------------------------------------------

    def _show(
        self,
        phase: str,
        content: str = "",
        allowed: Mapping[str, Callable[[Mapping[str, Any]], Any]] | None = None,
        message: str = "",
    ) -> None:
        if allowed and not self._is_alone:
            self._alone.enter_context(alone_in(self.out))
            self._is_alone = True
        with self.server.lock:
            self.phase, self.content, self.message = phase, content, message
            self._allowed, self.progress = dict(allowed or {}), None
            self.version += 1
            self.server.last = time.monotonic()  # nobody could answer before
            self._turned.notify_all()
        if not allowed:  # the run goes on
            self._handled()

    def _leave(self) -> None:
        """Let other processes write into the folder."""
        self._alone.close()
        self._is_alone = False

    def _next(self) -> Any:
        """The next word of the person, waited for; what was said before it is kept by now."""
        self._handled()
        while True:
            with suppress(queue.Empty):
                said, self._done = self._said.get(timeout=0.5)
                return said
            idle = time.monotonic() - self.server.last
            if self.idle is not None and idle > 60 * self.idle:
                self._show("ended", self.content, message="Nobody answered, so the run ended.")
                go_on = f" Continue: {self.go_on}" if self.go_on else ""
                raise Idle(f"Nobody answered.{go_on}")

    def _handled(self) -> None:
        """Let the window know that its last word is kept."""
        if self._done is not None:
            self._done.set()

    def _let_go(self) -> None:
        """Wait until each open window has the last page."""
        end = time.monotonic() + _CHANCE
        while time.monotonic() < end:
            if all(self._shown.get(tab) == self.version for tab in self.server.windows):
                return
            time.sleep(0.1)

    def _open(self) -> Path:
        """Open the browser, and print the address for where none opens."""
        address = f"http://127.0.0.1:{self.server.port}/"
        secret = f"{address}#{self.server.secret}"
        # The file keeps the secret out of the list of processes. Only this user can read it.
        folder = Path(tempfile.mkdtemp(prefix="ntkit-"))
        file = folder / "open.html"
        with os.fdopen(
            os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8"
        ) as to:
            to.write(
                '<!doctype html><meta charset="utf-8"><title>ntkit</title>'
                f'<meta http-equiv="refresh" content="0; url={secret}">'
            )
        say(f"In your browser: {secret}", err=True)
        say(
            f"From another machine, first: ssh -L {self.server.port}:127.0.0.1:{self.server.port} "
            "THIS_MACHINE",
            err=True,
        )
        if _has_browser():
            threading.Thread(
                target=webbrowser.open, args=(file.as_uri(),), daemon=True
            ).start()  # some wait until the browser is closed
        return file


def _repairs(out: Path) -> list[list[str]]:
    """Folder and first line of each repair of a run, if there are several."""
    run = out.parent if out.name.startswith(REPAIR) else out
    told = list[list[str]]()
    for folder in (run, *sorted(run.glob(f"{REPAIR}*"))):
        with suppress(NtkitError, KeyError, TypeError):
            record = read_json(folder / RESULT, largest=_LARGEST, wanted="the result of a repair")
            told.append([str(from_here(folder)), str(record["headline"])])
    return told if len(told) > 1 else []


def _has_browser() -> bool:
    """Whether a browser with windows can open here; a text browser would take the terminal."""
    if sys.platform.startswith("linux") and not (
        os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    ):
        return False
    try:
        name = str(getattr(webbrowser.get(), "name", ""))
    except webbrowser.Error:
        return False
    return Path(name).name not in _TEXT_BROWSERS
