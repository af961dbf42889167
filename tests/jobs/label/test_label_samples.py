"""Asking in a folder: answers are taken, nothing is asked twice, nothing of a person's is lost."""

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from html import unescape
from pathlib import Path

import numpy as np
import onnx
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ntkit.exceptions import InputError
from ntkit.extraction import Samples
from ntkit.jobs.label import Labels, label_samples, read_labels
from ntkit.jobs.label import _label as label
from tests.cases import write_csv, write_rows
from tests.jobs.label.models import N, rows, write_model
from tests.models import save as save_model

QUESTION = "Is it marked?"
X, Y, MARK = rows()
FILES = ["answers.json", "embedded.npz", "label.html", "questions-1.csv"]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_model(tmp_path_factory.mktemp("model") / "model.onnx")


def ask(model, out, rows=slice(None), X=X, **options):
    """The question of some of the rows, in another order perhaps."""
    options = {"question": QUESTION, "batch": 16, "device": "cpu"} | options
    return label_samples(model, (X[rows], Y[rows]), out, **options)


def save(path, answers, header=QUESTION):
    """What the page saves, or a person fills in."""
    return write_csv(path, {"id": answers, header: answers.values()}, encoding="utf-8-sig")


def fill_in(out):
    """Answer in the table of the first questions."""
    with (out / "questions-1.csv").open(newline="") as file:
        header, *lines = csv.reader(file)
    lines = [[*line[:-1], ["no", "yes"][MARK[int(line[0])]]] for line in lines]
    write_rows(out / "questions-1.csv", [header, *lines])


def truth(names):
    return {name: ["no", "yes"][MARK[int(name)]] for name in names}


def kept(out):
    return {file.name: file.read_bytes() for file in out.iterdir()}


@pytest.fixture(scope="module")
def asked_once(model, tmp_path_factory):
    """A folder with a question, and what was said of it."""
    out = tmp_path_factory.mktemp("asked") / "out"
    return out, ask(model, out)


@pytest.fixture(scope="module")
def answered_once(model, asked_once, tmp_path_factory):
    """A folder with sixteen answers."""
    out = tmp_path_factory.mktemp("answered") / "out"
    shutil.copytree(asked_once[0], out)
    save(out / "labels.csv", truth(asked_once[1].asked))
    ask(model, out)
    return out


@pytest.fixture
def asked(asked_once, tmp_path):
    return shutil.copytree(asked_once[0], tmp_path / "out")


@pytest.fixture
def answered(answered_once, tmp_path):
    return shutil.copytree(answered_once, tmp_path / "out")


def test_batches_ask_for_the_same_contents_in_any_order_and_with_copies(model, tmp_path):
    rng = np.random.default_rng(1)
    forms = [np.arange(N), rng.permutation(N), np.repeat(rng.permutation(N), rng.integers(1, 6, N))]
    batches = []
    for i, form in enumerate(forms):
        out = tmp_path / str(i)
        first = form[[*map(int, ask(model, out, form).asked)]]
        rows = zip(form, MARK[form], strict=True)
        given = [[j, ["no", "yes"][mark]] for j, (row, mark) in enumerate(rows) if row in first]
        write_rows(out / "labels.csv", [["id", QUESTION], *given])
        second = ask(model, out, form)
        progress = repr((second.progress, [group.as_dict() for group in second.groups]))
        batches.append((first.tolist(), form[[*map(int, second.asked)]].tolist(), progress))
    assert len({*batches[0][0], *batches[0][1]}) == 32
    assert batches[0] == batches[1] == batches[2]


@pytest.mark.more
def test_erased_labels_still_count_and_are_named(model, asked, asked_once):
    """A label read once is kept; only ? takes it back. A page's next labels.csv erases nothing."""

    def erased_in(result):
        return [note for note in result.about_answers if "not in the tables any more" in note]

    names = [*asked_once[1].asked]
    table = asked / "questions-1.csv"
    save(table, truth(names))
    before = ask(model, asked)
    assert not erased_in(before)
    save(table, truth(names[:10]) | dict.fromkeys(names[10:13], ""))
    erased = ask(model, asked)
    (note,) = erased_in(erased)
    assert note.startswith("6 labels of earlier runs are not in the tables any more, and count all")
    assert note in str(erased)
    assert (erased.labels.n_answers, erased.n_new) == (16, 0)
    save(table, truth(names[:15]) | {names[15]: "?"})
    taken_back = ask(model, asked)
    assert not erased_in(taken_back)
    assert taken_back.labels.n_answers == 15
    save(asked / "labels.csv", truth(taken_back.asked))
    ask(model, asked)
    save(asked / "labels.csv", truth([str(row) for row in range(3)]))
    assert not erased_in(ask(model, asked))


def test_a_second_run_in_the_folder_is_refused_and_the_first_one_stays(model, tmp_path):
    out, refused = tmp_path / "out", []

    def another(*arguments, **options):
        """While the first run computes, somebody starts a second one."""
        patch.setattr(label, "margins_of", margins)
        with pytest.raises(InputError, match=r"Another process is writing .*out; wait") as error:
            ask(model, out)
        refused.append(error)
        return margins(*arguments, **options)

    margins = label.margins_of
    for n_runs in (1, 2):  # in a folder that is made, and in one that is there
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(label, "margins_of", another)
            first = ask(model, out)
        assert len(refused) == n_runs
        assert sorted(kept(out)) == FILES
    save(out / "labels.csv", truth(first.asked[:4]))
    assert ask(model, out).labels.n_answers == 4


@pytest.mark.more
@pytest.mark.skipif(sys.platform == "win32", reason="kills with a signal")
def test_a_run_that_was_killed_keeps_nobody_out(model, tmp_path):
    out = tmp_path / "out"
    code = (
        "import os, signal; from ntkit.jobs.label import _label as label\n"
        "label.margins_of = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)\n"
        "from tests.jobs.label.models import rows; X, y, _ = rows()\n"
        f"label.label_samples({str(model)!r}, (X, y), {str(out)!r}, question='Q', device='cpu')"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[3], check=False)
    assert done.returncode == -9
    assert [*out.iterdir()] == [out / ".ntkit-lock"]
    (out / ".ntkit-ab12").mkdir()  # as it leaves one where it is killed while it writes
    assert len(ask(model, out).asked) == 16
    assert not (out / ".ntkit-lock").exists()


def test_answers_are_taken_and_nothing_is_asked_twice(model, asked, asked_once):
    out, first = asked, asked_once[1]
    assert sorted(kept(out)) == FILES
    assert (first.labels.n_answers, first.progress, len(first.asked)) == (0, None, 16)
    wrong = np.argmax(X @ [[-0.5, 0.5], [-1, 1], *[[0, 0]] * 4] + [3, -3], axis=1) != Y
    assert wrong[[int(name) for name in first.asked]].sum() >= 6  # errors first

    # Ten on the page, of which nobody can tell one; two more in the table.
    told = truth(first.asked[:10]) | {first.asked[0]: "?"}
    save(out / "labels.csv", told)
    table = (out / "questions-1.csv").read_text().splitlines()
    names = [line.partition(",")[0] for line in table[-2:]]
    table[-2:] = [line + truth([n])[n] for n, line in zip(names, table[-2:], strict=True)]
    (out / "questions-1.csv").write_text("\n".join(table))
    before = kept(out)
    second = ask(model, out, question=None)
    assert (second.n_new, second.labels.n_answers) == (11, 11)
    assert second.about_answers == (
        f"{out / 'labels.csv'}: the names of these samples are their rows, from 0 on.",
    )
    assert "Nobody could label 1 more sample." in str(second)
    answers = read_labels(out / "answers.json").answers
    given = told | truth(names)
    assert answers == {name: None if value == "?" else value for name, value in given.items()}
    assert not {*second.asked} & {*given}
    assert sum(group.n_known for group in second.groups) == 11
    weighed = [*csv.DictReader((out / "weights.csv").read_text().splitlines())]
    assert [*weighed[0]] == ["id", "sample_weight", QUESTION]
    assert len(weighed) == len(Y)
    totals = Counter[tuple[int, str]]()
    for row in weighed:
        totals[Y[int(row["id"])], row[QUESTION]] += float(row["sample_weight"])
    assert totals.pop((0, ""), 0) + totals.pop((1, ""), 0) == 0  # unknown
    assert len(totals) == 4
    assert [*totals.values()] == pytest.approx([sum(totals.values()) / 4] * 4, rel=1e-4)
    for name in ("labels.csv", "questions-1.csv"):  # a person's
        assert kept(out)[name] == before[name]
    assert "questions-2.csv" in kept(out)

    # The page's next file, which a browser calls otherwise, and all of the batch.
    save(out / "labels (1).csv", truth(second.asked))
    third = ask(model, out)
    assert third.labels.n_answers == 27
    assert not {*third.asked} & ({*given} | {*second.asked})
    assert third.progress.n_answers == 27
    assert {g.name for g in third.groups} == {"0 × yes", "0 × no", "1 × yes", "1 × no"}
    worst = min(third.groups, key=lambda group: group.value)
    assert f"Worst group: {worst.name}" in str(third)
    taken = {g.name: g.n for g in third.groups}
    named = np.array([f"{c} × {'yes' if m else 'no'}" for c, m in zip(Y, MARK, strict=True)])
    assert all(abs(n - np.sum(named == name)) <= 4 for name, n in taken.items())


@pytest.mark.more
def test_whether_to_go_on_is_told_by_what_the_last_batch_changed(model, tmp_path):
    """The folder records the runs; a file with a damaged record counts as no run."""
    out = tmp_path / "out"
    asking, counts = ask(model, out, batch=40), []
    for _ in range(2):
        save(out / "labels.csv", truth(asking.asked))
        asking = ask(model, out, batch=40)
        counts.append(json.loads((out / "answers.json").read_text())["looked_at"])
    assert counts == [[40], [40, 80]]
    assert asking.progress.enough
    assert asking.progress.reason.startswith("The last 40 of 80 labels hardly changed the groups")
    assert asking.as_dict()["overlap"] == asking.progress.overlap >= 0.6
    content = json.loads((out / "answers.json").read_text())
    for spoilt in (["40"], [True, 80]):
        (out / "answers.json").write_text(json.dumps(content | {"looked_at": spoilt}))
        again = ask(model, out, batch=40)
        assert (again.progress.enough, again.as_dict()["overlap"]) == (False, None)
        assert "Another batch is needed" in str(again)


def test_labels_that_contradict_the_others_stay_in_their_groups(model, asked):
    """A person may know better, so every label counts in the group that it names."""
    rng = np.random.default_rng(0)
    said = {str(i): ["no", "yes"][MARK[i]] for i in range(120)}
    for name in rng.permutation(120)[:12].tolist():
        said[str(name)] = ["yes", "no"][MARK[name]]
    save(asked / "labels.csv", said)
    labelling = ask(model, asked)
    assert labelling.feature_set is not None
    labels = Counter(f"{Y[int(name)]} × {value}" for name, value in said.items())
    assert {group.name: group.n_known for group in labelling.groups} == labels
    assert all(group.n >= group.n_known for group in labelling.groups)
    save(asked / "labels.csv", said | {str(i): ["no", "yes"][MARK[i]] for i in range(120, N - 1)})
    nearly = {group.name: group.n - group.n_known for group in ask(model, asked).groups}
    assert sorted(nearly.values()) == [0, 0, 0, 1]


def test_an_index_of_names_names_samples(model, asked_once, tmp_path):
    names = np.array([f"case {i}" for i in np.random.default_rng(0).permutation(len(Y))])
    out, labels = tmp_path / "out", pd.Series(Y, index=names)
    options = {"question": QUESTION, "batch": 16, "device": "cpu"}
    first = label_samples(model, (X, labels), out, **options)
    rows = [*map(int, asked_once[1].asked)]
    assert [*first.asked] == names[rows].tolist()
    given = truth(asked_once[1].asked)
    save(out / "labels.csv", {names[int(row)]: value for row, value in given.items()})
    label_samples(model, (X, labels), out, **options)
    weighed = [*csv.DictReader((out / "weights.csv").read_text().splitlines())]
    assert {row["id"] for row in weighed} == {*names}
    values = {row["id"]: row[QUESTION] for row in weighed}
    assert {names[int(row)]: values[names[int(row)]] for row in given} == {
        names[int(row)]: value for row, value in given.items()
    }


def test_one_answer_alike_for_all_is_told(model, asked, asked_once):
    save(asked / "labels.csv", dict.fromkeys(asked_once[1].asked, "yes"))
    assert "from the 16 labels so far. All labels are 'yes'." in str(ask(model, asked))


def test_without_new_answers_everything_stays(model, asked, answered_once, tmp_path):
    before = kept(asked)
    again = ask(model, asked)
    assert kept(asked) == before
    assert (again.n_new, again.table) == (0, "questions-1.csv")
    table = asked / "questions-1.csv"
    theirs = table.read_text().replace(",", ";") + "9;;\n"  # saved by a person, without answers
    table.write_text(theirs)
    assert ask(model, asked, batch=8).n_new == 0
    assert table.read_text() == theirs
    answered = shutil.copytree(answered_once, tmp_path / "answered")
    before = kept(answered)
    os.utime(answered / "labels.csv")  # read, and the same
    assert ask(model, answered).n_new == 0
    assert kept(answered) == before


def test_the_last_word_counts_and_a_file_elsewhere_is_taken(model, asked, tmp_path):
    save(tmp_path / "one.csv", {"0": "yes", "1": "no"})
    save(tmp_path / "two.csv", {"0": "NO", "1": ""})
    labels = ask(model, asked, answers=tmp_path / "one.csv", match_names=True).labels
    found = ask(model, asked, answers=[tmp_path / "two.csv"], match_names=True)
    assert (labels.answers["0"], found.labels.answers) == ("yes", {"0": "no", "1": "no"})
    assert found.n_new == 1
    other = ask(model, tmp_path / "other", answers=asked / "answers.json")
    assert other.labels.answers == found.labels.answers


def test_a_table_from_elsewhere_does_not_name_samples_without_names(model, tmp_path):
    """Its names may start at 1, or be customers."""
    save(tmp_path / "some.csv", truth("345"))
    with pytest.raises(
        InputError, match=r"some\.csv names samples, but these samples have no names"
    ):
        ask(model, tmp_path / "out", answers=tmp_path / "some.csv")
    assert not (tmp_path / "out").exists()
    found = ask(model, tmp_path / "out", answers=tmp_path / "some.csv", match_names=True)
    assert found.labels.answers == truth("345")
    columns = {**dict(zip("abcdef", X.T, strict=True)), "id": range(len(Y)), "label": Y}
    table = write_csv(tmp_path / "t.csv", columns)  # with names, also if they are numbers
    options = {"question": QUESTION, "answers": tmp_path / "some.csv", "device": "cpu"}
    found = label_samples(model, table, tmp_path / "named", **options)
    assert found.labels.answers == truth("345")
    assert not any("from 0 on" in note for note in found.about_answers)


def test_samples_without_a_name_of_their_own_do_not_take_that_of_others(model, tmp_path):
    """An id is missing, and one is of two samples; all others still have their names."""
    ids = [str((row + 100) % len(Y)) for row in range(len(Y))]  # each is the row of another sample
    own = {name: truth([row])[row] for row, name in enumerate(ids)}
    ids[3], ids[5] = "", ids[4]
    columns = {**dict(zip("abcdef", X.T, strict=True)), "id": ids, "label": Y}
    options = {"question": QUESTION, "batch": len(Y), "device": "cpu"}
    table = write_csv(tmp_path / "t.csv", columns)
    found = label_samples(model, table, tmp_path / "out", **options)
    assert {*found.asked} == {*ids, "row 3", "row 4", "row 5"} - {"", ids[4]}
    known = {name: own[name] for name in ids[10:40]}
    write_csv(tmp_path / "known.csv", {"id": known, QUESTION: known.values()})
    options["answers"] = tmp_path / "known.csv"
    found = label_samples(model, table, tmp_path / "out", **options)
    assert found.labels.answers == known


@pytest.mark.parametrize("header", ["id", "file_name"])
def test_a_table_names_its_samples_as_in_other_commands(model, tmp_path, header):
    table, given = tmp_path / "labels.csv", {"3": "yes", "8": "no"}
    write_csv(table, {"note": "xx", header: given, QUESTION: given.values()})
    assert ask(model, tmp_path / "out", answers=table, match_names=True).labels.answers == given


@pytest.mark.parametrize(
    ("files", "options", "message"),
    [
        ({"labels.csv": f"id,{QUESTION}\n0,maybe\n"}, {}, "'maybe' for '0'"),
        ({"labels.csv": f"id,{QUESTION}\n9999,yes\n"}, {}, "2: no sample has the name '9999'"),
        ({"labels.csv": f"id,{QUESTION}\nzero,?\n"}, {}, "no sample has the name 'zero'"),
        ({"labels.csv": f"id,{QUESTION}\n1,yes\n1,no\n"}, {}, "3: '1' has the label 'no' here and"),
        ({"labels.csv": f"name,{QUESTION}\n1,yes\n"}, {}, "no column 'id'"),
        ({"labels.csv": "id,Is it red?\n1,yes\n"}, {}, "no column 'Is it marked"),
        ({"labels.csv": f"id,{QUESTION}\n1,yes,9\n"}, {}, "row 2"),
        ({"labels.csv": f'id,{QUESTION}\n"1,yes\n'}, {}, "not a readable table"),
        ({"labels.csv": f"id,{QUESTION}\n"}, {}, "no rows"),
        ({"labels.csv": ""}, {}, "no rows|not a readable"),
        ({"labels.csv": f"id,{QUESTION}\n1,ä\n".encode("latin-1")}, {}, "UTF-8"),
        ({}, {"answers": "no.csv"}, "readable"),
        ({}, {"answers": "x.docx"}, "not a table"),
        ({"../a.json": '{"ntkit": "answers", "version": 1, "question": "Red?", "values": ["yes"], '
          '"answers": []}'}, {"answers": "a.json"}, "for the question 'Red"),
        ({"label.html": "changed"}, {}, "label.html has changed"),
        ({"answers.json": '{"ntkit": "answers", "version": 1, "answers": []}'}, {},
         "holds the answers of an audit"),
        ({"answers.json": None}, {}, "holds embedded.npz but no answers.json"),
        ({}, {"question": "Is it red?"}, "is 'Is it marked"),
        ({}, {"values": ["a", "b"]}, "are yes, no"),
        ({}, {"batch": 0}, "batch must be at least 1"),
        ({}, {"out": "no/such"}, "does not exist"),
        ({}, {"out": "."}, "Choose another name|an input of this job"),
        ({}, {"out": "out/label.html"}, "is a file, not a folder"),
        ({}, {"out": "new", "question": None}, "There is no question yet"),
        ({}, {"out": "new", "question": "id"}, "already a column"),
        ({}, {"out": "new", "values": ["yes", "unsure"]}, "'unsure' stands for a missing label"),
        ({}, {"out": "new", "values": ["yes", "Yes"]}, "differ only in case"),
    ],
)  # fmt: skip
def test_refused_and_nothing_written(model, asked, tmp_path, monkeypatch, files, options, message):
    monkeypatch.chdir(tmp_path)
    for name, content in files.items():
        if content is None:
            (asked / name).unlink()
        else:
            data = content if isinstance(content, bytes) else content.encode()
            (asked / name).write_bytes(data)
    before = kept(asked), sorted(tmp_path.iterdir())
    with pytest.raises(InputError, match=message) as error:
        ask(model, **({"out": "out"} | options))
    assert "\n" not in str(error.value)
    assert (kept(asked), sorted(tmp_path.iterdir())) == before


@pytest.mark.parametrize(
    "text",
    [
        "id,{}\r\n1,yes\r\n2,\r\n3,no\r\n",
        "\ufeffid;{}\n1;yes\n2;?\n3;no\n",
        "id\t{}\n1\tYES\n2\tunsure\n3\tno\n",
        'note,{},id\n"x, y",yes,1\nz,-1,2\n,no,3\n',
    ],
)
def test_what_spreadsheets_make_of_a_table_is_read(model, asked, text):
    (asked / "labels.csv").write_text(text.format(QUESTION), encoding="utf-8")
    answers = ask(model, asked).labels.answers
    assert {name: value for name, value in answers.items() if value} == {"1": "yes", "3": "no"}


def test_names_are_written_for_spreadsheets_and_found_again(model, tmp_path):
    """A name that a spreadsheet takes for a formula, and names with blanks."""
    ids = np.array(
        ["=1+2", "-b", "a", "a ", "+b", "@c", "x, y", 'say "c"', "ä\u2028", "'t", "1.0", "z "]
    )
    few, out = Samples(X[:12], Y[:12], ids=ids), tmp_path / "out"
    label_samples(model, few, out, question=QUESTION, device="cpu")
    table = out / "questions-1.csv"
    with table.open(newline="", encoding="utf-8") as file:
        header, *lines = csv.reader(file)
    assert header == ["id", "ntkit_content", QUESTION]
    assert not any(line[0].startswith(("=", "+", "-", "@")) for line in lines)
    for line in lines:
        line[-1] = "yes" if line[0].strip() == "a" else "no"
    write_rows(table, [header, *lines])
    found = label_samples(model, few, out, device="cpu")
    assert found.labels.answers == {name: "no" if name[0] != "a" else "yes" for name in ids}
    assert "All samples have been shown" in str(found)
    save(tmp_path / "z.csv", {"z": "yes", "'-b": "no"})  # by name
    options = {"question": QUESTION, "answers": tmp_path / "z.csv", "device": "cpu"}
    found = label_samples(model, few, tmp_path / "new", **options)
    assert found.labels.answers == {"z ": "yes", "-b": "no"}
    for name, says in {"a ": "2 samples have this name", "b": "no sample has the name 'b'"}.items():
        save(tmp_path / "z.csv", {name: "yes"})
        with pytest.raises(InputError, match=says):
            label_samples(model, few, tmp_path / "new", **options)


@pytest.mark.parametrize(
    "question", ["@mention in it?", "'Sale' sign?", "+ sign?", "- dash?", "=1+1", "'=x", "plain?"]
)
def test_a_question_that_looks_like_a_formula_is_read_again(model, tmp_path, question):
    ids = np.array([f"p{i}" for i in range(12)])
    few, out = Samples(X[:12], Y[:12], ids=ids), tmp_path / "out"
    label_samples(model, few, out, question=question, device="cpu")
    with (out / "questions-1.csv").open(newline="", encoding="utf-8") as file:
        header, *lines = csv.reader(file)
    assert not header[-1].startswith(("=", "+", "-", "@"))
    page = unescape((out / "label.html").read_text(encoding="utf-8"))
    title = json.loads(re.search(r'"header": (".*?"), "values"', page)[1])
    write_rows(out / "questions-1.csv", [header, *([*line[:-1], "yes"] for line in lines[:6])])
    (out / "labels.csv").write_text(f"{title}\n{lines[7][0]},{lines[7][1]},no\n", encoding="utf-8")
    found = label_samples(model, few, out, device="cpu")
    assert found.labels.question == question
    assert [*found.labels.answers.values()].count("yes") == 6
    assert [*found.labels.answers.values()].count("no") == 1


def test_a_run_that_fails_leaves_no_folder_and_files_of_others(model, tmp_path):
    (tmp_path / "out").mkdir()
    with pytest.raises(InputError, match="There is no question yet"):
        ask(model, tmp_path / "out", question=None)
    assert [*(tmp_path / "out").iterdir()] == []
    ask(model, tmp_path / "out")
    (tmp_path / "out" / "notes.txt").write_text("mine")
    (tmp_path / "out" / "label.html").unlink()
    ask(model, tmp_path / "out")
    assert (tmp_path / "out" / "notes.txt").read_text() == "mine"


def test_stopped_in_the_middle_it_goes_on(model, asked_once, tmp_path, monkeypatch):
    """After any of the files, and without incomplete files."""
    for stop in range(4):
        out = tmp_path / f"stopped after {stop}"
        replaced, left = os.replace, [stop]

        def replace(*paths, replaced=replaced, left=left):
            if not left[0]:
                raise KeyboardInterrupt
            left[0] -= 1
            replaced(*paths)

        monkeypatch.setattr("ntkit._output.os.replace", replace)
        with pytest.raises(KeyboardInterrupt):
            ask(model, out)
        monkeypatch.undo()
        assert len(kept(out) if out.exists() else ()) == stop
        ask(model, out)
        assert sorted(kept(out)) == FILES
        assert kept(out)["label.html"] == kept(asked_once[0])["label.html"]


def test_the_model_runs_once_over_the_same_samples(model, asked, asked_once, monkeypatch):
    runs = list[int]()
    run = label.embedded_with_layers
    monkeypatch.setattr(
        label, "embedded_with_layers", lambda *a, **k: [runs.append(1), run(*a, **k)][1]
    )
    assert ask(model, asked).asked == asked_once[1].asked
    assert runs == []
    others = X.copy()
    others[7, 3] += 1
    for _ in range(2):
        ask(model, asked, X=others)
        assert len(runs) == 1
    (asked / "embedded.npz").write_bytes(b"somebody's")
    ask(model, asked)
    assert len(runs) == 2
    assert (asked / "embedded.npz").read_bytes() == b"somebody's"


# -- whose answers ---


PERMUTED = np.random.default_rng(7).permutation(len(Y))


def all_right(labels, rows):
    """Whether each answer is that of the sample of its row."""
    return labels.answers == {n: ["no", "yes"][MARK[rows[int(n)]]] for n in labels.answers}


@pytest.mark.more
@pytest.mark.parametrize(
    "rows",
    [PERMUTED, np.r_[239, 0:240], np.r_[100:240, 0:100, 0:240]],
    ids=["shuffled", "longer", "twice"],
)
def test_answers_go_with_their_samples_to_other_rows(model, answered, tmp_path, rows):
    before = read_labels(answered / "answers.json")
    for _ in range(2):  # the second time from what the first one kept
        found = ask(model, answered, rows)
        assert len(found.labels.answers) == len(before.answers) == 16
        assert all_right(found.labels, rows)
        assert not {*rows[[*map(int, found.asked)]]} & {*map(int, before.answers)}
        assert {*found.labels.contents.values()} == {*before.contents.values()}
        assert found.labels.left_out == ()
    assert found.about_answers == ()
    assert json.loads((answered / "answers.json").read_text())["looked_at"] == [16]


@pytest.mark.more
@pytest.mark.parametrize("other", ["float32", "frame", "csv"])
def test_answers_go_with_their_samples_in_other_forms(model, tmp_path, other):
    """A number is the one that the model takes, from a file, an array or a DataFrame."""
    exact = X.astype(np.float64).round(3)  # as a file has them, none of them in single precision
    ask(model, tmp_path / "out", X=exact)
    fill_in(tmp_path / "out")
    exact, y = exact[PERMUTED], Y[PERMUTED]
    if other == "csv":
        columns = {f"x{i}": x for i, x in enumerate(exact.T)} | {"label": y}
        samples = write_csv(tmp_path / "samples.csv", columns)
    else:
        frame = pd.DataFrame(exact)
        samples = (exact.astype(np.float32) if other == "float32" else frame, y)
    found = label_samples(model, samples, tmp_path / "out", batch=16, device="cpu")
    assert len(found.labels.answers) == 16
    assert all_right(found.labels, PERMUTED)


def test_answers_of_another_file_and_of_a_table_go_by_content_too(
    model, answered, asked_once, tmp_path
):
    found = ask(model, tmp_path / "o", PERMUTED, answers=answered / "answers.json")
    assert len(found.labels.answers) == 16
    assert all_right(found.labels, PERMUTED)
    # A person fills in the table of a question, and somebody sorts the data meanwhile.
    out = shutil.copytree(asked_once[0], tmp_path / "sorted")
    fill_in(out)
    found = ask(model, out, PERMUTED)
    assert len(found.labels.answers) == 16
    assert all_right(found.labels, PERMUTED)


@pytest.mark.more
def test_what_has_changed_is_left_out_and_comes_back(model, answered):
    before = read_labels(answered / "answers.json")
    first, second = [*before.answers][:2]
    others = X.copy()
    others[[int(first), int(second)], 5] += 1
    found = ask(model, answered, X=others)
    assert {*before.answers} - {*found.labels.answers} == {first, second}
    note = "2 of 16 labels are kept but not used, because no sample has their contents now"
    assert f"{note}: {', '.join(map(repr, sorted([first, second])))}." in str(found)
    assert [entry.name for entry in found.labels.left_out] == [first, second]
    assert json.loads((answered / "answers.json").read_text())["looked_at"] == [14]

    # The changed sample is asked about anew, under the name of what was left out.
    save(answered / "labels (1).csv", {first: "no"})
    found = ask(model, answered, X=others)
    assert (found.labels.answers[first], len(found.labels.left_out)) == ("no", 2)
    found = ask(model, answered, PERMUTED)
    assert all_right(found.labels, PERMUTED)
    assert len(found.labels.answers) == 16
    assert [entry.answer for entry in found.labels.left_out] == ["no"]


def test_other_samples_are_refused_and_those_saved_again_match_by_name(model, answered, tmp_path):
    before = kept(answered)
    others = X + np.float32(1e-3)
    for out, options in ((answered, {}), (tmp_path / "o", {"answers": answered / "answers.json"})):
        with pytest.raises(InputError, match=r"None of 16 digests in .* --match-names"):
            ask(model, out, X=others, **options)
    assert kept(answered) == before
    found = ask(model, answered, X=others, match_names=True)
    assert "none of 16 digests belongs to one of these samples; matched by name" in str(found)
    assert "names of these samples are their rows, from 0 on" in str(found)
    assert all_right(found.labels, np.arange(240))
    again = ask(model, answered, X=others)  # known by content from now on
    assert (again.about_answers, len(again.labels.answers)) == ((), 16)


def test_one_content_is_not_answered_in_two_ways(model, tmp_path):
    twice, out = np.r_[0:240, 0:240], tmp_path / "out"
    ask(model, out, twice)
    save(out / "labels.csv", {"3": "yes", "243": "no", "4": "no"})
    before = kept(out)
    with pytest.raises(InputError, match="'3' has the label 'yes' and '243' the label 'no'"):
        ask(model, out, twice)
    assert kept(out) == before
    save(out / "labels.csv", {"3": "yes", "4": "no"})
    ask(model, out, twice)
    save(tmp_path / "more.csv", {"243": "no"})
    with pytest.raises(InputError, match="'3' has the label 'yes' and '243' the label 'no'"):
        ask(model, out, twice, answers=tmp_path / "more.csv", match_names=True)
    save(tmp_path / "more.csv", {"243": "?", "5": "no"})
    assert (
        ask(model, out, twice, answers=tmp_path / "more.csv", match_names=True).labels.n_answers
        == 3
    )


def test_two_files_do_not_contradict_each_other_under_two_names(model, answered, tmp_path):
    content = json.loads((answered / "answers.json").read_text())
    entry = content["answers"][0]
    other = {"yes": "no", "no": "yes"}[entry["answer"]]
    names = {each["name"] for each in content["answers"]}
    named = next(str(i) for i in range(240) if str(i) not in names)  # a row number of before
    more = content | {"answers": [entry | {"name": named, "answer": other}]}
    (tmp_path / "more.json").write_text(json.dumps(more))
    message = f"'{named}' has the label '{other}' here and '{entry['answer']}' as"
    with pytest.raises(InputError, match=message):
        ask(model, answered, answers=tmp_path / "more.json")
    more["answers"][0]["name"] = entry["name"]  # by its own name the last word counts
    (tmp_path / "more.json").write_text(json.dumps(more))
    found = ask(model, answered, answers=tmp_path / "more.json").labels
    assert found.answers[entry["name"]] == other


# -- the file of all answers -------------------------------------------------------------------


NAMES = st.text(st.characters(codec="utf-8"), min_size=1, max_size=9).filter(str.strip)


@given(st.dictionaries(NAMES, st.sampled_from(["yes", "no", None]), max_size=6))
@settings(max_examples=20, deadline=None)
def test_answers_come_back_as_they_were(tmp_path_factory, answers):
    contents = {name: f"ab{i}" for i, name in enumerate(answers)}
    labels = Labels("Is it?", ("yes", "no"), answers, contents)
    file = tmp_path_factory.getbasetemp() / "answers.json"
    file.write_text(json.dumps(labels.as_dict()), encoding="utf-8")
    assert read_labels(file) == labels


GOOD = {"ntkit": "answers", "version": 1, "question": "q", "values": ["yes", "no"], "answers": []}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not JSON"),
        (b"\xff", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[]", "lacks"),
        (None, "cannot be read"),
        ({"ntkit": "labels"}, "lacks"),
        ({"version": 2}, "version 2"),
        ({"version": True}, "version True"),
        ({"question": " "}, "are damaged"),
        ({"values": "yes"}, "are damaged"),
        ({"answers": {}}, "not a list"),
        ({"answers": ["a"]}, "lacks a name"),
        ({"answers": [{"answer": "yes"}]}, "lacks a name"),
        ({"answers": [{"name": "a", "answer": 1}]}, "or is damaged"),
        ({"answers": [{"name": "a", "answer": "so"}]}, "has the label 'so' for 'a'"),
        ({"answers": [{"name": "a", "answer": a} for a in ("yes", None)]}, "has two labels of"),
        ({"answers": [{"name": n, "answer": n, "content": "ab"} for n in ("yes", "no")]},
         "'no' has the label 'no' here and 'yes' as 'yes'"),
    ],
)  # fmt: skip
def test_hostile_files_of_answers_are_named(tmp_path, content, message):
    file = tmp_path / "answers.json"
    if content is not None:
        data = content if isinstance(content, bytes) else json.dumps(GOOD | content).encode()
        file.write_bytes(data)
    with pytest.raises(InputError, match=message) as error:
        read_labels(file)
    assert "\n" not in str(error.value)


def test_numbers_as_labels_in_any_writing(model, tmp_path):
    """A spreadsheet writes 1.0 next to empty cells."""
    ask(model, tmp_path / "out", values=["0", "1"])
    save(tmp_path / "out" / "labels.csv", {"3": "1.0", "4": "0", "5": "0.0", "6": ""})
    found = ask(model, tmp_path / "out")
    assert found.labels.answers == {"3": "1", "4": "0", "5": "0"}


@pytest.mark.parametrize(
    ("first", "second", "says", "counted"),
    [
        ({"3": "yes", "4": "no", "5": "no"}, {"3": "no", "4": "no"},
         "1 label replaces another one that was given before.", {"3": "no", "4": "no", "5": "no"}),
        ({"3": "yes", "4": "no", "5": "?"}, {"3": "?", "5": "no", "6": "?"},
         "? takes back 1 label that was given before: '3'.",
         {"3": None, "4": "no", "5": "no", "6": None}),
    ],
)  # fmt: skip
def test_the_later_file_of_two_counts_and_is_told(model, tmp_path, first, second, says, counted):
    """Two people may disagree, and a second one who cannot tell takes back the first's label."""
    rows, out = np.arange(240), tmp_path / "out"
    ask(model, out, rows)
    paths = [save(tmp_path / f"{name}.csv", labels)
             for name, labels in (("one", first), ("two", second))]  # fmt: skip
    told = ask(model, out, rows, answers=paths, match_names=True)
    assert [note for note in told.about_answers if says in note] == [f"{paths[1]}: {says}"]
    assert told.labels.answers == counted


def test_classes_in_another_order_are_told_before_a_person_labels(tmp_path):
    """Accuracies of groups would be those of wrong classes."""
    onnx_model = onnx.load(write_model(tmp_path / "model.onnx"))
    table = write_csv(tmp_path / "t.csv", {**dict(zip("abcdef", X.T, strict=True)), "label": Y})
    for names, told in ((["0", "1"], False), (["1", "0"], True)):
        save_model(onnx_model, tmp_path / "named.onnx", names)
        out = tmp_path / f"out{told}"
        question = {"question": "?", "values": ["a", "b"], "device": "cpu"}
        result = label_samples(tmp_path / "named.onnx", table, out, **question)
        assert any("another order" in note for note in result.notes) == told
