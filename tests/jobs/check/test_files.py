"""What a check writes: read back by parsers, whatever names hold, and over nobody's files."""

import json
import re
from xml.etree import ElementTree

import numpy as np
import pytest

from ntkit.exceptions import InputError
from ntkit.jobs.check import check_predictions
from ntkit.jobs.check.files import summary_of, write_check

HOSTILE = ["a|b", "<script>alert(1)</script>", "new\nline", "\x00\x1b[31m", "*bold* `code`", "]]>&"]


@pytest.fixture(scope="module")
def found():
    i = np.arange(600)
    y = i % 2
    sizes = zip(HOSTILE, (60, 300, 5, 0, 1, 600), strict=True)
    limits = {"max_drop": 6, "max_new_errors": 20, "changes": {"image:a|b": 2, "word:<b": 3}}
    return check_predictions(
        y, np.where(i < 60, 1 - y, y), y_pred_before=y, limits=limits,
        slices={name: i < n for name, n in sizes}, notes=["a | note <b>"],
        flips={"image:a|b": i < 60, "word:<b": np.where(i < 300, -1, 0)},
        flips_before={"image:a|b": i < 10, "word:<b": np.zeros(600)},
        names=[f"{i}.png" for i in range(600)],
    )  # fmt: skip


def test_junit_has_a_case_for_each_limit(found, tmp_path):
    write_check(found, junit=tmp_path / "j.xml")
    suites = ElementTree.parse(tmp_path / "j.xml").getroot()
    cases = list(suites.iter("testcase"))
    verdicts = [v for row in (*found.rows, *found.changes) for v in row.verdicts]
    assert len(cases) == len(verdicts) == int(suites.get("tests"))
    kinds = {"pass": None, "fail": "failure", "too few": "error"}
    for case, verdict in zip(cases, verdicts, strict=True):
        assert [child.tag for child in case] == [k for k in [kinds[verdict.outcome]] if k]
    assert int(suites.get("failures")) == len(found.of("fail")) > 0
    assert int(suites.get("errors")) == len(found.of("too few")) > 0
    assert any("<script>" in case.get("name") for case in cases)  # as text, not as an element
    assert [case.get("classname") for case in cases][-4:] == ["ntkit check.change"] * 4


def test_json_is_strict(found, tmp_path):
    write_check(found, json=tmp_path / "c.json")
    content = json.loads((tmp_path / "c.json").read_text("utf-8"), parse_constant=pytest.fail)
    assert content == json.loads(json.dumps(found.as_dict()))
    assert (content["outcome"], content["n_new_errors"]) == ("fail", 60)
    assert content["new_errors"][:2] == ["0.png", "1.png"]
    empty = content["rows"][6]
    assert {*empty} == {
        "kind", "name", "within", "samples", "accuracy", "interval", "before", "change",
        "change_interval", "new_errors", "fixed", "limits",
    }  # fmt: skip
    assert (empty["samples"], empty["accuracy"], empty["change"]) == (0, None, None)
    one, other = content["changes"]
    assert {*one} == {
        "name", "samples", "flip_rate", "interval", "before", "more", "fewer", "limits"
    }  # fmt: skip
    assert (one["name"], one["samples"], one["flip_rate"]) == ("image:a|b", 600, 0.1)
    assert (one["before"], one["more"], one["fewer"]) == (pytest.approx(1 / 60), 50, 0)
    assert [(limit["limit"], limit["outcome"]) for limit in one["limits"]] == [
        ("max_flip_rate", "fail"), ("more_flips", "fail")
    ]  # fmt: skip
    outcomes = [limit["outcome"] for limit in other["limits"]]
    assert (other["samples"], outcomes) == (300, ["pass"] * 2)
    assert content["n_comparisons"] == sum(
        len(row["limits"]) for row in content["rows"] + content["changes"] if row["samples"] > 1
    )


def test_markdown_is_a_table_whatever_names_hold(found, tmp_path):
    write_check(found, markdown=tmp_path / "c.md")
    text = (tmp_path / "c.md").read_text("utf-8")
    lines = [line for line in text.splitlines() if line.startswith("|")]
    columns = [len(re.findall(r"(?<!\\)\|", line)) for line in lines]
    assert columns == [8] * (2 + len(found.rows)) + [6] * (2 + len(found.changes))
    assert any(line.startswith("| image:a\\|b | 600 | 1.7 | 10.0 ") for line in lines)
    assert "<script" not in text.replace("\\<script", "")
    assert "\x00" not in text
    assert "\x1b" not in text


def test_a_terminal_gets_one_line_for_each_row_and_what_would_do(found):
    said = summary_of(found)
    assert "\x1b" not in said
    assert said.splitlines()[0] == "Failed: the predictions, 600 samples."
    for name in ("a|b", "new line"):
        assert sum(line.startswith(f"{name} ") for line in said.splitlines()) == 1
    shown = found.of("too few")[:12]
    assert shown
    for row, verdict in shown:
        assert verdict.more in said
        assert verdict.enough is None or verdict.enough > row.n
    assert (
        "change image:a|b: flip rate not significantly higher than the old model's, measured +8.3 ["
        in said
    )
    assert "A limit fails if the " in said


def test_of_many_rows_those_are_shown_that_do_not_pass():
    y = np.arange(4000) % 200
    after = np.where(y == 150, 0, y)
    found = check_predictions(y, after, limits={"worst_class": 50})
    said = summary_of(found)
    assert found.worst_class.name == "150"
    assert "worst class (150) 0.0 %" in said
    assert f"{len(found.rows) - 12} more rows" in said
    assert len(said.splitlines()) < 60
    of_classes = {"worst_class": 50, "min_recall": {str(k): 10 for k in range(100)}}
    found = check_predictions(y, after, limits=of_classes)
    assert f"{len(found.rows) + len(found.rates) - 24} more rows" in summary_of(found)


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


def test_only_a_value_that_equals_its_limit_is_said_to(tmp_path):
    y = np.append(np.zeros(351), 1)
    pred = np.where(np.arange(352) < 7, 1, y)
    for limit, says in ((345 / 3.52, "equals"), (98.01130, "is so near")):
        found = check_predictions(y, pred, limits={"average": limit})
        assert f"the value {says}" in str(found.average.verdicts[0].more)
