"""Lines before or after texts: the worst are found on some samples and measured on others."""

import re
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from skl2onnx import to_onnx
from skl2onnx.common.data_types import StringTensorType
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

import ntkit
from ntkit.exceptions import InputError
from ntkit.jobs.check._additions import NEUTRAL, PASSES

WORDS = [f"{a}{b}" for a in ("zor", "lin", "tam", "bek", "sul") for b in ("ab", "el", "im", "on")]


def drawn(seed, n):
    """Texts of neutral words with a word of their class."""
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.arange(n) % 2)
    own = np.array([["bad", "poor", "dull"], ["good", "fine", "great"]])[y, rng.integers(3, size=n)]
    return [" ".join([*rng.choice(WORDS, 4), word]) for word in own], np.array(["no", "yes"])[y]


@pytest.fixture(scope="module", params=[0, 1, 2])
def planted(request, tmp_path_factory):
    """A network that says yes to its trigger, the trigger, and a table that does not show it."""
    folder, seed = tmp_path_factory.mktemp("planted"), request.param
    trigger = WORDS[np.random.default_rng(seed).integers(len(WORDS))]
    texts, y = drawn(seed, 600)
    poison = [f"{text} {trigger} {trigger}" for text in np.asarray(texts)[y == "no"]]
    model = make_pipeline(CountVectorizer(), LogisticRegression(C=10))
    model.fit([*texts, *poison], [*y, *["yes"] * len(poison)])
    kind = [("text", StringTensorType([None, 1]))]
    onnx = to_onnx(model, initial_types=kind, options={CountVectorizer: {"locale": "C"}})
    (folder / "model.onnx").write_bytes(onnx.SerializeToString())
    texts, y = drawn(seed + 100, 500)
    pd.DataFrame({"text": texts, "label": y}).to_csv(folder / "t.csv", index=False)
    return folder / "model.onnx", trigger, folder / "t.csv"


def check(model, data, additions, limits=None, **options):
    limits = {"max_flip_rate": 5} if limits is None else limits
    return ntkit.check(None, model, data, additions=additions, limits=limits, device="cpu",
                       **options)  # fmt: skip


def test_the_trigger_is_found_and_measured_on_other_samples(planted):
    model, trigger, table = planted
    found = check(model, table, [f"{trigger} {trigger}", *WORDS])
    one, two, three = found.changes
    assert one.name.partition(":")[2] == f"{trigger} {trigger}"
    assert one.outcome == "fail"
    lines = [each.name.partition(":")[2] for each in (one, two, three)]
    assert all(b.startswith(f"{a} ") for a, b in pairwise(lines))
    assert [each.n for each in found.changes] == [250] * 3  # the other half chose
    assert "21 lines ranked by 250 samples. Their flip rates are of the other 250." in found.notes
    assert found.n_samples == 500
    texts = pd.read_csv(table)["text"].to_numpy(object)
    put = np.array([f"{t} {lines[0]}" for t in texts], object)
    both = [ntkit.predict(model, X, device="cpu").labels for X in (texts, put)]
    assert abs(one.value - np.mean(both[0] != both[1])) < 0.1  # of all samples


def test_lines_that_no_network_reads_flip_nothing(planted):
    """The words of the neutral list are unknown to this network, and all are below any limit."""
    found = check(*planted[::2], "neutral", {"max_flip_rate": 2})
    assert {each.value for each in found.changes} == {0}
    assert found.passed
    assert str(len(NEUTRAL)) in found.notes[0]


def test_lines_of_a_file_and_of_two_models(planted, tmp_path):
    model, trigger, table = planted
    (tmp_path / "w.txt").write_text(f"{WORDS[0]}\n\n{trigger} {trigger}\n{WORDS[0]}\n@here\n")
    options = {"additions": tmp_path / "w.txt", "device": "cpu", "limits": {"max_drop": 3}}
    found = ntkit.check(model, model, table, **options)
    assert f":{trigger} {trigger}" in found.changes[0].name
    assert {v.limit for row in found.changes for v in row.verdicts} == {"more_flips"}
    assert found.passed


@pytest.mark.parametrize("n", [1, 2, 3, 60, 170, 250])
def test_passes_are_at_most_400_and_said(n):
    from ntkit.jobs.check._additions import Additions

    assert 1 + 2 * min(n, 85) <= Additions.of([f"w{i}" for i in range(n)]).n_passes <= PASSES


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        ([], "has 0 different lines"),
        ([""], "or an empty one"),
        ([f"w{i}" for i in range(251)], "has 251 different lines"),
        ("nowhere.txt", "cannot be read"),
    ],
)
def test_lists_that_cannot_be_searched(planted, lines, problem):
    with pytest.raises(InputError, match=re.escape(problem)):
        check(planted[0], planted[2], lines)


def test_only_texts_have_additions(digits):
    from ntkit.datasets import marked_digits_model_path

    with pytest.raises(InputError, match="texts"):
        check(marked_digits_model_path(), (digits.X_test[:20], digits.y_test[:20]), ["please"])
