"""What `ntkit verify` and `ntkit export` say and refuse."""

import json

import numpy as np
import pytest
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from ntkit import FrozenModel, LinearHead
from ntkit.estimators import BalancedClassifier
from ntkit.export import to_onnx, write_onnx
from ntkit.extraction.head_check import HeadDifferences
from tests.cases import ntkit


@pytest.fixture
def files(zoo, tmp_path):
    """A classifier that gives probabilities only, its edited twin, and samples."""
    proto = zoo.built("p = Softmax(logits)", "classifier", {"p": ["batch", 3]})
    model = FrozenModel.load(zoo.save(proto, tmp_path / "m.onnx"))
    model.with_head(LinearHead(*zoo.weights(3, seed=4), range(3))).save(tmp_path / "d.onnx")
    np.savez(tmp_path / "x.npz", X=zoo.inputs(), y=np.arange(40) % 3)
    return tmp_path / "m.onnx", tmp_path / "d.onnx", tmp_path / "x.npz"


def test_verify_reports_outputs_metadata_and_latency(files):
    code, out, err = ntkit("verify", *files)
    assert code == 0, err
    rows = dict(line.split("  ", 1) for line in out.splitlines())
    assert float(rows["outputs differ by"]) < 1e-6
    assert rows["metadata"].strip() == "kept"
    assert rows["check"].strip() == "passed"
    assert "ms, the original's" in rows["latency"]
    assert "(ratio " in rows["latency"]
    code, out, _ = ntkit("verify", *files, "--json")
    found = json.loads(out)
    assert found["passed"]
    assert found["latency_ratio"] == pytest.approx(found["latency"] / found["original_latency"])
    assert found["output_difference"] < 1e-6
    assert found["kept"]["metadata"]


def test_export_checks_the_head_it_found_first(files, tmp_path, zoo, monkeypatch):
    head = write_onnx(to_onnx(LinearHead(*zoo.weights(3, seed=5), range(3))), tmp_path / "h.onnx")
    code, _, err = ntkit("export", files[0], head, "-o", tmp_path / "n.onnx")
    assert code == 0, err
    with monkeypatch.context() as patch:
        failed = HeadDifferences(logits=1.0, outputs=np.nan, decisions=1.0)
        patch.setattr("ntkit.extraction.head_check.head_differences", lambda *a, **k: failed)
        code, _, err = ntkit("export", files[0], head, "-o", tmp_path / "other.onnx")
    assert code == 2
    assert "does not compute the model's outputs" in err
    assert not (tmp_path / "other.onnx").exists()


def test_a_head_behind_a_scaler_is_not_taken_for_a_head(files, tmp_path):
    rng = np.random.default_rng(0)
    Z, y = rng.normal(size=(90, 5)) + np.eye(3, 5)[np.arange(90) % 3], np.arange(90) % 3
    pipeline = make_pipeline(StandardScaler(), BalancedClassifier()).fit(Z + 1e5, y)
    head = write_onnx(to_onnx(pipeline), tmp_path / "h.onnx")
    assert [node.op_type for node in to_onnx(pipeline).graph.node][:2] == ["Sub", "Mul"]
    code, _, err = ntkit("export", files[0], head, "-o", tmp_path / "n.onnx")
    assert code == 2
    assert "scaler in front" in err
    assert not (tmp_path / "n.onnx").exists()
