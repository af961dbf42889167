"""What `ntkit verify` and `ntkit export` say and refuse."""

import json

import numpy as np
import pytest
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from ntkit import FrozenModel, LinearHead
from ntkit.cli import main
from ntkit.estimators import BalancedClassifier
from ntkit.export import to_onnx, write_onnx


def run(capsys, *arguments):
    """Run a command; its exit code, output and error output."""
    code = 0
    try:
        main([str(a) for a in arguments])
    except SystemExit as end:
        code = end.code or 0
    printed = capsys.readouterr()
    return code, printed.out, printed.err


@pytest.fixture
def files(zoo, tmp_path):
    """A classifier that gives probabilities only, its edited twin, and samples."""
    graph = zoo.classifier(3, output=False)
    graph.add("Softmax", ["logits"], "p")
    graph.output("p", ["batch", 3])
    model = FrozenModel.load(zoo.save(graph.model(), tmp_path / "m.onnx"))
    model.with_head(LinearHead(*zoo.weights(3, seed=4), range(3))).save(tmp_path / "d.onnx")
    np.savez(tmp_path / "x.npz", X=zoo.inputs(), y=np.arange(40) % 3)
    return tmp_path / "m.onnx", tmp_path / "d.onnx", tmp_path / "x.npz"


def test_verify_reports_outputs_metadata_and_latency(capsys, files):
    code, out, err = run(capsys, "verify", *files)
    assert code == 0, err
    rows = dict(line.split("  ", 1) for line in out.splitlines())
    assert float(rows["outputs differ by"]) < 1e-6
    assert rows["metadata"].strip() == "kept"
    assert rows["check"].strip() == "passed"
    assert "ms, the original's" in rows["latency"]
    assert "(ratio " in rows["latency"]
    code, out, _ = run(capsys, "verify", *files, "--json")
    found = json.loads(out)
    assert found["passed"]
    assert found["latency_ratio"] == pytest.approx(found["latency"] / found["original_latency"])
    assert found["output_difference"] < 1e-6
    assert found["same_metadata"]


def test_export_checks_the_head_it_found_first(capsys, files, tmp_path, zoo, monkeypatch):
    head = write_onnx(to_onnx(LinearHead(*zoo.weights(3, seed=5), range(3))), tmp_path / "h.onnx")
    code, _, err = run(capsys, "export", files[0], head, "-o", tmp_path / "n.onnx")
    assert code == 0, err
    with monkeypatch.context() as patch:
        patch.setattr("ntkit.verification._verify.verify", lambda *a, **k: _Failed())
        code, _, err = run(capsys, "export", files[0], head, "-o", tmp_path / "other.onnx")
    assert code == 2
    assert "does not compute the model's outputs" in err
    assert not (tmp_path / "other.onnx").exists()


class _Failed:
    passed = False
    tolerance = 1e-4

    def differences(self):
        return "much"


def test_a_head_behind_a_scaler_is_not_taken_for_a_head(capsys, files, tmp_path):
    rng = np.random.default_rng(0)
    Z, y = rng.normal(size=(90, 5)) + np.eye(3, 5)[np.arange(90) % 3], np.arange(90) % 3
    pipeline = make_pipeline(StandardScaler(), BalancedClassifier()).fit(Z + 1e5, y)
    head = write_onnx(to_onnx(pipeline), tmp_path / "h.onnx")
    assert [node.op_type for node in to_onnx(pipeline).graph.node][:2] == ["Sub", "Mul"]
    code, _, err = run(capsys, "export", files[0], head, "-o", tmp_path / "n.onnx")
    assert code == 2
    assert "scaler in front" in err
    assert not (tmp_path / "n.onnx").exists()
