"""Several labels for one sample, as both exporters of PyTorch write them."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from ntkit import FrozenModel, LinearHead
from ntkit.verification import save_verified
from tests import models as zoo
from tests.zoo import torch_rows as rows

ENDS = {  # what follows a body of 16 neurons, of the layer `fc` or of a layer for each label
    "one layer": lambda net, z: net.fc(z).sigmoid(),
    "one layer, without its Sigmoid": lambda net, z: net.fc(z),
    "outputs": lambda net, z: tuple(fc(z).sigmoid() for fc in net.each),
    "joined": lambda net, z: _torch().cat([fc(z).sigmoid() for fc in net.each], 1),
    "stacked": lambda net, z: _torch().stack([fc(z).sigmoid()[:, 0] for fc in net.each], 1),
    "joined logits": lambda net, z: _torch().cat([fc(z) for fc in net.each], 1).sigmoid(),
}


def _torch():
    return pytest.importorskip("torch")


def _layers():
    nn = _torch().nn
    return nn.ModuleList(nn.Linear(16, 1) for _ in range(3))


@pytest.mark.parametrize("exporter", ["dynamo", "torchscript"])
@pytest.mark.parametrize("name", ENDS)
def test_one_label_changes_and_the_others_stay_to_the_bit(name, exporter, tmp_path):
    _torch()
    pytest.importorskip("onnxscript")
    export = getattr(rows, f"_{exporter}")
    make = rows._mlp(lambda net, x: ENDS[name](net, net.body(x)), each=_layers)
    outputs = ["a", "b", "c"] if name == "outputs" else ["p"]
    options = {"make": make, "samples": rows._vectors, "export": export, "noise": 0.05}
    X = rows._build(tmp_path, **options, options={"output_names": outputs})["x"]
    path, out = tmp_path / "model.onnx", tmp_path / "out.onnx"
    one = FrozenModel.load(path, label="b" if name == "outputs" else "1")
    head = LinearHead(1.1 * one.head.coef, one.head.intercept + 0.1, one.head.classes)
    assert save_verified(one.with_head(head), out, original=one, X=X, head=head).passed
    before, after = (np.hstack([*zoo.run(file, X).values()]) for file in (path, out))
    assert_array_equal((before != after).any(axis=0), [False, True, False])
