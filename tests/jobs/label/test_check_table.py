"""Twelve checks of a program's table: drawn alike from its groups, compared, and judged."""

import csv
import json
import shutil

import numpy as np
import onnx
import pytest
from scipy.stats import binomtest

from ntkit.exceptions import InputError
from ntkit.extraction import Samples
from ntkit.jobs.attribute_reader import AttributeReader
from ntkit.jobs.label import _check, check_table, label_samples
from ntkit.jobs.label_tables import AnswerTable
from ntkit.metrics import compare
from tests.cases import done, ntkit, read_csv, write_csv
from tests.jobs.label.models import rows, write_model
from tests.models import save

X, Y, MARK = rows()
NAMES = [f"p{row}" for row in range(len(Y))]
SAID = np.array(["no", "yes"])[MARK]
FIRST, SECOND = "questions-1.csv", "questions-2.csv"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A model, its samples in a table that holds the answers as well, and the table alone."""
    folder = tmp_path_factory.mktemp("made")
    columns = dict(zip("abcdef", X.T, strict=True))
    answers = {"id": NAMES, "mark": SAID}
    write_csv(folder / "data.csv", {**answers, **columns, "label": Y})
    write_csv(folder / "mark.csv", {"id": [*NAMES, "elsewhere"], "mark": [*SAID, "yes"]})
    write_model(folder / "model.onnx")
    return folder


@pytest.fixture
def place(made, tmp_path, monkeypatch):
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def command(place):
    data = [place / "model.onnx", place / "data.csv", "--columns", "a,b,c,d,e,f", "--quiet"]
    return ["label", *data, "-o", "out", "--check", "mark.csv"]


def ask(place):
    """What the command prints."""
    return done(*command(place))[0]


def refused(*arguments, says):
    code, _, err = ntkit(*arguments)
    assert code == 2
    assert says in err.splitlines()[-1]


def answer(place, table, wrong=0, unsure=0):
    """Label all samples of a table, some of them differently from the program; their names."""
    names = [row["id"] for row in read_csv(place / "out" / table)]
    labels = [SAID[NAMES.index(name)] for name in names]
    labels[:wrong] = [{"yes": "no", "no": "yes"}[value] for value in labels[:wrong]]
    labels[len(labels) - unsure :] = ["?"] * unsure
    write_csv(place / "out" / f"labels {table}", {"id": names, "mark": labels})
    return names, labels


def check_file(model, data, file, out):
    return check_table(model, data, AnswerTable.read(file, "attribute", None), out)


def test_a_right_table_is_used_and_the_person_does_not_see_its_answers(place):
    printed = ask(place)
    assert "No answer of mark.csv is checked yet." in printed
    assert "left out 1 of 241 labels of mark.csv, which belongs to none of the samples" in printed
    asked = read_csv(place / "out" / FIRST)
    assert [*asked[0]] == ["id", "ntkit_content", *"abcdef", "mark"]
    assert {row["mark"] for row in asked} == {""}
    shown = [NAMES.index(row["id"]) for row in asked]
    # Ten times as many samples have the mark of their class.
    assert np.unique(2 * Y[shown] + MARK[shown], return_counts=True)[1].tolist() == [3] * 4
    answer(place, FIRST)
    printed = ask(place)
    assert "12 answers of mark.csv checked, 0 wrong." in printed
    assert "No answer" not in printed
    assert "left out 1 of 241 labels" in printed
    assert "Use the table: 0 % is within the limit of 10 %." in printed
    assert "Label 12" not in printed
    checked = read_csv(place / "out" / "checked.csv")
    assert checked == read_csv(place / "mark.csv")


def test_a_note_on_the_samples_is_printed_once(place):
    columns = dict(zip("abcdef", X.T, strict=True))
    write_csv(place / "data.csv", {"id": NAMES, **columns, "label": Y})
    data = "label", "model.onnx", "data.csv", "-o", "out", "--check", "mark.csv"
    printed, notes = done(*data)
    note = "data.csv: left out the column 'id'"
    assert (printed.count(note), notes.count(note)) == (0, 1)
    assert note in json.loads(done(*data, "--json")[0])["notes"][0]


def test_neither_page_nor_table_shows_the_answers(place):
    done(*command(place), "--question", "Present?")
    assert [*read_csv(place / "out" / FIRST)[0]] == ["id", "ntkit_content", *"abcdef", "Present?"]
    page = (place / "out" / "label.html").read_text(encoding="utf-8")
    assert all(f"<dt>{column}:</dt>" in page for column in "abcdef")
    assert "<dt>mark:</dt>" not in page


def test_equal_samples_are_asked_about_once(place):
    write_csv(place / "mark.csv", {"mark": np.repeat(SAID[:12], 20)})
    data = np.repeat(X[:12], 20, axis=0), np.repeat(Y[:12], 20)
    asked = check_file("model.onnx", data, "mark.csv", "out").asked
    assert {int(row) // 20 for row in asked} == {*range(12)}


def test_a_content_with_two_answers_is_one_check(place):
    """Twelve different samples are asked about, and the person's answers are twelve."""
    other = {"yes": "no", "no": "yes"}
    data = Samples(
        np.repeat(X, 2, axis=0),
        np.repeat(Y, 2),
        ids=np.array([f"{n}{t}" for n in NAMES for t in "ab"]),
    )
    said = [answer for each in SAID for answer in (each, other[each])]
    write_csv(place / "mark.csv", {"id": data.ids, "mark": said})
    found = check_file("model.onnx", data, "mark.csv", "out")
    assert any("two answers for 240 contents" in note for note in found.notes)
    asked = [row["id"] for row in read_csv(place / "out" / FIRST)]
    true = dict(zip(NAMES, SAID, strict=True))
    write_csv(place / "out" / "labels.csv", {"id": asked, "mark": [true[n[:-1]] for n in asked]})
    found = check_file("model.onnx", data, "mark.csv", "out")
    assert (len(asked), found.checked) == (12, 12)


@pytest.mark.parametrize("wrong", [2, 5, 12])
def test_wrong_answers_are_counted_refused_and_replaced(place, wrong):
    ask(place)
    names, labels = answer(place, FIRST, wrong)
    printed = ask(place)
    assert f"12 answers of mark.csv checked, {wrong} wrong." in printed
    bounds = binomtest(wrong, 12).proportion_ci()  # Clopper–Pearson, of SciPy
    low, high = (f"{100 * bound:.1f}" for bound in bounds)
    assert f"as in a repair: {100 * wrong / 12:.1f} [{low}, {high}] %." in printed
    assert f"Do not use the table: {100 * wrong / 12:.0f} % is more than the limit" in printed
    assert "Repair with it" not in printed
    assert json.loads(done(*command(place), "--json")[0])["verdict"] == "do not use"
    now = {row["id"]: row["mark"] for row in read_csv(place / "out" / "checked.csv")}
    before = {row["id"]: row["mark"] for row in read_csv(place / "mark.csv")}
    assert now == before | dict(zip(names, labels, strict=True))
    assert sum(now[name] != before[name] for name in now) == wrong


def test_one_wrong_answer_takes_twelve_more_checks(place):
    ask(place)
    first, _ = answer(place, FIRST, 1)
    printed = ask(place)
    assert "Check 12 more: 1 wrong of 12 does not settle whether more than 10 % are." in printed
    second, _ = answer(place, SECOND)
    assert len({*first} | {*second}) == 24
    assert "Use the table: 4 % is within the limit of 10 %." in ask(place)
    (place / "out" / f"labels {SECOND}").unlink()
    answer(place, SECOND, 2)  # somebody corrects the labels
    assert "Do not use the table: 12 % is more than the limit of 10 %." in ask(place)


def test_another_sample_takes_the_place_of_one_that_nobody_can_label(place):
    ask(place)
    first, _ = answer(place, FIRST, unsure=2)
    printed = ask(place)
    assert "10 answers of mark.csv checked, 0 wrong. Nobody could label 2 more samples." in printed
    second, _ = answer(place, SECOND, unsure=1)
    assert len(second) == 2
    ask(place)
    third = {row["id"] for row in read_csv(place / "out" / "questions-3.csv")}
    ask(place)  # nobody has labelled them, so they stay
    assert third == {row["id"] for row in read_csv(place / "out" / "questions-3.csv")}
    answer(place, "questions-3.csv")
    assert len(third) == 1
    assert not {*first} & {*second}
    assert "Use the table" in ask(place)


def test_labels_that_were_not_drawn_correct_the_table_and_are_no_checks(place):
    """Labels of errors, from an earlier run of ntkit label, say nothing about the other answers."""
    ask(place)
    drawn = [row["id"] for row in read_csv(place / "out" / FIRST)]
    shutil.rmtree(place / "out")
    others = [name for name in NAMES if name not in drawn][:20]
    true = dict(zip(NAMES, SAID, strict=True))
    given = [{"yes": "no", "no": "yes"}[true[name]] for name in others]
    both = {"id": [*others, *drawn[:2]], "mark": [*given, *map(true.get, drawn[:2])]}
    write_csv(place / "earlier.csv", both)
    printed = done(*command(place), "--answers", "earlier.csv")[0]
    assert "20 labels of samples that were not drawn at random correct the table" in printed
    assert "2 answers of mark.csv checked, 0 wrong." in printed
    asked = [row["id"] for row in read_csv(place / "out" / FIRST)]
    assert {*asked} == {*drawn[2:]}
    answer(place, FIRST)
    printed = ask(place)
    assert "12 answers of mark.csv checked, 0 wrong." in printed
    assert "Use the table: 0 %" in printed
    checked = {row["id"]: row["mark"] for row in read_csv(place / "out" / "checked.csv")}
    assert [checked[name] for name in others] == given


def test_a_table_that_nobody_can_check_is_not_used(place):
    write_csv(place / "mark.csv", {"id": NAMES[:12], "mark": SAID[:12]})
    ask(place)
    answer(place, FIRST, unsure=1)
    printed = ask(place)
    assert "11 answers of mark.csv checked, 0 wrong. Nobody could label 1 more sample." in printed
    assert "Do not use the table: only 11 of 12 answers could be checked." in printed


def test_of_many_groups_some_have_no_check_and_the_whole_table_no_estimate(place):
    write_csv(place / "mark.csv", {"id": NAMES, "mark": [*"aabbccddeeffgg"] * 17 + ["a", "b"]})
    ask(place)
    asked = [row["id"] for row in read_csv(place / "out" / FIRST)]
    letters = {row["id"]: row["mark"] for row in read_csv(place / "mark.csv")}
    write_csv(place / "out" / "labels.csv", {"id": asked, "mark": map(letters.get, asked)})
    printed = ask(place)
    counts = {f"{label} × {letter}": 0 for label in "01" for letter in "abcdefg"}
    for row in (NAMES.index(name) for name in asked):
        counts[f"{Y[row]} × {letters[NAMES[row]]}"] += 1
    first, second = sorted(name for name, count in counts.items() if not count)
    assert f"Groups without a check, 2 of 14: {first}, {second}." in printed
    assert "whole table" not in printed
    only = "0 % is within the limit of 10 % in 12 of 14 groups; the others have no check."
    assert f"Use the table: {only}" in printed


def test_groups_whose_names_read_the_same_are_kept_apart(place):
    """Class a with answer b × c, and class a × b with answer c."""
    labels = np.array(["a", "a × b"])[Y]
    for second, apart in (("d", "a × 'b × c'"), ("c", "a × 'b × c'")):
        said = np.where(MARK == 1, "b × c", second)
        write_csv(place / "mark.csv", {"id": NAMES, "mark": said})
        save(onnx.load("model.onnx"), "named.onnx", ["a", "a × b"])
        samples = Samples(X, labels, ids=np.array(NAMES))
        found = check_file("named.onnx", samples, "mark.csv", f"out {second}")
        counts = {group.name: size for group, size in zip(found.groups, found.sizes, strict=True)}
        pairs, n = np.unique(2 * Y + MARK, return_counts=True)
        assert sorted(counts.values()) == sorted(n.tolist())
        assert len(counts) == len(pairs) == 4
        assert counts[apart] == n[1]


def test_a_table_with_a_row_for_each_sample_is_written_with_contents(place):
    write_csv(place / "mark.csv", {"mark": SAID})
    order = np.random.default_rng(0).permutation(len(Y))
    said = SAID.copy()
    for table, some in (("mark.csv", np.arange(len(Y))), ("0/checked.csv", order)):
        out = str(int(table != "mark.csv"))
        data = X[some], Y[some]
        asked = check_file("model.onnx", data, table, out).asked
        told = np.where(said[some[[*map(int, asked)]]] == "yes", "no", "yes")
        write_csv(place / out / "labels.csv", {"id": asked, "mark": told})
        assert check_file("model.onnx", data, table, out).wrong == len(asked) == 12
        said[some[[*map(int, asked)]]] = told
        written = AnswerTable.read(place / out / "checked.csv", "attribute", None)
        reader = AttributeReader([Samples(X, Y)])
        assert written.labels(reader, match_names=False)[0].tolist() == said.tolist()


def test_the_estimates_are_right_on_average_and_the_intervals_hold():
    rng = np.random.default_rng(0)
    wrong = rng.random(len(Y)) < 0.15
    groups = 2 * Y + np.where(wrong, 1 - MARK, MARK)
    truth = {True: np.mean([wrong[groups == g].mean() for g in range(4)]), False: wrong.mean()}
    found = {True: [], False: []}
    for seed in range(200):
        checked = np.zeros(len(Y), dtype=bool)
        checked[_check.next_checks(groups, checked, checked, range(len(Y)), 12, seed)] = True
        parts = compare([~wrong], [("group", "", checked & (groups == g)) for g in range(4)])
        sizes = [int((groups == g).sum()) for g in range(4)]
        for alike, shares in found.items():
            shares.append(_check.share_wrong(parts, [1] * 4 if alike else sizes))
    for alike, shares in found.items():
        estimates = np.array([share for share, _ in shares])
        assert abs(estimates.mean() - truth[alike]) < 3 * estimates.std() / 200**0.5
        assert np.mean([low <= truth[alike] <= high for _, (low, high) in shares]) >= 0.95


@pytest.mark.parametrize(
    ("columns", "options", "message"),
    [
        ({"id": ["a", "b"], "mark": ["yes", "no"]}, "", "has no label of any of the samples"),
        ({"id": NAMES}, "", "no column 'attribute'. Besides the names of samples it has no column"),
        ({"id": NAMES, "mark": SAID, "b": SAID}, "", "Rename the column, or keep only one"),
        ({"mark": SAID[:50]}, "", "50 rows for 240 samples, and no column 'file_name'"),
        ({"id": NAMES, "mark": SAID}, "--batch 24", "--batch cannot be combined with --check"),
        ({"id": NAMES, "mark": ["yes"] * 240}, "", "has 1 different answer ('yes'), and a check"),
        ({"id": NAMES[:9], "mark": SAID[:9]}, "", "answers for 9 of these samples, and a check"),
        (
            {"id": NAMES, "mark": SAID},
            "--values yes,never",
            "has the label 'no' for 'p0'. Allowed labels are yes, never",
        ),
        (
            {"id": NAMES, "mark": [*"abcdefghijkl"] * 20},
            "",
            "has 12 different answers, and a check takes two to nine",
        ),
    ],
)
def test_refused_and_nothing_written(place, columns, options, message):
    write_csv(place / "mark.csv", columns)
    before = sorted(place.iterdir())
    refused(*command(place), *options.split(), says=message)
    assert sorted(place.iterdir()) == before


def test_a_folder_belongs_to_one_table_or_to_none(place):
    ask(place)
    with pytest.raises(InputError, match=r"out checks a table of answers\. Repeat --check"):
        label_samples("model.onnx", (X, Y), "out")
    with (place / "mark.csv").open("a", newline="") as file:
        csv.writer(file).writerow(["p", "no"])
    refused(*command(place), says="out belongs to another table, so")
    label_samples("model.onnx", (X, Y), "labels", question="Is it marked?", device="cpu")
    refused(*command(place), "-o", "labels", says="labels has labels without --check")


def test_a_label_corrects_all_samples_of_its_content(place):
    """Whichever of them the person saw."""
    twice = Samples(
        np.tile(X, (2, 1)), np.tile(Y, 2), ids=np.array([*NAMES, *(f"q{n}" for n in NAMES)])
    )
    write_csv(place / "mark.csv", {"id": twice.ids, "mark": np.tile(SAID, 2)})
    check_file("model.onnx", twice, "mark.csv", "out")
    asked = [row["id"] for row in read_csv(place / "out" / FIRST)]
    said = dict(zip(twice.ids.tolist(), np.tile(SAID, 2).tolist(), strict=True))
    other = {name: {"yes": "no", "no": "yes"}[said[name]] for name in asked}
    write_csv(place / "out" / "labels.csv", {"id": [*other], "mark": [*other.values()]})
    check_file("model.onnx", twice, "mark.csv", "out")
    now = {row["id"]: row["mark"] for row in read_csv(place / "out" / "checked.csv")}
    both = {name.removeprefix("q"): value for name, value in other.items()}
    assert all(now[name] == now[f"q{name}"] == value for name, value in both.items())
    assert sum(now[name] != said[name] for name in now) == 2 * len(asked)


def test_what_is_counted_is_what_is_named(place):
    """Copies among the samples with an answer; a share of the table only if each group has one."""
    data = np.concatenate([X, X[:5], X[200:]]), np.concatenate([Y, Y[:5], Y[200:]])
    write_csv(place / "mark.csv", {"mark": [*SAID[:200], *[""] * 40, *SAID[:5], *[""] * 40]})
    first = check_file("model.onnx", data, "mark.csv", "out")
    assert "5 of 205 samples with an answer are copies of others." in " ".join(first.notes)
    assert first.as_dict()["questions"] == FIRST
    assert np.isnan(first.share_of_table[0])
    some = [row["id"] for row in read_csv(place / "out" / FIRST)]
    cells = [*zip(Y[[int(each) for each in some]], SAID[[int(each) for each in some]], strict=True)]
    told = [SAID[int(n)] if cell != cells[0] else "?" for n, cell in zip(some, cells, strict=True)]
    write_csv(place / "out" / "labels.csv", {"id": some, "mark": told})
    part = check_file("model.onnx", data, "mark.csv", "out")
    assert part.checked == 9
    assert np.isnan(part.share_of_table[0])
    assert not np.isnan(part.share_of_groups[0])


def test_no_file_of_questions_is_named_that_is_not_written(place):
    ask(place)
    answer(place, FIRST)
    content = json.loads(done(*command(place), "--json")[0])
    assert content["verdict"] == "use"
    assert content["questions"] is None
    assert not (place / "out" / SECOND).exists()
