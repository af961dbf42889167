"""A store or a head of one model is not taken with another, whatever its width."""

import shutil
import warnings

import numpy as np
import pytest
import skl2onnx
from sklearn.neural_network import MLPClassifier

from ntkit import FrozenModel, OnnxEmbedder, check, debias, write_report
from ntkit.exceptions import InputError
from ntkit.export import to_onnx, write_onnx
from ntkit.extraction import Samples, read_samples
from ntkit.store import EmbeddingStore
from tests.cases import done, refused, write_csv

DARK = ("--preprocessing", "scale=0.002")


@pytest.fixture(scope="module")
def root(user, tmp_path_factory):
    """Two models of one width, and stores of both and of images in two preparations."""
    root = shutil.copytree(user, tmp_path_factory.mktemp("two") / "root")
    with np.load(root / "validation.npz") as arrays:  # with the same labels as image folders
        np.savez(root / "validation.npz", X=arrays["X"], y=arrays["y"])
    for part in ("train", "validation"):
        embed = ("embed", "--quiet", "-o")
        done(*embed, root / f"{part}-b.store", root / "other.onnx", root / f"{part}.npz")
        done(*embed, root / f"{part}-dark.store", root / "model.onnx", root / part, *DARK)
    done("embed", root / "model.onnx", root / "validation", "-o", root / "bright.store")
    for name in ("train", "train-dark"):
        head = root / f"head-{name}.onnx"
        done("fit", root / f"{name}.store", "--method", "balanced", "-o", head)
    done("export", root / "model.onnx", root / "head-train.onnx", "-o", root / "new.onnx")
    return root


TWO_WAYS = "preprocessed in two ways (scale"
REFUSALS = """
debias model.onnx --train train-b.store --validation validation.store | train-b.store \
    | another model | model.onnx | use the original model | SHA-A | SHA-B
debias model.onnx --train train.store --validation validation-b.store | validation-b.store \
    | another model | model.onnx | SHA-A | SHA-B
debias model.onnx --train train-dark.store --validation validation \
    | train-dark.store | preprocessed in two ways (scale: 0.002 and
debias model.onnx --train train-dark.store --validation validation --preprocessing scale=0.004 \
    | preprocessed in two ways (scale: 0.002 and
fit train.store --validation validation-b.store \
    | train.store and | validation-b.store were made with two models
fit train-dark.store --validation bright.store | TWO
export other.onnx head-train.onnx | head-train.onnx | another model | other.onnx
export model.onnx head-train-dark.onnx --data validation | head-train-dark.onnx and | TWO
check other.onnx new.onnx validation.npz | new.onnx differs from | other.onnx in more than its head
check model.onnx new.onnx validation-b.store \
    | validation-b.store was made with another model | model.onnx
"""


@pytest.mark.parametrize("row", REFUSALS.replace("\\\n", "").strip().splitlines())
def test_what_does_not_belong_together_is_refused(root, row, monkeypatch):
    command, *says = (part.strip() for part in row.split(" | "))
    shas = {f"SHA-{k}": FrozenModel.load(root / n).sha256()[:12]
            for k, n in (("A", "model.onnx"), ("B", "other.onnx"))}  # fmt: skip
    monkeypatch.chdir(root)
    before = sorted(root.rglob("*"))
    where = ("--report", "page.html") if command.startswith("check") else ("-o", "out")
    words = [TWO_WAYS if word == "TWO" else shas.get(word, word) for word in says]
    refused(*command.split(), *where, says=words)
    assert sorted(root.rglob("*")) == before


@pytest.mark.more
def test_what_belongs_together_is_taken(root, tmp_path):
    """A store with the option that made it, and a head of it into its model."""
    out = tmp_path / "same"
    done("debias", root / "model.onnx", "--train", root / "train-dark.store", "--validation",
         root / "validation", *DARK, "-o", out, "--method", "class-balanced",
         "--even-if-worse")  # fmt: skip
    facts = FrozenModel.load(out / "debiased.onnx").metadata
    assert '"scale": 0.002' in facts["ntkit.preprocessing"]
    head, model = root / "head-train-dark.onnx", FrozenModel.load(root / "model.onnx")
    facts = FrozenModel.load(head).metadata
    assert facts["ntkit.source_sha256"] == model.sha256()
    assert facts["ntkit.tensor"] == model.embedding.name
    assert '"scale": 0.002' in facts["ntkit.preprocessing"]
    done("export", root / "model.onnx", head, "-o", tmp_path / "out.onnx")
    # A head made by hand has no record, and arrays and stores from elsewhere have none.
    write_onnx(to_onnx(model.head), tmp_path / "hand.onnx")
    done("export", root / "other.onnx", tmp_path / "hand.onnx", "-o", tmp_path / "o.onnx")
    stores = [EmbeddingStore.open(root / f"{name}-b.store") for name in ("train", "validation")]
    for store in stores:
        data = Samples(np.asarray(store.X), store.y, embedded=True)
        assert check(*[root / "model.onnx"] * 2, data, limits={"max_drop": 1}, device="cpu").rows
    # What differs in its head only has the same embeddings.
    for first in ("model.onnx", "new.onnx"):
        write_report(
            root / first, root / "new.onnx", root / "validation.store", tmp_path / "page.html",
            device="cpu", force=True,
        )  # fmt: skip


def test_debias_refuses_another_tensor_of_the_model(zoo, tmp_path):
    model = zoo.save(zoo.classifier(3), tmp_path / "m.onnx")
    np.savez(tmp_path / "data.npz", X=zoo.inputs(60), y=np.arange(60) % 3)
    other = FrozenModel.load(model, embedding="h")
    samples = read_samples(tmp_path / "data.npz")
    EmbeddingStore.write(tmp_path / "h.store", OnnxEmbedder(other, device="cpu"), samples)
    with pytest.raises(InputError, match=r"h\.store .* tensor 'h', but the embedding of m\.onnx"):
        debias(model, tmp_path / "h.store", tmp_path / "h.store", device="cpu")


def test_a_head_that_fit_wrote_knows_the_columns_of_its_table(tmp_path):
    X = np.random.default_rng(0).normal(size=(200, 3)).round(4)
    columns = dict(zip("abc", X.T, strict=True))
    columns["label"] = np.where(X[:, 0] > X[:, 2], "up", "down")
    write_csv(tmp_path / "straight.csv", columns)
    write_csv(tmp_path / "moved.csv", dict(reversed(columns.items())))
    head = tmp_path / "head.onnx"
    done("fit", tmp_path / "straight.csv", "--method", "balanced", "-o", head)
    for name in ("straight", "moved"):
        done("predict", head, tmp_path / f"{name}.csv", "-o", tmp_path / f"{name}-p.csv")
    tables = [(tmp_path / f"{name}-p.csv").read_text() for name in ("straight", "moved")]
    assert tables[0] == tables[1]


def test_a_head_of_a_table_s_store_takes_neurons_and_goes_into_its_model(tmp_path):
    """The graph of the model spells the labels in another way than the table."""
    X = np.random.default_rng(0).normal(size=(200, 4)).astype(np.float32)
    y = np.where(X[:, 0] > 0, "yes", "no")
    with warnings.catch_warnings(action="ignore"):  # it has not converged
        network = MLPClassifier((4,), max_iter=100, random_state=0).fit(X, y)
    model = skl2onnx.to_onnx(network, X[:1], options={"zipmap": False})
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    labels = [label.upper() for label in y]
    write_csv(tmp_path / "t.csv", dict(zip("abcd", X.T, strict=True)) | {"label": labels})
    done("embed", tmp_path / "m.onnx", tmp_path / "t.csv", "-o", tmp_path / "t.store")
    done("fit", tmp_path / "t.store", "--method", "balanced", "-o", tmp_path / "head.onnx")
    assert FrozenModel.load(tmp_path / "head.onnx").inputs[0].columns is None
    done("export", tmp_path / "m.onnx", tmp_path / "head.onnx", "-o", tmp_path / "new.onnx")
    written = FrozenModel.load(tmp_path / "new.onnx")
    assert written.inputs[0].columns == ("a", "b", "c", "d")
    assert written.head.classes.tolist() == ["no", "yes"]
