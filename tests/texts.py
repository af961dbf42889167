"""A tokenizer and an encoder of texts, as save_pretrained and an exporter leave them."""

import json

import numpy as np
import tokenizers
from onnx import TensorProto

from ntkit import FrozenModel, LinearHead, OnnxEmbedder
from ntkit.extraction import TextPreprocessing, Texts
from tests.models import Graph, save, value

WORDS = ["the", "quick", "brown", "fox", "jumps", "over", "a", "lazy", "dog", "un", "##able",
         "##s", "run", "##ning", ",", "."]  # fmt: skip


def word_pieces():
    """BERT's: lower case, [CLS] in front, [SEP] at the end."""
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    vocabulary = {token: i for i, token in enumerate([*special, *WORDS])}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = tokenizers.normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = tokenizers.processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    tokenizer.add_special_tokens(special)
    return tokenizer


def bytes_of_texts():
    """A token for each byte, so that different texts have different tokens."""
    letters = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    model = tokenizers.models.BPE({letter: i for i, letter in enumerate(letters)}, [])
    tokenizer = tokenizers.Tokenizer(model)
    level = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = level
    return tokenizer


def write_json(path, content):
    path.write_text(json.dumps(content))
    return path


def text_model(
    folder,
    *,
    ids="input_ids",
    mask="attention_mask",
    types=None,
    others=(),
    dtype=TensorProto.INT64,
    shape=("batch", "tokens"),
    n_tokens=40,
):
    """Token embeddings, their mean over the mask by ntkit's pooling."""
    names = [name for name in (ids, mask, types, *others) if name]
    graph = Graph()
    graph.constant("table", np.random.default_rng(0).normal(size=(n_tokens, 6)))
    graph.add("Gather", ["table", ids], "hidden")
    graph.output("hidden", [*shape, 6])
    for name in names:
        if name not in (ids, mask):
            graph.output(graph.add("Identity", [name], f"{name}_out"), shape, dtype)
    folder.mkdir(exist_ok=True)
    inputs = [value(name, shape, dtype) for name in names]
    path = save(graph.model(inputs), folder / "model.onnx")
    return FrozenModel.load(path, embedding="hidden", pooling="mean")


def text_classifier(folder, texts, target, classes=("cat", "dog")):
    """A model that predicts a target of 0 and 1 from these texts, and the texts as its inputs."""
    backbone = text_model(folder)
    word_pieces().save(str(folder / "tokenizer.json"))
    X = Texts(texts, TextPreprocessing.for_model(backbone))
    Z = OnnxEmbedder(backbone, device="cpu").transform(X)
    weights = 10 * np.linalg.lstsq(Z - Z.mean(axis=0), target - 0.5, rcond=None)[0]
    head = LinearHead(weights[None], [-weights @ Z.mean(axis=0)], classes)
    backbone.with_head(head).save(folder / "classifier.onnx")
    return FrozenModel.load(folder / "classifier.onnx"), X
