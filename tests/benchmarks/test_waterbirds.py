"""The Waterbirds benchmark: its cache, and the averages of its tables."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

import data_waterbirds
import waterbirds
from ntkit.head import LinearHead
from ntkit.study import Rows


@pytest.fixture
def birds(tmp_path):
    """Folder of nine images, and a network whose embedding is the mean colour."""
    rng, rows = np.random.default_rng(0), ["img_id,img_filename,y,split,place,place_filename"]
    (tmp_path / "own").mkdir()
    for i in range(9):
        pixels = rng.integers(0, 256, (30, 20, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "own" / f"{i}.png")
        rows.append(f"{i},{i}.png,{i % 2},{0 if i < 5 else 2},{i // 2 % 2},/o/{i}.png")
    (tmp_path / "own" / "metadata.csv").write_text("\n".join(rows) + "\n")
    nodes = [
        helper.make_node("GlobalAveragePool", ["image"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["embedding"]),
        helper.make_node("Gemm", ["embedding", "W"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes,
        "colours",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 3, 224, 224])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", 2])],
        [numpy_helper.from_array(rng.normal(size=(3, 2)).astype(np.float32), "W")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, tmp_path / "colours.onnx")
    return tmp_path / "own", tmp_path / "colours.onnx"


@pytest.mark.filterwarnings("ignore::ntkit.datasets.IncompleteDataWarning")
def test_an_interrupted_run_goes_on_and_is_not_taken_for_a_whole_one(birds, tmp_path, monkeypatch):
    folder, model = birds
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    data_waterbirds.embed(folder, model, whole, "train")
    monkeypatch.setattr(data_waterbirds, "CHUNK", 2)
    data_waterbirds.embed(folder, model, cut, "train")
    last = sorted(cut.iterdir())[-1]
    last.unlink()
    with pytest.raises(FileNotFoundError, match="does not hold all"):
        data_waterbirds.read(cut, "train")
    data_waterbirds.embed(folder, model, cut, "train")
    first, second = (data_waterbirds.read(path, "train") for path in (whole, cut))
    np.testing.assert_allclose(first.X, second.X, rtol=1e-6)
    np.testing.assert_allclose(first.statistics, second.statistics)
    assert first.groups.tolist() == second.groups.tolist() == [0, 2, 1, 3, 0]


def test_averages_are_over_test_samples_and_by_the_shares_of_training():
    Z = np.array([[1.0], [1], [-1], [-1], [1], [1], [1], [-1]])
    groups = np.array([0, 1, 1, 1, 2, 2, 3, 3])
    test = Rows.of(Z, groups // 2, groups)
    head = LinearHead([[1.0]], [0.0], [0, 1])  # right: 0 of 1, 2 of 3, 2 of 2, 1 of 2
    found = waterbirds.rated(head, test, np.array([7, 1, 1, 1]))
    assert found["worst"] == 0
    assert found["average"] == pytest.approx(100 * 5 / 8)
    assert found["adjusted"] == pytest.approx((200 / 3 + 100 + 50) / 10)
