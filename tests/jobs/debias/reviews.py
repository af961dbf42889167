"""Reviews in which "film" and "movie" stand for the class, and a model that reads these words."""

import csv

import numpy as np
import onnxruntime as ort
import tokenizers
from onnx import TensorProto, helper

from ntkit.estimators import retrain_head

GOOD, POOR = ([f"{word}{i}" for i in range(20)] for word in ("fine", "dull"))
REST = ["the", "plot", "of", "this", "scene", "actor", "music", "story"]
VOCABULARY = ["[PAD]", "[UNK]", "film", "movie", *GOOD, *POOR, *REST]
INDEX = {word: i for i, word in enumerate(VOCABULARY)}


def reviews(seed, n, share):
    """Texts, labels, and who says "film"; a share of the fresh ones and of the others "movie"."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, n)
    film = np.where(rng.random(n) < share, y, 1 - y)
    texts = []
    for label, says_film in zip(y, film, strict=True):
        own, other = (GOOD, POOR) if label else (POOR, GOOD)
        words = [rng.choice(own if rng.random() < 0.75 else other) for _ in range(5)]
        words += [*rng.choice(REST, 4).tolist(), "film" if says_film else "movie"]
        texts.append(" ".join(rng.permutation(words)))
    return texts, np.array(["rotten", "fresh"])[y], film


def vectors():
    table = 0.5 * np.random.default_rng(0).normal(size=(len(VOCABULARY), 12))
    table[INDEX["film"], 0], table[INDEX["movie"], 0] = 8, -8
    for words, value in ((GOOD, 1.2), (POOR, -1.2)):
        table[[INDEX[word] for word in words], 1] = value
    return table.astype(np.float32)


def ids_of(texts):
    return np.array([[INDEX[word] for word in text.split()] for text in texts])


def write_model(folder):
    """Token vectors, their mean, an ERM head fitted on biased texts, and a tokenizer."""
    texts, y, _ = reviews(0, 1500, 0.95)
    head = retrain_head(vectors()[ids_of(texts)].mean(axis=1), y, class_weight=None, C=1.0)
    head = head.with_logits(2)
    nodes = [
        helper.make_node("Gather", ["vectors", "input_ids"], ["tokens"]),
        helper.make_node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["mask", "last"], ["column"]),
        helper.make_node("Mul", ["tokens", "column"], ["kept"]),
        helper.make_node("ReduceSum", ["kept", "second"], ["sum"], keepdims=0),
        helper.make_node("ReduceSum", ["column", "second"], ["count"], keepdims=0),
        helper.make_node("Div", ["sum", "count"], ["embedding"]),
        helper.make_node("Gemm", ["embedding", "W", "b"], ["logits"], transB=1),
    ]
    floats = {"vectors": vectors(), "W": head.coef, "b": head.intercept}
    constants = [
        helper.make_tensor(name, TensorProto.FLOAT, v.shape, v.astype(np.float32).ravel())
        for name, v in floats.items()
    ]
    axes = {"last": 2, "second": 1}
    constants += [helper.make_tensor(n, TensorProto.INT64, [1], [v]) for n, v in axes.items()]
    inputs = [
        helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "tokens"])
        for name in ("input_ids", "attention_mask")
    ]
    output = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 2])
    graph = helper.make_graph(nodes, "reviews", inputs, [output], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(INDEX, "[UNK]"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder / "model.onnx"


def write_table(path, **columns):
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))
    return path


def read_column(path, name):
    with path.open(newline="", encoding="utf-8") as file:
        return [row[name] for row in csv.DictReader(file)]


def predicted(path, texts):
    """Classes by ONNX Runtime."""
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    ids = ids_of(texts)
    (logits,) = session.run(None, {"input_ids": ids, "attention_mask": np.ones_like(ids)})
    return np.array(["fresh", "rotten"])[logits.argmax(axis=1)]


def worst_group(path):
    """On fresh samples, balanced over the groups."""
    texts, y, film = reviews(9, 2000, 0.5)
    right = predicted(path, texts) == y
    return min(right[(y == k) & (film == v)].mean() for k in np.unique(y) for v in (0, 1))
