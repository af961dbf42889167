"""Services written by other people: how they read images and texts, without a line of ntkit."""

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper
from PIL import Image, ImageOps
from sklearn.datasets import load_sample_images
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_WORDS = """
the a of and to in is was it that this film movie plot actor scene story music light dark
good bad fine dull brilliant boring slow fast old new long short never always very quite not
with for but from by at on as be are were has had will would could director camera script
"""
WORDS = _WORDS.split()


# -- images -------------------------------------------------------------------------------------


def photographs(folder, picture, n=16, seed=0):
    """Cut a photograph into files of several sizes, some with an EXIF orientation."""
    rng = np.random.default_rng(seed)
    whole = Image.fromarray(load_sample_images().images[picture])
    for i in range(n):
        width, height = (int(side) for side in rng.integers(50, 130, 2))
        left = int(rng.integers(0, whole.width - width))
        top = int(rng.integers(0, whole.height - height))
        part = whole.crop((left, top, left + width, top + height))
        place = folder / "ab"[i % 2]
        place.mkdir(parents=True, exist_ok=True)
        exif = part.getexif()
        if i % 4 == 1:
            exif[0x0112] = (3, 6, 8)[i % 3]
        part.save(place / f"{i:02d}.{'jpg' if i % 3 else 'png'}", exif=exif)
    return sorted(folder.rglob("*.*g"))


def picture_model(path, *, side=32, channels=3, classes=5, seed=0, tail=(), pooled=False):
    """Two convolutions, a hidden layer, a head, random weights; a tail of operators."""
    rng = np.random.default_rng(seed)
    width = 24 if pooled else 24 * (side // 4) ** 2
    tensors = {
        "c1": rng.normal(size=(12, channels, 3, 3)) / np.sqrt(9 * channels) * 2,
        "b1": rng.normal(size=12) / 5,
        "c2": rng.normal(size=(24, 12, 3, 3)) / np.sqrt(108) * 2,
        "b2": rng.normal(size=24) / 5,
        "w1": rng.normal(size=(width, 16)) / np.sqrt(width),
        "d1": rng.normal(size=16) / 5,
        "w2": rng.normal(size=(16, classes)),
        "d2": rng.normal(size=classes) / 5,
    }
    conv = {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}
    nodes = [
        helper.make_node("Conv", ["image", "c1", "b1"], ["h1"], **conv),
        helper.make_node("Relu", ["h1"], ["r1"]),
        helper.make_node("Conv", ["r1", "c2", "b2"], ["h2"], **conv),
        helper.make_node("Relu", ["h2"], ["r2"]),
        *([helper.make_node("GlobalAveragePool", ["r2"], ["p2"])] if pooled else []),
        helper.make_node("Flatten", ["p2" if pooled else "r2"], ["f"]),
        helper.make_node("Gemm", ["f", "w1", "d1"], ["h3"]),
        helper.make_node("Relu", ["h3"], ["z"]),
        helper.make_node("Gemm", ["z", "w2", "d2"], ["logits"]),
    ]
    last = "logits"
    for operator in tail:
        nodes.append(helper.make_node(operator, [last], [operator.lower()]))
        last = operator.lower()
    return _saved(
        path,
        nodes,
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", channels, side, side])],
        [helper.make_tensor_value_info(last, TensorProto.FLOAT, ["n", classes])],
        tensors,
    )


def says(folder, **values):
    """Write what a preprocessor_config.json says."""
    content = {"do_resize": True, "do_rescale": True, "resample": 2, **values}
    Path(folder, "preprocessor_config.json").write_text(json.dumps(content))


def shorter_side(image, side, how=Image.Resampling.BILINEAR):
    width, height = image.size
    if width <= height:
        return image.resize((side, side * height // width), how)
    return image.resize((side * width // height, side), how)


def middle(image, side):
    left, top = (image.width - side) // 2, (image.height - side) // 2
    return image.crop((left, top, left + side, top + side))


def opened(path, exif=True):
    image = Image.open(path)
    return (ImageOps.exif_transpose(image) if exif else image).convert("RGB")


def tensor(image, scale=1 / 255, mean=(0, 0, 0), std=(1, 1, 1)):
    values = np.asarray(image).astype(np.float32) * np.float32(scale)
    return ((values - np.float32(mean)) / np.float32(std)).transpose(2, 0, 1)


# -- texts --------------------------------------------------------------------------------------


def reviews(n=40, seed=0, longest=90):
    """Texts of these words, some with capitals, some of them long."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(n):
        words = rng.choice(WORDS, int(rng.integers(3, longest))).tolist()
        words = [w.capitalize() if rng.random() < 0.3 else w for w in words]
        found.append(" ".join(words) + ".")
    return found


def tokenizer(folder, *, lower=True, special=True):
    """A tokenizer of words, saved as tokenizer.json."""
    names = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "."]
    cased = [] if lower else [word.capitalize() for word in WORDS]
    vocabulary = {word: i for i, word in enumerate([*names, *WORDS, *cased])}
    made = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    if lower:
        made.normalizer = normalizers.BertNormalizer(lowercase=True)
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    if special:
        made.post_processor = processors.TemplateProcessing(
            single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
        )
    folder.mkdir(parents=True, exist_ok=True)
    made.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"model_max_length": 64}))
    return made


def text_model(path, *, classes=3, seed=0, mask=True):
    """Token embeddings with weights by position, their mean over the mask, a head."""
    rng = np.random.default_rng(seed)
    tensors = {
        "table": rng.normal(size=(120, 12)),
        "places": 1 + rng.normal(size=(1, 512, 1)) / 2,
        "w1": rng.normal(size=(12, 10)),
        "d1": rng.normal(size=10) / 5,
        "w2": rng.normal(size=(10, classes)),
        "d2": rng.normal(size=classes) / 5,
        "zero": np.zeros(1, np.int64),
        "one": np.ones(1, np.int64),
        "two": np.full(1, 2, np.int64),
    }
    length = [
        helper.make_node("Shape", ["input_ids"], ["shape"]),
        helper.make_node("Slice", ["shape", "one", "two", "zero"], ["length"]),
        helper.make_node("Slice", ["places", "zero", "length", "one"], ["near"]),
    ]
    nodes = [
        *length,
        helper.make_node("Gather", ["table", "input_ids"], ["tokens"]),
        helper.make_node("Mul", ["tokens", "near"], ["placed"]),
    ]
    inputs = [helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["n", "t"])]
    if mask:
        inputs.append(
            helper.make_tensor_value_info("attention_mask", TensorProto.INT64, ["n", "t"])
        )
        nodes += [
            helper.make_node("Cast", ["attention_mask"], ["m"], to=TensorProto.FLOAT),
            helper.make_node("Unsqueeze", ["m", "two"], ["m3"]),
            helper.make_node("Mul", ["placed", "m3"], ["kept"]),
            helper.make_node("ReduceSum", ["kept", "one"], ["sum"], keepdims=0),
            helper.make_node("ReduceSum", ["m", "one"], ["count"], keepdims=1),
            helper.make_node("Div", ["sum", "count"], ["mean"]),
        ]
    else:
        nodes.append(helper.make_node("ReduceMean", ["placed"], ["mean"], axes=[1], keepdims=0))
    nodes += [
        helper.make_node("Gemm", ["mean", "w1", "d1"], ["h"]),
        helper.make_node("Relu", ["h"], ["z"]),
        helper.make_node("Gemm", ["z", "w2", "d2"], ["logits"]),
    ]
    out = [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", classes])]
    return _saved(path, nodes, inputs, out, tensors)


def encoded(made, texts, *, length=64, side="right", special=True, mask=True, filled=None):
    """Token ids of each text by itself, or all filled up on one side."""
    rows = []
    for text in texts:
        ids = made.encode(text, add_special_tokens=special).ids
        if len(ids) > length:
            ids = [*ids[: length - 1], 3] if special else ids[:length]
        rows.append(ids)
    width = filled or max(map(len, rows))
    ids = np.zeros((len(rows), width), np.int64)
    there = np.zeros_like(ids)
    for i, row in enumerate(rows):
        at = slice(0, len(row)) if side == "right" else slice(width - len(row), width)
        ids[i, at], there[i, at] = row, 1
    return {"input_ids": ids, **({"attention_mask": there} if mask else {})}


# -- both ---------------------------------------------------------------------------------------


def served(path, feed):
    """Logits by ONNX Runtime, one sample at a time, as a service answers."""
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [spec.name for spec in session.get_inputs()]
    if not isinstance(feed, dict):
        feed = {names[0]: np.stack(feed)}
    n = len(next(iter(feed.values())))
    one = [{name: feed[name][i : i + 1] for name in names} for i in range(n)]
    return np.concatenate([session.run(None, part)[0] for part in one])


def softmax(logits):
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    return shares / shares.sum(axis=1, keepdims=True)


def _saved(path, nodes, inputs, outputs, tensors):
    kept = [
        numpy_helper.from_array(
            array if array.dtype == np.int64 else array.astype(np.float32), name
        )
        for name, array in tensors.items()
    ]
    graph = helper.make_graph(nodes, "service", inputs, outputs, kept)
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), path)
    return path
