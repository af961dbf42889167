"""Small ONNX classifiers as their exporters would write them: body, head, tail.

Body: input ``x`` (N, 6) → Gemm, Relu → embedding ``z`` (N, 5). Loaded by the conftest files next
to the tests as the fixture ``zoo``; the package itself never imports it.
"""

import ast
import json
from dataclasses import dataclass, field

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

N_FEATURES, N_NEURONS = 6, 5
FLOAT32 = np.dtype(np.float32)
INT64 = TensorProto.INT64
FLOAT = {
    np.dtype(np.float16): TensorProto.FLOAT16,
    np.dtype(np.float32): TensorProto.FLOAT,
    np.dtype(np.float64): TensorProto.DOUBLE,
}
MICROSOFT = "com.microsoft"
DOMAINS = dict.fromkeys(
    ("ArrayFeatureExtractor", "LabelEncoder", "LinearClassifier", "LinearRegressor", "Scaler",
     "ZipMap"), "ai.onnx.ml",
) | dict.fromkeys(("FusedMatMul", "MatMulNBits", "QGemm", "QLinearSoftmax"), MICROSOFT)  # fmt: skip
"""Operators that are not of ONNX's own domain."""
NAMES = {"np": np, "inf": np.inf, "f4": np.float32, "f8": np.float64, "i1": np.int8, "u1": np.uint8}
NAMES |= {kind: getattr(TensorProto, kind) for kind in ("FLOAT", "DOUBLE", "INT32", "INT64")}


@dataclass
class Graph:
    """Parts of a model under construction."""

    dtype: np.dtype = FLOAT32
    nodes: list = field(default_factory=list)
    tensors: dict = field(default_factory=dict)
    outputs: list = field(default_factory=list)

    def add(self, op, inputs, outputs, **attributes):
        outputs = [outputs] if isinstance(outputs, str) else outputs
        name = f"{op}_{outputs[0]}"
        self.nodes.append(helper.make_node(op, inputs, outputs, name=name, **attributes))
        return outputs[0]

    def write(self, text, **constants):
        """Add the operators of a program such as ``p = Softmax(logits, axis=1)``.

        Operators may be nested. What is not the name of a tensor is a constant: an expression of
        NumPy and of the named arrays. Its type is the graph's for floats, and int64 for numbers and
        lists without a point.
        """
        names = {**NAMES, **constants}
        for line in ast.parse("\n".join(map(str.strip, text.splitlines()))).body:
            outputs = [one.id for one in getattr(line.targets[0], "elts", line.targets)]
            self._call(line.value, outputs, names)
        return outputs[0]

    def _call(self, call, outputs, names):
        op = call.func.id
        inputs = [self._read(one, names) for one in call.args]
        attributes = {one.arg: _value(one.value, names) for one in call.keywords}
        if op in DOMAINS:
            attributes["domain"] = DOMAINS[op]
        return self.add(op, inputs, outputs or f"inner{len(self.nodes)}", **attributes)

    def _read(self, expression, names):
        if isinstance(expression, ast.Call) and getattr(expression.func, "id", "")[:1].isupper():
            return self._call(expression, None, names)
        if isinstance(expression, ast.Name) and expression.id not in names:
            return expression.id
        array = _value(expression, names)
        if array is None:
            return ""
        array = np.asarray(array)
        dtype = object if array.dtype.kind == "U" else array.dtype
        as_written = isinstance(expression, ast.Call) and getattr(expression.func, "id", "") == "f8"
        if dtype == np.float64 and not as_written:
            dtype = self.dtype
        return self.constant(f"constant{len(self.tensors)}", array, dtype)

    def constant(self, name, array, dtype=None):
        self.tensors[name] = np.asarray(array, dtype or self.dtype)
        return name

    def branch(self, source, target, then, other):
        """Add an If of two operators that read a tensor from outside of their branches."""
        branches = {
            f"{side}_branch": helper.make_graph(
                [helper.make_node(op, [source], ["y"])], side, [], [value("y", None)]
            )
            for side, op in (("then", then), ("else", other))
        }
        self.add("If", [self.constant("asked", True, bool)], target, **branches)

    def output(self, name, shape, kind=None):
        kind = FLOAT[self.dtype] if kind is None else kind
        self.outputs.append(helper.make_tensor_value_info(name, kind, shape))

    def model(self, inputs=None, opset=17, ir_version=8, metadata=None, batch="batch"):
        if inputs is None:
            inputs = [helper.make_tensor_value_info("x", FLOAT[self.dtype], [batch, N_FEATURES])]
        graph = helper.make_graph(
            self.nodes,
            "classifier",
            inputs,
            self.outputs,
            [numpy_helper.from_array(a, name) for name, a in self.tensors.items()],
            doc_string="someone's classifier",
        )
        opsets = [helper.make_opsetid("", opset), helper.make_opsetid("ai.onnx.ml", 3)]
        if any(node.domain == MICROSOFT for node in self.nodes):
            opsets.append(helper.make_opsetid(MICROSOFT, 1))
        model = helper.make_model(
            graph, opset_imports=opsets, ir_version=ir_version, producer_name="someone"
        )
        helper.set_model_props(model, metadata or {"author": "someone", "trained": "2024"})
        return model


def parsed(text, **arrays):
    """A model of a signature and nodes in ONNX's own syntax, and weights by name."""
    head = '<ir_version: 8, opset_import: ["" : 17, "ai.onnx.ml" : 3]> m '
    model = onnx.parser.parse_model(head + text)
    for name, array in arrays.items():
        weight = onnx.numpy_helper.from_array(np.asarray(array, np.float32), name)
        model.graph.initializer.append(weight)
    return model


def _value(expression, names):
    return eval(compile(ast.Expression(expression), "graph", "eval"), names)


def value(name, shape, kind=TensorProto.FLOAT):
    """An input or output of a graph."""
    return helper.make_tensor_value_info(name, kind, shape)


def body(dtype=np.float32, seed=0):
    """A graph with the embedding ``z`` and nothing after it."""
    rng = np.random.default_rng(seed)
    graph = Graph(np.dtype(dtype))
    graph.constant("body.weight", rng.normal(size=(N_NEURONS, N_FEATURES)) / 2)
    graph.constant("body.bias", rng.normal(size=N_NEURONS) / 2)
    graph.add("Gemm", ["x", "body.weight", "body.bias"], "h", transB=1)
    graph.add("Relu", ["h"], "z")
    return graph


def weights(n_logits, seed=1):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n_logits, N_NEURONS)), rng.normal(size=n_logits)


def classifier(n_logits=3, dtype=np.float32, output=True, **options):
    """The plain case: Gemm(transB=1) with a bias, output ``logits``."""
    graph = body(dtype)
    W, b = weights(n_logits)
    graph.constant("fc.weight", W)
    graph.constant("fc.bias", b)
    graph.add("Gemm", ["z", "fc.weight", "fc.bias"], "logits", transB=1)
    if output:
        graph.output("logits", ["batch", n_logits])
        return graph.model(**options)
    return graph


SHAPES = {"map": (N_NEURONS, 4, 3), "tokens": (7, N_NEURONS), "open tokens": ("length", N_NEURONS)}
"""Bodies whose embedding ``z`` is the Relu of an input of this shape."""


def built(text="", start="body", outputs=None, *, n_logits=3, dtype=np.float32, arrays=None,
          batch="batch", **options):  # fmt: skip
    """A model that ends in a program (see Graph.write).

    It starts after a body ("body"), the plain ``classifier``, or one of SHAPES. ``outputs`` has
    shapes, or shapes with types, by name; by default it is the program's last result.
    """
    inputs = None
    if start == "classifier":
        graph = classifier(n_logits, dtype, output=False)
    elif start == "body":
        graph = body(dtype)
    else:
        graph = Graph(np.dtype(dtype))
        graph.add("Relu", ["x"], "z")
        inputs = [value("x", [batch, *SHAPES[start]], FLOAT[graph.dtype])]
    last = graph.write(text, **(arrays or {})) if text else "logits"
    for name, shape in ({last: None} if outputs is None else outputs).items():
        graph.output(name, *(shape if isinstance(shape, tuple) else (shape,)))
    return graph.model(inputs, batch=batch, **options)


def samples(start="body", n_samples=40, dtype=np.float32):
    """Inputs of a model with this start."""
    if start not in SHAPES:
        return inputs(n_samples, dtype)
    sides = [7 if side == "length" else side for side in SHAPES[start]]
    return np.random.default_rng(3).normal(size=(n_samples, *sides)).astype(dtype)


def save(model, path, names=None, **metadata):
    """Write a model, which may name its classes and say more of itself."""
    if names is not None:
        metadata["names"] = json.dumps(list(names))
    if metadata:
        helper.set_model_props(model, metadata)
    onnx.save(model, path)
    return path


def of_columns(path, V, B, names=None, **metadata):
    """A classifier of columns, which are its embedding where they are above 0."""
    shapes = f"(float[N, {len(V)}] x) => (float[N, {len(B)}] logits)"
    model = parsed(f"{shapes} {{ z = Relu(x) logits = Gemm(z, V, B) }}", V=V, B=B)
    return save(model, path, names, **metadata)


def of_two_columns(path, names=None):
    """A classifier that predicts the second class from 0.5 on in the first column."""
    return of_columns(path, [[-1, 1], [0.1, 0]], [0.5, -0.5], names)


def save_external(model, path):
    """Save with every weight in ``NAME.data``."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    onnx.save(
        copy,
        path,
        save_as_external_data=True,
        all_tensors_to_one_file=True,
        location=f"{path.name}.data",
        size_threshold=0,
    )
    return path


def inputs(n_samples=40, dtype=np.float32, seed=2):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n_samples, N_FEATURES)).astype(dtype)


def run(model, X, names=None):
    """What ONNX Runtime computes: a dict of outputs. ``model`` is a proto or a path."""
    if isinstance(model, onnx.ModelProto):
        model = model.SerializeToString()
    session = ort.InferenceSession(
        model if isinstance(model, bytes) else str(model), providers=["CPUExecutionProvider"]
    )
    feed = X if isinstance(X, dict) else {session.get_inputs()[0].name: X}
    names = names or [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, feed), strict=True))


def with_outputs(model, *names):
    """The same model with inner tensors as outputs as well: ONNX Runtime's own intermediates."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    have = {output.name for output in copy.graph.output}
    copy.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name not in have)
    return copy


def embedding(model, X, name="z"):
    """The embedding by ONNX Runtime, on the untouched graph."""
    return run(with_outputs(model, name), X)[name]


def initializers(model):
    return {tensor.name: tensor.SerializeToString() for tensor in model.graph.initializer}


def node_list(model):
    return [(node.name, node.op_type, *node.input, "→", *node.output) for node in model.graph.node]


def contents(folder):
    """Every file under a folder with its bytes."""
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
