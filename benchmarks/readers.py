"""Repair by a part of another image, without a label of the shortcut: all candidates by change.

    OPENBLAS_NUM_THREADS=1 python benchmarks/readers.py DATA_DIR OUT.jsonl [--changes NAME …]
        [--seeds 3] [--waterbirds DIR BACKBONE.onnx] [--tuxscenes DIR BACKBONE.onnx]
        [--markdown FILE]

DATA_DIR is what ``make bench-data`` built; it has the networks of Fashion-MNIST, whose images are
drawn again. --waterbirds takes the real images, of which the training split is the only set, and
--tuxscenes the folder that tuxscenes.py wrote. Their heads are class-balanced. Rows are written as
they are made, so an interrupted run goes on.

Every candidate is fitted as in ``ntkit debias --invariant CHANGE``, and rated on the test set. DFR
has all labels of the shortcut; its two variants are in the table. Five simulated persons label 24
and 48 samples as in ``answers.py``: from these the groups are inferred with and without what the
reader of the change tells as a further feature set.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from answers import asked, named, retrained
from answers_data import Pool
from data_waterbirds import STEPS
from ntkit import FrozenModel, OnnxEmbedder
from ntkit.changes import change_named
from ntkit.changes.embedded import embedded_copies
from ntkit.datasets import load_marked_digits, load_waterbirds, marked_digits_model_path
from ntkit.estimators import (
    BalancedClassifier,
    DFRClassifier,
    GroupInference,
    Reading,
    head_of,
)
from ntkit.extraction import Samples, read_samples
from ntkit.jobs.debias._candidates import asked_for
from ntkit.jobs.debias._choice import best_by_change
from ntkit.jobs.debias._comparison import Comparison
from ntkit.jobs.debias._invariance import CopiesOf, Invariance, donor_folds
from ntkit.jobs.debias._named_attributes import NamedAttributes
from ntkit.jobs.debias._plan import Plan
from ntkit.jobs.debias._pool import Pool as BothSets
from ntkit.jobs.label import margins_of
from ntkit.metrics import accuracy_by
from ntkit.study import Rows, Study
from packages import default_cache
from runner import command_line, mean_std, publish, record, recorded

Array = NDArray[Any]
LABELS, PERSONS = (12, 24, 48), 5
NETWORKS = ((7, 9, 0), (7, 9, 1), (0, 3, 0), (0, 3, 1), (2, 4, 0))
"""Classes and seed of the networks of Fashion-MNIST."""


@dataclass(frozen=True)
class Problem:
    """Sets of images with groups 2 y + a, and the model; the first set may be the only one."""

    model: Path
    sets: tuple[Samples, ...]
    test: Samples


def digits() -> Problem:
    """Marked digits, with the mark in 93 %."""
    d = load_marked_digits()
    parts = (
        Samples(d[f"X_{name}"], d[f"y_{name}"], d[f"groups_{name}"])
        for name in ("train", "validation", "test")
    )
    *sets, test = parts
    return Problem(marked_digits_model_path(), tuple(sets), test)


def fashion(folder: Path, network: tuple[int, int, int]) -> Problem:
    """Two classes of Fashion-MNIST on textures, and the network that was trained on them."""
    from data_fashion_mnist import SIZES, draw  # needs scikit-image
    from fashion_mnist import SOURCE

    *classes, seed = network
    rng, images = np.random.default_rng(seed), SOURCE.fetched(default_cache())
    drawn = {
        part: draw(images, (classes[0], classes[1]), part, n, share, rng)
        for part, (n, share) in SIZES.items()
    }
    parts = (
        Samples(X, y, 2 * y + a)
        for X, y, a in (drawn[part] for part in ("train", "validation_biased", "test"))
    )
    *sets, test = parts
    name = "_".join(map(str, network))
    return Problem(folder / f"fashion_mnist_{name}.onnx", tuple(sets), test)


def numbered(samples: Samples) -> Samples:
    """Classes 0 and 1 and groups 2 y + a of two classes with names."""
    y = np.unique(samples.y, return_inverse=True)[1]
    a = np.unique([str(group) for group in samples.groups], return_inverse=True)[1]
    number = 2 * y + a % 2
    return replace(samples, y=y, groups=number)


def waterbirds(folder: Path, backbone: Path) -> Problem:
    """The real Waterbirds: the training split is the only set."""
    train, test = (numbered(load_waterbirds(folder, part, STEPS)) for part in ("train", "test"))
    return Problem(backbone, (train,), test)


def tuxscenes(folder: Path, backbone: Path) -> Problem:
    """Birds and mammals on scenes: the training images are the only set."""
    train, test = (
        numbered(read_samples(folder / part, preprocessing=STEPS)) for part in ("train", "test")
    )
    return Problem(backbone, (train,), test)


def runs(name: str, problem: Problem, change: str, seed: int) -> dict[str, Any]:
    """Accuracy of every candidate in each group of the test set."""
    embedder = OnnxEmbedder(FrozenModel.load(problem.model), device="cpu")
    sets = [Rows.of(embedder.transform(s.X), s.y, s.groups) for s in problem.sets]
    test = Rows.of(embedder.transform(problem.test.X), problem.test.y, problem.test.groups)
    pool, changes = BothSets(sets[0], sets[-1]), (change_named(change),)
    parts, folds = list[CopiesOf](), list[Array]()
    for samples, rows, n, at in zip(problem.sets, pool.sets, (5, 2), pool.slices, strict=False):
        folds.append(donor_folds(rows, seed, n))
        bare = replace(samples, groups=None)
        made = embedded_copies(embedder, bare, changes[0], seed=seed, folds=folds[-1])
        size = len(made.rows)
        none = np.zeros(size, dtype=int), np.empty((size, 0), dtype=int)
        parts.append(CopiesOf(made.Z, made.rows, made.donors, *none).moved(at.start))
    invariance = Invariance(changes, CopiesOf.joined(parts), np.concatenate(folds))
    invariance = invariance.with_readers(pool, seed)
    candidates, method = asked_for(None, by_change=True, read=bool(invariance.alphas))
    candidates = {n: each for n, each in candidates.items() if each.rows.by_change}
    head = embedder.frozen_model.head or BalancedClassifier().fit(sets[0].X, sets[0].y).head_
    said = NamedAttributes((), {}, changes=changes)
    plan = Plan(said=said, invariance=invariance, candidates=candidates, method=method)
    comparison = Comparison(pool, None, head=head, seed=seed, plan=plan)
    heads = {"original": head}
    for each, unfitted in candidates.items():
        clf, note = comparison.fit(*unfitted)
        comparison.row(each, clf, unfitted.rows, note)
        heads[each] = comparison.on_raw_embeddings(head_of(clf))
    chosen, _ = best_by_change(comparison, [*candidates])
    every = sets[0] if len(sets) == 1 else sets[0].and_then(sets[1])
    for variant in ("subsample", "weighted"):
        clf = DFRClassifier(variant=variant, random_state=seed)
        heads[f"DFR {variant}"] = clf.fit(every.X, every.y, groups=every.groups).head_
    groups = {
        each: {
            str(g): float(v) for g, v in accuracy_by(test.y, h.predict(test.X), test.groups).items()
        }
        for each, h in heads.items()
    }
    readings = {
        invariance.changes[number].name: reading
        for number, reading in invariance.readings(invariance.added_to(Study(every))).items()
    }
    row = {"data": name, "change": change, "seed": seed, "chosen": chosen, "groups": groups}
    row["labels"] = with_labels(every, test, readings)
    return row | {"veto": invariance.veto, "notes": list(invariance.notes)}


def with_labels(samples: Rows, test: Rows, readings: dict[str, Reading]) -> dict[str, Any]:
    """Accuracy in each test group of heads by labels, with and without readers, of each person."""
    a, own = np.asarray(samples.groups) % 2, {"embedding": samples.X}
    pool = Pool(samples.X, samples.y, a, own, test.X, test.y, np.asarray(test.groups))
    more = own | {f"reader of {name}": each.log_odds for name, each in readings.items()}
    found = dict[str, Any]()
    for person in range(PERSONS):
        margins = margins_of(samples.X, samples.y, random_state=person)
        for labels, inference in asked(pool, own, margins, person, a, steps=LABELS):
            both = GroupInference(random_state=person).fit(more, pool.y, named(labels))
            for title, each in (("labels", inference), ("labels and reader", both)):
                head = retrained(pool, each, person)
                of_groups = {
                    str(g): float(v)
                    for g, v in accuracy_by(test.y, head.predict(test.X), test.groups).items()
                }
                row = {"feature set": each.feature_set_, "groups": of_groups}
                found.setdefault(f"{each.n_known_} {title}", []).append(row)
    return found


def tables(rows: list[dict[str, Any]]) -> str:
    """Worst group and mean over groups, the mean over the seeds."""
    methods = ["original", "copies", "copies and penalty", "groups read"]
    methods += ["DFR subsample", "DFR weighted"]
    lines = [f"| data | change | draws | {' | '.join(methods)} | chosen |"]
    lines += ["|---|---|---:" + "|---:" * len(methods) + "|---|"]
    for name, change in dict.fromkeys((row["data"], row["change"]) for row in rows):
        some = [row for row in rows if (row["data"], row["change"]) == (name, change)]
        cells = list[str]()
        for method in methods:
            values = [[*row["groups"][method].values()] for row in some if method in row["groups"]]
            worst, mean = (100 * np.mean([f(v) for v in values]) for f in (min, np.mean))
            cells.append(f"{worst:.1f} ({mean:.1f})" if values else "–")
        chosen = ", ".join(dict.fromkeys("none" if r["veto"] else r["chosen"] for r in some))
        lines.append(f"| {name} | {change} | {len(some)} | {' | '.join(cells)} | {chosen} |")
    return "\n".join(lines)


def label_tables(rows: list[dict[str, Any]]) -> str:
    """Worst group by labels (mean over groups), and how often 48 labels chose the reader."""
    methods = [f"{n} labels{more}" for n in LABELS[1:] for more in ("", " and reader")]
    lines = [f"| data | change | draws × persons | {' | '.join(methods)} | reader chosen of 48 |"]
    lines += ["|---|---|---:" + "|---:" * len(methods) + "|---:|"]
    some = [row for row in rows if "labels" in row]
    for name, change in dict.fromkeys((row["data"], row["change"]) for row in some):
        of_change = [
            row["labels"] for row in some if (row["data"], row["change"]) == (name, change)
        ]
        cells = list[str]()
        for method in methods:
            runs_of = [run for labels in of_change for run in labels[method]]
            values = [[*run["groups"].values()] for run in runs_of]
            worst, mean = ([100 * f(v) for v in values] for f in (min, np.mean))
            cells.append(f"{mean_std(worst)} ({np.mean(mean):.1f})")
        chosen = sum(str(run["feature set"]).startswith("reader") for run in runs_of)
        size = f"{len(of_change)} × {PERSONS}"
        lines.append(f"| {name} | {change} | {size} | {' | '.join(cells)} | {chosen} |")
    return "\n".join(lines)


def problems(a: Any) -> Iterator[tuple[str, Callable[[], Problem], int]]:
    """Name, maker and number of seeds of each problem."""
    yield "marked digits", digits, a.seeds
    for network in NETWORKS:
        name = f"Fashion-MNIST {network[0]} or {network[1]}, network {network[2]}"
        yield name, lambda network=network: fashion(a.data_dir, network), 1
    for name, make in {"waterbirds": waterbirds, "tuxscenes": tuxscenes}.items():
        if getattr(a, name):
            yield name, lambda make=make, name=name: make(*getattr(a, name)), a.seeds


def main() -> None:
    """Run what is missing, and print the table."""
    parser = command_line(__doc__, "data_dir", "results", "--markdown")
    parser.add_argument("--changes", nargs="+", default=["image:border"])
    parser.add_argument("--seeds", type=int, default=3)
    for name in ("waterbirds", "tuxscenes"):
        parser.add_argument(f"--{name}", type=Path, nargs=2, metavar=("DIR", "BACKBONE"))
    a = parser.parse_args()
    warnings.simplefilter("ignore")
    rows = recorded(a.results)
    done = {(row["data"], row["change"], row["seed"]) for row in rows}
    for name, make, n_seeds in problems(a):
        todo = [(c, s) for c in a.changes for s in range(n_seeds) if (name, c, s) not in done]
        problem = make() if todo else None
        for change, seed in todo:
            assert problem is not None
            rows += record(a.results, runs(name, problem, change, seed))
    publish("\n\n".join([tables(rows), label_tables(rows)]), a.markdown)


if __name__ == "__main__":
    main()
