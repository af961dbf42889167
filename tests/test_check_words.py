"""``docs/check_words.py`` finds what it promises to find, and its list holds nothing idle."""

import importlib.util
import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture
def checker():
    path = ROOT / "docs" / "check_words.py"
    spec = importlib.util.spec_from_file_location("check_words", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


LONG = " ".join(["word"] * 31)


def notebook(output):
    return json.dumps({"cells": [{"cell_type": "code", "source": [], "outputs": [output]}]})


@pytest.mark.parametrize(
    ("name", "text", "found"),
    [
        ("README.md", "# Title\n\nA head from the held-out set.\n", "README.md:3: 'held-out'"),
        ("docs/a.md", f"{LONG}.\n\nShort.\n", "docs/a.md: 1 of 2 sentences"),
        ("ntkit/a.py", '"""A gate."""\n', "ntkit/a.py:1: 'A gate'"),
        ("ntkit/a.py", "x = 1  # they lean on it\n", "ntkit/a.py:1: 'lean on'"),
        ("ntkit/a.py", 'raise ValueError(f"{1} is mended now.")\n', "ntkit/a.py:1: 'mended'"),
        ("ntkit/a.py", f'raise ValueError("{LONG}.")\n', "ntkit/a.py:1: 31 words"),
        ("ntkit/a.jinja", "<p>a\nA silenced neuron</p>", "ntkit/a.jinja:2: 'silenced'"),
        ("n.ipynb", '{"cells": [{"cell_type": "markdown", "source": ["a verb"]}]}', "'verb'"),
        ("n.ipynb", notebook({"text": ["a held-out\n", "row"]}), "'held-out'"),
        ("n.ipynb", notebook({"data": {"text/plain": ["planted"]}}), "'planted'"),
        ("n.ipynb", notebook({"data": {"text/markdown": ["| a verb |"]}}), "'verb'"),
        ("docs/a.md", "`held-out`\n\n```text\nheld-out\n```\n\n| held-out |\n|---|\n", None),
        ("docs/a.md", f"Short. {LONG[:75]}.\n\n- {LONG[:100]}.\n", None),
        ("ntkit/a.py", 'x = "held-out"\n', None),
        ("CHANGELOG.md", "The held-out set is the validation set.\n", None),
    ],
)
def test_findings(checker, monkeypatch, tmp_path, name, text, found):
    monkeypatch.setattr(checker, "ROOT", tmp_path)
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(text, encoding="utf-8")
    findings = "\n".join(checker.checked(path))
    assert found in findings if found else not findings


def test_every_exception_is_of_a_file(checker):
    files = [path.relative_to(ROOT).as_posix() for path in checker.every_file()]
    for each in checker.RULES["exceptions"]:
        assert each["why"]
        assert any(re.fullmatch(each["where"], name) for name in files), each
