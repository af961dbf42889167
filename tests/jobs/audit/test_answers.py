"""Answers of a person: what the page saves is read back, and any other file is refused."""

import json

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import ntkit
from ntkit.attributes.answers import Answer, check_contradictions, joined_answers, write_answers
from ntkit.exceptions import InputError, NtkitError
from ntkit.jobs.audit import Answers, read_answers

FILM = {"name": "word:film", "answer": "spurious", "values": [["word:film"], ["word:movie"]]}
BAD = {"name": "word:bad", "answer": "legitimate"}


def file_of(folder, content):
    path = folder / "answers.json"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        path.write_text(json.dumps(content))
    return path


def answers(*entries, **other):
    return {"ntkit": "answers", "version": 1, "answers": list(entries)} | other


def test_read(tmp_path):
    name = "metadata:site=\u00c5"
    site = {"name": name, "answer": "unsure", "values": [[name]]}
    found = read_answers(file_of(tmp_path, answers(FILM, BAD, site, more="keys")))
    assert found.answers == (
        Answer("word:film", "spurious", (("word:film",), ("word:movie",))),
        Answer("word:bad", "legitimate", (("word:bad",),)),
        Answer("metadata:site=\u00c5", "unsure", (("metadata:site=\u00c5",),)),
    )
    assert found.spurious == found.answers[:1]
    marked = b"\xef\xbb\xbf" + json.dumps(answers(FILM)).encode()
    assert read_answers(file_of(tmp_path, marked)).answers == found.answers[:1]
    assert read_answers(file_of(tmp_path, answers())).spurious == ()


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("word:film|word:movie", (("word:film",), ("word:movie",))),
        ("not word:film", (("word:film",),)),
        ("not column:site=B", (("column:site=B",),)),
    ],
)
def test_names_of_options_are_read_from_answers_too(tmp_path, name, values):
    written = file_of(tmp_path, answers({"name": name, "answer": "spurious"}))
    assert read_answers(written).answers[0].values == values


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is not JSON"),
        (b"\xff\xfe", "is not JSON"),
        (b"[" * 100_000, "is not JSON"),
        (b"9" * 10_000, "is not JSON"),
        (b" " * (65 << 20), "larger than 64 MB"),
        ([], "not a file of answers"),
        ({"findings": []}, "not a file of answers"),
        (answers() | {"version": 2}, "has version 2"),
        (answers() | {"version": True}, "has version True"),
        (answers() | {"version": "x" * 10_000}, "has version"),
        (answers() | {"answers": {}}, "are not a list"),
        (answers("word:film"), "answer 1 lacks a name"),
        (answers(FILM, {"answer": "spurious"}), "answer 2 lacks a name"),
        (answers(FILM | {"name": " "}), "lacks a name"),
        (answers(FILM | {"name": "\ud800"}), "lacks '.ud800' in the first"),
        (answers(FILM | {"answer": "yes"}), "answers 'yes' on 'word:film'"),
        (answers(FILM | {"answer": ["spurious"]}), "use one of spurious, legitimate"),
        (answers({"name": "word:film"}), "answers None on 'word:film'"),
        (answers(BAD, FILM, FILM), "answers 'word:film' twice"),
        (answers(FILM | {"values": 3}), "or is damaged"),
        (answers(FILM | {"values": ["word"]}), "lacks 'word:film' in the first"),
        (answers(FILM | {"values": [["word:film", 3]]}), "or is damaged"),
        (answers(FILM | {"values": [["word:film"], []]}), "or is damaged"),
        (answers(FILM | {"values": []}), "lacks 'word:film' in the first"),
        (answers(FILM | {"values": [["word:movie"], ["word:film"]]}), "lacks 'word:film'"),
        (answers(FILM | {"values": [["word:film"], ["word:film"]]}), "an attribute twice"),
        *(
            (answers(FILM | harm), "answer 1 lacks a name or is damaged")
            for harm in ({"by": 3}, {"rules": []}, {"rules": {"layer:a #0 mean high": {}}})
        ),
    ],
)
def test_other_files_are_refused(content, says, tmp_path):
    path = file_of(tmp_path, content)
    with pytest.raises(InputError, match=says) as refused:
        read_answers(path)
    assert str(path) in str(refused.value)
    assert "\n" not in str(refused.value)
    str(refused.value).encode()


def test_what_is_no_file_is_refused(tmp_path):
    for path, says in ((tmp_path, r"^\S+ is not a file; name the answers"),
                       (tmp_path / "missing.json", "cannot be read"),
                       ("a\0b", "not a valid file name")):  # fmt: skip
        with pytest.raises(InputError, match=says):
            read_answers(path)


FIELDS = ("name", "answer", "values", "rules", "by", "at")
JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=5),
    lambda some: st.lists(some, max_size=3),
    max_leaves=5,
)


@settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.too_slow])
@given(st.fixed_dictionaries({}, optional=dict.fromkeys(FIELDS, JSON)))
def test_any_json_is_read_or_refused(tmp_path_factory, entry):
    path = file_of(tmp_path_factory.getbasetemp(), answers(FILM, entry))
    try:
        found = read_answers(path)
    except NtkitError:
        return
    assert found.answers[1].name == entry["name"]


def test_the_sides_of_an_answer_put_other_samples_where_the_audit_put_its_own():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 1000)
    film = np.where(rng.random(1000) < 0.9, y, 1 - y)
    texts = [["a movie", "a film"][f] + " s" * (rng.random() < 0.3) for f in film]
    found = ntkit.audit(y, np.where(rng.random(1000) < 0.5, film, y), texts=texts)
    (sides,) = (s.values for s in found.findings)
    having = np.stack(
        [np.any([found.values(name) == 1 for name in side], axis=0) for side in sides]
    )
    assert (found.found.values[:, 0] == np.where(having[0], 1, 2)).all()


def test_what_is_answered_is_what_is_done():
    """A word that a neuron sees: a yes acts on the word, and leaves the neuron alone."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 1000)
    kindly = np.where(rng.random(1000) < 0.9, y, 1 - y)
    neurons = np.stack([rng.random(1000), -kindly + rng.random(1000) / 9], axis=1)
    pred = np.where(rng.random(1000) < 0.5, kindly, y)
    texts = ["told kindly" if k else "told" for k in kindly]
    found = ntkit.audit(y, pred, texts=texts, arrays={"embedding": neurons})
    assert any(name.startswith("embedding #1") for name in found.findings[0].opposed)
    assert found.answers("word:kindly").spurious[0].values == (("word:kindly",),)


# -- who and when, and several people -----------------------------------------------------------


def test_what_is_written_is_read_and_what_is_no_answers_stays(tmp_path):
    signed = FILM | {"by": "Ada \u00c5", "at": "2026-05-04T10:00:00.000Z"}
    found = read_answers(file_of(tmp_path, answers(signed, BAD, model="0" * 64)))
    assert (found.answers[0].by, found.answers[1].at) == ("Ada \u00c5", None)
    path = tmp_path / "again.json"
    for _ in range(2):  # the second replaces the first
        write_answers(path, found)
        assert read_answers(path) == found
    assert [a.as_dict() for a in read_answers(path).answers] == [
        signed,
        BAD | {"values": [["word:bad"]]},
    ]
    assert {*json.loads(path.read_text())} == {"ntkit", "version", "answers", "model"}
    path.write_text("{}")
    with pytest.raises(InputError, match="not a file of answers"):
        write_answers(path, found)
    assert path.read_text() == "{}"
    with pytest.raises(InputError, match="does not exist"):
        write_answers(tmp_path / "no folder" / "answers.json", found)


def said(model=None, **answered):
    """Answers on words: film=("spurious", "film", "movie") stands against movie."""
    made = []
    for word, (answer, *sides) in answered.items():
        made.append(Answer(f"word:{word}", answer, tuple((f"word:{s}",) for s in sides or [word])))
    return Answers(tuple(made), model)


def test_other_attributes_of_a_finding_are_kept_and_need_not_be_there(tmp_path):
    path, head = tmp_path / "answers.json", {"ntkit": "answers", "version": 1}
    entry = {"name": "word:film", "answer": "spurious", "also": ["word:cinema"]}
    path.write_text(json.dumps(head | {"answers": [entry]}))
    answers = read_answers(path)
    assert answers.also == {"word:cinema"}
    assert answers.as_dict()["answers"][0]["also"] == ["word:cinema"]
    path.write_text(json.dumps(head | {"answers": [{k: entry[k] for k in ("name", "answer")}]}))
    assert read_answers(path).also == set()
    for damaged in (7, [7], "word:cinema", [""]):
        path.write_text(json.dumps(head | {"answers": [entry | {"also": damaged}]}))
        with pytest.raises(InputError, match="damaged"):
            read_answers(path)


def test_several_people_are_joined():
    ada = said(film=["unsure"], bad=["legitimate"], model="m")
    bob = said(bad=["legitimate"], film=["spurious", "film", "movie"], plot=["unsure"])
    eve = said(film=["unsure"], plot=["unsure"], model="m")
    joined = joined_answers({"ada": ada, "bob": bob, "eve": eve})
    assert joined == said(
        film=["spurious", "film", "movie"], bad=["legitimate"], plot=["unsure"], model="m"
    )
    assert joined_answers({}) == Answers(())


LEGITIMATE, SPURIOUS = said(bad=["legitimate"]), said(bad=["spurious"])
SEX = Answers((Answer("column:sex", "spurious", (("column:sex",),)),))
WOMEN = Answers((Answer("column:sex=F", "legitimate", (("column:sex=F",),)),))


@pytest.mark.parametrize(
    ("ada", "bob", "says"),
    [
        (LEGITIMATE, SPURIOUS,
         "bob.json calls 'word:bad' a shortcut, and ada.json says that it matters"),
        (SPURIOUS, LEGITIMATE,
         "ada.json calls 'word:bad' a shortcut, and bob.json says that it matters"),
        (said(film=["spurious", "film", "movie"]), said(movie=["legitimate"]),
         "'word:film' is answered as a shortcut and 'word:movie' as a finding that matters, but "
         "both are about 'word:movie'"),
        (SEX, WOMEN,
         "'column:sex' is answered as a shortcut and 'column:sex=F' as a finding that matters, "
         "but both are about 'column:sex'"),
        (said(film=["spurious"], model="a"), said(model="b"),
         "ada.json and bob.json have answers on two different models"),
    ],
)  # fmt: skip
def test_people_who_disagree_are_refused_by_name(ada, bob, says):
    with pytest.raises(InputError, match=says):
        joined_answers({"ada.json": ada, "bob.json": bob})


@pytest.mark.parametrize(
    ("film", "bad", "refused"),
    [
        ([1, 0, 1, -1], [0, 1, 0, 1], True),
        ([1, 0, 1, -1], [1, 0, 1, 0], True),
        ([1, 0, 1, 0], [0, 1, 1, 0], False),
        ([0, 0, 0, 1], [0, 0, 0, -1], False),  # an attribute that no sample has cannot contradict
        ([-1, -1, 1, 0], [1, 0, -1, -1], False),
    ],
)
def test_a_shortcut_that_is_what_matters_is_refused(film, bad, refused):
    values = {"word:film": np.array(film), "word:bad": np.array(bad)}.__getitem__
    both = said(film=["spurious"], bad=["legitimate"])
    for other in ("spurious", "unsure"):
        check_contradictions(said(film=["spurious"], bad=[other]), values)
    if not refused:
        check_contradictions(both, values)
        return
    with pytest.raises(InputError, match="'word:film' is answered as a shortcut and 'word:bad'"):
        check_contradictions(both, values)
