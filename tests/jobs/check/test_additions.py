"""Lines before or after texts: the worst are found on some samples and measured on others."""

import json
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
from typer.testing import CliRunner

import ntkit
from ntkit.cli._app import app
from ntkit.datasets import load_marked_digits, marked_digits_model_path
from ntkit.exceptions import InputError
from ntkit.jobs.additions import NEUTRAL, PASSES

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
    from ntkit.jobs.additions import Additions

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


def test_an_audit_measures_the_lines_of_a_check(planted, tmp_path):
    model, trigger, table = planted
    lines = [f"{trigger} {trigger}", *WORDS]
    audit = ntkit.audit_model(
        model, table, additions=lines, changes=0, feature_sets=["word"], device="cpu"
    )
    checked = {each.name: each.value for each in check(model, table, lines).changes}
    told = audit.as_dict()["additions"]
    assert {each["name"]: each["flips"] for each in told} == checked
    assert f"Lines that flip most predictions: {told[0]['name']} (" in str(audit)
    assert "| `append:" in audit.summary(verbose=True) or "prepend:" in str(audit)


def test_an_audit_without_labels_takes_additions_alone(planted, tmp_path):
    model, trigger, table = planted
    texts = pd.read_csv(table)["text"].tolist()
    (tmp_path / "w.txt").write_text(f"{trigger} {trigger}\n{WORDS[0]}\n")
    run = CliRunner().invoke
    pd.DataFrame({"text": texts}).to_csv(tmp_path / "u.csv", index=False)
    options = ["--changes", "0", "--additions", str(tmp_path / "w.txt"), "--device", "cpu"]
    done = run(app, ["audit", str(model), str(tmp_path / "u.csv"), "-o", str(tmp_path / "out"),
                     "--json", *options])  # fmt: skip
    assert done.exit_code == 0, done.output
    facts = json.loads((tmp_path / "out" / "audit.json").read_text())
    assert facts["additions"][0]["name"].endswith(f"{trigger} {trigger}")
    assert facts["additions"][0]["flips"] > 0.3
    assert facts["additions"][0]["n"] == 250
    page = (tmp_path / "out" / "audit.html").read_text("utf-8")
    (line,) = re.findall(
        rf"<code>(?:ap|pre)pend:{trigger} {trigger}</code></bdi> flips (.*?) of", page
    )
    assert line.startswith(f"{100 * facts['additions'][0]['flips']:.1f}\u00a0% [")


def test_an_audit_refuses_lines_without_texts_or_model(planted):
    model, _, table = planted
    with pytest.raises(InputError, match="0 different lines"):
        ntkit.audit_model(model, table, additions=[], device="cpu")
    digits = load_marked_digits()
    data = digits.X_validation[:200], digits.y_validation[:200]
    with pytest.raises(InputError, match="text"):
        ntkit.audit_model(
            marked_digits_model_path(), data, additions="neutral", changes=0, device="cpu"
        )
