"""Made-up vocabularies: how often a word that rightly decides acts by itself, and a shortcut.

    OPENBLAS_NUM_THREADS=1 python benchmarks/made_up_words.py [--draws 100] [--first 2000]
        [--markdown FILE]

Every draw is of another kind: 800 to 3200 texts of 60 to 800 words, of which 6 to 60 rightly go
with a class, all as strongly, or some far more than others; with topics, whose words come together,
or without; as they are, or with 5 or 10 % of the labels turned. Embeddings are random sums of the
words, of 16 to 200 numbers. Kinds of draws:

* nothing: no more than that. An action is wrong;
* one strong word: one word more that rightly decides, three times as likely in one class;
* shortcut: one word more that 90 or 95 % of the texts of a class have and the others not, on which
  the embedding leans up to three times as much as on a word.

For each: how often a word acts, and, where the shortcut does, worst-group accuracy on texts in
which it says nothing, beside "auto" without words and DFR, which is told the shortcut †.
Constants were chosen with draws below 1060 in view.
"""

from __future__ import annotations

import argparse
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from joblib import Parallel, delayed
from numpy.typing import NDArray

from evidence_tables import mean_std, table
from ntkit.estimators import AutoDebiasClassifier
from ntkit.metrics import worst_group_accuracy

Array = NDArray[Any]
KINDS = ("nothing", "one strong word", "shortcut")
SPREADS = ("equal", "normal", "exponential", "heavy")
SHARE = (0.02, 0.3)
STRONG = 0.55  # half the log odds of three to one
N_TEST = 2000


@dataclass(frozen=True)
class Kind:
    """What a draw is like."""

    n: int
    n_words: int
    n_deciding: int
    spread: str
    scale: float
    n_dimensions: int
    turned: float
    n_topics: int
    noise: float
    bias: float
    lean: float

    @classmethod
    def drawn(cls, seed: int) -> Kind:
        """One of all kinds."""
        rng = np.random.default_rng([seed, 1])
        return cls(
            n=int(rng.choice([800, 1600, 3200])),
            n_words=int(rng.choice([60, 200, 800])),
            n_deciding=int(rng.choice([6, 12, 30, 60])),
            spread=str(rng.choice(SPREADS)),
            scale=float(rng.choice([0.3, 0.6, 1.0])),
            n_dimensions=int(rng.choice([16, 64, 200])),
            turned=float(rng.choice([0.0, 0.05, 0.1])),
            n_topics=int(rng.choice([0, 0, 5])),
            noise=float(rng.choice([0.05, 0.2])),
            bias=float(rng.choice([0.9, 0.95])),
            lean=float(rng.choice([1.0, 2.0, 3.0])),
        )


@dataclass(frozen=True)
class Drawn:
    """Embeddings, classes as they are and as the labels say, words, and the shortcut."""

    X: Array
    y: Array
    labels: Array
    words: Array
    a: Array


def texts(kind: Kind, what: str, seed: int) -> tuple[Drawn, Drawn]:
    """Texts to learn from, and texts of the same words in which the shortcut says nothing."""
    rng = np.random.default_rng([seed, 2])
    sizes = kind.n, N_TEST
    y = rng.integers(0, 2, sum(sizes))
    strength = {
        "equal": np.ones(kind.n_deciding),
        "normal": np.abs(rng.normal(size=kind.n_deciding)),
        "exponential": rng.exponential(size=kind.n_deciding),
        "heavy": np.minimum(rng.pareto(2, size=kind.n_deciding), 6.0),
    }[kind.spread]
    share = np.exp(rng.uniform(*np.log(SHARE), kind.n_words))
    log_odds = np.zeros(kind.n_words)
    log_odds[: kind.n_deciding] = kind.scale * strength * rng.choice([-1, 1], kind.n_deciding)
    if what == "one strong word":
        share, log_odds = np.append(share, 0.25), np.append(log_odds, STRONG)
    logits = np.log(share / (1 - share)) + np.where(y[:, None] == 1, 1, -1) * log_odds
    if kind.n_topics:
        topic = rng.random((kind.n_topics, len(share))) < 0.15
        logits = logits + np.where(topic[rng.integers(0, kind.n_topics, len(y))], 1.5, -0.2)
    words = (rng.random(logits.shape) < 1 / (1 + np.exp(-logits))).astype(np.int8)
    biased = np.repeat([kind.bias, 0.5], sizes)
    a = np.where(rng.random(len(y)) < biased, y, 1 - y)
    weight = np.ones(len(share))
    if what == "shortcut":
        words, weight = np.column_stack([words, a]), np.append(weight, kind.lean)
    X = words @ (rng.normal(size=(len(weight), kind.n_dimensions)) * weight[:, None])
    X += 0.3 * kind.noise * np.sqrt(kind.n_words) * rng.normal(size=X.shape)
    labels = np.where(rng.random(len(y)) < kind.turned, 1 - y, y)
    parts = slice(0, kind.n), slice(kind.n, None)
    first, second = (Drawn(X[p], y[p], labels[p], words[p], a[p]) for p in parts)
    return first, second


def run(what: str, seed: int) -> dict[str, Any]:
    """Fit once."""
    warnings.simplefilter("ignore")
    rows, test = texts(Kind.drawn(seed), what, seed)
    support = rows.words.mean(axis=0)
    some = np.flatnonzero((support >= 0.01) & (support <= 0.99))
    names = [f"word:{j}" for j in some]
    clf = AutoDebiasClassifier(random_state=0)
    clf.fit(rows.X, rows.labels, attributes=rows.words[:, some], attribute_names=names)
    true = f"word:{rows.words.shape[1] - 1}" if what == "shortcut" else None
    found: dict[str, Any] = {"acted": clf.attribute_, "true": clf.attribute_ == true}
    if what != "shortcut":
        return found
    heads = {
        "auto": clf,
        "without": AutoDebiasClassifier(random_state=0).fit(rows.X, rows.labels),
        "DFR": AutoDebiasClassifier(recipe="group-balanced", random_state=0).fit(
            rows.X, rows.labels, attributes=rows.a
        ),
    }
    groups = 2 * test.y + test.a
    return found | {
        name: 100 * worst_group_accuracy(test.y, head.predict(test.X), groups=groups)
        for name, head in heads.items()
    }


def row(what: str, runs: list[dict[str, Any]]) -> list[str]:
    """One line of the table."""
    wrong = sum(r["acted"] is not None and not (what == "shortcut" and r["true"]) for r in runs)
    cells = [what, str(len(runs)), f"{wrong} ({100 * wrong / len(runs):.1f} %)"]
    if what != "shortcut":
        return [*cells, *["–"] * 4]
    right = sum(r["true"] for r in runs)
    return [
        *cells,
        str(right),
        *(mean_std([r[k] for r in runs]) for k in ("without", "auto", "DFR")),
    ]


def main() -> None:
    """Run all draws and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--draws", type=int, default=100)
    parser.add_argument("--first", type=int, default=2000, help="number of the first draw")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument("--n-jobs", type=int, default=2, help="processes (default 2)")
    parser.add_argument("--markdown", type=Path, help="also write the table here")
    arguments = parser.parse_args()
    seeds = range(arguments.first, arguments.first + arguments.draws)
    results = Parallel(n_jobs=arguments.n_jobs)(
        delayed(run)(what, seed) for what in arguments.kinds for seed in seeds
    )
    n = len(seeds)
    lines = [row(w, results[i * n : (i + 1) * n]) for i, w in enumerate(arguments.kinds)]
    header = ["draws of", "draws", "a word acted wrongly", "the shortcut acted"]
    header += ["auto without words", "auto", "DFR †"]
    shown = table(header, lines)
    print(shown)
    if arguments.markdown:
        arguments.markdown.write_text(shown + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
