"""Audits with a page: of texts, of a table, of images, and one with hostile names."""

from dataclasses import replace
from functools import cache

import numpy as np

import ntkit
from ntkit.jobs.audit import Inputs
from ntkit.jobs.audit.changes import ChangeFinding, ChangeFindings
from ntkit.jobs.audit.from_predictions import with_retraining
from ntkit.metrics import Row
from ntkit.samples.looks import Unlabelled

N = 600
RNG = np.random.default_rng(0)
Y = RNG.integers(0, 2, N)
FILM = np.where(RNG.random(N) < 0.9, Y, 1 - Y)
BAD = np.where(RNG.random(N) < 0.85, 1 - Y, Y)
LUCK = RNG.random(N)
PRED = np.where(LUCK < 0.4, FILM, np.where(LUCK < 0.8, 1 - BAD, Y))
ONE = np.where(LUCK < 0.4, FILM, Y)
AGAIN = np.where(LUCK < 0.4, 1 - BAD, Y)
EVIL = (
    "<script>window.hacked = 1</script>",
    '"><img src=x onerror="window.hacked = 2">',
    "</script><script>window.hacked = 3</script>",
    "</style></title><!-- \u2028\u2029 ]]> javascript:window.hacked=4",
    "{{ 7 * 7 }} {% raw %} \0 \x1b[31m \ud800 \ufffe \u202e",
)


def of_texts():
    texts = [
        f"It is a {['movie', 'Film'][f]} that is {['good', 'bad'][b]}, number {i}."
        for i, (f, b) in enumerate(zip(FILM, BAD, strict=True))
    ]
    names = np.array(["rotten", "fresh"])
    return ntkit.audit(names[Y], names[PRED], texts=texts)


def of_two_heads():
    """A model that relies on one word, and a retrained last layer that relies on another."""
    texts = of_texts().inputs.texts
    return with_retraining(ntkit.audit(Y, ONE, texts=texts), AGAIN)


def of_a_table():
    table = {
        "age": 20 + 30 * FILM + RNG.integers(0, 15, N),
        "site": np.array(["Ward A", "Ward B"])[BAD],
        "a column with a long name and no spaces in it ".replace(" ", "_") * 4: Y * 0.1,
    }
    return ntkit.audit(Y, PRED, table=table)


def of_pictures():
    bright = (40 + 120 * FILM)[:, None, None, None] + RNG.integers(0, 40, (N, 12, 16, 3))
    ids = [f"scan {i}.png" for i in range(N)]
    site = {"file_name": ids, "site": np.array(["North", "South"])[BAD]}
    images = bright.astype(np.uint8)
    return ntkit.audit(Y, PRED, images=images, metadata=site, ids=ids)


def hostile():
    """Names, values, texts, ids and classes that are mark-up or script."""
    evil = np.array([*EVIL, *EVIL], dtype=object)
    texts = [f"{evil[i % 5]} {'<script' if f else '<img'} {'x' * 5000}" for i, f in enumerate(FILM)]
    tables = {name: np.where(FILM == 1, name, "other").astype(object) for name in EVIL}
    classes = np.array(EVIL[:2], dtype=object)
    arrays = {EVIL[0]: np.where(BAD == 1, 1.0, 0.0)[:, None] + RNG.random((N, 1)) / 9}
    given = {"texts": texts, "table": tables, "arrays": arrays}
    ids = [f"{EVIL[i % 5]}{i}" for i in range(N)]
    found = ntkit.audit(classes[Y], classes[PRED], ids=ids, **given)
    values = {finding.name: found.values(finding.name) for finding in found.findings}
    changes = [changed(f"{kind}:{evil}", EVIL) for kind in ("word", "column") for evil in EVIL]
    return replace(
        found,
        unlabelled=Unlabelled(N, values, found.inputs),
        changes=ChangeFindings(
            tuple(changes), (Row("change", EVIL[0], 9, 8),), ((1.0, 1.0),), 0, 9
        ),
    )


def changed(name, texts, copies=None, **values):
    """A change with examples that flip, of texts and of rows with a column of that name."""
    copies = texts[::-1] if copies is None else copies
    n = min(len(texts), 3)
    ids = [f"{EVIL[0]}{i}" for i in range(n)]
    before, after = (
        Inputs(texts=of[:n], table={name: of[:n], "other": [1] * n}, ids=ids)
        for of in (texts, copies)
    )
    flip = {"predicted": EVIL[0], "after": EVIL[1]}
    examples = tuple({"row": row, **flip} for row in range(n))
    facts = {
        "row": Row("change", name, 40, 30, interval=(0.1, 0.4)),
        "control": Row("change", EVIL[2], 40, 38, interval=(0.0, 0.2)), "margin_change": 1.0,
        "beyond_control": 1.0, "beyond_interval": (0.5, 1.5), "p_value": 0.01, "flips_more": True,
    }  # fmt: skip
    shown = {"examples": examples, "before": before, "after": after}
    return ChangeFinding(**shown, **(facts | values))


MADE = {
    made.__name__: cache(made)
    for made in (of_texts, of_two_heads, of_a_table, of_pictures, hostile)
}
"""Audits by name, each made once."""
