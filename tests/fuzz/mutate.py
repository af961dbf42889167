"""Mutants of small classifiers: damaged bytes, and sound files whose graph was changed.

Everything is drawn from the seed of a mutant, so a number names a mutant for good (as long as the
corpus and this file stay as they are).
"""

import random
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tests import models as zoo

K = 3
N = zoo.N_NEURONS


@dataclass(frozen=True)
class Mutant:
    """Files by name (the model is ``m.onnx``), and what was done to whom."""

    files: dict
    story: str

    def write(self, folder: Path) -> Path:
        for name, content in self.files.items():
            (folder / name).write_bytes(content)
        return folder / "m.onnx"


# -- what is mutated --------------------------------------------------------------------------


def corpus(folder: Path) -> dict:
    """Classifiers by name, each as the files it consists of."""
    built = {name: _built(*row) for name, row in _MODELS.items()}
    built |= {"half": zoo.classifier(K, np.float16), "double": zoo.classifier(K, np.float64)}
    row = helper.make_map_type_proto(_INT, helper.make_tensor_type_proto(_FLOAT, None))
    rows = helper.make_value_info("rows", helper.make_sequence_type_proto(row))
    built["zip_map"].graph.output.append(rows)
    models = {name: {"m.onnx": model.SerializeToString()} for name, model in built.items()}
    text = "w0 = MatMul(z, WIDE.T)\nlogits = Gemm(w0, np.ones((3, 80)), np.ones(3), transB=1)"
    path = zoo.save_external(_built(text), folder / "m.onnx")
    models["external"] = {p.name: p.read_bytes() for p in (path, folder / "m.onnx.data")}
    return models


def _built(text, start="body", outputs=None):
    """A model whose outputs, by name, have a type: FLOAT by default."""
    outputs = outputs or {text.splitlines()[-1].split(" = ")[0]: _FLOAT}
    shapes = {_INT: ["batch"], _FLOAT: ["batch", None]}
    typed = {name: (shapes[kind], kind) for name, kind in outputs.items()}
    return zoo.built(text, start, typed, arrays=_ARRAYS)


_FLOAT, _INT = TensorProto.FLOAT, TensorProto.INT64
_W, _B = zoo.weights(K)
_TIED = zoo.weights(N)
_ARRAYS = {"W": _W, "B": _B, "WT": _TIED[0], "BT": _TIED[1]}
_ARRAYS |= {"WIDE": np.random.default_rng(0).normal(size=(80, N)), "KERNEL": np.ones((N, 1, 1, 1))}
_ARRAYS["TENSOR"] = numpy_helper.from_array(_W.astype(np.float32))
_GEMM = "logits = Gemm(z, W, B, transB=1)"
_MODELS = {  # a program, where it starts, and its outputs
    "plain": (_GEMM,),
    "softmax": ("p = Softmax(logits, axis=-1)", "classifier"),
    "both_outputs": (
        "p = Softmax(logits, axis=1)\nlabel = ArgMax(logits, axis=1, keepdims=0)", "classifier",
        {"logits": _FLOAT, "p": _FLOAT, "label": _INT}),
    "labels": (
        "p = Softmax(logits, axis=1)\ni = ArgMax(p, axis=1, keepdims=0)\n"
        "label = Gather([10, 20, 30], i)", "classifier", {"p": _FLOAT, "label": _INT}),
    "scaled": (
        "warm = Mul(logits, 4.0)\ncool = Div(warm, 0.5)\np = Softmax(cool, axis=-1)",
        "classifier"),
    "matmul_add": ("product = MatMul(z, W.T)\nlogits = Add(B, product)",),
    "bare_matmul": ("logits = MatMul(z, W.T)",),
    "sigmoid": ("unit = Gemm(z, W[:1], B[:1], transB=1)\np = Sigmoid(unit)",),
    "alpha": ("logits = Gemm(z, W.T, B, alpha=0.5, beta=2.0)",),
    "weight_through_no_ops": (
        "turned = Transpose(W, perm=[1, 0])\nsame = Identity(turned)\n"
        "product = MatMul(z, same)\nlogits = Add(product, B)\np = LogSoftmax(logits, axis=1)",),
    "constant_nodes": (
        "w = Constant(value=TENSOR)\nb = Constant(value_floats=B.tolist())\n"
        "logits = Gemm(z, w, b, transB=1)",),
    "shared_weight": (  # the body reads what the head reads
        "tied = Identity(WT)\na = Gemm(z, tied, BT, transB=1)\nz2 = Relu(a)\n"
        "logits = Gemm(z2, tied, BT, transB=1)",),
    "conv": (
        "image = Reshape(x, [-1, 1, 2, 3])\nfeatures = Conv(image, KERNEL)\n"
        "positive = Relu(features)\npooled = GlobalAveragePool(positive)\n"
        "flat = Flatten(pooled)\nlogits = Gemm(flat, W, B, transB=1)",),
    "conv_head": (
        "image = Reshape(z, [-1, 5, 1, 1])\nmaps = Conv(image, W[:, :, None, None], B)\n"
        "logits = Flatten(maps)\np = Softmax(logits, axis=1)",),
    "reshaped": ("again = Reshape(logits, [-1, 3])\np = Softmax(again, axis=-1)", "classifier"),
    "dequantised": (
        "w = DequantizeLinear(i1(np.round(W * 40)), 0.025)\nlogits = Gemm(z, w, B, transB=1)",),
    "lookup": (  # labels as skl2onnx writes them
        "p = Softmax(logits, axis=1)\ni = ArgMax(p, axis=1, keepdims=0)\n"
        "row = ArrayFeatureExtractor([3, 5, 8], i)\nlabel = Reshape(row, [-1])", "classifier",
        {"p": _FLOAT, "label": _INT}),
    "zip_map": (
        "p = Softmax(logits, axis=1)\nrows = ZipMap(p, classlabels_int64s=[3, 5, 8])",
        "classifier", {"p": _FLOAT}),
}  # fmt: skip


# -- mutations of bytes -----------------------------------------------------------------------


def _flip_bits(rng, content, _):
    content = bytearray(content)
    for _ in range(rng.choice([1, 1, 1, 2, 8])):
        content[rng.randrange(len(content))] ^= rng.choice([1 << rng.randrange(8), 255])
    return bytes(content)


def _truncate(rng, content, _):
    return content[: rng.randrange(len(content))]


def _splice(rng, content, other):
    return content[: rng.randrange(len(content))] + other[rng.randrange(len(other)) :]


def _remove_or_repeat(rng, content, _):
    start = rng.randrange(len(content))
    end = min(len(content), start + rng.choice([1, 2, 8, 40]))
    return content[:start] + content[start:end] * rng.choice([0, 0, 2, 3]) + content[end:]


def _change_length(rng, content, _):
    """Another number behind a byte that announces a message or a text."""
    at = rng.choice([found.end() for found in re.finditer(rb"[\n\x12\x1a\"*2:BJRZ]", content)])
    new = rng.choice([0, 1, 2, 127, 2**14, 2**31 - 1, 2**32, 2**63, rng.randrange(300)])
    parts = []
    while new > 127:
        parts.append(new & 127 | 128)
        new >>= 7
    return content[:at] + bytes([*parts, new]) + content[at + 1 :]


_OF_BYTES = [_flip_bits, _truncate, _splice, _remove_or_repeat, _change_length]


# -- mutations of the graph -------------------------------------------------------------------

_OPS = [
    *("Identity", "Relu", "Neg", "Abs", "Exp", "Log", "Sqrt", "Sigmoid", "Tanh", "Softmax", "Cast"),
    *("LogSoftmax", "Flatten", "Transpose", "Dropout", "Clip", "Mul", "Div", "Add", "Sub"),
    "MatMul",
    *("Gemm", "Concat", "Gather", "Reshape", "Squeeze", "Unsqueeze", "ArgMax", "ArgMin", "TopK"),
    *("ReduceMax", "ReduceSum", "ReduceMean", "Hardmax", "Slice", "Where", "Pow", "Max", "Min"),
    *("Constant", "Split", "LpNormalization", "Sum", "Mean", "Not", "Round", "Tile", "Expand"),
    *("BatchNormalization", "Conv", "OneHot", "If", "Nonsense", "Normalizer", "LabelEncoder"),
    *("DequantizeLinear", "QuantizeLinear", "Pad", "CumSum", "EyeLike", "Shape", "Size", "PRelu"),
]
_OF_TWO = ["Mul", "Div", "Add", "Sub", "Pow", "MatMul", "Max", "Concat", "Where"]
_NUMBERS = [0, 1, -1, 2, -2, 3, 5, 99, -99, 2**31, -(2**63), 2**63 - 1]
_FLOATS = [0.0, 1.0, -1.0, 2.0, 0.5, 1e-30, 1e30, float("nan"), float("inf")]


def _names(graph):
    names = [n for node in graph.node for n in (*node.input, *node.output) if n]
    names += [v.name for v in (*graph.input, *graph.output, *graph.initializer)]
    return sorted(set(names)) or [""]


def _rewire_input(rng, graph):
    node = rng.choice(graph.node)
    if node.input:
        node.input[rng.randrange(len(node.input))] = rng.choice([*_names(graph), *node.input, ""])


def _rename(rng, graph):
    ends = [*graph.initializer, *graph.input, *graph.output]
    name = rng.choice([*_names(graph), "", "new"])
    if ends and rng.random() < 2 / 3:
        rng.choice(ends).name = name
    elif (node := rng.choice(graph.node)).output:
        node.output[rng.randrange(len(node.output))] = name


def _drop(rng, graph):
    """Drop a node, an input, an output, a tensor or an attribute."""
    attributes = [node.attribute for node in graph.node]
    kinds = [graph.input, graph.output, graph.node, graph.initializer, rng.choice(attributes)]
    listed = rng.choice([one for one in kinds if one])
    del listed[rng.randrange(len(listed))]


def _add_output(rng, graph):
    graph.output.append(_an_output(rng, rng.choice(_names(graph))))


def _an_output(rng, name):
    """With the type and shape that ONNX's checker insists on, whether they are right or not."""
    kind = rng.choice([TensorProto.FLOAT, TensorProto.FLOAT, TensorProto.INT64])
    return helper.make_tensor_value_info(name, kind, rng.choice([["n", "m"], ["n"], [None, None]]))


def _add_input(rng, graph):
    """Also makes an initialiser one that the caller may override."""
    shape = rng.choice([[K, N], [K], ["batch", N], None])
    name = rng.choice(_names(graph))
    graph.input.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))


def _change_op(rng, graph):
    rng.choice(graph.node).op_type = rng.choice(_OPS)


def _change_domain(rng, graph):
    rng.choice(graph.node).domain = rng.choice(["", "ai.onnx", "ai.onnx.ml", "com.microsoft", "x"])


def _bypass_node(rng, graph):
    """Drop a node, and let its readers read its first input."""
    index = rng.randrange(len(graph.node))
    node = graph.node[index]
    if not node.input or not node.output:
        return
    for other in graph.node:
        for i, name in enumerate(other.input):
            if name == node.output[0]:
                other.input[i] = node.input[0]
    del graph.node[index]


def _repeat_node(rng, graph):
    index = rng.randrange(len(graph.node))
    copy = onnx.NodeProto()
    copy.CopyFrom(graph.node[index])
    if rng.random() < 0.7:
        for i in range(len(copy.output)):
            copy.output[i] += "_again"
    graph.node.insert(rng.randrange(len(graph.node) + 1), copy)


def _move_node(rng, graph):
    nodes = list(graph.node)
    rng.shuffle(nodes)
    del graph.node[:]
    graph.node.extend(nodes)


def _drawn_node(rng, graph, reads):
    """An operator that reads a tensor, and perhaps others, or a factor, an offset or a power."""
    inputs, ops = [reads, *rng.choices(_names(graph), k=rng.choice([0, 0, 1, 1, 2]))], _OPS
    if rng.random() < 0.4:
        inputs, ops = [reads, f"c{rng.randrange(10**6)}"], _OF_TWO
        shape = rng.choice([(), (1,), (1, 1), (K,), (1, K), (K, 1), (N,), (1, N), (K, N), (8, 1)])
        constant = np.full(shape, rng.choice([2.0, -1.0, 0.5, 0.0, 1.0, 100.0]), np.float32)
        if rng.random() < 0.5:
            constant *= np.arange(constant.size, dtype=np.float32).reshape(shape)
        graph.initializer.append(numpy_helper.from_array(constant, inputs[1]))
    if rng.random() < 0.4:
        rng.shuffle(inputs)
    new = helper.make_node(rng.choice(ops), inputs, [f"new{rng.randrange(10**6)}"])
    if rng.random() < 0.4:
        new.attribute.append(_some_attribute(rng))
    return new


def _insert_node(rng, graph):
    """Put an operator between a node and what it reads."""
    index = rng.randrange(len(graph.node))
    node = graph.node[index]
    if node.input:
        i = rng.randrange(len(node.input))
        new = _drawn_node(rng, graph, node.input[i])
        node.input[i] = new.output[0]
        graph.node.insert(index, new)


def _append_node(rng, graph):
    """Let the model end in one more operator."""
    if graph.output:
        end = rng.choice(graph.output)
        graph.node.append(_drawn_node(rng, graph, end.name))
        end.CopyFrom(_an_output(rng, graph.node[-1].output[0]))


def _some_attribute(rng):
    names = "axis axis axes perm to keepdims alpha beta transA transB k value epsilon allowzero"
    name = rng.choice([*names.split(), "largest"])
    value = rng.choice(
        [rng.choice(_NUMBERS), rng.choice(_FLOATS), "x", [0, 1], [1, 0], [-1], [0.5]]
    )
    return helper.make_attribute(name, value)


def _change_attribute(rng, graph):
    """One attribute more, or another value, perhaps of another kind."""
    node, new = rng.choice(graph.node), _some_attribute(rng)
    if not node.attribute or rng.random() < 0.3:
        node.attribute.append(new)
        return
    old = rng.choice(node.attribute)
    kinds = onnx.AttributeProto
    if old.type == kinds.TENSOR and rng.random() < 0.5:
        _change_one_tensor(rng, old.t)
    elif old.type in (kinds.INTS, kinds.FLOATS) and rng.random() < 0.5:
        values = old.ints if old.type == kinds.INTS else old.floats
        values[rng.randrange(len(values))] = rng.choice(_NUMBERS)
    else:
        values = {kinds.INT: _NUMBERS, kinds.FLOAT: _FLOATS}.get(old.type)
        if values and rng.random() < 0.5:
            new = helper.make_attribute(old.name, rng.choice(values))
        new.name = old.name
        old.CopyFrom(new)


def _change_tensor(rng, graph):
    if graph.initializer:
        _change_one_tensor(rng, rng.choice(graph.initializer))


def _change_one_tensor(rng, tensor):
    what = rng.choice(["dims", "dims", "type", "data", "swap", "double", "location"])
    if what == "dims" and tensor.dims:
        tensor.dims[rng.randrange(len(tensor.dims))] = rng.choice(_NUMBERS)
    elif what == "type":
        tensor.data_type = rng.randrange(25)
    elif what == "data" and tensor.raw_data:
        tensor.raw_data = tensor.raw_data[: rng.randrange(len(tensor.raw_data))]
    elif what == "swap" and len(tensor.dims) > 1:
        dims = list(tensor.dims)
        rng.shuffle(dims)
        del tensor.dims[:]
        tensor.dims.extend(dims)
    elif what == "double":
        tensor.float_data.append(rng.choice(_FLOATS))
    elif what == "location":
        tensor.data_location = TensorProto.EXTERNAL
        for key in ("location", "offset", "length"):
            value = rng.choice(
                ["m.onnx", "m.onnx.data", "", "..", "0", "1", "60", "-1", "99999999"]
            )
            tensor.external_data.add(key=key, value=value)


_TYPES = (np.float16, np.float32, np.float64, np.int64, np.int8, np.uint8, bool)
_ARRAYS_OF = {  # a tensor's array in another shape, of another type, or with another number
    "turn": lambda rng, a: a.T,
    "flat": lambda rng, a: a.ravel(),
    "one more": lambda rng, a: a[None],
    "first axis": lambda rng, a: a[..., None],
    "first": lambda rng, a: np.atleast_1d(a)[:1],
    "scalar": lambda rng, a: a.ravel()[0] if a.size else a,
    "repeat": lambda rng, a: np.concatenate([np.atleast_1d(a)] * 2),
    **dict.fromkeys(["type", "type 2"], lambda rng, a: a.astype(rng.choice(_TYPES))),
    **dict.fromkeys(["number", "number 2", "number 3"], lambda rng, a: _with_number(rng, a)),
}


def _with_number(rng, array):
    array, number = array.copy(), rng.choice(_FLOATS)
    if array.size:
        number = np.clip(number, -100, 100) if array.dtype.kind == "f" else 7
        array.flat[rng.randrange(array.size)] = number
    return array


def _change_array(rng, graph):
    """Of an initialiser that an earlier mutation has left readable."""
    if not graph.initializer:
        return
    tensor = rng.choice(graph.initializer)
    try:
        array = numpy_helper.to_array(tensor)
    except (ValueError, TypeError, KeyError):
        return
    with np.errstate(all="ignore"):
        made = np.ascontiguousarray(_ARRAYS_OF[rng.choice([*_ARRAYS_OF])](rng, array))
    tensor.CopyFrom(numpy_helper.from_array(made, tensor.name))


def _change_end(rng, graph):
    ends = [*graph.input, *graph.output]
    if not ends:
        return
    kind = rng.choice(ends).type.tensor_type
    if rng.random() < 0.4:
        kind.elem_type = rng.randrange(25)
    elif kind.shape.dim and rng.random() < 0.8:
        dim = rng.choice(kind.shape.dim)
        if rng.random() < 0.5:
            dim.dim_value = rng.choice([0, 1, 3, 5, 7, -1, 2**40])
        else:
            dim.dim_param = rng.choice(["", "batch", "other"])
    else:
        kind.ClearField("shape")


def _share_tensor(rng, graph):
    """Let something else read a tensor of the head."""
    names = [t.name for t in graph.initializer]
    if names:
        name = rng.choice(names)
        op = rng.choice(["Identity", "Abs", "ReduceSum", "Transpose"])
        graph.node.insert(0, helper.make_node(op, [name], ["shared"]))
        graph.output.append(_an_output(rng, rng.choice(["shared", name])))


_OF_GRAPHS = [
    *(_rewire_input, _rewire_input, _rename, _rename, _rename, _add_output, _add_input),
    *(_drop, _drop, _drop, _change_op, _change_domain, _bypass_node, _repeat_node, _move_node),
    *(_insert_node, _insert_node, _insert_node, _append_node, _append_node, _append_node),
    *(_change_attribute, _change_attribute, _change_attribute, _change_attribute),
    *(_change_tensor, _change_array, _change_array, _change_array, _change_end, _share_tensor),
]


def _of_model(rng, content, _):
    model = onnx.load_from_string(content)
    stories = []
    for _ in range(rng.choice([1, 1, 1, 2, 2, 3])):
        if rng.random() < 0.04:
            _change_version(rng, model)
            stories.append("change_version")
        elif model.graph.node:
            mutate = rng.choice(_OF_GRAPHS)
            mutate(rng, model.graph)
            stories.append(mutate.__name__.strip("_"))
    return model.SerializeToString(), " + ".join(stories)


def _change_version(rng, model):
    what = rng.randrange(3)
    if what == 0:
        model.ir_version = rng.choice([0, 1, 3, 7, 9, 13, 99])
    elif what == 1 and model.opset_import:
        rng.choice(model.opset_import).version = rng.choice([0, 1, 5, 7, 9, 11, 13, 21, 99])
    elif model.opset_import:
        del model.opset_import[rng.randrange(len(model.opset_import))]


def mutant(models: dict, seed: int) -> Mutant:
    """Make the mutant of this number: a quarter are damaged bytes, the rest changed graphs."""
    rng = random.Random(seed)
    name, other = rng.choice(sorted(models)), rng.choice(sorted(models))
    files = dict(models[name])
    if "m.onnx.data" in files and rng.random() < 0.2:
        mutate = rng.choice([_flip_bits, _truncate, _remove_or_repeat])
        files["m.onnx.data"] = mutate(rng, files["m.onnx.data"], b"")
        return Mutant(files, f"{name}: {mutate.__name__.strip('_')} in the data")
    if rng.random() < 1 / 4:
        mutate = rng.choice(_OF_BYTES)
        files["m.onnx"] = mutate(rng, files["m.onnx"], models[other]["m.onnx"])
        return Mutant(files, f"{name}: {mutate.__name__.strip('_')}")
    files["m.onnx"], story = _of_model(rng, files["m.onnx"], b"")
    return Mutant(files, f"{name}: {story}")
