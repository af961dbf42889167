"""Repair by change: copies where there is no counterexample, who judges, and what it refuses."""

import json

import numpy as np
import onnxruntime as ort
import pytest

import ntkit
from ntkit import FrozenModel, debias
from ntkit.changes import change_from
from ntkit.datasets import load_marked_digits, marked_digits_model_path
from ntkit.exceptions import InputError
from ntkit.extraction import Samples
from ntkit.pages.change_cards import KEEPS_THE_CLASS
from tests.jobs.debias.test_attributes_named import files as files  # a model of reviews
from tests.jobs.debias.test_attributes_named import reviews, run, write_table

DIGITS = marked_digits_model_path()


@pytest.fixture(scope="module")
def digits():
    return load_marked_digits()


def sets_of(digits, n=900, m=600):
    return (
        (digits.X_train[:n], digits.y_train[:n]),
        (digits.X_validation[:m], digits.y_validation[:m]),
    )


def worst_group(model, digits):
    session = ort.InferenceSession(model.to_bytes() if hasattr(model, "to_bytes") else str(model))
    name = session.get_inputs()[0].name
    pred = session.run(None, {name: digits.X_test})[0].argmax(axis=1)
    return min(
        (pred == digits.y_test)[digits.groups_test == group].mean()
        for group in np.unique(digits.groups_test)
    )


def test_a_part_of_another_image_repairs_without_a_label_of_the_mark(digits, tmp_path):
    result = debias(
        DIGITS,
        *sets_of(digits),
        invariant="image:top left",
        out=tmp_path / "out",
        device="cpu",
    )
    assert result.written
    assert "judged by changed copies alone" in result.headline()
    assert worst_group(DIGITS, digits) < 0.5
    assert worst_group(tmp_path / "out" / "debiased.onnx", digits) > 0.8
    # The flips of the named change fall, and the record says so.
    record = json.loads((tmp_path / "out" / "result.json").read_text())
    own = next(r for r in record["by_change"]["flips"] if r["change"] == "image:top left")
    assert own["after"] < own["before"] / 2
    assert not own["rises"]
    facts = FrozenModel.load(tmp_path / "out" / "debiased.onnx").metadata
    assert json.loads(facts["ntkit.changes"]) == ["image:top left"]
    kept = json.loads((tmp_path / "out" / "answers.json").read_text())["answers"]
    assert [(a["name"], a["answer"]) for a in kept] == [("change image:top left", "invariant")]
    assert not list(tmp_path.glob(".out*"))  # copies are kept while it runs only
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "Originals and changed copies with the largest change of activation" in page
    for line in result.by_change.sentences():
        assert line.replace("'", "&#39;") in page


def test_flip_rates_are_those_of_onnx_runtime(digits, tmp_path):
    result = debias(
        DIGITS, *sets_of(digits), invariant="image:top left", out=tmp_path / "out", device="cpu"
    )
    rate = next(r for r in result.by_change.flips if r.change == "image:top left")
    rows = np.sort(np.random.default_rng(0).permutation(600)[:150])
    samples = Samples(digits.X_validation[:600], digits.y_validation[:600])
    copies, at = ntkit.changes.change_named("image:top left").copies(samples, rows)
    for model, share in ((DIGITS, rate.before), (tmp_path / "out" / "debiased.onnx", rate.after)):
        session = ort.InferenceSession(str(model))
        name = session.get_inputs()[0].name
        before, after = (
            session.run(None, {name: X})[0].argmax(axis=1) for X in (samples.X[at], copies.X[:])
        )
        assert share == pytest.approx((before != after).mean(), abs=1e-9)


def test_a_change_that_has_nothing_to_do_with_anything_does_no_harm(digits):
    for change in ("image:jpeg", "image:bottom right"):
        result = debias(
            DIGITS,
            *sets_of(digits),
            test=(digits.X_test, digits.y_test, digits.groups_test),
            invariant=change,
            device="cpu",
        )
        if result.written:
            change = result.change
            assert change.average_after > change.average_before - 0.01
            assert change.worst_after > change.worst_before - 0.02


def test_a_change_of_the_subject_is_told_of(digits):
    """Invariance to the subject ruins a model: only a person's word makes a change invariant."""
    result = debias(DIGITS, *sets_of(digits), invariant="image:centre", device="cpu")
    told = "\n".join(result.by_change.sentences())
    relies = any(rate.rises for rate in result.by_change.flips)
    assert ("relies more on" in told) is relies
    assert not result.written or result.accuracy_cost.average < 0.95


def test_real_groups_judge_where_a_word_names_them(files):
    result = debias(
        files / "model.onnx",
        files / "train.csv",
        files / "validation.csv",
        spurious="word:film|word:movie",
    )
    assert result.helped
    names = [each.name for each in result.candidates]
    assert {"group-balanced", "copies", "copies and penalty", "groups and copies"} < {*names}
    told = result.by_change.sentences()
    assert any(line.startswith("Copies by word:film|word:movie are similar") for line in told)
    assert "judged by changed copies alone" not in result.headline()
    (like,) = result.by_change.likeness
    assert max(like.aucs.values()) < 0.7
    assert set(like.small) <= {"fresh × word:movie", "rotten × word:film"}


def test_copies_unlike_real_samples_judge_nothing(files):
    """A word that is left out does not say the other word: real samples tell the difference."""
    result = debias(
        files / "model.onnx", files / "train.csv", files / "validation.csv", spurious="word:film"
    )
    told = "\n".join(result.by_change.sentences())
    (like,) = result.by_change.likeness
    assert not like.judges
    assert "A classifier distinguishes copies by word:film=both from real samples" in told
    assert "only real samples judge" in told


def test_without_any_counterexample_copies_alone_repair(files, tmp_path):
    texts, y, _ = reviews(5, 900, 1.0)
    table = write_table(tmp_path / "train.csv", text=texts, label=y)
    texts, y, _ = reviews(6, 600, 1.0)
    validation = write_table(tmp_path / "validation.csv", text=texts, label=y)
    result = debias(
        files / "model.onnx", table, validation, spurious="word:film|word:movie", out=tmp_path / "o"
    )
    assert result.written
    assert "judged by changed copies alone" in result.headline()
    assert any("word:film|word:movie has one value in each class" in n for n in result.notes)
    own = next(r for r in result.by_change.flips if r.change == "word:film|word:movie")
    assert own.after < own.before / 2


def test_a_word_that_is_left_out_makes_no_real_sample_that_has_it(files):
    """Copies without a word enter the group without it, and do not judge where they are unlike."""
    result = debias(
        files / "model.onnx", files / "train.csv", files / "validation.csv", invariant="word:film"
    )
    (like,) = result.by_change.likeness
    assert not like.judges
    worst = result.accuracy_costs[0].worst_named
    with (files / "validation.csv").open(encoding="utf-8") as file:
        rows = [line for line in file if ",rotten" in line or "rotten," in line]
    having = sum(" film" in f" {row.replace(',', ' ')}" for row in rows)
    assert worst.name == "rotten × word:film"
    assert worst.count == having


def test_an_answer_that_it_touches_the_subject_is_not_overwritten(digits, tmp_path):
    answers = tmp_path / "answers.json"
    no = {"name": "change image:centre", "answer": "legitimate", "values": [["image:centre"]]}
    answers.write_text(json.dumps({"ntkit": "answers", "version": 1, "answers": [no]}))
    with pytest.raises(InputError, match="image:centre changes the true class"):
        debias(DIGITS, *sets_of(digits, 200, 200), answers=answers, invariant="image:centre")


def test_the_page_asks_whether_a_change_keeps_the_true_class(digits, tmp_path):
    debias(DIGITS, *sets_of(digits, 2700, 1500), out=tmp_path / "out", device="cpu")
    page = (tmp_path / "out" / "audit.html").read_text(encoding="utf-8")
    assert f"<legend>{KEEPS_THE_CLASS}</legend>" in page
    assert "change image:top left" in page
    record = json.loads((tmp_path / "out" / "audit.json").read_text())
    assert "image:top left" in [change["name"] for change in record["changes"]]


def test_labels_and_methods_are_not_vetoed_by_a_change(digits):
    for said in ({"method": "cell-balanced"}, {"groups": digits.groups_train.tolist()}):
        if "groups" in said:
            said = {"groups": np.concatenate([digits.groups_train[:900], np.full(600, -1)])}
        result = debias(DIGITS, *sets_of(digits), invariant="image:jpeg", device="cpu", **said)
        assert "rely on the change" not in result.headline()
        # Labels have groups of their own; a method is judged as what was changed is.
        assert ("copies alone" in str(result)) is ("method" in said and result.written)


def test_a_row_of_the_table_can_be_ordered_with_changes_alone(digits):
    given = sets_of(digits, 400, 300)
    result = debias(DIGITS, *given, invariant="image:top left", method="copies", device="cpu")
    assert result.chosen.name == "copies"
    for method in ("copies", "by change"):
        with pytest.raises(InputError, match="There is no candidate"):
            debias(DIGITS, *given, method=method, device="cpu")


@pytest.mark.parametrize(
    ("invariant", "message"),
    [
        ("image:foo", "There is no change 'image:foo' of images"),
        ("metadata:site=B", "cannot be changed"),
        ("word:film", "changes texts"),
        ("column:sex", "changes columns"),
        ("folder:/nowhere", "does not exist"),
        (3, "A change must be a text"),
    ],
)
def test_what_cannot_be_changed_is_refused(digits, invariant, message):
    with pytest.raises(InputError, match=message):
        debias(DIGITS, *sets_of(digits, 100, 100), invariant=invariant, device="cpu")


def test_a_function_is_a_change(digits):
    def without_mark(image):
        image = image.copy()
        image[:6, :6] = image[:6, :6].min()
        return image

    change = change_from(without_mark, "mark wiped")
    result = debias(DIGITS, *sets_of(digits), invariant=change, device="cpu")
    assert result.by_change.changes == ("mark wiped",)
    assert result.written


def test_an_interrupted_run_leaves_copies_to_go_on_with_and_other_files_alone(
    digits, tmp_path, monkeypatch
):
    from ntkit.jobs.debias import _invariance

    somebodys = tmp_path / ".out.copies" / "notes.txt"
    somebodys.parent.mkdir()
    somebodys.write_text("mine")
    whole, calls = _invariance.embedded_copies, []

    def interrupted(*args, **options):
        calls.append(options["store"])
        if len(calls) == 2:
            raise KeyboardInterrupt
        return whole(*args, **options)

    monkeypatch.setattr(_invariance, "embedded_copies", interrupted)
    given = {"invariant": "image:top left", "out": tmp_path / "out", "device": "cpu"}
    with pytest.raises(KeyboardInterrupt):
        debias(DIGITS, *sets_of(digits, 200, 200), **given)
    assert not (tmp_path / "out").exists()
    assert (calls[0] / "embeddings.npy").is_file()
    monkeypatch.setattr(_invariance, "embedded_copies", whole)
    debias(DIGITS, *sets_of(digits, 200, 200), **given)
    assert [path.name for path in somebodys.parent.iterdir()] == ["notes.txt"]
    assert somebodys.read_text() == "mine"


def test_the_command_line_takes_changes_and_goes_on_with_them(digits, tmp_path, capsys):
    for name, (X, y) in zip(("train", "validation"), sets_of(digits), strict=True):
        np.savez(tmp_path / f"{name}.npz", X=X, y=y)
    out = tmp_path / "out"
    sets = ("--train", tmp_path / "train.npz", "--validation", tmp_path / "validation.npz")
    code, text, _ = run(capsys, "debias", DIGITS, *sets, "-o", out, "--no-input", "--device", "cpu")
    assert code == 3
    assert "--invariant image:border" in text
    code, text, error = run(capsys, "debias", "--from", out, "--invariant", "image:top left")
    assert code == 0, error
    assert "judged by changed copies alone" in text.splitlines()[0]
    # What was said is kept: the next run does the same.
    code, text, error = run(capsys, "debias", "--from", out, "--answers", out / "answers.json")
    assert code == 0, error
    assert "judged by changed copies alone" in text.splitlines()[0]
