"""What errors alone may cost: ``ntkit.debias`` without an answer, on clothes not chosen by.

    OPENBLAS_NUM_THREADS=1 python benchmarks/errors_alone.py OUT [--seeds 0 1 2 3 4]
        [--markdown FILE]

By default 5 % of average accuracy may go for a head that is seen to be better, and 2 % for one that
errors alone speak for. The 2 % were chosen with three pairs of Fashion-MNIST in view; here are
three others (sandal or sneaker was used before, in ``unseen.py``). A network is trained on images
of which 95 % have the texture of their class. Then two problems: with training and held-out images
as biased as those, and with such in which the texture has nothing to do with the class. What is
built is kept in OUT.
"""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path
from typing import Any

import numpy as np

import data_fashion_mnist
import evidence
from bench_data import save
from evidence_tables import mean_std, table
from ntkit.debiasing._candidates import LabelledEmbeddings, Setting
from ntkit.debiasing._comparison import Comparison
from ntkit.estimators import AutoDebiasClassifier
from overview import rated
from packages import default_cache
from splits import images, joined, two_thirds
from zero_one import written

PAIRS = {(5, 7): "sandal or sneaker", (4, 6): "coat or shirt", (1, 3): "trouser or dress"}
ROWS = ("original head", "`auto`", "`max_cost=0.05`", "default", "DFR †")
Samples = tuple[LabelledEmbeddings, LabelledEmbeddings, LabelledEmbeddings]


def problems(out: Path, pair: tuple[int, int], seed: int) -> dict[str, Samples]:
    """Training, held-out and test samples, with a shortcut and without one."""
    name = f"fashion_mnist_{pair[0]}_{pair[1]}"
    file = out / f"{name}_{seed}.npz"
    if not file.exists():
        arrays = data_fashion_mnist.embed(default_cache(), pair, seed, file.with_suffix(".onnx"))
        save(file, arrays, {"seed": seed})
    splits = images(name, out, seed)
    balanced = two_thirds(splits.heldout["balanced"], seed)
    return {
        "planted": (splits.train, splits.heldout["i.i.d."], splits.test),
        "no shortcut": (*balanced, splits.test),
    }


def run(samples: Samples, kind: str, seed: int) -> dict[str, dict[str, float]]:
    """Worst group and average of all rows."""
    groups = samples[0].groups
    assert groups is not None
    comparison = Comparison(*samples, head=None, seed=seed)
    auto = AutoDebiasClassifier(frozen_backbone=kind == "no shortcut")
    fitted, _ = comparison.fit(Setting(auto))
    heads: dict[str, Any] = {
        "original head": comparison.original,
        "`auto`": fitted,
        "`max_cost=0.05`": written(comparison, "auto", auto, fitted, 0.05)[0],
        "default": written(comparison, "auto", auto, fitted)[0],
        "DFR †": evidence.dfr(joined(comparison.train, comparison.heldout), seed),
    }
    shares = np.bincount(groups, minlength=4)
    assert comparison.test is not None
    return {name: rated(head, comparison.test, shares) for name, head in heads.items()}


def main() -> None:
    """Build what is missing, and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--markdown", type=Path, help="also write the table here")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    warnings.simplefilter("ignore")
    found: dict[str, list[dict[str, dict[str, float]]]] = {}
    for seed in arguments.seeds:
        for pair, title in PAIRS.items():
            for kind, samples in problems(arguments.out, pair, seed).items():
                found.setdefault(f"{title}, {kind}", []).append(run(samples, kind, seed))
    lines = [
        [name, *(f"{cell(runs, row, 'worst')} / {cell(runs, row, 'average')}" for row in ROWS)]
        for name, runs in sorted(found.items(), key=lambda item: "no shortcut" in item[0])
    ]
    text = table(["worst group / average", *ROWS], lines) + "\n"
    print(text)
    if arguments.markdown:
        arguments.markdown.write_text(text, encoding="utf-8")


def cell(runs: list[dict[str, dict[str, float]]], row: str, key: str) -> str:
    """Mean and deviation over the draws."""
    return mean_std([run[row][key] for run in runs])


if __name__ == "__main__":
    main()
