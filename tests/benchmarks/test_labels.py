"""The benchmark of several labels compares what it says, on stand-ins for its data."""

from functools import partial
from types import SimpleNamespace

import numpy as np
import onnxruntime
import pytest

import labels
import labels_cost
import labels_data
from ntkit import DebiasSettings, FrozenModel

rng = np.random.default_rng(0)
KINDS = rng.integers(0, 10, 3000)
CLOTHES = 90 * (rng.random((10, 28, 28)) > 0.7)[KINDS] + rng.integers(0, 55, (3000, 28, 28))


@pytest.fixture(scope="module")
def problem(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(labels_data, "SOURCE", SimpleNamespace(fetched=lambda cache: cache))
        patch.setattr(labels_data, "read", lambda folder, name: (CLOTHES, KINDS))
        patch.setattr(labels_data, "TRAINED_ON", 2000)
        folder = tmp_path_factory.mktemp("garments")
        return labels_data.garments(folder, folder, 0, scale=0.6)


def test_the_shortcut_predicts_one_label_alone_and_none_in_the_test_set(problem):
    for name, share in (("train", 0.95), ("validation", 0.95), ("test", 0.5)):
        part = problem.parts[name]
        agree = (part.mark[:, None] == part.Y).mean(axis=0)
        assert agree[problem.at] == pytest.approx(share, abs=0.06)
        corner = part.X[:, 0, :10, :10].mean(axis=(1, 2)) > 0.5
        assert (corner == part.mark).all()
    assert part.Y.sum(axis=1).max() > 1


def test_the_row_alone_gives_the_same_scores_as_in_the_model_of_all_labels(problem):
    X = labels.given(problem, "test")[:50]
    all_labels, alone = (labels.scores(path, X) for path in (problem.model, problem.row))
    assert all_labels.shape == (50, len(problem.labels))
    np.testing.assert_allclose(alone[:, 0], all_labels[:, problem.at], rtol=1e-6)
    assert FrozenModel.load(problem.row).head.classes.tolist() == [*problem.classes]


def test_a_repair_is_rated_on_the_written_file(problem, tmp_path, monkeypatch):
    anyway = partial(DebiasSettings, otherwise="new head")  # so few samples decide nothing
    monkeypatch.setattr(labels, "DebiasSettings", anyway)
    rows = {m: labels.repaired(problem, m, "named", 0, tmp_path / m) for m in ("five", "row")}
    five = rows["five"]
    assert five["state"] == "written"
    assert five["others equal"]
    assert five["in ONNX Runtime"] == pytest.approx([five["before"], five["after"]])
    assert five["after"] == pytest.approx(rows["row"]["after"], abs=0.02)
    shown = labels.tables(
        [row | {"data": "garments, MLP", "way": "named", "model": m, "seed": 0}
         for m, row in rows.items()]
    )  # fmt: skip
    assert f"{100 * five['after']:.1f} ± 0.0" in shown
    assert "| 1 of 1 |" in shown


def test_words_stand_in_one_label_of_texts(tmp_path, monkeypatch):
    texts = [f"{'flood' if i % 3 else 'bread'} number {i} in the town" for i in range(600)]
    flood = np.asarray(["flood" in text for text in texts], dtype=int)
    known = dict.fromkeys(labels_data.TOPICS, flood % 2) | {labels_data.TOPIC: flood}
    monkeypatch.setattr(labels_data, "messages", lambda cache: (texts, dict(known)))
    made = labels_data.by_words(None, tmp_path, 0, scale=0.05)
    part = made.parts["train"]
    first = np.asarray([text.split()[0] for text in part.X])
    assert (first == np.asarray(labels_data.WORDS)[part.mark]).all()
    X = labels.given(made, "test")
    two = onnxruntime.InferenceSession(made.row).run(None, {"text": X})[1]
    np.testing.assert_allclose(two[:, 1], labels.scores(made.model, X)[:, made.at], atol=1e-6)


def test_both_models_of_the_timing_have_the_same_first_label():
    (few, many) = (labels_cost.samples(400, n, 0) for n in (2, 50))
    assert (few[0] == many[0]).all()
    assert (few[1] == many[1][:, :2]).all()
