"""From the page of an audit to a repaired model: what is saved there is what the job reads."""

import html
import json
import re

import numpy as np
import pytest

import ntkit
from ntkit import FrozenModel, OnnxEmbedder, debias
from ntkit.datasets import marked_digits_model_path
from ntkit.exceptions import InputError
from ntkit.extraction import EmbeddingStore, Samples, embedded_with_layers
from ntkit.jobs.audit import read_answers, write_audit
from ntkit.metrics import worst_group_accuracy

MODEL = marked_digits_model_path()


@pytest.fixture(scope="module")
def held(digits):
    return digits.X_validation, digits.y_validation


@pytest.fixture(scope="module")
def found(held):
    return ntkit.audit_model(MODEL, held, device="cpu")


@pytest.fixture(scope="module")
def saved(found, tmp_path_factory):
    """What the page writes where everything is answered *must not depend on this*."""
    folder = tmp_path_factory.mktemp("audit")
    write_audit(found, folder / "audit")
    page = (folder / "audit" / "audit.html").read_text(encoding="utf-8")
    entries = [json.loads(html.unescape(e)) for e in re.findall(r'data-entry="([^"]*)"', page)]
    (model,) = re.findall(r'data-model="([^"]*)"', page)
    answers = [entry | {"answer": "spurious"} for entry in entries]
    return {"ntkit": "answers", "version": 1, "model": model, "answers": answers}


def written(folder, saved, **other):
    (folder / "answers.json").write_text(json.dumps(saved | other))
    return folder / "answers.json"


def job(digits, **options):
    train = digits.X_train[:800], digits.y_train[:800]
    return debias(MODEL, train, (digits.X_validation, digits.y_validation), device="cpu", **options)


def test_an_answer_about_a_layer_repairs_by_the_layer(digits, found, saved, tmp_path):
    """The very attribute, read in the pass that embeds the samples, as the audit cut it."""
    first = next(s.name for s in found.findings if s.name.startswith("layer:relu_3 #57"))
    answers = [answer for answer in saved["answers"] if answer["name"] == first]
    result = job(digits, answers=written(tmp_path, saved, answers=answers))
    assert result.balanced_over.startswith(first)
    assert "stands for" not in " ".join(result.notes)
    Z = OnnxEmbedder(FrozenModel.load(MODEL), device="cpu").transform(digits.X_test)
    before, after = (
        worst_group_accuracy(digits.y_test, head.predict(Z), groups=digits.groups_test)
        for head in (FrozenModel.load(MODEL).head, result.head)
    )
    assert after > before + 0.1
    again = job(digits, answers=found.answers(first))  # without a page
    assert np.array_equal(again.head.coef, result.head.coef)


def test_what_is_saved_reads_on_the_samples_of_the_audit_what_the_audit_did(
    found, saved, held, tmp_path
):
    layers = embedded_with_layers(FrozenModel.load(MODEL), held[0], device="cpu").layers
    read = read_answers(written(tmp_path, saved)).spurious
    rules = {name: rule for answer in read for name, rule in answer.rules.items()}
    kinds = {re.sub(r"layer:[^ ]+ (#|[a-z]+).*", r"\1", name) for name in rules}
    assert kinds >= {"#", "cluster"}
    for name, rule in rules.items():
        assert np.array_equal(rule.values(layers[rule.layer]), found.values(name)), name


def test_a_channel_is_read_by_its_name(digits):
    embedding = OnnxEmbedder(FrozenModel.load(MODEL), device="cpu").transform(digits.X_test[:99])
    result = job(digits, spurious="layer:relu_3 #42 mean above the median")
    assert result.balanced_over == "layer:relu_3 #42 mean above the median"
    (counted,) = [n for n in result.notes if n.startswith("layer:relu_3 #42")]
    n = 800 + len(digits.X_validation)
    assert f"{n // 2} on not layer:relu_3 #42 mean above the median" in counted
    live = int(np.argmax(embedding.std(axis=0)))
    with_embedding = job(digits, spurious=f"embedding #{live} high")
    assert with_embedding.balanced_over == f"embedding #{live} high"


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("layer:relu_3 direction 1 high", "the samples of an audit define directions"),
        ("layer:relu_3 cluster 2", "--answers"),
        ("layer:relu_3 #3", "cannot be read by its name"),
        ("layer:relu_33 #3 mean high", "Did you mean 'relu_3'"),
        ("layer:conv_9 #3 mean high", "relu_1, relu_2, relu_3"),
    ],
)
def test_layers_that_cannot_be_read_are_refused_before_the_work(digits, name, says, monkeypatch):
    monkeypatch.setattr("ntkit.jobs.debias._debias.prepared", lambda *a, **k: pytest.fail("worked"))
    with pytest.raises(InputError, match=re.escape(says)):
        job(digits, spurious=name)


def test_a_channel_that_is_not_there_is_refused(digits):
    with pytest.raises(InputError, match="has 64 channels"):
        job(digits, spurious="layer:relu_3 #64 mean high")


def test_answers_about_layers_of_another_model_are_refused(digits, saved, tmp_path):
    with pytest.raises(InputError, match="another model"):
        job(digits, answers=written(tmp_path, saved, model="0" * 64))


def test_a_store_has_no_layers(digits, found, tmp_path):
    sets = {}
    for name, X, y in (
        ("train", digits.X_train[:300], digits.y_train[:300]),
        ("validation", digits.X_validation[:300], digits.y_validation[:300]),
    ):
        embedder = OnnxEmbedder(FrozenModel.load(MODEL), device="cpu")
        sets[name] = tmp_path / name
        EmbeddingStore.write(sets[name], embedder, Samples(X, y))
    first = next(s.name for s in found.findings if s.feature_set == "layer")
    with pytest.raises(InputError, match="a store of embeddings does not hold the layers"):
        debias(MODEL, sets["train"], sets["validation"], answers=found.answers(first))
