"""`verify` and `check --report` read whatever `debias` writes, without being told where."""

import json

import numpy as np
import onnx
import pytest

from ntkit import FrozenModel, debias, write_report
from ntkit.cli import main
from tests.model.test_pooling import backbone


def plain(zoo, **options):
    return zoo.classifier(3, **options)


def side_outputs(zoo):
    graph = zoo.classifier(3, output=False)
    graph.add("Softmax", ["h"], "attention")
    graph.output("z", ["batch", 5])
    graph.output("logits", ["batch", 3])
    graph.output("attention", ["batch", 5])
    return graph.model()


def two_heads(zoo):
    graph = zoo.classifier(3, output=False)
    graph.add("Gemm", ["z", graph.constant("w2", np.ones((2, 5)))], "domain", transB=1)
    graph.output("logits", ["batch", 3])
    graph.output("domain", ["batch", 2])
    return graph.model()


def features(zoo):
    graph = zoo.body()
    graph.output("z", ["batch", 5])
    return graph.model()


def probabilities(zoo):
    graph = zoo.classifier(3, output=False)
    graph.add("Softmax", ["logits"], "p")
    graph.output("p", ["batch", 3])
    return graph.model(metadata={"names": "{0: 'a', 1: 'b', 2: 'c'}"})


# Model, how it is loaded, labels of the samples, whether their head is new.
JOBS = {
    "side outputs": (side_outputs, {"logits": "logits"}, [0, 1, 2], False),
    "one of two heads": (two_heads, {"logits": "logits"}, ["a", "b", "c"], False),
    "two classes for three": (probabilities, {}, ["x", "y"], True),
    "three others": (plain, {}, ["x", "y", "w"], True),
    "four for three": (plain, {}, [0, 1, 2, 3], True),
    "a backbone": (features, {"embedding": "z"}, ["x", "y"], True),
    "cls": (
        lambda zoo: backbone(zoo, masks=()),
        {"embedding": "hidden", "pooling": "cls"},
        ["x", "y"],
        True,
    ),
    "mean, next to another head": (
        lambda zoo: backbone(zoo, masks=(), head=True),
        {"embedding": "hidden", "pooling": "mean"},
        ["x", "y"],
        True,
    ),
}


@pytest.fixture(scope="module", params=JOBS)
def job(request, zoo, tmp_path_factory):
    """The original, the folder that debias wrote, a test set, and whether the head is new."""
    build, options, labels, new = JOBS[request.param]
    folder = tmp_path_factory.mktemp("job")
    path = zoo.save(build(zoo), folder / "m.onnx")
    rng = np.random.default_rng(0)
    shape = (4, 6) if "pooling" in options else (6,)

    def sample(n):
        X = rng.normal(size=(n, *shape)).astype(np.float32)
        logits = X.reshape(n, -1)[:, : len(labels)] + rng.normal(size=(n, len(labels))) / 4
        return X, np.asarray(labels)[logits.argmax(axis=1)]

    model = FrozenModel.load(path, **options)
    out = folder / "out"
    ordered = {"new_head": True} if new else {"method": "auto", "even_if_worse": True}
    ordered |= {"trust_inputs": True}  # weights are random: some classes are never predicted
    debias(model, sample(120), sample(120), out=out, device="cpu", **ordered)
    X, y = sample(90)
    np.savez(folder / "test.npz", X=X, y=y)
    return path, out / "debiased.onnx", folder / "test.npz", new


def run(capsys, *arguments):
    """Run a command; its exit code, output and error output."""
    code = 0
    try:
        main([str(a) for a in arguments])
    except SystemExit as end:
        code = end.code or 0
    printed = capsys.readouterr()
    return code, printed.out, printed.err


def test_verify_passes_and_says_what_it_could_not_compare(job, capsys):
    path, debiased, data, new = job
    code, out, err = run(capsys, "verify", path, debiased, data)
    assert code == 0, err
    assert "check                 passed" in out
    assert ("has other classes" in out or "no head" in out) == new
    assert ("same predictions      –" in out) == new


def test_report_shows_the_new_head_and_says_what_stands_before(job, capsys, tmp_path):
    path, debiased, data, new = job
    page = tmp_path / "report.html"
    check = ["check", path, debiased, data, "--report", page, "--quiet"]
    code, _, err = run(capsys, *check)
    if code == 2:  # a model without these classes has no predictions to check
        assert (new, page.exists(), len(err.splitlines())) == (True, False, 1), err
    else:
        text = page.read_text(encoding="utf-8")
        assert ("The results before the repair are those of an ERM head" in text) == new
    npz = np.load(data)
    in_python = write_report(path, debiased, (npz["X"], npz["y"]), tmp_path / "p.html")
    assert ("The results before the repair" in in_python.read_text(encoding="utf-8")) == new


def test_the_head_is_found_again_in_the_file_alone(job):
    debiased = job[1]
    read = FrozenModel.load(debiased)
    again = FrozenModel.load(debiased, **read.located_by)
    assert read.head == again.head
    assert read.metadata["ntkit.new_head"] in ("true", "false")


def test_names_in_a_config_json_decide_not_the_alphabet(zoo, tmp_path, capsys):
    """{0: positive, 1: negative, 2: neutral}: in sorted order the model would be right on 5 %."""
    names = ["positive", "negative", "neutral"]
    path = zoo.save(plain(zoo), tmp_path / "m.onnx")
    (tmp_path / "config.json").write_text(json.dumps({"id2label": dict(enumerate(names))}))
    head = FrozenModel.load(path).head
    X = zoo.inputs(900)
    z = zoo.embedding(onnx.load(path), X)
    y = np.asarray(names)[(z @ head.coef.T - (z @ head.coef.T).mean(axis=0)).argmax(axis=1)]
    for part, rows in (("train", slice(300)), ("validation", slice(300, 600))):
        np.savez(tmp_path / f"{part}.npz", X=X[rows], y=y[rows])
    code, out, err = run(
        capsys, "debias", path, "--train", tmp_path / "train.npz", "--validation",
        tmp_path / "validation.npz", "-o", tmp_path / "out", "--quiet", "--method", "auto",
        "--trust-inputs",  # its weights are random: it never predicts "neutral"
    )  # fmt: skip
    assert code == 0, err
    assert "sorted order" not in out
    written = FrozenModel.load(tmp_path / "out" / "debiased.onnx")
    assert written.head.classes.tolist() == names
    assert (written.head.predict(zoo.embedding(onnx.load(path), X[600:])) == y[600:]).mean() > 0.9
