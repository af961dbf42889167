"""Run jobs on hostile files where they can do no harm: one forked child each, timed and measured.

A ``Sandbox`` starts one Python process that imports ntkit once and forks for every job, so that a
job costs milliseconds, yet has its own address space: a crash, an endless loop or a memory bomb
ends that child alone, and is named after the file that caused it.
"""

import importlib
import json
import os
import resource
import select
import signal
import subprocess
import sys
import time
import traceback
import warnings
from dataclasses import dataclass, field
from pathlib import Path

SECONDS = 5
"""A job gets this much, of the clock and of the processor."""
ADDRESS_SPACE = 16 << 30
"""Keeps a memory bomb off the machine; what a job really used is measured, not limited."""


@dataclass(frozen=True)
class Outcome:
    """What became of a job.

    ``status`` is "done", "refused" (an NtkitError), "raised" (any other exception), "crashed" or
    "timeout".
    """

    status: str
    message: str = ""
    result: dict = field(default_factory=dict)
    warned: tuple = ()
    seconds: float = 0.0
    peak_mb: float = 0.0

    def problem(self) -> str:
        """Why this outcome is not acceptable; empty if it is."""
        if self.status not in ("done", "refused"):
            return f"{self.status}: {self.message}"
        if self.status == "refused":
            text = self.message
            if len(text.splitlines()) != 1 or not text.endswith(".") or len(text) > 2000:
                return f"not one sentence: {text[:3000]!r}"
        if self.peak_mb > 1000:
            return f"took {self.peak_mb:.0f} MB: {self.message}"
        return f"warned: {self.warned[0]}" if self.warned else ""


class Sandbox:
    """A server process that forks a measured child per job; close it after use."""

    def __init__(self) -> None:
        root = Path(__file__).parents[2]
        threads = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}  # quick to fork
        self._server = subprocess.Popen(
            [sys.executable, "-m", "tests.fuzz.sandbox"],
            cwd=root,
            env={**os.environ, **threads, "PYTHONPATH": str(root)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(
        self, job: str, *, seconds: float = SECONDS, patience: float = 1, **arguments
    ) -> Outcome:
        """Run ``tests.fuzz.jobs.JOB(**arguments)``; arguments and result are plain values.

        It may work for so many seconds, and take ``patience`` times as long next to other programs.
        """
        self._server.stdin.write(json.dumps([job, seconds, patience, arguments]) + "\n")
        self._server.stdin.flush()
        answer = self._server.stdout.readline()
        if not answer:
            raise RuntimeError(f"The sandbox died of {job} {arguments}.")
        fields = json.loads(answer)
        return Outcome(**{**fields, "warned": tuple(fields.get("warned", ()))})

    def close(self) -> None:
        self._server.stdin.close()
        self._server.stdout.close()
        self._server.wait(timeout=10)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def _serve() -> None:
    jobs = importlib.import_module("tests.fuzz.jobs")
    answers = os.dup(1)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)  # what libraries print must not end up among the answers
    os.dup2(nowhere, 2)
    for line in sys.stdin:
        job, seconds, patience, arguments = json.loads(line)
        for module in jobs.NEEDED_BY.get(job, ()):
            importlib.import_module(module)  # here, once, and not in every child
        answer = _forked(getattr(jobs, job), seconds, patience, arguments)
        os.write(answers, (json.dumps(answer) + "\n").encode())


def _forked(job, seconds, patience, arguments) -> dict:
    reader, writer = os.pipe()
    start = time.monotonic()
    child = os.fork()
    if child == 0:
        os.close(reader)
        _child(job, seconds, arguments, writer)
    os.close(writer)
    content, late = _read(reader, start + patience * seconds)
    os.close(reader)
    if late:
        os.kill(child, signal.SIGKILL)
    _, status, usage = os.wait4(child, 0)
    measured = {"seconds": time.monotonic() - start, "peak_mb": usage.ru_maxrss / 1024}
    if late or (os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGXCPU):
        return {"status": "timeout", "message": f"not done after {seconds} s", **measured}
    if os.WIFSIGNALED(status):
        name = signal.Signals(os.WTERMSIG(status)).name
        return {"status": "crashed", "message": name, **measured}
    if not content:
        return {"status": "crashed", "message": f"exit code {status}", **measured}
    return {**json.loads(content), **measured}


def _read(reader, deadline) -> tuple[bytes, bool]:
    """Everything until the child closes the pipe, and whether the deadline came first."""
    content = b""
    while (left := deadline - time.monotonic()) > 0:
        if not select.select([reader], [], [], left)[0]:
            break
        chunk = os.read(reader, 1 << 16)
        if not chunk:
            return content, False
        content += chunk
    return content, True


def _child(job, seconds, arguments, writer) -> None:
    try:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
        limit = int(seconds) + 1
        resource.setrlimit(resource.RLIMIT_CPU, (limit, limit + 1))
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            answer = _answer(job, arguments)
        answer["warned"] = [f"{w.category.__name__}: {w.message}" for w in caught]
        os.write(writer, json.dumps(answer).encode())
    finally:
        os._exit(0)  # without the clean-up of the server this was forked from


def _answer(job, arguments) -> dict:
    from ntkit.exceptions import NtkitError

    try:
        return {"status": "done", "result": job(**arguments)}
    except NtkitError as error:
        return {"status": "refused", "message": str(error)}
    except BaseException as error:
        where = " < ".join(
            f"{Path(frame.filename).name}:{frame.lineno} {frame.name}"
            for frame in reversed(traceback.extract_tb(error.__traceback__)[-8:])
        )
        said = f"{type(error).__name__}: {str(error)[:300]} ({where})"
        return {"status": "raised", "message": said}


if __name__ == "__main__":
    _serve()
