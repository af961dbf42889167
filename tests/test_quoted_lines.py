"""Lines that the pages quote are lines that ntkit prints: no page keeps a former text."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
SOURCES = ("jobs/debias", "jobs/audit", "pages", "cli")
# What stands in place of a field of a message: numbers, sets, names, or an ellipsis.
FIELD = re.compile(
    r"…|all \d+ findings|\d[\d.,]*|(?:test|validation) set|AUC|image:top left|chosen|judged"
)
QUOTED = re.compile(r"(?<![*\w])\*(?![*\s])([^*]+?)\*(?![*\w])")


def texts_of(source):
    """Its messages; "…" stands for each field."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.JoinedStr):
            yield "".join(v.value if isinstance(v, ast.Constant) else "…" for v in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


@pytest.fixture(scope="module")
def messages():
    files = [path for name in SOURCES for path in sorted((ROOT / "ntkit" / name).rglob("*.py"))]
    texts = [text for path in files for text in texts_of(path.read_text("utf-8"))]
    pages = sorted((ROOT / "ntkit" / "pages").glob("*.jinja"))
    return "\n".join([*texts, *(path.read_text("utf-8") for path in pages)])


def fixed_parts(quote):
    """Parts of a quoted line outside its fields that have two words or more."""
    parts = (part.strip(" .,:;()→%/") for part in FIELD.split(quote))
    return [part for part in parts if len(part.split()) > 1]


def first_cells(page, heading):
    """Quoted lines in the first column of the tables of a section."""
    text = (DOCS / page).read_text("utf-8")
    section = re.split(r"^## ", text.partition(f"## {heading}\n")[2], flags=re.MULTILINE)[0]
    cells = re.findall(r"^\| (.+?) \|", section, re.MULTILINE)
    return [quote for cell in cells for quote in QUOTED.findall(cell)]


LINES = first_cells("reference/results.md", "The decision")
ELSEWHERE = {  # a pattern that finds the quote on the page, by page
    "explanation/decisions.md": r'after "(Validation groups[^"]*)"',
    "howto/change_inputs.md": r"\*(The new head now relies more on)",
    "howto/answer_page.md": r"\*(Does this change[^*]*)\*",
    "tutorials/repair.md": r"(Does this change keep [^?]*\?)",
}


def test_the_tables_quote_lines():
    assert len(LINES) > 15
    assert "Kept the original model: … is worse, because …" in LINES
    assert fixed_parts("No AUC 0.71 of …, so they judge …") == ["so they judge"]


def test_quoted_lines_are_printed(messages):
    quotes = [*LINES]
    for page, pattern in ELSEWHERE.items():
        text = " ".join((DOCS / page).read_text("utf-8").split())
        (line,) = re.findall(pattern, text)
        assert fixed_parts(line)
        quotes.append(line)
    said = messages.lower()  # a word of the outcome begins some lines and stands within others
    for quote in quotes:
        assert [part for part in fixed_parts(quote) if part.lower() not in said] == [], quote


def test_headings_of_the_answer_page(messages):
    rows = first_cells("howto/answer_page.md", "2. Send it")
    assert rows == ["Findings that retraining would add", "Changes that flip predictions"]
    for heading in rows:
        assert heading in messages
