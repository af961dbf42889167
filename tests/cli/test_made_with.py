"""A store or a head of one model is not taken with another, whatever its width."""

import shutil
import warnings

import numpy as np
import onnx
import pytest
import skl2onnx
from PIL import Image
from sklearn.neural_network import MLPClassifier

from ntkit import FrozenModel, OnnxEmbedder, debias, write_report
from ntkit.cli import main
from ntkit.datasets import marked_digits_model_path
from ntkit.exceptions import InputError
from ntkit.export import to_onnx, write_onnx
from ntkit.extraction import EmbeddingStore, Samples, read_samples

N = 400


def run(capsys, *arguments):
    code = 0
    try:
        main([str(a) for a in arguments])
    except SystemExit as end:
        code = end.code or 0
    printed = capsys.readouterr()
    return code, printed.out, printed.err


def done(*arguments):
    with pytest.raises(SystemExit) as end:
        main([str(a) for a in arguments])
    assert not end.value.code


@pytest.fixture(scope="module")
def root(tmp_path_factory, digits):
    """Two models of one width, images, and stores of both models and two sizes."""
    root = tmp_path_factory.mktemp("two")
    shutil.copy(marked_digits_model_path(), root / "a.onnx")
    other = onnx.load(root / "a.onnx")
    conv = next(node for node in other.graph.node if node.op_type == "Conv")
    weight = next(i for i in other.graph.initializer if i.name == conv.input[1])
    changed = onnx.numpy_helper.to_array(weight) * np.float32(1.5)
    weight.CopyFrom(onnx.numpy_helper.from_array(changed, weight.name))
    onnx.save(other, root / "b.onnx")
    for name in ("train", "validation"):
        X, y = digits[f"X_{name}"][:N], digits[f"y_{name}"][:N]
        np.savez(root / f"{name}.npz", X=X, y=y)
        for i, (image, label) in enumerate(zip(X, y, strict=True)):
            path = root / name / str(label) / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray((image[0] * 255).round().astype(np.uint8)).save(path)
        for model in ("a", "b"):
            done(
                "embed",
                root / f"{model}.onnx",
                root / f"{name}.npz",
                "--quiet",
                "-o",
                root / f"{name}-{model}.store",
            )
        done(
            "embed",
            root / "a.onnx",
            root / name,
            "--quiet",
            "--scale",
            "0.002",
            "-o",
            root / f"{name}-dark.store",
        )
    done("fit", root / "train-a.store", "--method", "jtt", "-o", root / "head-a.onnx")
    done("fit", root / "train-dark.store", "--method", "jtt", "-o", root / "head-dark.onnx")
    return root


def refused(capsys, root, said, *arguments):
    before = sorted(root.rglob("*"))
    where = () if "--report" in arguments else ("-o", root / "out")
    code, _, err = run(capsys, *arguments, *where)
    assert code == 2, err
    assert sum(not line.startswith("Images: ") for line in err.splitlines()) == 1
    for part in said:
        assert part in err
    assert sorted(root.rglob("*")) == before


@pytest.mark.parametrize("which", ["train", "validation"])
def test_debias_refuses_stores_of_another_model(capsys, root, which):
    sets = {"train": root / "train-a.store", "validation": root / "validation-a.store"}
    sets[which] = root / f"{which}-b.store"
    shas = [FrozenModel.load(root / f"{m}.onnx").sha256()[:12] for m in "ab"]
    refused(
        capsys, root,
        [f"{which}-b.store", "another model", "a.onnx", *shas, "use the original model"],
        "debias", root / "a.onnx", "--train", sets["train"], "--validation", sets["validation"],
    )  # fmt: skip


def test_debias_refuses_a_store_and_images_prepared_in_two_ways(capsys, root):
    debias = ("debias", root / "a.onnx", "--validation", root / "validation", "--train")
    said = ["train-dark.store", "validation", "preprocessed in two ways (scale: 0.002 and"]
    refused(capsys, root, said, *debias, root / "train-dark.store")
    refused(capsys, root, said[2:], "debias", root / "a.onnx", "--train", root / "train-dark.store",
            "--validation", root / "validation", "--scale", "0.004")  # fmt: skip
    code, _, err = run(
        capsys, *debias, root / "train-dark.store", "--scale", "0.002", "-o", root / "same",
        "--method", "class-balanced", "--even-if-worse",
    )  # fmt: skip
    assert code == 0, err
    facts = FrozenModel.load(root / "same" / "debiased.onnx").metadata
    assert '"scale": 0.002' in facts["ntkit.preprocessing"]
    shutil.rmtree(root / "same")


def test_debias_refuses_another_tensor_of_the_model(root, zoo, tmp_path):
    model = zoo.save(zoo.classifier(3), tmp_path / "m.onnx")
    first = FrozenModel.load(model)
    X, y = zoo.inputs(60), np.arange(60) % 3
    np.savez(tmp_path / "data.npz", X=X, y=y)
    other = FrozenModel.load(model, embedding="h")
    samples = read_samples(tmp_path / "data.npz")
    EmbeddingStore.write(tmp_path / "h.store", OnnxEmbedder(other, device="cpu"), samples)
    with pytest.raises(InputError, match=r"h\.store .* tensor 'h', but the embedding of m\.onnx"):
        debias(first, tmp_path / "h.store", tmp_path / "h.store", device="cpu")


def test_fit_refuses_stores_that_do_not_belong_together(capsys, root):
    fit = ("fit", root / "train-a.store", "--validation")
    said = ["train-a.store and", "validation-b.store were made with two models"]
    refused(capsys, root, said, *fit, root / "validation-b.store")
    said = ["preprocessed in two ways (scale"]
    train = root / "train-dark.store"
    done(
        "embed",
        root / "a.onnx",
        root / "validation",
        "--quiet",
        "-o",
        root / "validation-bright.store",
    )
    refused(capsys, root, said, "fit", train, "--validation", root / "validation-bright.store")


def test_a_head_says_what_it_was_made_with_and_export_looks(capsys, root):
    facts = FrozenModel.load(root / "head-dark.onnx").metadata
    model = FrozenModel.load(root / "a.onnx")
    assert facts["ntkit.source_sha256"] == model.sha256()
    assert facts["ntkit.tensor"] == model.embedding.name
    assert '"scale": 0.002' in facts["ntkit.preprocessing"]
    said = ["head-a.onnx", "another model", "b.onnx"]
    refused(capsys, root, said, "export", root / "b.onnx", root / "head-a.onnx")
    said = ["head-dark.onnx and", "preprocessed in two ways (scale"]
    head = root / "head-dark.onnx"
    refused(capsys, root, said, "export", root / "a.onnx", head, "--data", root / "validation")
    code, _, err = run(capsys, "export", root / "a.onnx", head, "-o", root / "out.onnx")
    assert code == 0, err
    (root / "out.onnx").unlink()


def test_a_head_made_by_hand_is_accepted(capsys, root):
    head = FrozenModel.load(root / "a.onnx").head
    write_onnx(to_onnx(head), root / "hand.onnx")
    code, _, err = run(capsys, "export", root / "b.onnx", root / "hand.onnx", "-o", root / "o.onnx")
    assert code == 0, err
    for name in ("hand.onnx", "o.onnx"):
        (root / name).unlink()


def test_report_refuses_what_does_not_belong_to_the_model(capsys, root):
    done("export", root / "a.onnx", root / "head-a.onnx", "-o", root / "new.onnx")
    capsys.readouterr()
    page = ("--report", root / "page.html")
    said = ["new.onnx differs from", "b.onnx in more than its head"]
    check = ["check", root / "b.onnx", root / "new.onnx", root / "validation.npz", *page]
    refused(capsys, root, said, *check)
    said = ["validation-b.store was made with another model", "a.onnx"]
    store = root / "validation-b.store"
    refused(capsys, root, said, "check", root / "a.onnx", root / "new.onnx", store, *page)
    # What differs in its head only has the same embeddings.
    for first in ("a.onnx", "new.onnx"):
        page = write_report(
            root / first, root / "new.onnx", root / "validation-a.store", root / "page.html",
            device="cpu", force=True,
        )  # fmt: skip
    for path in (page, root / "new.onnx"):
        path.unlink()


def test_what_has_no_record_is_accepted(root):
    """Arrays of embeddings, and stores of embeddings from elsewhere."""
    train, validation = (
        EmbeddingStore.open(root / f"{name}-b.store") for name in ("train", "validation")
    )
    sets = [Samples(np.asarray(store.X), store.y, embedded=True) for store in (train, validation)]
    debias(root / "a.onnx", *sets, device="cpu", method="class-balanced")


def test_a_head_that_fit_wrote_knows_the_columns_of_its_table(capsys, tmp_path):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 3)).round(4)
    y = np.where(X[:, 0] > X[:, 2], "up", "down")
    for name, order in (("straight", "abc"), ("moved", "cba")):
        at = ["abc".index(column) for column in order]
        rows = [",".join([*map(str, row[at]), label]) for row, label in zip(X, y, strict=True)]
        (tmp_path / f"{name}.csv").write_text("\n".join([",".join([*order, "label"]), *rows]))
    method = ("--method", "balanced")
    done("fit", tmp_path / "straight.csv", *method, "-o", tmp_path / "head.onnx")
    for name in ("straight", "moved"):
        table = tmp_path / f"{name}.csv"
        code, _, err = run(
            capsys, "predict", tmp_path / "head.onnx", table, "-o", tmp_path / f"{name}-p.csv"
        )
        assert code == 0, err
    tables = [(tmp_path / f"{name}-p.csv").read_text() for name in ("straight", "moved")]
    assert tables[0] == tables[1]


def test_a_head_of_a_table_s_store_takes_neurons_and_goes_into_its_model(capsys, tmp_path):
    """The graph of the model spells the labels in another way than the table."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 4)).astype(np.float32)
    y = np.where(X[:, 0] > 0, "yes", "no")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it has not converged
        network = MLPClassifier((4,), max_iter=100, random_state=0).fit(X, y)
    (tmp_path / "m.onnx").write_bytes(
        skl2onnx.to_onnx(network, X[:1], options={"zipmap": False}).SerializeToString()
    )
    rows = [",".join([*map(str, row), label.upper()]) for row, label in zip(X, y, strict=True)]
    (tmp_path / "t.csv").write_text("\n".join(["a,b,c,d,label", *rows]))
    done("embed", tmp_path / "m.onnx", tmp_path / "t.csv", "-o", tmp_path / "t.store")
    done("fit", tmp_path / "t.store", "--method", "balanced", "-o", tmp_path / "head.onnx")
    assert FrozenModel.load(tmp_path / "head.onnx").inputs[0].columns is None
    done("export", tmp_path / "m.onnx", tmp_path / "head.onnx", "-o", tmp_path / "new.onnx")
    written = FrozenModel.load(tmp_path / "new.onnx")
    assert written.inputs[0].columns == ("a", "b", "c", "d")
    assert written.head.classes.tolist() == ["no", "yes"]
