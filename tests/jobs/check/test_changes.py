"""Changed copies: predictions that flip, held to limits."""

import json
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy.stats import binom, multinomial

import ntkit
from ntkit import FrozenModel
from ntkit.changes import change_from, change_named
from ntkit.datasets import marked_digits_model_path
from ntkit.exceptions import InputError
from ntkit.extraction import EmbeddingStore, OnnxEmbedder, Samples
from ntkit.jobs.check import Limits, check_predictions, summary_of, write_check
from ntkit.jobs.check._judge import Flips, Subset, enough_for_share, outcomes
from ntkit.jobs.check._limits import ChangeLimits, limits_of
from tests import models, texts

MARK = "image:bottom right"  # where the demo's mark is


@pytest.fixture(scope="module")
def pair():
    model = FrozenModel.load(marked_digits_model_path())
    return model, model.with_head(model.head.scaled(np.arange(64) % 2))


def test_flips_are_those_that_onnx_runtime_finds(digits):
    X, y = digits.X_test[:300], digits.y_test[:300]
    found = ntkit.check(
        None, marked_digits_model_path(), (X, y), invariant=[MARK, "image:grey"],
        limits={"max_flip_rate": 30}, device="cpu",
    )  # fmt: skip
    copies, at = change_named(MARK).copies(Samples(X, y))
    flipped = [
        ntkit.predict(marked_digits_model_path(), part, device="cpu").labels
        for part in (X[at], copies.X[:])
    ]
    row = found.row(f"change {MARK}")
    assert (row.n, row.flip_rate) == (300, np.mean(flipped[0] != flipped[1]))
    assert row.before is row.more is None
    grey = found.row("change image:grey")
    assert (grey.flip_rate, grey.outcome) == (0, "pass")
    assert found.n_comparisons == 2
    assert len(found.rows) == 3  # of accuracies there is no limit


def test_the_new_model_may_not_surely_flip_more_than_the_old_one(digits, pair):
    data = (digits.X_test, digits.y_test)
    same = ntkit.check(pair[0], pair[0], data, invariant=[MARK], device="cpu")
    (row,) = same.changes
    assert (row.more, row.fewer, row.outcome, same.outcome) == (0, 0, "pass", "pass")
    assert [v.requirement for v in row.verdicts] == [
        "flip rate not significantly higher than the old model's"
    ]
    one = ntkit.check(*pair, data, invariant=[MARK], device="cpu").changes[0]
    two = ntkit.check(*pair[::-1], data, invariant=[MARK], device="cpu").changes[0]
    assert (one.more, one.fewer) == (two.fewer, two.more)
    assert one.before == two.flip_rate
    assert {one.outcome, two.outcome} == {"pass", "fail"}  # one flips more by far
    assert (one.outcome == "fail") == (one.flip_rate > one.before)


def test_words_columns_and_functions(tmp_path):
    backbone = texts.text_model(tmp_path / "m")
    texts.word_pieces().save(str(tmp_path / "m" / "tokenizer.json"))
    head = ntkit.LinearHead(np.random.default_rng(1).normal(size=(2, 6)), [0.0, 0.1], [0, 1])
    backbone.with_head(head).save(tmp_path / "m" / "model.onnx", force=True)
    rng = np.random.default_rng(0)
    rows = [" ".join(rng.choice(["fox", "dog", "lazy", "run"], 4)) for _ in range(200)]
    frame = pd.DataFrame({"text": rows, "label": np.arange(200) % 2})
    frame.to_csv(tmp_path / "t.csv", index=False)
    shouted = change_from(lambda text: text + " fox", "with a fox")
    found = ntkit.check(
        None, tmp_path / "m" / "model.onnx", tmp_path / "t.csv", device="cpu",
        invariant=["word:fox|word:dog", " case:upper ", shouted],
        limits={"changes": {"word:fox|word:dog": 5}, "max_flip_rate": 50}, slices=["word:fox"],
    )  # fmt: skip
    swap, upper, _ = found.changes
    assert swap.n == sum("fox" in row or "dog" in row for row in rows)
    assert [v.bound for row in found.changes for v in row.verdicts] == [0.05, 0.5, 0.5]
    assert (upper.n, upper.flip_rate) == (200, 0)  # the tokenizer lowers them
    assert found.row("word:fox").kind == "slice"
    assert found.row("change with a fox").n == 200
    with pytest.raises(InputError, match="changes none of the 200 texts"):
        ntkit.check(None, tmp_path / "m" / "model.onnx", tmp_path / "t.csv", device="cpu",
                    invariant=["word:nobody"], limits={"max_flip_rate": 5})  # fmt: skip


def test_a_change_that_applies_to_nothing_does_not_pass(tmp_path):
    path = models.save(models.classifier(3), tmp_path / "m.onnx")
    X = models.inputs(60)
    X[:, 1] = 1
    y = models.run(path, X)["logits"].argmax(axis=1)
    found = ntkit.check(None, path, (X, y), invariant=["column:1"], device="cpu",
                        limits={"max_flip_rate": 5})  # fmt: skip
    (row,) = found.changes
    assert (row.n, row.outcome, found.exit_code) == (0, "too few", 3)
    assert "59 samples would decide if no prediction flips" in summary_of(found)
    assert found.as_dict()["changes"][0]["flip_rate"] is None


def test_embeddings_cannot_be_changed(tmp_path, digits):
    path = marked_digits_model_path()
    embedder = OnnxEmbedder(FrozenModel.load(path), device="cpu")
    samples = Samples(digits.X_test[:40], digits.y_test[:40])
    store = EmbeddingStore.write(tmp_path / "s", embedder, samples)
    with pytest.raises(InputError, match="embeddings cannot be changed; pass the samples"):
        ntkit.check(None, path, store.path, invariant=[MARK], limits={"max_flip_rate": 5})


def test_functions_of_one_name_are_refused(digits):
    changes = [change_from(lambda x: x, "f"), change_from(lambda x: x / 2, "f")]
    with pytest.raises(InputError, match="Two changes have the name 'f'"):
        ntkit.check(None, marked_digits_model_path(), (digits.X_test, digits.y_test),
                    invariant=changes, limits={"max_flip_rate": 5})  # fmt: skip


# -- levels ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("alpha", [0.05, 0.01])
@pytest.mark.parametrize("n", [2, 30, 200, 1000])
@pytest.mark.parametrize("rate", [0, 2, 10])
def test_a_flip_rate_at_its_limit_is_wrongly_judged_no_more_often_than_alpha(n, rate, alpha):
    limits = Limits(max_flip_rate=rate, changes={"c": ChangeLimits()}, alpha=alpha)
    said = np.array([outcomes([Flips("c", n, flips)], limits)[0][0] for flips in range(n + 1)])
    chances = binom.pmf(np.arange(n + 1), n, rate / 100)
    assert chances[said == "fail"].sum() <= alpha + 1e-12
    assert rate == 0 or chances[said == "pass"].sum() <= alpha + 1e-12
    assert said[-1] == "fail" or n == 2


@pytest.mark.parametrize("alpha", [0.05, 0.01])
@pytest.mark.parametrize("n", [2, 9, 25])
def test_as_many_flips_as_before_fail_no_more_often_than_alpha(n, alpha):
    limits = Limits(changes={"c": ChangeLimits()}, alpha=alpha)
    counts = [(more, fewer) for more in range(n + 1) for fewer in range(n + 1 - more)]
    failed = [c for c in counts if outcomes([Flips("c", n, n, *c)], limits)[0] == ["fail"]]
    assert (0, n) not in failed
    assert n == 2 or (n, 0) in failed
    cells = np.array([[more, fewer, n - more - fewer] for more, fewer in failed]).reshape(-1, 3)
    for share in np.linspace(0.01, 0.5, 30):
        chances = multinomial.pmf(cells, n, [share, share, max(0, 1 - 2 * share)])
        assert chances.sum() <= alpha + 1e-12


def test_changes_count_as_comparisons():
    flips = Flips("c", 400, 16, 12, 4)
    limits = Limits(max_flip_rate=2, changes={"c": ChangeLimits()})
    assert outcomes([flips], limits) == [["fail", "fail"]]
    many = [Subset("class", str(i), 100, 100, 0, 0) for i in range(300)]
    others = Limits(max_flip_rate=2, changes=limits.changes, max_drop=50)
    assert outcomes([flips, *many], others)[0] == ["too few", "pass"]


def test_so_many_samples_decide_about_a_flip_rate():
    flips = np.zeros(40, dtype=bool)
    flips[:2] = True
    found = check_predictions([0, 1] * 20, [0, 1] * 20, flips={"c": flips},
                              limits={"max_flip_rate": 20})  # fmt: skip
    (verdict,) = found.row("change c").verdicts
    enough = enough_for_share(0.05, 0.2, least=False, good_level=0.05, bad_level=0.05)
    assert verdict.enough == (None if verdict.outcome != "too few" else max(enough, 41))


# -- of predictions, limits and files --------------------------------------------------------------


@pytest.fixture
def found():
    y = np.tile([0, 1], 300)
    flips = {"image:a|b": np.arange(600) < 60, "word:<b": np.where(np.arange(600) < 300, -1, 0)}
    before = {"image:a|b": np.arange(600) < 10, "word:<b": np.zeros(600)}
    limits = {"changes": {"image:a|b": 2, "word:<b": {"max_flip_rate": 3}}}
    return check_predictions(y, y, y_pred_before=y, flips=flips, flips_before=before, limits=limits)


def test_results_hold_changes(found, tmp_path):
    write_check(found, json=tmp_path / "j", junit=tmp_path / "x", markdown=tmp_path / "m")
    content = json.loads((tmp_path / "j").read_text("utf-8"))
    one, other = content["changes"]
    assert (one["name"], one["samples"], one["flip_rate"]) == ("image:a|b", 600, 0.1)
    assert (one["before"], one["more"], one["fewer"]) == (pytest.approx(1 / 60), 50, 0)
    assert [limit["limit"] for limit in one["limits"]] == ["max_flip_rate", "more_flips"]
    assert [limit["outcome"] for limit in one["limits"]] == ["fail", "fail"]
    assert (other["samples"], [limit["outcome"] for limit in other["limits"]]) == (
        300,
        ["pass"] * 2,
    )
    assert (content["outcome"], content["n_comparisons"]) == ("fail", 4)
    cases = list(ElementTree.parse(tmp_path / "x").getroot().iter("testcase"))
    assert [case.get("classname") for case in cases] == ["ntkit check.change"] * 4
    assert cases[0].get("name") == "change image:a|b: flip rate at most 2 %"
    lines = [line for line in (tmp_path / "m").read_text("utf-8").splitlines() if "|" in line]
    assert any(line.startswith("| image:a\\|b | 600 | 1.7 | 10.0 ") for line in lines)
    said = summary_of(found)
    assert (
        "change image:a|b: flip rate not significantly higher than the old model's, measured +8.3 ["
        in said
    )
    assert "A limit fails if the " in said
    assert found.of("fail")[0][0] is found.changes[0]


def test_limits_of_changes(tmp_path):
    file = tmp_path / "limits.toml"
    file.write_text('max_flip_rate = 4\n[changes]\n"image:jpeg=75" = { max_flip_rate = 2 }\n'
                    '"word:please" = 1\n"markup" = {}\n')  # fmt: skip
    limits = limits_of(file, max_flip_rate=5)
    assert [*map(limits.of_change, limits.changes)] == [2, 1, 5]
    assert limits_of({"changes": ["markup"]}).changes == {"markup": ChangeLimits()}
    assert limits.stated == ("max_flip_rate", "changes.image:jpeg=75", "changes.word:please",
                             "changes.markup")  # fmt: skip
    assert not limits.compares


@pytest.mark.parametrize(
    ("limits", "told"),
    [
        (
            {"changes": {"markup": {"max_flips": 2}}},
            "change 'markup': 'max_flips' is not a limit; did",
        ),
        ({"changes": {"markup": "2"}}, "must be a percentage, or a table such as"),
        ({"changes": {"markup": 200}}, "change 'markup': max_flip_rate must be a percentage"),
        ({"changes": 3}, "changes must be a table of changes, or a list of their names"),
        ({"max_flip_rate": 2}, "none is named. Name one: --invariant"),
        ({"changes": ["markup"]}, "The change 'markup' has no limit. Set the share"),
        ({"changes": {"markup": 2}}, "flips holds no values of the change 'markup' for 4 samples"),
    ],
)
def test_what_cannot_be_told_is_refused(limits, told):
    with pytest.raises(InputError, match=told):
        check_predictions([0, 1, 0, 1], [0, 1, 0, 1], limits=limits)


def test_values_of_flips_are_refused_by_name():
    limits = {"max_flip_rate": 2}
    with pytest.raises(InputError, match=r"flips holds values of shape \(3,\) of the change 'c'"):
        check_predictions([0, 1], [0, 1], flips={"c": [0, 0, 0]}, limits=limits)
    with pytest.raises(InputError, match="flips_before holds no values of the change 'c'"):
        check_predictions([0, 1], [0, 1], y_pred_before=[0, 1], flips={"c": [0, 0]}, limits=limits)


def test_copies_of_image_files(tmp_path, digits):
    for i in range(60):
        file = tmp_path / "set" / str(digits.y_test[i]) / f"{i}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((digits.X_test[i, 0] * 255).astype(np.uint8)).save(file)
    limits = {"max_flip_rate": 60}
    found = ntkit.check(*[marked_digits_model_path()] * 2, tmp_path / "set", limits=limits,
                        invariant=["image:jpeg=75"], device="cpu")  # fmt: skip
    assert found.row("change image:jpeg=75").n == 60
    assert found.row("change image:jpeg=75").more == 0
