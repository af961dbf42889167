"""Models of any kind by their outputs: scores of the classes and a label, without a linear layer.

The model's own scores stand for the embedding, and the head is the identity. So predictions,
audits and checks need to know nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import mean
from typing import Any

import numpy as np
import onnx_ir as ir

from ntkit._text import counted, listed
from ntkit.graph.rewrite import Nodes, along
from ntkit.graph.tensors import Shapes, attribute, constant_of, dtype_of, info_of
from ntkit.model._head_search import (
    BENDING,
    LOOKUPS,
    PROBABILITIES,
    Head,
    entries,
    is_decision,
    labels_of,
    written_out,
)
from ntkit.model.class_names import SEVERAL, Facts, are_positions, class_names_of

COMMANDS = "ntkit audit, ntkit check and ntkit predict"
SCORES = "ntkit.scores"
"""Name of the tensor of scores in the graph."""
# Two classes with the same score: the model's label decides. Smaller than any difference of float32
# scores, as a share of the largest, and not visible in printed probabilities.
_OF_A_TIE = 1e-9
_ONE_CLASS = "single_label_classification"
_OF_A_MEAN = 0.02  # difference from 1 of rounded weights of a mean, such as three times 0.33
_LEAST = 1e-12  # probability
_ML, _OPSET = "ai.onnx.ml", 17  # version of ONNX's own operators in a graph without any
_SHAPING = {"Identity", "Cast", "Reshape", "Squeeze", "Unsqueeze", "Flatten", "Normalizer", "Clip"}
_MOVING = _SHAPING - {"Normalizer"} | {"Transpose", "Gather", "Slice", "Split", "Dropout"}
_MOVING |= {"ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd"}
_MOVING |= {"QuantizeLinear", "DequantizeLinear", "Ceil", "Floor", "Round"}
_MIXING = {
    "Gemm",
    "MatMul",
    "Conv",
    "Einsum",
    "MatMulInteger",
    "Softmax",
    "LogSoftmax",
    "Normalizer",
}
# The largest result of parts with these largest numbers.
_COMBINING: dict[str, Callable[[list[float]], float]] = {
    **dict.fromkeys(("Concat", "Max"), max),
    **dict.fromkeys(("Add", "Sum"), sum),
    **dict.fromkeys(("Mul", "Div"), math.prod),
    "Mean": mean,
    "Min": min,
}
_MOST_STEPS = 60
_MOST_NODES = 1000


class NoScores(Exception):
    """The outputs of a model are not scores or a label of one class; names the reason."""


@dataclass(frozen=True)
class Scores:
    """Outputs that tell the class of a sample, or its labels: with scores, a label, or both."""

    n_classes: int
    labels: tuple[Any, ...] | None  # of the graph, in the order of the scores; None for 0 … C-1
    output: str | None  # the output of scores; None if there are only labels
    label_output: str | None
    # How often the graph takes the softmax after them, at least once for logits, 0 for
    # probabilities; None if the scores of the samples tell.
    n_softmax: int | None = None
    several: bool = False  # whether each is of a label, of which a sample may have several
    # Logits of each of these labels by its name, if linear layers of their own compute all of them.
    layers: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        if self.several:
            return f"{self.output!r} for {self.n_classes} labels"
        if self.output is None:
            return f"labels {self.label_output!r} of {self.n_classes} classes, without scores"
        decided = f", decided by {self.label_output!r}" if self.label_output else ""
        return f"{self.output!r} for {self.n_classes} classes{decided}"

    def problem(self, rows: Sequence[int]) -> str:
        """What non-finite scores of these rows mean."""
        at = f"at least {counted(len(rows), 'sample')} (rows {listed(rows, 5)})"
        where = f"For {at}, the model's output"
        if self.label_output is None:
            return f"{where} {self.output!r} has NaN or infinite scores; check these inputs."
        if self.output is None:
            return f"{where} {self.label_output!r} is not one of its classes; check these inputs."
        return (
            f"{where} {self.output!r} is not finite, or its largest score is not that of the class "
            f"in {self.label_output!r}. To take the label alone: --logits "
            f"{self.label_output} (logits= of FrozenModel.load)"
        )


@dataclass(frozen=True)
class _Output:
    """An output of a model as scores or labels, with the labels in the order of its columns."""

    name: str
    value: ir.Value
    is_label: bool
    width: int | None = 1
    labels: tuple[Any, ...] | None = None
    is_normalised: bool = False  # a classifier or a Softmax computes it
    sigmoids: float = 0.0  # the largest number that Sigmoids give; 0 if something else computes it
    of_pairs: bool = False  # decision values of pairs of classes, as of support vectors
    is_fitted: bool = False  # probabilities that were fitted apart from the label

    @property
    def is_sigmoid(self) -> bool:
        """Whether each number is the probability of a Sigmoid, or of several on average."""
        return abs(self.sigmoids - 1) < _OF_A_MEAN


def add_scores(
    model: ir.Model,
    facts: Facts,
    named: str | None = None,
    classes: Any = None,
) -> Scores:
    """Append the scores of a model to its graph, in place, or raise NoScores with the reason."""
    other_task = NoScores(f"its problem type is {facts.task} ({facts.task_source})")
    if facts.task not in ("", SEVERAL, _ONE_CLASS):
        raise other_task
    outputs = _outputs(model, named)
    one_class = classes is not None or facts.task == _ONE_CLASS
    several = None if one_class else _of_labels(model, outputs, named)
    if several is not None:
        return several
    if facts.task == SEVERAL:
        raise other_task
    scores, label = _chosen(outputs, named)
    shown = label if scores is None else scores
    assert shown is not None
    labels = shown.labels or None
    if label is None and classes is None and not facts.task:
        _refuse_sigmoids(shown)
    n_classes = _n_classes(scores, label, labels, classes)
    names_known = classes is not None or class_names_of(n_classes, facts).names is not None
    _refuse_other_numbers(model, scores, label, n_classes, named=names_known or labels is not None)
    if label is not None and labels is None and label.value.dtype == ir.DataType.STRING:
        raise NoScores(f"the classes of {label.name!r} are not in the file")
    if all(node.domain for node in model.graph):  # only trees, as XGBoost's exporter writes them
        model.graph.opset_imports[""] = _OPSET
    nodes = Nodes(model.graph.append, SCORES)
    rows = None if scores is None else _rows(nodes, scores, n_classes)
    if label is not None:
        own = _of_class(model, nodes, label, labels, n_classes)
        if scores is not None and rows is not None and scores.is_fitted:
            rows = _raised(model.graph, nodes, rows, own)
        rows = _decided(model.graph, nodes, rows, own)
    assert rows is not None
    rows.name, rows.type = SCORES, ir.TensorType(ir.DataType.DOUBLE)
    rows.shape = ir.Shape([None, n_classes])
    output, decided = (None if each is None else each.name for each in (scores, label))
    named_here = None if are_positions(labels or ()) else labels
    return Scores(n_classes, named_here, output, decided)


def _of_labels(model: ir.Model, outputs: list[_Output], named: str | None) -> Scores | None:
    """Append the logits of several labels, a column or an output each; None for other scores."""
    outputs = [each for each in outputs if named in (None, each.name)]
    widths = [each.width or 0 for each in outputs]
    if 0 in widths or sum(widths) < 2:
        return None
    if not all(each.is_sigmoid for each in outputs) or (len(outputs) > 1 and max(widths) > 1):
        return None
    nodes = Nodes(model.graph.append, SCORES)
    columns = [_rows(nodes, each, width) for each, width in zip(outputs, widths, strict=True)]
    rows = columns[0] if len(columns) == 1 else nodes.node("Concat", columns, {"axis": 1})
    # The logit of p, finite where rounding makes p 0 or 1.
    one, least = (nodes.constant(np.array([x])) for x in (1.0, _LEAST))
    odds = [nodes.node("Add", [p, least]) for p in (rows, nodes.node("Sub", [one, rows]))]
    rows = nodes.node("Sub", [nodes.node("Log", [each]) for each in odds])
    rows.name, rows.type = SCORES, ir.TensorType(ir.DataType.DOUBLE)
    rows.shape = ir.Shape([None, sum(widths)])
    names = tuple(each.name for each in outputs)
    labels = names if len(names) > 1 else outputs[0].labels
    return Scores(sum(widths), labels, ", ".join(names), None, several=True)


def _refuse_sigmoids(scores: _Output) -> None:
    """Raise an error for scores of several labels of a sample."""
    if scores.sigmoids and scores.width != 1:
        raise NoScores(
            f"{scores.name!r} has a Sigmoid for each column, as for several labels; if each sample "
            "has one class, name the classes with --classes A,B,… (classes= of FrozenModel.load)"
        )
    if scores.width != 1 and not scores.is_normalised and _follows_a_sigmoid(scores.value):
        raise NoScores(
            f"{scores.name!r} is made of Sigmoids in a way that ntkit does not know, so a sample "
            "may have several labels. For labels, end the model with the Sigmoid, or with a mean, "
            "maximum or product of several. If each sample has one class, name the classes with "
            "--classes A,B,… (classes= of FrozenModel.load)"
        )


def _follows_a_sigmoid(value: ir.Value) -> bool:
    """Whether a Sigmoid is among the operators since the last product or Softmax."""
    waiting, seen = [value], set[int]()
    while waiting:
        node = waiting.pop().producer()
        if node is None or id(node) in seen or len(seen) > _MOST_NODES:
            continue
        seen.add(id(node))
        written = written_out(node)
        op = node.op_type if written is None else written.op
        if op in ("Sigmoid", "HardSigmoid"):
            return True
        if op not in _MIXING and not op.endswith(("Classifier", "Regressor")):
            waiting += [each for each in node.inputs if each is not None]
    return False


def _n_classes(
    scores: _Output | None, label: _Output | None, labels: tuple[Any, ...] | None, classes: Any
) -> int:
    """Number of classes, by the file or by the names that a user gives."""
    n_classes = None if classes is None else len(classes)
    shown = label if scores is None else scores
    assert shown is not None
    if labels is not None:
        n_classes = len(labels)
    elif scores is not None and scores.width != 1:
        n_classes = scores.width or n_classes
    elif label is None or label.value.dtype == ir.DataType.BOOL or shown.is_sigmoid:
        n_classes = 2
    if n_classes is None or n_classes < 2:
        raise NoScores(
            f"the classes of {shown.name!r} are not in the file; name them with --classes A,B,… "
            "(classes= of FrozenModel.load)"
        )
    return n_classes


def _refuse_other_numbers(
    model: ir.Model, scores: _Output | None, label: _Output | None, n_classes: int, *, named: bool
) -> None:
    """Raise an error for numbers that are not those of classes, or of another number of them."""
    if label is not None and not named and _are_clusters(model, label):
        raise NoScores(
            f"{label.name!r} has numbers of clusters, as of a mixture or k-means; if they are "
            "classes, name these with --classes A,B,… (classes= of FrozenModel.load)"
        )
    if scores is None:
        return
    if label is None and not (scores.is_normalised or scores.is_sigmoid or named):
        one = scores.width == 1
        what = "one number, as of a regression" if one else "numbers without a label"
        raise NoScores(
            f"{scores.name!r} has {what}; if they are scores of classes, name these with "
            "--classes A,B,… (classes= of FrozenModel.load)"
        )
    if scores.width not in (None, n_classes, 1):
        only = "" if label is None else f"; take the label alone with --logits {label.name}"
        raise NoScores(f"{scores.name!r} has {scores.width} columns for {n_classes} classes{only}")


def add_rounded(model: ir.Model, head: Head) -> Scores | None:
    """Append the scores that a graph rounds after its head, in place; None if it rounds none."""
    after = head.after
    if after.rounded is None:
        return None
    (value, ops), width = after.rounded, len(head.weight)
    last = ""
    for op in ops:  # a factor of logits leaves them logits
        if op in BENDING or (last and op in ("Mul", "Div")):
            last = op
    if last not in ("", *PROBABILITIES):
        return None
    name, known = value.name or "", last in ("Softmax", "Sigmoid")
    shown = _Output(name, value, False, width, sigmoids=float(known))
    nodes = Nodes(model.graph.append, SCORES)
    rows = _rows(nodes, shown, max(2, width), n_samples=-1)
    rows.name, rows.type = SCORES, ir.TensorType(ir.DataType.DOUBLE)
    rows.shape = ir.Shape([None, max(2, width)])
    later = 0 if known else max(1, after.post_processing.count("Softmax") - ops.count("Softmax"))
    return Scores(max(2, width), None, name, None, later)


def _chosen(outputs: list[_Output], named: str | None) -> tuple[_Output | None, _Output | None]:
    """The output of scores and that of labels, one of which may be missing."""
    scores = [each for each in outputs if not each.is_label]
    labels = [each for each in outputs if each.is_label]
    if named is not None:
        chosen = [each for each in outputs if each.name == named]
        if not chosen:
            raise NoScores(f"{named!r} is not one of its outputs {_listed(outputs)}")
        one = labels if len(labels) == 1 else []
        scores, labels = ([], chosen) if chosen[0].is_label else (chosen, one)
    for each in (scores, labels):
        if len(each) > 1:
            raise NoScores(f"it has several: {_listed(each)}; choose one with --logits NAME")
    return _fitting(next(iter(scores), None), next(iter(labels), None), named)


def _fitting(
    scores: _Output | None, label: _Output | None, named: str | None
) -> tuple[_Output | None, _Output | None]:
    """Scores and labels of the same classes; without decision values of pairs of classes."""
    if scores is not None and scores.of_pairs:
        if label is None or scores.name == named:
            raise NoScores(
                f"{scores.name!r} has decision values of pairs of classes; take the output of "
                "labels, or fit the model with probability=True"
            )
        scores = None
    if scores is None or label is None:
        return scores, label
    numbered = are_positions(scores.labels or ())
    if not scores.labels or (numbered and len(scores.labels) == len(label.labels or ())):
        scores = replace(scores, labels=label.labels)
    if label.labels and {*map(str, scores.labels or ())} != {*map(str, label.labels)}:
        raise NoScores(f"its outputs {_listed([scores, label])} differ in their classes")
    return scores, label


def _listed(outputs: list[_Output]) -> str:
    return listed([repr(each.name) for each in outputs], 6)


def _outputs(model: ir.Model, named: str | None) -> list[_Output]:
    """The outputs as scores and labels; next to one with a name, others may be anything."""
    shapes, read = Shapes(model), list[_Output]()
    for output in model.graph.outputs:
        try:
            read.append(_read(output, shapes))
        except NoScores:
            if named in (None, output.name):
                raise
    return read


def _read(output: ir.Value, shapes: Shapes) -> _Output:
    """An output as scores or labels; NoScores if it is neither."""
    value, node, name = output, output.producer(), output.name or ""
    if node is not None and node.op_type == "ZipMap" and node.inputs[0] is not None:
        labels = labels_of(node) or ()
        return _scores(name, node.inputs[0], len(labels), labels)
    if isinstance(output.type, ir.SequenceType):
        raise NoScores(f"{name!r} is a sequence")
    shape, dtype = shapes(value), dtype_of(value) or dtype_of(shapes.known(value))
    if dtype is None or (dtype.is_floating_point() and shape is None):
        raise NoScores(f"the shape or the type of {name!r} is not in the file")
    if shape is not None and len(shape) > 2:
        raise NoScores(f"{info_of(output)} has more than a row of scores for each sample")
    width = 1 if shape is not None and len(shape) == 1 else shape[-1] if shape else None
    if dtype.is_floating_point() and not (width in (1, None) and is_decision(value)):
        return _scores(name, value, width if isinstance(width, int) else None, None)
    if width not in (1, None):
        raise NoScores(f"{name!r} gives each sample {width} labels")
    if dtype == ir.DataType.STRING and _is_position(value):
        raise NoScores(
            f"{name!r} is declared as texts, but has positions of classes; fit the model on "
            "the numbers 0, 1, … instead of names"
        )
    value.type = value.type or ir.TensorType(dtype)
    return _Output(name, value, True, labels=_labels_before(value, dtype))


def _scores(
    name: str, value: ir.Value, width: int | None, labels: tuple[Any, ...] | None
) -> _Output:
    """An output of scores, with what the operators before it say of them."""
    whole = _complemented(value) if width == 1 else value
    if (largest := _largest_of_sigmoids(whole, {}, _MOST_STEPS)) is not None:
        return _Output(name, value, False, width, labels, sigmoids=largest)
    before = value
    while (node := before.producer()) is not None:
        written = written_out(node)
        op = node.op_type if written is None else written.op
        if op.endswith("Classifier"):
            of_kernels, fitted = op == "SVMClassifier", "prob_a" in node.attributes
            return _Output(
                name,
                value,
                False,
                width,
                labels or _of_classifier(node),
                True,
                of_pairs=of_kernels and not fitted,
                is_fitted=of_kernels and fitted,
            )
        if op in PROBABILITIES:
            return _Output(name, value, False, width, labels, True)
        if op == "ArrayFeatureExtractor" and (columns := constant_of(node.inputs[1])) is not None:
            width = columns.size  # skl2onnx declares both columns of two classes
        elif op not in _SHAPING:
            break
        if node.inputs[0] is None:
            break
        before = node.inputs[0]
    return _Output(name, value, False, width, labels, labels is not None)


def _complemented(value: ir.Value) -> ir.Value:
    """What a tensor 1 - p is the complement of; another tensor as it is."""
    node = value.producer()
    if node is None or node.op_type != "Sub" or (one := constant_of(node.inputs[0])) is None:
        return value
    return node.inputs[1] if (one == 1).all() and node.inputs[1] is not None else value


def _largest_of_sigmoids(
    value: ir.Value, seen: dict[int, float | None], steps: int
) -> float | None:
    """The largest number that a tensor has if Sigmoids compute all of it, else None."""
    # Through parts that are joined, and through means, maxima and products of several models. A Sub
    # ends the search, because the columns 1 - p and p are two classes.
    node = value.producer()
    if node is None or not steps:
        return None
    if id(value) in seen:
        return seen[id(value)]
    written, inputs = written_out(node), [each for each in node.inputs if each is not None]
    op, most = node.op_type if written is None else written.op, None
    constants = [constant_of(each) for each in inputs]
    if op in ("Sigmoid", "HardSigmoid"):
        most = 1.0
    elif op in _MOVING and inputs:
        most = _largest_of_sigmoids(inputs[0], seen, steps - 1)
    elif op in _COMBINING and not (op == "Div" and constants[-1] is None):
        each = [
            _largest_of_sigmoids(part, seen, steps - 1) if known is None else _factor(op, known, i)
            for i, (part, known) in enumerate(zip(inputs, constants, strict=True))
        ]
        sizes = [size for size in each if size is not None]
        known_all = len(sizes) == len(each) and any(known is None for known in constants)
        most = _COMBINING[op](sizes) if known_all else None
    seen[id(value)] = most
    return most


def _factor(op: str, known: Any, position: int) -> float | None:
    """The factor of a Mul or Div by a constant; None for one that a probability does not have."""
    if op not in ("Mul", "Div") or not known.size or not (known > 0).all():
        return None
    if op == "Div":
        return 1 / float(known.min()) if position == 1 else None
    return float(known.max())


def _of_classifier(node: ir.Node) -> tuple[Any, ...] | None:
    """Class labels of an operator such as TreeEnsembleClassifier."""
    names = ("classlabels_strings", "classlabels_int64s", "classlabels_ints")
    found = next((list(attribute(node, name, ())) for name in names if name in node.attributes), ())
    return tuple(v.decode() if isinstance(v, bytes) else v for v in found) or None


def _labels_before(value: ir.Value, dtype: ir.DataType) -> tuple[Any, ...] | None:
    """Labels that an output may have, in the order of the scores; None if they are not known."""
    tables, node = list[ir.Node](), value.producer()
    labels = None
    while node is not None:
        if node.op_type.endswith("Classifier"):
            labels = _of_classifier(node)
            break
        looked_up = node.op_type in LOOKUPS
        if looked_up or node.op_type == "LabelEncoder":
            tables.append(node)
        elif node.op_type not in _SHAPING:
            break
        before = node.inputs[looked_up] if len(node.inputs) > looked_up else None
        node = None if before is None else before.producer()
    for table in tables[::-1]:
        labels = _looked_up(table, labels)
    is_text = dtype == ir.DataType.STRING
    if labels is None or any(isinstance(each, str) != is_text for each in labels):
        return None
    return tuple(labels if is_text else map(int, labels)) if len({*labels}) == len(labels) else None


def _looked_up(table: ir.Node, labels: tuple[Any, ...] | None) -> tuple[Any, ...] | None:
    """Labels after a table that maps positions, or the labels before it."""
    if labels is None:
        return labels_of(table)
    if table.op_type == "LabelEncoder":
        keys, values = (entries(table, prefix) or () for prefix in ("keys_", "values_"))
        known = dict(zip(keys, values, strict=False))
    else:
        known = dict(enumerate(labels_of(table) or ()))
    return tuple(known[each] for each in labels) if {*labels} <= {*known} else None


def _are_clusters(model: ir.Model, label: _Output) -> bool:
    """Whether a label is the position of a component: skl2onnx writes the labels of classes."""
    fitted = ("TreeEnsemble", "SVM", "LinearClassifier")
    return (
        model.producer_name == "skl2onnx"
        and _is_position(label.value)
        and not any(each.op_type.startswith(fitted) for each in model.graph)
    )


def _is_position(label: ir.Value) -> bool:
    """Whether a label is the position of the largest or the smallest number."""
    node = label.producer()
    while node is not None and node.op_type in _SHAPING and node.inputs[0] is not None:
        node = node.inputs[0].producer()
    return node is not None and node.op_type in ("ArgMax", "ArgMin")


def _rows(nodes: Nodes, scores: _Output, n_classes: int, n_samples: int = 0) -> ir.Value:
    """The scores as doubles with a column per class; one column becomes those of two classes."""
    width = scores.width or n_classes
    # 0 keeps the number of samples: with another width than declared, rows must not mix. ONNX
    # Runtime would drop the rounding to half precision directly before a Cast.
    rows = nodes.node("Reshape", [scores.value, nodes.constant(np.array([n_samples, width]))])
    rows = nodes.node("Cast", [rows], {"to": int(ir.DataType.DOUBLE)})
    if width == n_classes:
        return rows
    one = nodes.constant(np.ones(1))
    first = nodes.node("Sub", [one, rows] if scores.is_sigmoid else [rows, rows])
    return nodes.node("Concat", [first, rows], {"axis": 1})


def _of_class(
    model: ir.Model, nodes: Nodes, label: _Output, labels: tuple[Any, ...] | None, n_classes: int
) -> ir.Value:
    """Whether each sample has each label, (N, C); all false for a label that is not a class."""
    index, keys = label.value, np.arange(n_classes)
    if labels is not None and label.value.dtype == ir.DataType.STRING:
        table: dict[str, Any] = {"keys_strings": labels, "values_int64s": keys.tolist()}
        if model.graph.opset_imports.setdefault(_ML, 3) < 2:
            table = {"classes_strings": labels}
        index = nodes.node("LabelEncoder", [index], {**table, "default_int64": -1}, domain=_ML)
    else:
        index = nodes.node("Cast", [index], {"to": int(ir.DataType.INT64)})
        keys = keys if labels is None else np.asarray(labels, np.int64)
    index = nodes.node("Reshape", [index, nodes.constant(np.array([-1, 1]))])
    return nodes.node("Equal", [index, nodes.constant(keys[None])])


def _raised(graph: ir.Graph, nodes: Nodes, rows: ir.Value, own: ir.Value) -> ir.Value:
    """Scores in which that of the label is at least the largest, with the same sum."""
    largest = along(graph, nodes, "ReduceMax", rows, 1, keepdims=1)
    raised = nodes.node("Where", [own, largest, rows])
    sums = [along(graph, nodes, "ReduceSum", each, 1, keepdims=1) for each in (rows, raised)]
    return nodes.node("Mul", [raised, nodes.node("Div", sums)])


def _decided(graph: ir.Graph, nodes: Nodes, rows: ir.Value | None, own: ir.Value) -> ir.Value:
    """Scores whose largest is that of the label; a row becomes non-finite if it is another's."""
    double = {"to": int(ir.DataType.DOUBLE)}
    hot = nodes.node("Cast", [own], double)
    if rows is None:
        rows = hot
    else:
        size = along(graph, nodes, "ReduceMax", nodes.node("Abs", [rows]), 1, keepdims=1)
        size = nodes.node("Max", [size, nodes.constant(np.ones(1))])
        tie = nodes.node("Mul", [size, nodes.constant(np.array([_OF_A_TIE]))])
        rows = nodes.node("Add", [rows, nodes.node("Mul", [hot, tie])])
    largest = along(graph, nodes, "ReduceMax", rows, 1, keepdims=1)
    top = nodes.node("Not", [nodes.node("Less", [rows, largest])])
    agrees = nodes.node("Cast", [nodes.node("And", [own, top])], double)
    return nodes.node("Div", [rows, along(graph, nodes, "ReduceMax", agrees, 1, keepdims=1)])
