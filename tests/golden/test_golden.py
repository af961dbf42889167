"""Runs of the commands give what was recorded; ``NTKIT_GOLDEN=record`` records them."""

import sys

import pytest

from tests.golden import compare, runs

linux = pytest.mark.skipif(sys.platform != "linux", reason="recorded on Linux")


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    """The folder in which all runs start."""
    return runs.make(tmp_path_factory.mktemp("golden"))


@pytest.mark.more
@linux
@pytest.mark.parametrize("name", runs.RUNS)
def test_a_run_gives_what_was_recorded(name, made, monkeypatch):
    monkeypatch.chdir(made)
    found = runs.RUNS[name]()
    if compare.MODE == "record":
        compare.record(name, found)
    compare.assert_as_recorded(name, found)


def test_every_recording_has_a_run():
    recorded = {path.stem for path in compare.path_of("any").parent.glob("*.json")}
    assert recorded == {*runs.RUNS}


OLD = {"result.json": {"n": [1, {"share": 0.25}], "note": "worst group 42.2 → 57.8 % of 45"}}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"n": [2, {"share": 0.25}]}, "r.result.json.n[0]: 2, recorded as 1"),
        ({"n": [1, {"share": 0.26}]}, "r.result.json.n[1].share: 0.26, recorded as 0.25"),
        ({"n": [1, {}]}, "r.result.json.n[1].share: missing, recorded as 0.25"),
        ({"n": [1.0, {"share": 0.25}]}, "r.result.json.n[0]: 1.0, recorded as 1"),
        ({"n": [1]}, 'r.result.json.n: [1], recorded as [1, {"share": 0.25}]'),
        ({"more": None}, "r.result.json.more: new, null"),
        ({"note": "worst group 42.2 → 57.8 % of 46"}, "r.result.json.note: "),
        ({"note": "worst group 42.2 → 57.6 % of 45"}, "r.result.json.note: "),
    ],
)
def test_the_path_of_what_differs_is_named(change, says):
    new = {"result.json": OLD["result.json"] | change}
    (sentence,) = compare.differences(OLD, new, place="r", exact=False)
    assert sentence.startswith(says)


def test_rounding_is_no_difference():
    note = "worst  group 42.2 → 57.9 % of 45"
    new = {"result.json": {"n": [1, {"share": 0.25 + 1e-8}], "note": note}}
    assert compare.differences(OLD, new, exact=False) == []
    assert len(compare.differences(OLD, new, exact=True)) == 2
    for name, differs in (("coef", 0), ("share", 1)):
        pair = ({name: {"values": [value]}} for value in (1.0, 1.00005))
        assert len(compare.differences(*pair, exact=False)) == differs


def test_a_renamed_field_is_compared_under_its_new_name():
    new = {"result.json": {"n": [1, {"part": 0.25}], "note": OLD["result.json"]["note"]}}
    renamed = {"result.json.n.share": "part"}
    assert compare.differences(OLD, new, renamed=renamed) == []
    new["result.json"]["n"][1]["part"] = 0.5
    (sentence,) = compare.differences(OLD, new, renamed=renamed)
    assert ".n[1].part: 0.5" in sentence
    inside = [{"answered": {"0_even/result.json": each["result.json"]}} for each in (OLD, new)]
    assert len(compare.differences(*inside, renamed=renamed)) == 1
    gone = {"result.json": {"n": [1, {}], "note": OLD["result.json"]["note"]}}
    assert compare.differences(OLD, gone, renamed={"result.json.n.share": None}) == []
