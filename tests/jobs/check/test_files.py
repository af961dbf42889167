"""What a check writes: read back by parsers, whatever names hold, and over nobody's files."""

import json
import re
from xml.etree import ElementTree

import numpy as np
import pytest

from ntkit.exceptions import InputError
from ntkit.jobs.check import check_predictions, summary_of, write_check

HOSTILE = ["a|b", "<script>alert(1)</script>", "new\nline", "\x00\x1b[31m", "*bold* `code`", "]]>&"]


@pytest.fixture
def found():
    y = np.tile([0, 1], 300)
    after = np.where(np.arange(600) < 60, 1 - y, y)
    sizes = zip(HOSTILE, (60, 300, 5, 0, 1, 600), strict=True)
    slices = {name: np.arange(600) < n for name, n in sizes}
    return check_predictions(
        y, after, y_pred_before=y, slices=slices, limits={"max_drop": 6, "max_new_errors": 20},
        names=[f"{i}.png" for i in range(600)], notes=["a | note <b>"],
    )  # fmt: skip


def test_junit_has_a_case_for_each_limit(found, tmp_path):
    write_check(found, junit=tmp_path / "j.xml")
    suites = ElementTree.parse(tmp_path / "j.xml").getroot()
    cases = list(suites.iter("testcase"))
    verdicts = [v for row in found.rows for v in row.verdicts]
    assert len(cases) == len(verdicts) == int(suites.get("tests"))
    kinds = {"pass": None, "fail": "failure", "too few": "error"}
    for case, verdict in zip(cases, verdicts, strict=True):
        assert [child.tag for child in case] == [k for k in [kinds[verdict.outcome]] if k]
    assert int(suites.get("failures")) == len(found.of("fail")) > 0
    assert int(suites.get("errors")) == len(found.of("too few")) > 0
    assert any("<script>" in case.get("name") for case in cases)  # as text, not as an element


def test_json_is_strict(found, tmp_path):
    write_check(found, json=tmp_path / "c.json")
    content = json.loads((tmp_path / "c.json").read_text("utf-8"), parse_constant=pytest.fail)
    assert content == json.loads(json.dumps(found.as_dict()))
    assert content["outcome"] == "fail"
    assert content["n_new_errors"] == 60
    assert content["new_errors"][:2] == ["0.png", "1.png"]
    empty = content["rows"][6]
    assert (empty["samples"], empty["accuracy"], empty["change"]) == (0, None, None)


def test_markdown_is_a_table_whatever_names_hold(found, tmp_path):
    write_check(found, markdown=tmp_path / "c.md")
    text = (tmp_path / "c.md").read_text("utf-8")
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert len(lines) == 2 + len(found.rows)
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in lines} == {8}
    assert "<script" not in text.replace("\\<script", "")
    assert "\x00" not in text
    assert "\x1b" not in text


def test_a_terminal_gets_one_line_for_each_row(found):
    said = summary_of(found)
    assert "\x1b" not in said
    assert said.splitlines()[0] == "Failed: the predictions, 600 samples."
    for name in ("a|b", "new line"):
        assert sum(line.startswith(f"{name} ") for line in said.splitlines()) == 1


def test_every_undecided_limit_says_how_many_would_do(found):
    said = summary_of(found)
    for row, verdict in found.of("too few"):
        assert verdict.more in said
        assert verdict.enough is None or verdict.enough > row.n


def test_of_many_rows_those_are_shown_that_do_not_pass():
    y = np.arange(4000) % 200
    after = np.where(y == 150, 0, y)
    found = check_predictions(y, after, limits={"worst_class": 50})
    said = summary_of(found)
    assert "class 150" in said
    assert "more rows" in said
    assert len(said.splitlines()) < 60


def test_nothing_of_others_is_overwritten(found, tmp_path):
    thesis = tmp_path / "thesis.md"
    thesis.write_text("years of work")
    with pytest.raises(InputError, match=r"thesis\.md exists"):
        write_check(found, json=tmp_path / "c.json", markdown=thesis)
    assert thesis.read_text() == "years of work"
    assert [file.name for file in tmp_path.iterdir()] == ["thesis.md"]
    write_check(found, markdown=thesis, force=True)
    assert thesis.read_text("utf-8").startswith("### Failed")
    with pytest.raises(InputError, match="the same name"):
        write_check(found, json=tmp_path / "x", junit=tmp_path / "x")
