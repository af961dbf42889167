"""Models that tools rewrote: quantisers, converters to half precision, optimisers."""

import importlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tests.zoo.building import FEATURES, IMAGE, graph_model, quietly, samples, tensors
from tests.zoo.old_rows import torch_cnn
from tests.zoo.row import REGION, Row

# What quantisation itself costs here, measured against NumPy with the float weights: at most 0.7 %
# of the largest logit in 8 bits (weights, bias and logits off by half a step), 3 % with 4-bit
# weights, 0.03 % in half precision. Three times that leaves room for other heads.
EIGHT_BITS, FOUR_BITS, HALF = 0.02, 0.1, 1e-3


HEADS = {
    "Gemm": "logits = Gemm(z, w2, b2, transB=1)\n",
    "MatMul": "logits = MatMul(z, w2.T)\n",
    "MatMul + Add": "product = MatMul(z, w2.T)\nlogits = Add(product, b2)\n",
}


def _mlp(head: str = "Gemm", ending: str = "") -> onnx.ModelProto:
    """x (N, 6) → 10 neurons → logits, as Gemm or as MatMul and Add."""
    weights = tensors(w1=(10, 6), b1=(10,), w2=(3, 10), b2=(3,))
    text = "z = Relu(Gemm(x, w1, b1, transB=1))\n" + HEADS[head] + ending
    return graph_model(text, weights, FEATURES, opset=17, ir_version=8, producer="someone")


def _cnn(head: str = "Gemm", ending: str = "") -> onnx.ModelProto:
    weights = tensors(w1=(10, 3, 3, 3), b1=(10,), w2=(3, 10), b2=(3,))
    text = "pool = GlobalAveragePool(Relu(Conv(x, w1, b1, kernel_shape=[3, 3])))\n"
    text += "z = Flatten(pool)\n" + HEADS[head] + ending
    return graph_model(text, weights, IMAGE, opset=17, ir_version=8, producer="someone")


def _scaled_mlp() -> onnx.ModelProto:
    """Logits without a bias, times a temperature."""
    return _mlp("MatMul", "ending = Mul(logits, 20.0)")


def _torch_cnn() -> onnx.ModelProto:
    """Batch norm and copies of weights that the exporter did not fold."""
    with TemporaryDirectory() as folder:
        torch_cnn(Path(folder), pooled=False, do_constant_folding=False, opset_version=17)
        return onnx.load(Path(folder) / "model.onnx")


def _shape(model: onnx.ModelProto) -> list[int]:
    return [d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim[1:]]


def _rewritten(folder: Path, model: onnx.ModelProto, tool: Callable, **keywords):
    """Save a model, let a tool write ``model.onnx`` from it."""
    source, target = folder / "source.onnx", folder / "model.onnx"
    onnx.save(model, source)
    with quietly():
        tool(str(source), str(target), **keywords)
    source.unlink()
    kind = onnx.load(target).graph.input[0].type.tensor_type.elem_type
    return {"x": samples(*_shape(model), dtype=helper.tensor_dtype_to_np_dtype(kind))}


class _Calibration:
    """Samples one at a time, as quantize_static reads them."""

    def __init__(self, batch):
        self.batch = iter(batch)

    def get_next(self):
        x = next(self.batch, None)
        return None if x is None else {"x": x[np.newaxis]}


def _static(source: str, target: str, *, qdq: bool = True, **keywords) -> None:
    from onnxruntime import quantization as q

    class Reader(_Calibration, q.CalibrationDataReader):
        pass

    batch = samples(*_shape(onnx.load(source)))
    form = q.QuantFormat.QDQ if qdq else q.QuantFormat.QOperator
    types = {name: getattr(q.QuantType, kind) for name, kind in keywords.pop("types", {}).items()}
    q.quantize_static(source, target, Reader(batch), quant_format=form, **types, **keywords)


def _dynamic(source: str, target: str, **keywords) -> None:
    from onnxruntime.quantization import quantize_dynamic

    quantize_dynamic(source, target, **keywords)


def _n_bits(source: str, target: str, *, qdq: bool) -> None:
    from onnxruntime.quantization import QuantFormat
    from onnxruntime.quantization.matmul_nbits_quantizer import (
        DefaultWeightOnlyQuantConfig,
        MatMulNBitsQuantizer,
    )

    form = QuantFormat.QDQ if qdq else QuantFormat.QOperator
    config = DefaultWeightOnlyQuantConfig(block_size=16, is_symmetric=True, quant_format=form)
    quantiser = MatMulNBitsQuantizer(onnx.load(source), algo_config=config)
    quantiser.process()
    quantiser.model.save_model_to_file(target)


def _half(module: str, source: str, target: str, **keywords) -> None:
    convert = importlib.import_module(module).convert_float_to_float16
    onnx.save(convert(onnx.load(source), **keywords), target)


_ort_half = partial(_half, "onnxruntime.transformers.float16")
_converter_half = partial(_half, "onnxconverter_common.float16")


def _stored_in_bfloat16(source: str, target: str) -> None:
    """Weights in bfloat16, each behind a Cast: ONNX Runtime has no such Gemm on the CPU."""
    model = onnx.load(source)
    casts = []
    for tensor in model.graph.initializer:
        name, array = tensor.name, numpy_helper.to_array(tensor)
        bits = (array.view(np.uint32) >> 16).astype(np.uint16)
        tensor.CopyFrom(
            helper.make_tensor(
                f"{name}_bf16", TensorProto.BFLOAT16, array.shape, bits.tobytes(), raw=True
            )
        )
        casts.append(helper.make_node("Cast", [tensor.name], [name], to=TensorProto.FLOAT))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    onnx.save(model, target)


def _optimised(source: str, target: str, *, level: str) -> None:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.graph_optimization_level = getattr(ort.GraphOptimizationLevel, level)
    options.optimized_model_filepath = target
    options.log_severity_level = 3
    ort.InferenceSession(source, options, providers=["CPUExecutionProvider"])


def _slimmed(source: str, target: str) -> None:
    import onnxslim

    onnxslim.slim(source, target)


def _simplified(source: str, target: str) -> None:
    import onnxsim

    model, _ = onnxsim.simplify(onnx.load(source))
    onnx.save(model, target)


PRODUCERS = {
    **dict.fromkeys([_static, _dynamic, _n_bits], "ONNX Runtime quantiser"),
    **dict.fromkeys([_ort_half, _converter_half, _stored_in_bfloat16], "16 bits"),
    **dict.fromkeys([_optimised, _slimmed, _simplified], "optimisers"),
}


def _row(name: str, tool: Callable, model: Callable, *, needs=(), **keywords) -> Row:
    fields = ("kind", "refusal", "tolerance")
    about = {field: keywords.pop(field) for field in fields if field in keywords}
    if "refusal" in about:
        about["kind"] = None

    def build(folder: Path):
        return _rewritten(folder, model(), tool, **keywords)

    return Row(name, PRODUCERS[tool], ("onnxruntime", *needs), build, n_neurons=10, **about)


SUM = "MatMul + Add"
_sum_mlp, _sum_cnn = partial(_mlp, SUM), partial(_cnn, SUM)
_softmax_cnn = partial(_cnn, "Gemm", "ending = Softmax(logits)")
_sigmoid_mlp = partial(_mlp, "Gemm", "ending = Sigmoid(logits)")

EIGHT = {"tolerance": EIGHT_BITS}
QDQ_SUM = {"kind": SUM, **EIGHT}
DYNAMIC = {"kind": "MatMulInteger + Add", **EIGHT}
QOPERATOR = {"qdq": False, "kind": REGION, **EIGHT}
UNSIGNED = {"activation_type": "QUInt8", "weight_type": "QUInt8"}
CONVERTER = {"kind": SUM, "tolerance": HALF, "needs": ("onnxconverter_common",)}
EXTENDED = {"level": "ORT_ENABLE_EXTENDED"}

ROWS: list[Row] = [
    _row("QDQ, MLP", _static, _mlp, **EIGHT),
    _row("QDQ, CNN", _static, _cnn, **EIGHT),
    _row("QDQ, MatMul and Add", _static, _sum_mlp, **QDQ_SUM),
    _row("QDQ per channel, CNN", _static, _cnn, per_channel=True, **EIGHT),
    _row("QDQ per channel, MatMul and Add", _static, _sum_mlp, per_channel=True, **QDQ_SUM),
    _row("QDQ unsigned, softmax", _static, _softmax_cnn, types=UNSIGNED, **EIGHT),
    _row("QOperator, MLP", _static, _mlp, **QOPERATOR),
    _row("QOperator, CNN", _static, _cnn, **QOPERATOR),
    _row("QOperator, MatMul and Add", _static, _sum_mlp, **QOPERATOR),
    _row("dynamic, MLP", _dynamic, _mlp, **DYNAMIC),
    _row("dynamic, CNN, MatMul and Add", _dynamic, _sum_cnn, **DYNAMIC),
    _row("dynamic per channel", _dynamic, _sum_mlp, per_channel=True, **DYNAMIC),
    _row("4 bits, MatMulNBits", _n_bits, _sum_mlp, qdq=False, kind=REGION),
    _row("4 bits, QDQ", _n_bits, _sum_mlp, qdq=True, kind=SUM, tolerance=FOUR_BITS),
    _row("half by ORT, float inputs", _ort_half, _cnn, keep_io_types=True, tolerance=HALF),
    _row("half by ORT, half inputs", _ort_half, _cnn, keep_io_types=False, tolerance=HALF),
    _row("half by converter, float", _converter_half, _sum_mlp, keep_io_types=True, **CONVERTER),
    _row("half by converter, half", _converter_half, _sum_mlp, keep_io_types=False, **CONVERTER),
    _row("weights in bfloat16", _stored_in_bfloat16, _mlp),
    _row("ORT extended, FusedConv", _optimised, _cnn, **EXTENDED),
    _row("ORT extended, MatMul and Add fused", _optimised, _sum_mlp, **EXTENDED),
    _row("ORT extended, Sigmoid fused", _optimised, _sigmoid_mlp, refusal="FusedGemm", **EXTENDED),
    _row("ORT extended, scale fused", _optimised, _scaled_mlp, refusal="FusedMatMul", **EXTENDED),
    _row("ORT all, NCHWc", _optimised, _softmax_cnn, level="ORT_ENABLE_ALL"),
    _row("onnxslim", _slimmed, _torch_cnn, needs=("torch", "onnxslim")),
    _row("onnxsim", _simplified, _torch_cnn, needs=("torch", "onnxsim")),
]
