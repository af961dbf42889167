"""Changed copies: predictions that flip, held to limits."""

from dataclasses import replace
from itertools import product

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import ntkit
from ntkit import FrozenModel, audit_model
from ntkit.changes import change_from, change_named
from ntkit.datasets import marked_digits_model_path
from ntkit.exceptions import InputError
from ntkit.extraction import OnnxEmbedder, Samples
from ntkit.jobs.check.files import summary_of
from ntkit.store import EmbeddingStore
from tests import models, texts

MARK = "image:bottom right"  # where the demo's mark is


def check(old, new, data, *changes, limits=None, **options):
    return ntkit.check(
        old, new, data, invariant=changes, limits=limits, device="cpu", **options
    )  # fmt: skip


def test_flips_are_those_that_onnx_runtime_finds(digits):
    X, y = digits.X_test[:200], digits.y_test[:200]
    path = marked_digits_model_path()
    found = check(None, path, (X, y), MARK, "image:grey", limits={"max_flip_rate": 30})
    copies, at = change_named(MARK).copies(Samples(X, y))
    flipped = [ntkit.predict(path, part, device="cpu").labels for part in (X[at], copies.X[:])]
    row = found.row(f"change {MARK}")
    assert (row.n, row.value) == (200, np.mean(flipped[0] != flipped[1]))
    assert row.before is row.lost is None
    grey = found.row("change image:grey")
    assert (grey.value, grey.outcome) == (0, "pass")
    assert found.n_comparisons == 2
    assert len(found.rows) == 3  # of accuracies there is no limit


def test_black_and_white_of_an_array_are_known_noted_or_refused(digits):
    """Changes of pixels need them; a part of another image does not."""
    X, y = digits.X_test[:60], digits.y_test[:60]
    path, limits, outcomes = marked_digits_model_path(), {"max_flip_rate": 90}, {}
    scaled = {"known": 2 * X - 1, "few": X * 16, "normalised": (X - 0.5) / 0.2}
    for name, images in scaled.items():
        for change in (MARK, "image:brightness=1.2"):
            try:
                notes = check(None, path, (images, y), change, limits=limits).notes
                told = [note for note in notes if "as black and" in note]
            except InputError as error:
                told = [str(error)]
            outcomes[name, change[6:12]] = told
    few, refused = (outcomes.pop(k)[0] for k in (("few", "bright"), ("normalised", "bright")))
    assert not any(outcomes.values())
    assert few.startswith("The images have values up to 16. ")
    assert "needs black and white" in refused
    assert "values from -2.5 to 2.5" in refused


def test_the_new_model_may_not_surely_flip_more_than_the_old_one(digits):
    model = FrozenModel.load(marked_digits_model_path())
    pair = model, model.with_head(model.head.scaled(np.zeros(64)))  # never flips
    data, limits = (digits.X_test[:200], digits.y_test[:200]), {"max_drop": 90, "over": "average"}
    (row,) = check(model, model, data, MARK, limits=limits).changes
    assert (row.lost, row.gained, row.outcome) == (0, 0, "pass")
    assert [v.requirement for v in row.verdicts] == [
        "flip rate not significantly higher than the old model's"
    ]
    one, two = (check(*both, data, MARK, limits=limits).changes[0] for both in (pair, pair[::-1]))
    assert (one.lost, one.gained) == (two.gained, two.lost)
    assert one.before == two.value
    assert (one.value, one.outcome, two.outcome) == (0, "pass", "fail")


def test_new_reliance_is_reported_and_is_no_limit(digits):
    """The changes that rise are those of ONNX Runtime's flips, and outcomes stay."""
    model = FrozenModel.load(marked_digits_model_path())
    flat = model.with_head(model.head.scaled(np.zeros(64)))  # never flips
    data, limits = (digits.X_test[:250], digits.y_test[:250]), {"max_drop": 90, "over": "average"}
    found = check(flat, model, data, MARK, limits=limits, new_reliance=True)
    plain = check(flat, model, data, MARK, limits=limits)
    assert (found.outcome, found.n_comparisons) == (plain.outcome, plain.n_comparisons)
    assert found.changes[0] == plain.changes[0]
    others = {row.name: row for row in found.changes[1:]}
    assert not any(row.verdicts for row in others.values())
    assert MARK not in others
    assert {"image:centre", "image:middle centre", "image:blur"}.isdisjoint(others)
    one = check(None, model, data, *others, limits={"max_flip_rate": 99})
    assert {row.name: row.value for row in one.changes} == {n: r.value for n, r in others.items()}
    (note,) = (each for each in found.notes if "further changes" in each)
    largest = max(others.values(), key=lambda row: row.value)
    flips = f"{largest.name} (flips 0.0 → {100 * largest.value:.1f} % of 250 predictions)"
    assert (
        f"Of 8 further changes on 250 samples, the new model surely relies more on {flips}" in note
    )
    fewer = check(model, flat, data, limits=limits, new_reliance=True)
    assert any("surely relies more on none of 9 further changes" in each for each in fewer.notes)
    with pytest.raises(InputError, match="compares the classes of two models"):
        check(None, model, data, limits={"average": 50}, new_reliance=True)


def test_a_change_alone_leaves_the_limit_of_accuracies(digits):
    """A model that answers always the same flips on no change."""
    model = FrozenModel.load(marked_digits_model_path())
    data = digits.X_test[:200], digits.y_test[:200]
    found = check(model, model.with_head(model.head.scaled(np.zeros(64))), data, MARK)
    assert not found.passed
    assert found.row(f"change {MARK}").outcome == "pass"
    assert "No limit is set on accuracies, so ntkit allows a drop of 5 percentage" in str(
        found.notes
    )


def test_words_columns_and_functions(tmp_path):
    backbone = texts.text_model(tmp_path / "m")
    texts.word_pieces().save(str(tmp_path / "m" / "tokenizer.json"))
    head = ntkit.LinearHead(np.random.default_rng(1).normal(size=(2, 6)), [0.0, 0.1], [0, 1])
    backbone.with_head(head).save(tmp_path / "m" / "model.onnx", force=True)
    rng = np.random.default_rng(0)
    rows = [" ".join(rng.choice(["fox", "dog", "lazy", "run"], 4)) for _ in range(200)]
    frame = pd.DataFrame({"text": rows, "label": np.arange(200) % 2})
    frame.to_csv(tmp_path / "t.csv", index=False)
    both = tmp_path / "m" / "model.onnx", tmp_path / "t.csv"
    shouted = change_from(lambda text: text + " fox", "with a fox")
    limits = {"changes": {"word:fox|word:dog": 5}, "max_flip_rate": 50}
    found = check(None, *both, "word:fox|word:dog", " case:upper ", shouted, limits=limits,
                  slices=["word:fox"])  # fmt: skip
    swap, upper, _ = found.changes
    assert swap.n == sum("fox" in row or "dog" in row for row in rows)
    assert [v.bound for row in found.changes for v in row.verdicts] == [0.05, 0.5, 0.5]
    assert (upper.n, upper.outcome) == (0, "too few")  # the tokenizer lowers them
    assert "case:upper changes the model's input of none of the 200 samples." in found.notes
    assert found.row("word:fox").kind == "slice"
    assert found.row("change with a fox").n == 200
    with pytest.raises(InputError, match="changes none of the 200 texts"):
        check(None, *both, "word:nobody", limits={"max_flip_rate": 5})


def test_a_change_that_one_model_does_not_read_flips_none_of_its_predictions(tmp_path):
    """The samples count, though they have a copy for the other model only."""
    rng = np.random.default_rng(0)
    rows = [" ".join(rng.choice(["FOX", "dog", "Lazy", "run"], 4)) for _ in range(200)]
    paths = {}
    for name, tokenizer in (("lower", texts.word_pieces()), ("bytes", texts.bytes_of_texts())):
        backbone = texts.text_model(tmp_path / name, n_tokens=300)
        tokenizer.save(str(tmp_path / name / "tokenizer.json"))
        head = ntkit.LinearHead(rng.normal(size=(2, 6)), [0.0, 0.1], [0, 1])
        paths[name] = tmp_path / name / "model.onnx"
        backbone.with_head(head).save(paths[name], force=True)
    y, table = np.arange(200) % 2, tmp_path / "t.csv"
    pd.DataFrame({"text": rows, "label": y}).to_csv(table, index=False)
    pd.DataFrame({"text": [row.upper() for row in rows]}).to_csv(tmp_path / "u.csv", index=False)
    plain, upper = (
        ntkit.predict(paths["bytes"], tmp_path / name, device="cpu").labels
        for name in ("t.csv", "u.csv")
    )
    share = np.mean(plain != upper)
    assert share > 0.1
    for old, new in (("lower", "bytes"), ("bytes", "lower")):
        found = check(paths[old], paths[new], table, "case:upper", limits={"max_flip_rate": 90})
        row = found.row("change case:upper")
        shares = {old: row.before, new: row.value}
        assert (row.n, shares["lower"], shares["bytes"]) == (200, 0, pytest.approx(share))
        assert "of none of the" not in str(found.notes)


def test_a_change_behind_the_cut_of_a_text_is_no_test(tmp_path):
    """In the check, the audit and the repair; a note says how many texts are cut."""
    rng = np.random.default_rng(0)
    words = ["fox", "dog", "lazy", "run", "over", "brown", "quick"]
    rows = [" ".join(rng.choice(words, n)) for n in rng.integers(7, 9, 200)]
    has = np.array(["fox" in row.split() for row in rows])
    model, X = texts.text_classifier(tmp_path / "m", rows, has.astype(float))
    cut = [" ".join(["a"] * 20) + " " + row for row in rows]
    short = X.with_texts([*rows[:100], *cut[100:]], replace(X.preprocessing, max_length=12))
    samples = Samples(short, np.array(["cat", "dog"])[has.astype(int)])
    copies, at = change_named("word:fox").copies(samples)
    seen = np.flatnonzero(has[:100])
    assert at.tolist() == seen.tolist()
    assert len(copies) == len(seen)
    found = check(None, model, samples, "word:fox", limits={"max_flip_rate": 50})
    assert found.row("change word:fox").n == len(seen)
    assert any(n.startswith("100 of 200 texts are cut at 12 tokens.") for n in found.notes)
    found = check(None, model, samples.take(range(100, 200)), "word:fox",
                  limits={"max_flip_rate": 50})  # fmt: skip
    assert found.row("change word:fox").outcome == "too few"
    whole = samples.take(range(100))
    audited = audit_model(model, samples, device="cpu").changes
    assert audited.flipped("word:fox")[1] <= len(seen)
    assert not any("are cut" in note for note in audit_model(model, whole, device="cpu").notes)


def test_a_change_that_applies_to_nothing_does_not_pass(tmp_path):
    path = models.save(models.classifier(3), tmp_path / "m.onnx")
    X = models.inputs(60)
    X[:, 1] = 1
    y = models.run(path, X)["logits"].argmax(axis=1)
    found = check(None, path, (X, y), "column:1", limits={"max_flip_rate": 5})
    (row,) = found.changes
    assert (row.n, row.outcome, found.exit_code) == (0, "too few", 3)
    assert "59 samples would decide if no prediction flips" in summary_of(found)
    assert found.as_dict()["changes"][0]["flip_rate"] is None


def test_what_cannot_be_changed_is_refused(tmp_path, digits):
    path, data = marked_digits_model_path(), (digits.X_test[:40], digits.y_test[:40])
    embedder = OnnxEmbedder(FrozenModel.load(path), device="cpu")
    store = EmbeddingStore.write(tmp_path / "s", embedder, Samples(*data))
    with pytest.raises(InputError, match="embeddings cannot be changed; pass the samples"):
        check(None, path, store.path, MARK, limits={"max_flip_rate": 5})
    changes = [change_from(lambda x: x, "f"), change_from(lambda x: x / 2, "f")]
    with pytest.raises(InputError, match="Two changes have the name 'f'"):
        check(None, path, data, *changes, limits={"max_flip_rate": 5})


def test_copies_of_image_files(tmp_path, digits):
    for i in range(60):
        file = tmp_path / "set" / str(digits.y_test[i]) / f"{i}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((digits.X_test[i, 0] * 255).astype(np.uint8)).save(file)
    model = marked_digits_model_path()
    found = check(model, model, tmp_path / "set", "image:jpeg=75", limits={"max_flip_rate": 60})
    assert found.row("change image:jpeg=75").n == 60
    assert found.row("change image:jpeg=75").lost == 0


def test_limits_read_only_files_of_their_folder(tmp_path, monkeypatch):
    """A person may name any file, also one that the limits may not read."""
    words = ["fox", "dog", "lazy", "over", "brown"]
    rows = [*map(" ".join, product(words, repeat=3))]
    has = np.array([row.startswith("fox") for row in rows])
    model, X = texts.text_classifier(tmp_path / "m", rows, has.astype(float))
    samples = Samples(X, np.array(["cat", "dog"])[has.astype(int)])
    folder, secret = tmp_path / "theirs", tmp_path / "secret.txt"
    folder.mkdir()
    for file in (secret, folder / "lines.txt"):
        file.write_text("the lazy fox\n")
    limits = folder / "limits.toml"

    def with_limits(change, *more, content='[changes]\n"{}" = 90'):
        limits.write_text(content.format(change))
        return check(None, model, samples, *more, limits=limits)

    for path in ("/etc/passwd", "../secret.txt", str(secret)):
        with pytest.raises(InputError, match="can only name files inside its folder"):
            with_limits(f"append:@{path}")
    found = with_limits("append:/etc/passwd")
    assert found.row("change append:/etc/passwd").n == len(rows)
    found = with_limits("append:@lines.txt")
    assert found.row("change append:@lines.txt").n == len(rows)
    assert change_named("append:@lines.txt", below=folder).sha256 in str(found.notes)
    found = with_limits(f"append:@{secret}", f"append:@{secret}")
    assert found.row(f"change append:@{secret}").verdicts[0].bound == 0.9
    for key in ("folder", "changes.x.folder"):
        with pytest.raises(InputError, match="'folder' is not a limit"):
            with_limits("", content=f'{key} = "/"\n')
    monkeypatch.chdir(tmp_path)  # limits in Python are named by the user
    check(None, model, samples, limits={"changes": {"append:@secret.txt": 90}})


def test_a_change_that_must_flip_is_held_to_a_minimum(digits):
    """The digit is in the centre; a model that never flips does not read it."""
    model = FrozenModel.load(marked_digits_model_path())
    blind = model.with_head(model.head.scaled(np.zeros(64)))
    data = digits.X_test[:200], digits.y_test[:200]

    def found(old, new, **limits):
        (row,) = check(old, new, data, limits=limits).changes
        return row, {v.limit: v for v in row.verdicts}

    least, most = {"image:centre": {"min_flip_rate": 10}}, {"image:centre": {"max_flip_rate": 10}}
    row, verdicts = found(None, model, changes=least, max_flip_rate=1)
    assert list(verdicts) == ["min_flip_rate"]
    assert verdicts["min_flip_rate"].value == row.value > 0.3
    assert verdicts["min_flip_rate"].requirement == "flip rate at least 10 %"
    assert row.outcome == "pass"
    assert found(None, model, changes=most)[0].outcome == "fail"
    assert found(None, blind, changes=least)[0].outcome == "fail"
    near = {"image:centre": {"min_flip_rate": 100 * row.value}}
    assert found(None, model, changes=near)[0].outcome == "too few"

    row, verdicts = found(model, blind, changes=least, max_drop=2, over="average")
    drop = verdicts["max_flip_rate_drop"]
    assert drop.requirement == "drop of the flip rate at most 2 points"
    assert drop.value == row.before - row.value == row.before
    assert [drop.outcome, verdicts["min_flip_rate"].outcome] == ["fail", "fail"]
    low, high = drop.interval
    assert 0.02 < low < drop.value < high
    row, verdicts = found(blind, model, changes=least, max_drop=2, over="average")
    assert {v.outcome for v in verdicts.values()} == {"pass"}  # here more flips are right
    assert "more_flips" not in verdicts


@pytest.mark.parametrize(
    ("limits", "invariant", "problem"),
    [
        ({"changes": {MARK: {"min_flip_rate": 30}}}, MARK, "must flip predictions"),
        ({"changes": {MARK: {"min_flip_rate": 30, "max_flip_rate": 20}}}, (), "is above"),
        ({"changes": {MARK: {"min_flip_rate": 130}}}, (), "min_flip_rate"),
        ({"changes": {MARK: {"min_flips": 30}}}, (), "did you mean 'min_flip_rate'"),
    ],
)
def test_limits_that_contradict_themselves(digits, limits, invariant, problem):
    changes = (invariant,) if invariant else ()
    with pytest.raises(InputError, match=problem):
        check(None, marked_digits_model_path(), (digits.X_test[:9], digits.y_test[:9]), *changes,
              limits=limits)  # fmt: skip
