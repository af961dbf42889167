"""A file passes only if the original's readers find the same things at the same places in it."""

import json
import warnings

import numpy as np
import onnx
import onnxruntime
import pytest
import skl2onnx
from onnx import TensorProto, helper, numpy_helper
from sklearn.neural_network import MLPClassifier

from ntkit import DebiasSettings, FrozenModel, LinearHead, debias, predict
from ntkit.exceptions import VerificationError
from ntkit.extraction import OnnxEmbedder
from ntkit.extraction.head_check import check_head
from ntkit.model.model_pair import load_pair
from ntkit.verification import save_verified, verify
from tests.cases import ntkit

K = 3
ORDER = [1, 2, 0]
NAMES = ["ant", "bee", "cow"]
DICT = repr(dict(enumerate(NAMES)))


def close_head(zoo, classes):
    """A head that decides mostly as the model's own does."""
    W, b = zoo.weights(K)
    return LinearHead(W + 0.05 * zoo.weights(K, seed=4)[0], b, classes)


def edited(path, name, props=None, permuted=False, tensor=None, change=None):
    """The file with other metadata, or the rows of its head in another order."""
    proto = onnx.load(path)
    for kept in proto.graph.initializer:
        array = numpy_helper.to_array(kept)
        if permuted and kept.name.startswith("fc."):
            kept.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(array[ORDER]), kept.name))
        if kept.name == tensor:
            kept.CopyFrom(numpy_helper.from_array(change(array), kept.name))
    found = {p.key: p.value for p in proto.metadata_props} | (props or {})
    del proto.metadata_props[:]
    helper.set_model_props(proto, found)
    onnx.save(proto, path.with_name(name))
    return path.with_name(name)


@pytest.fixture
def files(zoo, tmp_path):
    def made(metadata=None, classes=NAMES):
        path = zoo.save(zoo.classifier(K, metadata=metadata), tmp_path / "m.onnx")
        new = FrozenModel.load(path).matched_to(classes).with_head(close_head(zoo, classes))
        return path, new.save(tmp_path / "d.onnx", force=True)

    return made


def test_rows_in_another_order_do_not_pass_though_no_name_contradicts(zoo, files, tmp_path):
    """The original names no classes; the file's own names go with its rows."""
    path, right = files()
    X = zoo.inputs(200)
    assert verify(path, right, X, device="cpu").passed
    names = json.dumps([NAMES[i] for i in ORDER])
    for props in ({"ntkit.classes": names}, {}):
        wrong = edited(right, "wrong.onnx", props, permuted=True)
        check = verify(path, wrong, X, device="cpu")
        assert not check.kept.class_order
        assert not check.passed
        assert "its classes in another order" in check.failures()[0]
    model = FrozenModel.load(path)
    with pytest.raises(VerificationError, match="another order than the original's"):
        save_verified(FrozenModel.load(wrong), tmp_path / "n.onnx", original=model, X=X)
    assert not (tmp_path / "n.onnx").exists()


def test_names_in_another_order_do_not_pass_in_the_file_and_beside_it(zoo, files, tmp_path):
    path, right = files({"names": DICT})
    X = zoo.inputs()
    assert verify(path, right, X, device="cpu").passed
    moved = [NAMES[i] for i in ORDER]
    for props in ({"names": repr(dict(enumerate(moved)))}, {"ntkit.classes": json.dumps(moved)}):
        wrong = edited(right, "wrong.onnx", props)
        with pytest.warns(UserWarning, match="another order"):
            check = verify(path, wrong, X, device="cpu")
        assert not check.kept.class_order
        assert not check.passed
    path, right = files()
    (tmp_path / "out").mkdir()
    right = right.rename(tmp_path / "out" / "d.onnx")
    assert verify(path, right, X, device="cpu").passed
    config = {"id2label": dict(enumerate(moved))}
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert not verify(path, right, X, device="cpu").passed


def test_a_head_that_mends_many_errors_passes(zoo, files):
    """Half of the predictions change: that is what a biased model needs."""
    path, _ = files(classes=[0, 1, 2])
    for seed in (4, 7):
        new = FrozenModel.load(path).with_head(LinearHead(*zoo.weights(K, seed=seed), range(K)))
        check = verify(path, new, zoo.inputs(400), device="cpu")
        assert check.agreement < 0.9
        assert check.passed


def two_heads(zoo, path):
    graph = zoo.classifier(K, output=False)
    graph.constant("w2", np.ones((2, 5)))
    graph.write("""
        domain = Gemm(z, w2, transB=1)
        attention = Softmax(h)
        strongest = ArgMax(h, axis=1, keepdims=0)""")
    for name, width in {"logits": K, "domain": 2, "attention": 5}.items():
        graph.output(name, ["batch", width])
    graph.output("strongest", ["batch"], TensorProto.INT64)
    return FrozenModel.load(zoo.save(graph.model(), path), logits="logits")


def test_another_layer_edited_and_an_output_that_is_gone_do_not_pass(zoo, tmp_path):
    model = two_heads(zoo, tmp_path / "m.onnx")
    X = zoo.inputs()
    right = model.with_head(close_head(zoo, range(K))).save(tmp_path / "d.onnx")
    check = verify(tmp_path / "m.onnx", right, X, device="cpu")  # the file says which head
    assert check.side_difference == 0
    assert check.passed
    wrong = edited(right, "wrong.onnx", tensor="w2", change=lambda w: w * np.float32(1.1))
    check = verify(model, wrong, X, device="cpu")
    assert check.embedding_difference == 0
    assert check.side_difference > 1e-2
    assert check.failures() == ("computes its other outputs differently from the original",)
    proto = onnx.load(right)
    del proto.graph.output[2]
    onnx.save(proto, right)
    check = verify(model, right, X, device="cpu")
    assert not check.kept.outputs
    assert not check.passed


def test_other_classes_and_another_original_are_said(zoo, files, tmp_path):
    model = FrozenModel.load(files({"names": DICT})[0])
    for classes in (["x", "y"], ["x", "y", "z"], ["cow", "dog", "ant"]):
        head = LinearHead(*zoo.weights(len(classes), seed=4), classes)
        check = verify(model, model.with_head(head), zoo.inputs(200), device="cpu")
        assert check.passed
        assert np.isnan(check.agreement)  # compared as far as they can be
        assert "has other classes" in check.notes[0]
    model = FrozenModel.load(files()[0])
    for digest, n_notes in ((model.sha256(), 0), ("0" * 64, 1)):
        new = model.with_head(close_head(zoo, range(K)), provenance={"source_sha256": digest})
        check = verify(model, new, zoo.inputs(), device="cpu")
        assert len(check.notes) == n_notes
    assert "another file than this original" in check.notes[0]


def test_labels_that_another_order_explains_are_noted(zoo, files):
    path, _ = files()
    X = zoo.inputs(400)
    z, W = zoo.embedding(onnx.load(path), X), close_head(zoo, NAMES).coef
    head = LinearHead(W, -W @ z.mean(axis=0), NAMES)  # which predicts every class
    right = FrozenModel.load(path, classes=NAMES).with_head(head)
    y = head.predict(z)
    assert verify(path, right, X, y=y, device="cpu").notes == ()
    order = dict(zip(NAMES, NAMES[1:] + NAMES[:1], strict=True))
    moved = np.asarray([order[label] for label in y])
    assert "in another order than the labels" in verify(path, right, X, y=moved).notes[0]
    numbers = np.asarray([NAMES.index(label) for label in moved])
    assert "in another order than the labels" in verify(path, right, X, y=numbers).notes[0]


def test_classes_given_on_the_command_line(zoo, files, tmp_path):
    path, right = files()
    np.savez(tmp_path / "x.npz", X=zoo.inputs(), y=np.asarray(NAMES)[np.arange(40) % K])
    code, out, err = ntkit("verify", path, right, tmp_path / "x.npz")
    assert (code, "order of classes      kept" in out) == (0, True), err
    arguments = ["verify", path, right, tmp_path / "x.npz", "--classes"]
    assert ntkit(*arguments, "ant,bee,cow")[0] == 0
    (tmp_path / "names").write_text("bee\ncow\nant\n")
    for classes in ("bee,cow,ant", tmp_path / "names"):
        code, _, err = ntkit(*arguments, classes)
        assert code == 2
        assert "another order" in err
    code, out, _ = ntkit("inspect", path, "--classes", "2,1,0", "--json")
    assert json.loads(out)["classes"] == [2, 1, 0]
    code, _, err = ntkit("inspect", path, "--classes", "a,,b")
    assert "is empty" in err


def test_a_pair_is_read_where_the_debiased_file_says(zoo, tmp_path):
    path = zoo.save(zoo.built(outputs={"z": ["batch", 5]}), tmp_path / "m.onnx")
    model = FrozenModel.load(path, embedding="z")
    new = model.with_head(LinearHead(*zoo.weights(K), NAMES)).save(tmp_path / "d.onnx")
    first, second = load_pair(path, new)
    assert first.embedding.name == second.embedding.name == "z"
    check = verify(path, new, zoo.inputs(), device="cpu")
    assert check.passed
    assert check.side_difference == 0
    assert "no head" in check.notes[0]


@pytest.mark.more
def test_labels_of_a_graph_may_be_spelt_otherwise_by_the_samples(tmp_path):
    rng, names = np.random.default_rng(0), ["high", "low", "mid"]
    X = rng.normal(size=(300, 5)).astype(np.float32)
    y = np.digitize(X[:, 0], [-0.5, 0.5])
    with warnings.catch_warnings(action="ignore"):  # it has not converged
        network = MLPClassifier((8,), max_iter=100, random_state=0).fit(X, np.array(names)[y])
    proto = skl2onnx.to_onnx(network, X[:1], options={"zipmap": False})
    (tmp_path / "model.onnx").write_bytes(proto.SerializeToString())
    options = {"method": "class-balanced", "device": "cpu"}
    for labels in (["HIGH", "LOW", "MID"], [0, 1, 2]):
        said, place = np.asarray(labels)[y], tmp_path / f"service of {labels[0]}"
        sets = (X[:150], said[:150]), (X[150:], said[150:])
        out = tmp_path / f"{labels[0]}"
        debias(
            tmp_path / "model.onnx",
            *sets,
            out=out,
            settings=DebiasSettings(otherwise="new head", deploy=place),
            **options,
        )
        session = onnxruntime.InferenceSession(place / "model.onnx")
        answers = session.run(None, {session.get_inputs()[0].name: X})[0].tolist()
        assert set(answers) <= set(names)
        assert json.loads((place / "labels.json").read_text()) == names
        found = predict(out / "debiased.onnx", (X, said), device="cpu")
        assert [labels[names.index(a)] for a in answers] == found.labels.tolist()
        named = FrozenModel.load(tmp_path / "model.onnx", classes=labels)
        check_head(OnnxEmbedder(named, device="cpu"), X)


def test_two_networks_are_not_said_to_have_classes_in_another_order(zoo, tmp_path):
    """What tells the order of classes apart is two heads on the same embeddings."""
    paths = [tmp_path / f"{seed}.onnx" for seed in (0, 1)]
    X = zoo.inputs(300)
    answers = []
    for seed, path in enumerate(paths):
        graph, (W, b) = zoo.body(seed=seed), zoo.weights(3, seed=1 + seed)
        graph.write("logits = Gemm(z, W, b, transB=1)", W=W, b=b)
        graph.output("logits", ["batch", 3])
        zoo.save(graph.model(), path)
        session = onnxruntime.InferenceSession(path)
        answers.append(session.run(["logits"], {session.get_inputs()[0].name: X})[0].argmax(axis=1))
    found = verify(*paths, X, device="cpu", latency=False)
    assert not found.passed
    assert found.kept.class_order
    assert found.agreement == pytest.approx((answers[0] == answers[1]).mean())
