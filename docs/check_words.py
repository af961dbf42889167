"""Check how the project writes: ``python docs/check_words.py [FILE …]``.

It reads README, docs, notebooks with their outputs, pages, messages, help texts, docstrings and
comments. It reports the phrases of ``words.toml``, sentences of messages and help texts that are
too long, pages with too many of them, and pages that have grown too long. Exit code 1 if there is
anything to report.
"""

from __future__ import annotations

import ast
import io
import json
import re
import sys
import tokenize
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
RULES = tomllib.loads((ROOT / "docs" / "words.toml").read_text(encoding="utf-8"))
LIMITS = RULES["limits"]
PHRASES = {re.compile(phrase, re.IGNORECASE): to for phrase, to in RULES["phrases"].items()}
NOT_PROSE = ("CHANGELOG.md", "benchmarks/NOTES.md")  # history

_FENCE = re.compile(r"^([ \t]*)(```+|~~~+).*?^\1\2[ \t]*$", re.MULTILINE | re.DOTALL)
_PROSE = ("{glossary}", "{note}", "{tip}", "{important}", "{warning}", "{admonition}", "{seealso}")
_SENTENCE = re.compile(r"(?<=[.!?])[\"')*_]*\s+(?=[\"'(*_`]*[A-Z0-9])")
_WORD = re.compile(r"\w[\w'’.,%/×-]*")
_NUMPYDOC = re.compile(r"^(\w[\w ]*)\n\s*-{3,}$|^\s*>>> .*|^\s*\.\.\. .*|^\S.* : .*$", re.MULTILINE)


def main(files: list[str]) -> int:
    """Print every finding of the files, or of all; 1 if there is one."""
    chosen = [Path(file).resolve() for file in files] or [*every_file()]
    findings = [each for path in chosen for each in checked(path)]
    if not files:
        findings += size_of_pages()
    sys.stdout.writelines(f"{each}\n" for each in findings)
    return int(bool(findings))


def every_file() -> Iterator[Path]:
    """Files that people read."""
    yield from sorted(ROOT.glob("*.md"))
    yield from pages()
    yield from sorted((ROOT / "notebooks").glob("*.ipynb"))
    for folder in ("ntkit", "benchmarks", "tests", "docs"):
        yield from sorted((ROOT / folder).rglob("*.py"))
    yield from sorted((ROOT / "ntkit").rglob("*.jinja"))
    yield from sorted((ROOT / "ntkit").rglob("*.js"))


def pages() -> list[Path]:
    """Hand-written pages of the documentation; generated tables and folders apart."""
    made = ("_build", "generated", "notebooks")
    found = sorted((ROOT / "docs").rglob("*.md"))
    found = [path for path in found if path.relative_to(ROOT / "docs").parts[0] not in made]
    return [path for path in found if not path.stem.endswith(("_tables", "_table"))]


def checked(path: Path) -> Iterator[str]:
    """Findings in one file."""
    name = path.relative_to(ROOT).as_posix()
    if name.endswith(NOT_PROSE):
        return
    parts = [*parts_of(path)]
    for line, text, _ in parts:
        for phrase, better in PHRASES.items():
            for match in phrase.finditer(text):
                if not excepted(name, match.group()):
                    at = line + text.count("\n", 0, match.start())
                    yield f"{name}:{at}: {match.group()!r}: write {better}"
    if path.suffix == ".md":
        sentences = [each for _, text, _ in parts for each in sentences_of(text)]
        long = [each for each in sentences if n_words(each) > LIMITS["long"]]
        most = LIMITS["long_in_readme" if name == "README.md" else "long_on_page"]
        if len(long) > max(most * len(sentences), 0.5):
            yield f"{name}: {len(long)} of {len(sentences)} sentences have more than 30 words"
            yield from (f"    {n_words(each)}: {each[:100]}…" for each in long)
    elif name.startswith("ntkit/"):
        for line, text, spoken in parts:
            for sentence in sentences_of(text) if spoken else ():
                if n_words(sentence) > LIMITS["long"] and not excepted(name, sentence):
                    yield f"{name}:{line}: {n_words(sentence)} words: {sentence[:100]}…"


def excepted(name: str, text: str) -> bool:
    """Whether the list of exceptions has it."""
    return any(
        re.fullmatch(each["where"], name) and re.search(each["phrase"], text, re.IGNORECASE)
        for each in RULES["exceptions"]
    )


def size_of_pages() -> Iterator[str]:
    """Findings on the number and the length of pages."""
    words = {path: n_words(prose_of(path.read_text(encoding="utf-8"))) for path in pages()}
    readme = len((ROOT / "README.md").read_text(encoding="utf-8").split())  # with its code
    if readme > LIMITS["readme_words"]:
        yield f"README.md: {readme} words, limit {LIMITS['readme_words']}"
    if len(words) > LIMITS["pages"]:
        yield f"docs: {len(words)} pages, limit {LIMITS['pages']}"
    if sum(words.values()) > LIMITS["page_words"]:
        yield f"docs: {sum(words.values())} words of prose, limit {LIMITS['page_words']}"


def parts_of(path: Path) -> Iterator[tuple[int, str, bool]]:
    """First line and text of each part, and whether it is a message or a help text."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".py":
        yield from parts_of_python(text)
    elif path.suffix == ".ipynb":
        for cell in json.loads(text)["cells"]:
            if cell["cell_type"] == "markdown":
                yield 1, prose_of("".join(cell["source"])), False
            for output in cell.get("outputs", ()):
                yield 1, blanked("".join(printed_of(output))), False
    elif path.suffix == ".md":
        yield 1, prose_of(text), False
    else:
        yield 1, text, False


def printed_of(output: dict[str, Any]) -> str | list[str]:
    """The text of an output of a notebook; a table rather than its plain form."""
    data = output.get("data", {})
    return output.get("text") or data.get("text/markdown") or data.get("text/plain", "")


def parts_of_python(text: str) -> Iterator[tuple[int, str, bool]]:
    """Docstrings, comments, and string literals of several words."""
    nodes = [*ast.walk(ast.parse(text))]
    inner = set[int]()
    for node in nodes:
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body[:1]
            if body and isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant):
                inner.add(id(body[0].value))
                yield body[0].lineno, blanked(str(body[0].value.value)), False
        if isinstance(node, ast.JoinedStr):
            inner |= {id(each) for each in ast.walk(node)} - {id(node)}
    for node in nodes:
        if id(node) in inner:
            continue
        if isinstance(node, ast.JoinedStr):
            said = "".join(
                str(v.value) if isinstance(v, ast.Constant) else "X" for v in node.values
            )
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            said = node.value
        else:
            continue
        if said.count(" ") > 1:
            yield node.lineno, blanked(said), True
    for token in tokenize.generate_tokens(io.StringIO(text).readline) if "# " in text else ():
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string, False


def prose_of(markdown: str) -> str:
    """The sentences of a page, without code, tables, images, addresses, directives; lines stay."""
    text = _FENCE.sub(_prose_in_block, markdown)
    text = re.sub(r"<!--.*?-->", lambda m: "\n" * m.group().count("\n"), text, flags=re.DOTALL)
    text = re.sub(r"^\s*\|.*$|^\s*\$\$.*$|^\s*:(::.*|[\w-]+:.*)$", "", text, flags=re.MULTILINE)
    text = re.sub(r"^\s*>>> .*$|^\s*\.\.\. .*$", "", text, flags=re.MULTILINE)
    text = re.sub(r"!\[[^\]]*\]\([^)]*\)", "", text)
    return blanked(re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", text))


def _prose_in_block(block: re.Match[str]) -> str:
    """The sentences of a directive, or as many empty lines as a block of code has."""
    first, *lines, _ = block.group().split("\n")
    if any(name in first for name in _PROSE):
        return "\n".join(["", *lines, ""])
    return "\n" * (len(lines) + 1)


def blanked(text: str) -> str:
    """A text whose code counts as one word."""
    return re.sub(r"``[^`]+``|`[^`]+`|\$[^$]+\$", "code", text)


def sentences_of(text: str) -> list[str]:
    """Sentences; an item of a list, and what a blank line ends, is a paragraph."""
    paragraphs = re.split(r"\n\s*\n|\n(?=\s*(?:[-*#>:]|\d+\.)\s?)", _NUMPYDOC.sub("\n", text))
    found = [one for each in paragraphs for one in _SENTENCE.split(" ".join(each.split()))]
    return [each for each in found if n_words(each)]


def n_words(text: str) -> int:
    """Number of words."""
    return len(_WORD.findall(text))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
