"""Change one operator or constant at a time, and count the changes that the tests notice.

    python benchmarks/mutants.py OUT.json [--markdown FILE] [--again]

Each mutant differs from the package in one place: a comparison, an arithmetic or logical operator,
a truth value, a number, a dropped ``not``, a returned value, an axis, ``min`` for ``max``, or the
first item for the last. Docstrings, messages and type hints stay. Operator and place are drawn with
a fixed seed from ``estimators``, ``model`` and ``jobs``.

The tests run in a copy of the checkout, as ``make test`` runs them. A first run of the whole suite
records which tests reach which place. Each mutant then meets these tests, the quickest first, until
one fails. A place that is run on import meets the tests of its package instead. A mutant whose
tests take ten times as long as usual counts as noticed. ``--again`` tries the survivors of OUT.json
once more, with the tests of today. A run that was stopped goes on with ``--resume``, if the
checkout is the same.
"""

from __future__ import annotations

import ast
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runner import command_line

ROOT = Path(__file__).parents[1]
PACKAGES = ("estimators", "model", "jobs")
SEED, N_MUTANTS = 32, 60
LOG = "NTKIT_MUTANTS_LOG"
_WAITING = 10  # wall time of a run that has ended neither by itself nor by its processor time
PYTEST = [sys.executable, "-m", "pytest", "-p", "mutants", "-q", "-p", "no:cacheprovider"]
HEAVY = ("onnx_ir", "onnxruntime", "pandas", "scipy.stats", "skl2onnx", "sklearn.ensemble", "typer")
PROBE = f"""
import os
seen = set()
def reached(number):
    test = os.environ.get("PYTEST_CURRENT_TEST", "")
    if (test, number) not in seen and "{LOG}" in os.environ:
        seen.add((test, number))
        # A file for each process, as a test may limit the size of files.
        with open(f"{{os.environ['{LOG}']}}.{{os.getpid()}}", "a") as file:
            file.write(f"reached\\t{{number}}\\t{{test}}\\n")
"""
COMPARISONS = {"Lt": "<=", "LtE": "<", "Gt": ">=", "GtE": ">", "Eq": "!=", "NotEq": "=="}
ARITHMETIC = {"Add": ("+", "-"), "Sub": ("-", "+"), "Mult": ("*", "/"), "Div": ("/", "*")}
SWAPPED = {"min": "max", "minimum": "maximum", "argmin": "argmax", "nanmin": "nanmax"}
SWAPPED |= {b: a for a, b in SWAPPED.items()}


@dataclass
class Mutant:
    """A change of one place, as offsets into the text of a file."""

    operator: str
    file: str
    line: int
    code: str  # the whole line
    start: int
    end: int
    before: str
    after: str
    outer: tuple[int, int]  # the expression that is evaluated there
    outcome: str = ""
    by: str = ""

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: `{self.before}` → `{self.after}`"


def pytest_runtest_logreport(report: Any) -> None:
    """Record how long each test takes: this module is a plugin of pytest as well."""
    if LOG in os.environ and not hasattr(report, "node"):
        with open(os.environ[LOG], "a", encoding="utf-8") as file:
            file.write(f"took\t{report.duration}\t{report.nodeid}\n")
            if report.failed:
                file.write(f"failed\t{report.when}\t{report.nodeid}\n")


# -- places ---------------------------------------------------------------------------------------


def places(file: Path) -> Iterator[Mutant]:
    """Every mutant of a file."""
    text = file.read_text(encoding="utf-8")
    lines = text.splitlines(keepends=True)
    starts = np.concatenate([[0], np.cumsum([len(line) for line in lines])]).tolist()

    def at(line: int, column: int) -> int:
        return int(starts[line - 1] + len(lines[line - 1].encode()[:column].decode()))

    def span(node: Any) -> tuple[int, int]:
        return at(node.lineno, node.col_offset), at(node.end_lineno, node.end_col_offset)

    def made(operator: str, node: Any, part: tuple[int, int], after: str) -> Mutant:
        line = text.count("\n", 0, part[0])
        name = file.relative_to(ROOT).as_posix()
        before = text[slice(*part)]
        return Mutant(
            operator, name, line + 1, lines[line].strip(), *part, before, after, span(node)
        )

    def symbol(left: Any, right: Any, old: str) -> tuple[int, int]:
        """Where an operator stands between its operands."""
        gap = slice(span(left)[1], span(right)[0])
        start = gap.start + text[gap].index(old)
        return start, start + len(old)

    for node in evaluated(ast.parse(text)):
        match node:
            case ast.Compare(left=left, ops=[op], comparators=[right]):
                if new := COMPARISONS.get(type(op).__name__):
                    old = {"<=": "<", "<": "<=", ">=": ">", ">": ">=", "!=": "==", "==": "!="}[new]
                    yield made("comparison", node, symbol(left, right, old), new)
            case ast.BinOp(left=left, op=op, right=right) if type(op).__name__ in ARITHMETIC:
                if not any(isinstance(x, ast.JoinedStr) or is_text(x) for x in (left, right)):
                    old, new = ARITHMETIC[type(op).__name__]
                    yield made("arithmetic", node, symbol(left, right, old), new)
            case ast.BoolOp(op=op, values=[left, right, *_]):
                old, new = ("and", "or") if isinstance(op, ast.And) else ("or", "and")
                if len(node.values) == 2:
                    yield made("and, or", node, symbol(left, right, old), new)
            case ast.UnaryOp(op=ast.Not()):
                yield made("not", node, (span(node)[0], span(node)[0] + len("not")), "")
            case ast.Constant(value=bool()):
                yield made("truth value", node, span(node), str(not node.value))
            case ast.Constant(value=int() | float()):
                yield made("number", node, span(node), str(node.value + 1))
            case ast.Return(value=ast.expr() as value) if not is_none(value):
                new = "0" if text[slice(*span(value))] == "None" else "None"
                yield made("return", value, span(value), new)
            case ast.keyword(arg="axis", value=ast.Constant(value=0 | 1) as value):
                yield made("axis", value, span(value), str(1 - value.value))
            case ast.Call(func=ast.Name(id=name) as f) if name in SWAPPED:
                yield made("min, max", node, span(f), SWAPPED[name])
            case ast.Call(func=ast.Attribute(attr=name) as f) if name in SWAPPED:
                end = span(f)[1]
                yield made("min, max", node, (end - len(name), end), SWAPPED[name])
            case ast.Subscript(slice=ast.Constant(value=0) as index):
                yield made("first, last", index, span(index), "-1")
            case ast.Subscript(
                slice=ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=1)) as last
            ):
                yield made("first, last", last, span(last), "0")


def is_text(node: ast.AST) -> bool:
    """Whether it is a text."""
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def is_none(node: ast.AST) -> bool:
    """Whether it is None."""
    return isinstance(node, ast.Constant) and node.value is None


def evaluated(node: ast.AST) -> Iterator[ast.AST]:
    """Nodes outside messages, type hints and patterns."""
    yield node
    hidden = {
        ast.arg: {"annotation"},
        ast.AnnAssign: {"annotation", "target"},
        ast.FunctionDef: {"returns", "decorator_list"},
        ast.ClassDef: {"decorator_list"},
        ast.match_case: {"pattern"},
    }.get(type(node), set())
    for name, value in ast.iter_fields(node):
        for child in value if isinstance(value, list) else [value]:
            messages = isinstance(child, ast.Raise | ast.JoinedStr) or (
                isinstance(child, ast.Call) and ast.unparse(child.func).endswith("warn")
            )
            if isinstance(child, ast.AST) and name not in hidden and not messages:
                yield from evaluated(child)


def drawn(seed: int, number: int) -> list[Mutant]:
    """Mutants of all operators alike; each operator's places with equal chances."""
    files = [file for name in PACKAGES for file in sorted((ROOT / "ntkit" / name).rglob("*.py"))]
    kinds: dict[str, list[Mutant]] = defaultdict(list)
    for file in files:
        for mutant in places(file):
            kinds[mutant.operator].append(mutant)
    rng = np.random.default_rng(seed)
    pools = [list(rng.permutation(np.asarray(kinds[kind], object))) for kind in sorted(kinds)]
    chosen: list[Mutant] = []
    while len(chosen) < number:
        chosen += [pool.pop() for pool in pools if pool][: number - len(chosen)]
    return chosen


# -- runs -----------------------------------------------------------------------------------------


def copied(target: Path) -> Path:
    """The files of this checkout in another folder."""
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True, text=True
    )
    for name in listed.stdout.strip("\0").split("\0"):
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, target / name)
    shutil.copy(__file__, target / "benchmarks" / "mutants.py")
    return target


def environment(copy: Path, log: Path | None = None) -> dict[str, str]:
    """Variables of a run in the copy."""
    path = os.pathsep.join([str(copy), str(copy / "benchmarks")])
    more = {} if log is None else {LOG: str(log)}
    return os.environ | {"PYTHONPATH": path, "OPENBLAS_NUM_THREADS": "1"} | more


def probed(copy: Path, mutants: list[Mutant]) -> None:
    """Let the copy record which places are reached."""
    (copy / "ntkit" / "_probe.py").write_text(PROBE, encoding="utf-8")
    by_file = defaultdict(list)
    for number, mutant in enumerate(mutants):
        start, end = mutant.outer
        by_file[mutant.file] += [(start, 1, f"(_reached({number}) or ("), (end, 0, "))")]
    for name, inserts in by_file.items():
        text = (copy / name).read_text(encoding="utf-8")
        for place, _, added in sorted(inserts, reverse=True):
            text = text[:place] + added + text[place:]
        first = "from __future__ import annotations\n"
        assert first in text, name
        text = text.replace(first, f"{first}from ntkit._probe import reached as _reached\n", 1)
        (copy / name).write_text(text, encoding="utf-8")


def reaching(
    mutants: list[Mutant], processes: int, paths: list[str]
) -> tuple[dict[int, list[str]], dict[str, float]]:
    """Tests that reach each place, the quickest first, and the seconds that each test takes."""
    with tempfile.TemporaryDirectory() as folder:
        copy, log = copied(Path(folder) / "copy"), Path(folder) / "log"
        probed(copy, mutants)
        more = ["-n", str(processes), "--dist", "worksteal"] if processes > 1 else []
        subprocess.run(
            [*PYTEST, *more, "--durations=60", *paths],
            cwd=copy,
            env=environment(copy, log),
            check=False,
        )
        texts = [file.read_text("utf-8") for file in log.parent.glob("log*")]
        rows = [line.split("\t", 2) for text in texts for line in text.splitlines()]
    took: dict[str, float] = defaultdict(float)
    for _, seconds, test in (row for row in rows if row[0] == "took"):
        took[test] += float(seconds)
    failing = {test for kind, _, test in rows if kind == "failed"}
    for test in sorted(failing):
        print("fails without a mutant:", test)
    found: dict[int, set[str]] = {number: set() for number in range(len(mutants))}
    set_up: dict[tuple[int, str], set[str]] = defaultdict(set)
    for _, number, place in (row for row in rows if row[0] == "reached"):
        test, _, phase = place.rpartition(" ")
        found[int(number)] |= {test} & took.keys()
        if phase == "(setup)":
            set_up[int(number), test.partition("::")[0]].add(test)
    for (number, file), first in set_up.items():
        if len(first) <= 2:  # a fixture that tests of the folder share: once in each process
            folder = file.rpartition("/")[0] + "/"
            found[number] |= {test for test in took if test.startswith(folder)}
    on_import = {int(number) for kind, number, test in rows if kind == "reached" and not test}
    for number, mutant in enumerate(mutants):
        if not found[number] and number in on_import:
            package = mutant.file.split("/")[1]
            near = (f"tests/{package}/", f"ntkit/{package}/", "tests/test_estimator_contract.py")
            found[number] = {t for t in took if t.startswith((*near, "tests/cli/", "docs/"))}
    order = {n: sorted(tests - failing, key=took.__getitem__) for n, tests in found.items()}
    return order, took


def tried(mutant: Mutant, tests: list[str], seconds: float, copy: Path) -> None:
    """Run the tests on the mutant, and note what they say."""
    place = copy / mutant.file
    text = place.read_text(encoding="utf-8")
    changed = text[: mutant.start] + mutant.after + text[mutant.end :]
    arguments = copy / "arguments.txt"
    arguments.write_text("\n".join(tests), encoding="utf-8")
    for file in place.parent.glob(f"__pycache__/{place.stem}.*"):
        file.unlink()
    place.write_text(changed, encoding="utf-8")
    arguments = ["-x", "--no-header", "--tb=no", f"@{arguments}"]
    code, said = forked([*PYTEST[5:], *arguments], copy, 120 + 10 * seconds)
    place.write_text(text, encoding="utf-8")
    failed = [x for x in said.splitlines() if x.startswith(("FAILED", "ERROR"))]
    mutant.outcome = "noticed" if code else "survived"
    mutant.by = failed[0].partition(" - ")[0] if failed else f"exit code {code}"
    if code is None:
        mutant.outcome, mutant.by = "noticed", "time"
    if mutant.outcome == "survived":
        mutant.by = f"{len(tests)} tests"


def forked(arguments: list[str], copy: Path, timeout: float) -> tuple[int | None, str]:
    """Exit code and output of pytest in a copy of this process, which has the large imports."""
    for name in HEAVY:
        import_module(name)
    output = copy / "output.txt"
    pid = os.fork()
    if not pid:
        code = 70
        try:
            os.setsid()
            # Processor time, because other work on the machine must not count.
            resource.setrlimit(resource.RLIMIT_CPU, (int(timeout), int(timeout) + 5))
            file = output.open("w")
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
            os.chdir(copy)
            os.environ.update(environment(copy))
            sys.path[:0] = [str(copy), str(copy / "benchmarks")]
            code = int(pytest.main(arguments))
        except BaseException:  # this process must not go on as its parent does
            traceback.print_exc()
        os._exit(code)
    end = time.monotonic() + _WAITING * timeout
    while time.monotonic() < end:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            code = os.waitstatus_to_exitcode(status)
            if code == -signal.SIGXCPU:
                return None, ""
            return code, output.read_text("utf-8", "replace")
        time.sleep(0.1)
    os.killpg(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return None, ""


def relocated(mutant: Mutant) -> Mutant | None:
    """The same change in the file of today, nearest to its former line."""
    now = [
        m for m in places(ROOT / mutant.file) if (m.code, m.before) == (mutant.code, mutant.before)
    ]
    now = [m for m in now if m.after == mutant.after]
    return min(now, key=lambda m: abs(m.line - mutant.line), default=None)


def markdown(mutants: list[Mutant]) -> str:
    """A table of all mutants."""
    noticed = sum(m.outcome == "noticed" for m in mutants)
    lines = [f"{noticed} of {len(mutants)} mutants are noticed.\n"]
    lines += [
        "| outcome | operator | place | change | line of code | by |",
        "|---|---|---|---|---|---|",
    ]
    for m in sorted(mutants, key=lambda m: (m.outcome != "survived", m.file, m.line)):
        code = m.code.replace("|", "\\|")
        change = f"`{m.before.split(chr(10))[0]}` → `{m.after or 'nothing'}`".replace("|", "\\|")
        lines.append(
            f"| {m.outcome} | {m.operator} | {m.file}:{m.line} | {change} | `{code}` | {m.by} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    """Draw, try and report."""
    parser = command_line(__doc__.partition("\n")[0], "--markdown")
    parser.add_argument("out", type=Path)
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--number", type=int, default=N_MUTANTS)
    parser.add_argument("--processes", type=int, default=1, help="of the first run")
    parser.add_argument("--tests", nargs="*", default=[], help="of the first run; all if left out")
    parser.add_argument("--again", action="store_true")
    parser.add_argument("--resume", action="store_true", help="go on with a run that was stopped")
    parser.add_argument("--list", action="store_true", help="only count the places")
    args = parser.parse_args()
    earlier: list[Mutant] = []
    if args.again:
        earlier = [Mutant(**each) for each in json.loads(args.out.read_text("utf-8"))]
        kept = [m for m in earlier if m.outcome != "survived"]
        mutants = [relocated(m) or m for m in earlier if m.outcome == "survived"]
        earlier = kept
    else:
        mutants = drawn(args.seed, args.number)
    if args.list:
        print("\n".join(map(str, mutants)))
        return
    record = args.out.with_suffix(".tests.json")
    if args.resume and record.exists():
        found, took = json.loads(record.read_text("utf-8"))
        tests = {int(number): names for number, names in found.items()}
        done = [Mutant(**each) for each in json.loads(args.out.read_text("utf-8"))]
        mutants[: len(done)] = [replace(m, outer=tuple(m.outer)) for m in done]
    else:
        tests, took = reaching(mutants, args.processes, args.tests)
        record.write_text(json.dumps([tests, took]), "utf-8")
    with tempfile.TemporaryDirectory() as folder:
        copy = copied(Path(folder))
        for number, mutant in enumerate(mutants):
            if mutant.outcome:
                continue
            start = time.monotonic()
            if tests[number]:
                tried(mutant, tests[number], sum(took[t] for t in tests[number]), copy)
            else:
                mutant.outcome, mutant.by = "survived", "0 tests"
            seconds = time.monotonic() - start
            print(f"{number + 1:3d} {mutant.outcome:8s} {seconds:5.0f} s  {mutant}  ({mutant.by})")
            sys.stdout.flush()
            every = [*earlier, *mutants[: number + 1]]
            args.out.write_text(json.dumps([asdict(m) for m in every], indent=1), "utf-8")
    if args.markdown:
        args.markdown.write_text(markdown([*earlier, *mutants]), encoding="utf-8")


if __name__ == "__main__":
    main()
