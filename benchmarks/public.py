"""CelebA, MultiNLI and CivilComments with a small frozen network, next to what papers report.

    python benchmarks/data_public.py CACHE_DIR --celeba FOLDER BACKBONE.onnx --multinli FOLDER …
    OPENBLAS_NUM_THREADS=1 python benchmarks/public.py CACHE_DIR RESULTS.jsonl
        [--data celeba multinli civilcomments] [--seeds 0 1 2] [--markdown FILE]

Each seed draws 50 % of the samples for training, 20 % for validation and 30 % for the test, the
groups in equal shares. So the validation set is as biased as the training set, as in the papers of
these three. ``methods`` are rows of ``evidence.py``. ``labels`` are the 48 and 96 samples that
:func:`ntkit.jobs.label.next_questions` asks about, of training and validation set together. Each
part, benchmark and seed is one line of RESULTS, and is not run again. MultiNLI has three classes,
whose fits take longer, so it has fewer penalties, and neither EVaLS nor labels: words of the
hypotheses tell every negation, so that labels end at DFR.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import train_test_split

import answers
import evidence
from answers_data import Pool
from data_public import read
from evidence_tables import mean_std, table
from ntkit.estimators import DFRClassifier
from ntkit.jobs.debias._candidates import CANDIDATES, OTHER_METHODS
from ntkit.jobs.debias._comparison import Comparison
from ntkit.jobs.label import feature_sets_of, margins_of
from ntkit.study import Rows
from published import PUBLISHED
from results_csv import linked
from splits import joined, taken

Array = NDArray[Any]
Findings = dict[str, Any]
TITLES = {"celeba": "CelebA", "multinli": "MultiNLI", "civilcomments": "CivilComments"}
NAMES = {
    "ERM-tuned-C": "ERM",
    "class-balanced-validation-tuned-C": "class-balanced retraining on the validation split",
    "jtt": "JTT",
    "afr": "AFR",
    "self": "SELF",
    "evals": "EVaLS",
    "leia": "LEIA",
    "leace": "LEACE",
    "neurontune": "NeuronTune",
    "random mask": "random mask of its size",
    "GroupDRO-both †": "group DRO",
    "DFR-validation †": "DFR",
    "DFR-both †": "DFR, training split as well",
    "48": "ntkit, 48 labels",
    "96": "ntkit, 96 labels",
}
"""Row to what the tables call it, in their order."""


def parts_of(cache: Path, name: str, seed: int) -> tuple[dict[str, Any], list[Array], list[Rows]]:
    """What the cache holds; row numbers and samples of training, validation and test set."""
    found = read(cache, name)
    samples = Rows.of(found["Z"].astype(np.float32), found["y"], found["groups"])
    own = {"random_state": seed, "stratify": samples.groups}
    most, test = train_test_split(np.arange(len(samples)), test_size=0.3, **own)
    own["stratify"] = samples.groups[most]
    train, held = train_test_split(most, test_size=0.2 / 0.7, **own)
    rows = [train, held, test]
    return found, rows, [taken(samples, each) for each in rows]


def methods(cache: Path, name: str, seed: int) -> Findings:
    """Rows of the evidence, each in points of the test set."""
    _, _, (train, held, test) = parts_of(cache, name, seed)
    comparison = Comparison(train, held, test, head=None, seed=seed)
    others = {key: (estimator, "train") for key, estimator in OTHER_METHODS.items()}
    if len(comparison.classes) > 2:  # fits take longer
        del others["evals"]
        evidence.ALPHAS = (0.1, 1.0)
    rows, seconds = {}, {}
    for key, (estimator, on) in (others | {"neurontune": CANDIDATES["neurontune"]}).items():
        start = time.perf_counter()
        clf, _ = comparison.fit(estimator, on)
        rows[key] = evidence.rated(comparison, clf.head_)
        seconds[key] = time.perf_counter() - start
        print(f"{key}: {seconds[key]:.0f} s", flush=True)
    mask = comparison.random_mask_row(clf, 5)
    rows["random mask"] = {"worst_group": mask.worst_group, "average": mask.average}
    heads = {
        "ERM-tuned-C": (comparison.train, None),
        "class-balanced-validation-tuned-C": (comparison.validation, "balanced"),
    }
    for key, (samples, weight) in heads.items():
        rows[key] = evidence.rated(comparison, evidence.tuned(samples, weight, seed))
    rows |= evidence.reference_rows(comparison)
    return {"rows": rows, "groups": np.bincount(test.groups).tolist(), "seconds": seconds}


def labels(cache: Path, name: str, seed: int) -> Findings:
    """What a person's 48 and 96 labels give, and all group labels with the same head."""
    found, (train, held, _), parts = parts_of(cache, name, seed)
    both, test, asked = joined(*parts[:2]), parts[2], np.append(train, held)
    layers = {key: values[asked] for key, values in found.get("layers", {}).items()}
    feature_sets = feature_sets_of(both.X, layers)
    feature_sets |= {key: v[asked] for key, v in found.get("feature_sets", {}).items()}
    pool = Pool(both.X, both.y, both.groups % 2, feature_sets, test.X, test.y, test.groups)
    margins, shares = margins_of(pool.Z, pool.y, random_state=seed), np.bincount(parts[0].groups)
    dfr = DFRClassifier(variant="weighted", C=None, random_state=seed)
    heads = {"DFR-both †": (dfr.fit(pool.Z, pool.y, groups=both.groups), {})}
    steps = [n for n in answers.STEPS if n <= 96]
    for _, inference in answers.asked(pool, feature_sets, margins, seed, pool.a, steps=steps):
        if inference.n_known_ in (48, 96):
            told = {
                "feature_set": inference.feature_set_,
                "right": float(np.mean(inference.transduction_ == pool.a)),
            }
            head = answers.retrained(pool, inference, seed)
            heads[str(inference.n_known_)] = head, told
    return {"rows": {key: rated(head, test, shares) | told for key, (head, told) in heads.items()}}


def rated(head: Any, test: Rows, shares: Array) -> Findings:
    """Test accuracies, as ``evidence.rated`` has them."""
    right = head.predict(test.X) == test.y
    by_group = [float(right[test.groups == g].mean()) for g in range(len(shares))]
    average = float(np.average(by_group, weights=shares))
    return {"worst_group": min(by_group), "adjusted": average, "by_group": by_group}


PARTS: dict[str, Callable[[Path, str, int], Findings]] = {"methods": methods, "labels": labels}


def tables(known: Sequence[Findings]) -> str:
    """Worst group and average of every method next to the paper's, by benchmark, as Markdown."""
    shown = []
    for name, title in TITLES.items():
        of_papers = {row["method"]: row for row in PUBLISHED if row["data_set"] == title}
        lines = []
        for key, label in NAMES.items():
            part = "labels" if key.isdigit() else "methods"
            here = (r["rows"] for r in known if (r["data"], r["part"]) == (name, part))
            rows, paper = [each[key] for each in here if key in each], of_papers.get(label)
            if rows or paper:
                worst = mean_std([100 * row["worst_group"] for row in rows] or [np.nan])
                average = mean_std([100 * average_of(row) for row in rows] or [np.nan])
                lines.append([label, "–" if paper is None else linked(paper), worst, average])
        if any(r["data"] == name for r in known):
            header = ["method", "paper", "ours, worst group", "ours, average"]
            shown += [f"### {title}", table(header, lines), sizes(known, name)]
    return "\n\n".join(shown) + "\n"


def average_of(row: Findings) -> float:
    """The average by training shares; of random masks, that over the groups."""
    return float(row.get("adjusted", row.get("average", np.nan)))


def sizes(known: Sequence[Findings], name: str) -> str:
    """How many seeds, and samples of each group in the test set."""
    found = [r for r in known if (r["data"], r["part"]) == (name, "methods")]
    counts = ", ".join(map(str, found[0]["groups"]))
    return f"Seeds: {len(found)}. Test samples by group: {counts}."


def main() -> None:
    """Run what is missing, and write tables of all there is."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("cache", type=Path)
    parser.add_argument("results", type=Path, help="JSON lines, added to")
    parser.add_argument("--data", nargs="+", choices=TITLES, default=["celeba", "multinli"])
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--markdown", type=Path, help="write the tables here")
    arguments = parser.parse_args()
    results = arguments.results
    known = [json.loads(line) for line in results.open()] if results.exists() else []
    done = {(found["part"], found["data"], found["seed"]) for found in known}
    for seed, name, part in product(arguments.seeds, arguments.data, arguments.parts):
        if (part, name, seed) in done or (part, name) == ("labels", "multinli"):
            continue
        start = time.perf_counter()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = {"part": part, "data": name, "seed": seed}
            found |= PARTS[part](arguments.cache, name, seed)
        print(f"{name}, seed {seed}, {part}: {time.perf_counter() - start:.0f} s", flush=True)
        line = json.dumps(found, default=float)
        with results.open("a") as file:
            file.write(line + "\n")
        known.append(json.loads(line))
    if arguments.markdown:
        arguments.markdown.write_text(tables(known), encoding="utf-8")


if __name__ == "__main__":
    main()
