"""Services written by other people: how they read images and texts, without a line of ntkit."""

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from PIL import Image, ImageOps
from sklearn.datasets import load_sample_images
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from tests.models import INT64, Graph, value

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


def picture_model(path, *, side=32, wide=None, classes=5, seed=0):
    """Two convolutions, a hidden layer, a head, random weights."""
    rng, wide = np.random.default_rng(seed), wide or side
    width = 24 * (side // 4) * (wide // 4)
    graph = Graph()
    graph.write(
        """
        h1 = Conv(image, c1, b1, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
        r1 = Relu(h1)
        h2 = Conv(r1, c2, b2, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
        r2 = Relu(h2)
        f = Flatten(r2)
        h3 = Gemm(f, w1, d1)
        z = Relu(h3)
        logits = Gemm(z, w2, d2)""",
        c1=rng.normal(size=(12, 3, 3, 3)) / np.sqrt(27) * 2,
        b1=rng.normal(size=12) / 5,
        c2=rng.normal(size=(24, 12, 3, 3)) / np.sqrt(108) * 2,
        b2=rng.normal(size=24) / 5,
        w1=rng.normal(size=(width, 16)) / np.sqrt(width),
        d1=rng.normal(size=16) / 5,
        w2=rng.normal(size=(16, classes)),
        d2=rng.normal(size=classes) / 5,
    )
    graph.output("logits", ["n", classes])
    onnx.save(graph.model([value("image", ["n", 3, side, wide])]), path)
    return path


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


def tokenizer(folder):
    """A tokenizer of words, saved as tokenizer.json."""
    names = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "."]
    vocabulary = {word: i for i, word in enumerate([*names, *WORDS])}
    made = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer(lowercase=True)
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    folder.mkdir(parents=True, exist_ok=True)
    made.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"model_max_length": 64}))
    return made


def text_model(path, *, classes=3, seed=0):
    """Token embeddings with weights by position, their mean over the mask, a head."""
    rng = np.random.default_rng(seed)
    graph = Graph()
    graph.write(
        """
        shape = Shape(input_ids)
        length = Slice(shape, [1], [2], [0])
        near = Slice(places, [0], length, [1])
        tokens = Gather(table, input_ids)
        placed = Mul(tokens, near)
        m = Cast(attention_mask, to=FLOAT)
        m3 = Unsqueeze(m, [2])
        kept = Mul(placed, m3)
        sum = ReduceSum(kept, [1], keepdims=0)
        count = ReduceSum(m, [1], keepdims=1)
        mean = Div(sum, count)
        h = Gemm(mean, w1, d1)
        z = Relu(h)
        logits = Gemm(z, w2, d2)""",
        table=rng.normal(size=(120, 12)),
        places=1 + rng.normal(size=(1, 512, 1)) / 2,
        w1=rng.normal(size=(12, 10)),
        d1=rng.normal(size=10) / 5,
        w2=rng.normal(size=(10, classes)),
        d2=rng.normal(size=classes) / 5,
    )
    graph.output("logits", ["n", classes])
    inputs = [value(name, ["n", "t"], INT64) for name in ("input_ids", "attention_mask")]
    onnx.save(graph.model(inputs), path)
    return path


def encoded(made, texts, *, length=64, special=True, filled=None):
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
        ids[i, : len(row)], there[i, : len(row)] = row, 1
    return {"input_ids": ids, "attention_mask": there}


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
