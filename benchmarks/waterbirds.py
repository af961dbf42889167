"""The real Waterbirds with a frozen network: official validation, or the training split alone.

    python benchmarks/data_waterbirds.py WATERBIRDS_DIR BACKBONE.onnx CACHE_DIR
    OPENBLAS_NUM_THREADS=1 python benchmarks/waterbirds.py CACHE_DIR RESULTS.jsonl
        [--parts validation third answers rivals audit] [--seeds 0 1 2] [--markdown FILE]

Official splits; the test split serves the results alone. The parts:

* validation: the validation split, which is balanced over the places within classes, is the
  validation set. Candidates, other methods and controls are those of ``evidence.py``.
* third: the same with a third of the training split as validation set, and no validation split.
* answers: the training split alone; a simulated person tells the place of the samples that
  :func:`ntkit.jobs.label.next_questions` asks about, as in ``answers.py``.
* rivals: SSA and GSR on 48 and 96 of the same answers.
* audit: what an audit of the training split suspects, and what one answer to it gives.

The splits are fixed: a seed decides folds, halves, thirds, random masks and what is drawn to ask.
Each part and seed is one line of RESULTS, and is not run again.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.preprocessing import StandardScaler

import answers
import evidence
from answers_data import Pool
from data_waterbirds import Birds, read
from nearness import ALIKE, nearest, within
from ntkit import Audit, audit
from ntkit.attributes import metadata
from ntkit.attributes.activations import layers
from ntkit.attributes.feature_set import values_of
from ntkit.attributes.image_statistics import measured_image_statistics
from ntkit.estimators import (
    AutoDebiasClassifier,
    BalancedClassifier,
    DFRClassifier,
    GroupInference,
    retrain_head,
)
from ntkit.jobs.debias import _pool
from ntkit.jobs.debias._comparison import Comparison
from ntkit.jobs.label import feature_sets_of, margins_of
from ntkit.metrics import worst_class_accuracy
from ntkit.study import ALPHAS, Rows
from runner import command_line, record, recorded
from splits import joined, two_thirds

Array = NDArray[Any]
Findings = dict[str, Any]
RANDOM = (12, 24, 48, 96, 192)


def samples(birds: Birds) -> Rows:
    """Embeddings, classes and groups."""
    return Rows.of(birds.X, birds.y, birds.groups)


def rated(head: Any, test: Rows, shares: Array) -> Findings:
    """Test accuracies in %: worst group, average, and average by the training split's shares."""
    right, one = head.predict(test.X) == test.y, np.ones(len(test.y), dtype=int)
    assert test.groups is not None
    hits, counts = ([int(of[test.groups == g].sum()) for g in range(4)] for of in (right, one))
    by_group = [100 * hit / count for hit, count in zip(hits, counts, strict=True)]
    return {
        "hits": hits,
        "counts": counts,
        "worst": min(by_group),
        "average": 100 * float(right.mean()),
        "adjusted": float(np.average(by_group, weights=shares)),
        "by_group": by_group,
    }


# -- with a validation set ------------------------------------------------------------------------


def with_validation(
    train: Rows,
    validation: Rows,
    test: Birds,
    shares: Array,
    seed: int,
    *,
    everything: bool,
) -> Findings:
    """Rows of ``evidence.py``, all or some, and the published mask at penalties of its own."""
    comparison = Comparison(_pool.Pool(train, validation), samples(test), head=None, seed=seed)
    rows = few_rows(comparison)
    if everything:
        rows |= evidence.candidate_rows(comparison)
        rows |= evidence.control_rows(comparison)
        rows |= halved(comparison) | hardly_penalised(comparison)
    rows |= evidence.reference_rows(comparison)
    in_percent(rows, test, shares)
    return {"rows": rows} | ({"ridge": evidence.ridges(comparison)} if everything else {})


def in_percent(rows: dict[str, Findings], test: Birds, shares: Array) -> None:
    """Add the results of the tables to rows of :func:`evidence.rated` or of random masks."""
    sizes = np.bincount(test.groups)
    for row in rows.values():
        row.pop("scores", None)
        if "by_group" in row:
            row["worst"] = 100 * row["worst_group"]
            row["average"] = 100 * float(np.average(row["by_group"], weights=sizes))
            row["adjusted"] = 100 * float(np.average(row["by_group"], weights=shares))
        else:  # means over random masks
            row |= {"worst": 100 * row["worst_group"], "average": 100 * row["average"]}


def few_rows(comparison: Comparison) -> dict[str, Findings]:
    """ERM, class-balanced on all rows, "auto" whole and interpolated, NeuronTune, random masks."""
    train, both = comparison.train, joined(comparison.train, comparison.validation)
    seed, tuned = comparison.seed, evidence.tuned
    rows = {
        "ERM-tuned-C": evidence.rated(comparison, tuned(train, None, seed)),
        "class-balanced-both-tuned-C": evidence.rated(comparison, tuned(both, "balanced", seed)),
    }
    auto, _ = comparison.fit(AutoDebiasClassifier())
    rows["auto"] = evidence.rated(comparison, auto.head_) | {"recipe": auto.recipe_}
    rows[evidence.WRITTEN] = evidence.written_row(comparison, auto)
    mask, _ = comparison.fit(evidence.by_paper())
    rows["neurontune"] = evidence.rated(comparison, mask.head_)
    for row in rows.values():
        row["n_suppressed"] = 0
    rows["neurontune"]["n_suppressed"] = evidence.n_suppressed(mask)
    return rows | {"random mask": of_random_masks(comparison, mask)}


def of_random_masks(comparison: Comparison, clf: Any) -> Findings:
    """Means over five random masks of the size of a fitted one."""
    row = comparison.random_mask_row(clf, 5)
    return {
        "worst_group": row.worst_group,
        "average": row.average,
        "n_suppressed": evidence.n_suppressed(clf),
    }


def halved(comparison: Comparison) -> dict[str, Findings]:
    """As the paper selects: half of the validation set finds neurons, half chooses the penalty.

    By the accuracy of the worst class. Class-balanced retraining and a random mask of the same
    size choose theirs on the same half.
    """
    (seen, scored), n = comparison.halves[0], len(comparison.train.y)
    held, best = comparison.validation, dict[str, tuple[float, Findings]]()
    for alpha in sorted(ALPHAS, reverse=True):
        C = 1 / (alpha * n)
        plain, _ = comparison.fit(BalancedClassifier(C=C), as_is=True, validation=seen)
        masked, _ = comparison.fit(evidence.by_paper(C=C), as_is=True, validation=seen)
        rng, mask = np.random.default_rng(comparison.seed), np.zeros(held.X.shape[1], dtype=bool)
        size, live = evidence.n_suppressed(masked), np.flatnonzero(masked.non_constant_)
        mask[rng.choice(live, size, replace=False)] = True
        heads = {
            "class-balanced, by half": (plain.head_, 0),
            "neurontune, by half": (masked.head_, size),
            "random mask, by half": (
                retrain_head(comparison.train.X, comparison.train.y, suppressed=mask, C=C),
                size,
            ),
        }
        for name, (head, suppressed) in heads.items():
            score = worst_class_accuracy(held.y[scored], head.predict(held.X[scored]))
            if name not in best or score > best[name][0]:
                row = evidence.rated(comparison, head)
                best[name] = score, row | {"n_suppressed": suppressed, "alpha": alpha}
    return {name: row for name, (_, row) in best.items()}


def hardly_penalised(comparison: Comparison) -> dict[str, Findings]:
    """NeuronTune with hardly a penalty, ``C=1``, and random masks of its size."""
    clf, _ = comparison.fit(evidence.by_paper(C=1.0), as_is=True)
    own = evidence.rated(comparison, clf.head_) | {"n_suppressed": evidence.n_suppressed(clf)}
    return {"neurontune, C = 1": own, "random mask, C = 1": of_random_masks(comparison, clf)}


def validation(splits: dict[str, Birds], seed: int) -> Findings:
    """The validation split is the validation set."""
    train, val = samples(splits["train"]), samples(splits["val"])
    shares = np.bincount(splits["train"].groups)
    return with_validation(train, val, splits["test"], shares, seed, everything=True)


def third(splits: dict[str, Birds], seed: int) -> Findings:
    """A third of the training split is the validation set."""
    parts = two_thirds(samples(splits["train"]), seed)
    shares = np.bincount(splits["train"].groups)
    return with_validation(*parts, splits["test"], shares, seed, everything=False)


# -- the training split alone -------------------------------------------------------------------


def some_answers(splits: dict[str, Birds], seed: int) -> Findings:
    """Zero answers, and 12 to 192, next to what all group labels give."""
    train, test = splits["train"], splits["test"]
    shares, feature_sets = np.bincount(train.groups), feature_sets_of(train.X, train.layers)
    pool = Pool(train.X, train.y, train.place, feature_sets, test.X, test.y, test.groups)
    rows = without_answers(train, test, shares, seed)
    margins = margins_of(pool.Z, pool.y, random_state=seed)
    own = {"embedding": train.X}
    curves: Findings = {}
    for name, asked_of, wrong in (
        ("asked", feature_sets, 0.0),
        ("asked, 5 % wrong", feature_sets, 0.05),
        ("asked, embedding alone", own, 0.0),
    ):
        drawn = np.random.default_rng([seed, 0]).random(len(pool.y))
        said = np.where(drawn < wrong, 1 - pool.a, pool.a)
        asking = answers.asked(pool, asked_of, margins, seed, said)
        curves[name] = answers.followed(pool, asking, seed)
    order = np.random.default_rng(seed).permutation(len(pool.y))
    given = [answers.answers_to(pool, order[:n], pool.a) for n in RANDOM]
    inferred = ((g, GroupInference(random_state=seed).fit(feature_sets, pool.y, g)) for g in given)
    curves["random"] = answers.followed(pool, inferred, seed)
    curves["DFR, random labels"] = answers.alone(pool, given, seed)
    return {"rows": rows, "curves": curves}


def rivals(splits: dict[str, Birds], seed: int) -> Findings:
    """SSA and GSR on the same answers."""
    train, test = splits["train"], splits["test"]
    feature_sets = feature_sets_of(train.X, train.layers)
    pool = Pool(train.X, train.y, train.place, feature_sets, test.X, test.y, test.groups)
    margins = margins_of(pool.Z, pool.y, random_state=seed)
    curves: Findings = {"SSA": {}, "GSR": {}}
    for given, inference in answers.asked(
        pool, feature_sets, margins, seed, pool.a, steps=answers.STEPS[:6]
    ):
        n = inference.n_known_
        if n in (48, 96):
            for label, head in answers.rivals(pool, given, inference, seed).items():
                curves[label][n] = {"worst": answers.worst(pool, head)}
    return {"curves": curves}


def without_answers(train: Birds, test: Birds, shares: Array, seed: int) -> dict[str, Findings]:
    """Heads that see no group label, and DFR that sees all."""
    scaler = StandardScaler().fit(train.X)
    scaled = Rows.of(scaler.transform(train.X), train.y, train.groups)
    scaled_test = Rows.of(scaler.transform(test.X), test.y, test.groups)
    auto = AutoDebiasClassifier(random_state=seed).fit(train.X, train.y)
    dfr = DFRClassifier(variant="weighted", C=None, random_state=seed)
    rows = {
        "ERM, tuned C": rated(evidence.tuned(scaled, None, seed), scaled_test, shares),
        "class-balanced, tuned C": rated(
            evidence.tuned(scaled, "balanced", seed), scaled_test, shares
        ),
        "auto": rated(auto, samples(test), shares)
        | {"recipe": auto.recipe_, "alpha": auto.alpha_, "reason": auto.reason_},
        "DFR, all groups †": rated(
            dfr.fit(train.X, train.y, groups=train.groups), samples(test), shares
        ),
    }
    return rows


# -- the audit ----------------------------------------------------------------------------------


def audited(splits: dict[str, Birds], seed: int) -> Findings:
    """Findings of the training split, and what acting on one of them gives."""
    train, test = splits["train"], splits["test"]
    shares = np.bincount(train.groups)
    assert train.statistics is not None
    feature_sets = [
        measured_image_statistics(train.statistics),
        layers(train.layers, random_state=seed),
    ]
    place = metadata({"place": np.asarray(["land", "water"])[train.place]})
    found = audit(train.y, embeddings=train.X, feature_sets=feature_sets, random_state=seed)
    told = audit(
        train.y, embeddings=train.X, feature_sets=[*feature_sets, place], random_state=seed
    )
    near = [within(found.values(s.name), train.place, train.y) for s in found.findings]
    first = next((i for i, value in enumerate(near) if value >= ALIKE), None)
    sides = {"metadata:place": train.place}
    if first is not None:
        sides["first finding of the place"] = sides_of(found, first)
    value, best = nearest(found, train.place, train.y)
    sides["nearest attribute †"] = np.asarray(values_of(feature_sets, best) > 0, dtype=int)
    rows = {
        name: rated(balanced(train, on, seed), samples(test), shares) for name, on in sides.items()
    }
    return {
        "findings": [
            {"name": s.name, "score": float(s.score), "near": value}
            for s, value in zip(found.findings[:10], near, strict=False)
        ],
        "first": first,
        "n_findings": len(found.findings),
        "n_looked_at": found.n_looked_at,
        "nearest of all": {"name": best, "near": value},
        "told": [{"name": s.name, "score": float(s.score)} for s in told.findings[:3]],
        "rows": rows,
    }


def sides_of(found: Audit, i: int) -> Array:
    """Side of each sample of a family, -1 on none, as an answer takes it."""
    on, names = found.found.values[:, i], found.found.value_names[i]
    return np.asarray(np.where(on > 0, on - 1, -1) if len(names) > 1 else on)


def balanced(train: Birds, on: Array, seed: int) -> AutoDebiasClassifier:
    """Group-balanced retraining on these sides."""
    clf = AutoDebiasClassifier(recipe="group-balanced", random_state=seed)
    return clf.fit(train.X, train.y, attributes=on[:, None])


# -- all of it ----------------------------------------------------------------------------------

PARTS: dict[str, Callable[[dict[str, Birds], int], Findings]] = {
    "validation": validation,
    "third": third,
    "answers": some_answers,
    "rivals": rivals,
    "audit": audited,
}


def main() -> None:
    """Run what is missing, and write tables of all there is."""
    parser = command_line(__doc__, "--markdown")
    parser.add_argument("cache", type=Path)
    parser.add_argument("results", type=Path, help="JSON lines, added to")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    arguments = parser.parse_args()
    results = arguments.results
    known = recorded(results)
    done = {(found["part"], found["seed"]) for found in known}
    missing = [(s, p) for s in arguments.seeds for p in arguments.parts if (p, s) not in done]
    if missing:
        splits = {split: read(arguments.cache, split) for split in ("train", "val", "test")}
    for seed, part in missing:
        start = time.perf_counter()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = {"part": part, "seed": seed} | PARTS[part](splits, seed)
        print(f"{part}, seed {seed}: {time.perf_counter() - start:.0f} s", flush=True)
        known += record(results, found)
    if arguments.markdown:
        from waterbirds_tables import tables

        arguments.markdown.write_text(tables(known), encoding="utf-8")


if __name__ == "__main__":
    main()
