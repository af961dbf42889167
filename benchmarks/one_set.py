"""One labelled set and one answer, against a training and a validation set.

    OPENBLAS_NUM_THREADS=1 python benchmarks/one_set.py DATA_DIR OUT.jsonl [--waterbirds FILE.npz]
        [--seeds 3] [--sizes 50 100 300 1000] [--data NAME …] [--markdown FILE]

DATA_DIR is what ``make bench-data`` built. The original head is fitted on the training set. One set
is a draw from samples like the training set that the head has not seen; the answer names the
attribute, which is read from metadata. "Two sets" repairs with the whole training set and the same
draw as validation set. Rows are written as they are made, so an interrupted run goes on.

--waterbirds takes embeddings of the real Waterbirds (Z, y, a and split 0, 1, 2). A third of its
training split is left out of the original head's and is drawn from.
"""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import betainc

from job import write_model
from ntkit import DebiasSettings, FrozenModel, debias
from ntkit.exceptions import InputError
from ntkit.jobs.debias import DebiasResult
from ntkit.metrics import accuracy_by
from ntkit.study import Rows
from runner import command_line, publish, record, recorded
from splits import CHECKS, DATA, splits_of, two_thirds

Array = NDArray[Any]
SIZES = (50, 100, 300, 1000)
WATERBIRDS = "Waterbirds"
LOSS = 0.02  # of a group, which counts as harm


def sets_of(name: str, folder: Path, waterbirds: Path | None, seed: int) -> tuple[Rows, Rows, Rows]:
    """Training set of the head, samples to draw from, and test set."""
    if name != WATERBIRDS:
        splits = splits_of(name, folder, seed)
        return splits.train, splits.validation["i.i.d."], splits.test
    assert waterbirds is not None
    with np.load(waterbirds) as data:
        Z, y, part = data["Z"].astype(np.float32), data["y"].astype(int), data["split"]
        groups = 2 * y + data["a"].astype(int)
    train, pool = two_thirds(Rows.of(Z[part == 0], y[part == 0], groups[part == 0]), seed)
    return train, pool, Rows.of(Z[part == 2], y[part == 2], groups[part == 2])


def given(rows: Rows) -> tuple[Array, Array]:
    """Inputs and labels, without groups."""
    return rows.X, rows.y


def rated(result: Any, test: Rows, original: dict[Any, float]) -> dict[str, Any]:
    """Accuracy of each test group."""
    if not isinstance(result, DebiasResult):
        return {"state": "open", "groups": original}
    accuracy = accuracy_by(test.y, result.model.head.predict(test.X), test.groups)
    share = result.accuracy_cost.t if result.written else 0.0
    return {"state": result.state, "groups": plain(accuracy), "share": share}


def plain(accuracy: Any) -> dict[str, float]:
    """Accuracies by group number, for JSON."""
    return {str(int(group)): float(value) for group, value in accuracy.items()}


def runs(
    name: str, folder: Path, waterbirds: Path | None, seed: int, sizes: list[int]
) -> Iterator[dict[str, Any]]:
    """Repairs with one set and with two, for each size."""
    train, pool, test = sets_of(name, folder, waterbirds, seed)
    order = np.random.default_rng(seed).permutation(len(pool))
    with tempfile.TemporaryDirectory() as place:
        model = Path(place) / "model.onnx"
        write_model({"train": (*given(train), train.groups)}, model, C=1e-2, standardised=True)
        head = FrozenModel.load(model).head
        assert head is not None
        original = plain(accuracy_by(test.y, head.predict(test.X), test.groups))
        n_test = plain(dict(zip(*np.unique(test.groups, return_counts=True), strict=True)))
        for size in sizes:
            if size > len(pool):
                continue
            one = pool.take(order[:size])
            row = {"data": name, "seed": seed, "size": size, "n_test": n_test}
            row |= {"original": original, "counts": np.bincount(one.groups, minlength=4).tolist()}
            options: dict[str, Any] = {
                "device": "cpu",
                "settings": DebiasSettings(random_state=seed, trust_inputs=True),
            }
            options |= {"spurious": "metadata:a"}
            for how, sets in {"one": (one,), "two": (train, one)}.items():
                groups = np.concatenate([each.groups for each in sets])
                metadata = {"a": np.where(groups % 2, "yes", "no")}
                try:
                    result = debias(model, *map(given, sets), metadata=metadata, **options)
                    row[how] = rated(result, test, original)
                except InputError as error:
                    row[how] = {"state": "refused", "groups": original, "why": str(error)}
            yield row


def p_loss(before: float, after: float, n: float) -> float:
    """P-value against a loss of at most LOSS points, by the counts of one group."""
    # Conservative: a binomial test of the errors after against the share before plus LOSS.
    errors, share = round((1 - after) * n), min(1.0, 1 - before + LOSS)
    return float(betainc(errors, n - errors + 1, share)) if errors else 1.0


def tables(rows: list[dict[str, Any]]) -> str:
    """Worst groups by data set and size, then harm over all groups."""
    lines = ["| data | samples | refused, written | original | one set | two sets |"]
    lines += ["|---|---:|---|---:|---:|---:|"]
    keys = dict.fromkeys((row["data"], row["size"]) for row in rows)
    for name, size in keys:
        some = [row for row in rows if (row["data"], row["size"]) == (name, size)]
        states = [row["one"]["state"] for row in some]
        worst = [
            100 * np.mean([min(groups(row).values()) for row in some])
            for groups in (
                lambda row: row["original"],
                lambda row: row["one"]["groups"],
                lambda row: row["two"]["groups"],
            )
        ]
        counts = f"{states.count('refused')}, {states.count('written')} of {len(states)}"
        lines.append(f"| {name} | {size} | {counts} | " + " | ".join(f"{w:.1f}" for w in worst))
        lines[-1] += " |"
    tests = [
        (p_loss(row["original"][g], row["one"]["groups"][g], row["n_test"][g]), row, g)
        for row in rows
        if row["one"]["state"] == "written"
        for g in row["original"]
    ]
    tests.sort(key=lambda test: test[0])
    lost = []
    for i, (p, row, g) in enumerate(tests):
        if p * (len(tests) - i) > 0.05:
            break
        change = 100 * (row["one"]["groups"][g] - row["original"][g])
        lost.append(f"{row['data']}, {row['size']} samples, seed {row['seed']}: {g} {change:+.1f}")
    lines += ["", f"Groups that lose more than {100 * LOSS:g} points (Holm, {len(tests)} tests): "]
    lines += [f"{len(lost)}.", "", *(f"* {line}" for line in lost)]
    return "\n".join(lines)


def main() -> None:
    """Run what is missing, and print the tables."""
    parser = command_line(__doc__, "data_dir", "results", "--markdown")
    parser.add_argument("--waterbirds", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES))
    parser.add_argument("--data", nargs="+", default=[WATERBIRDS, *DATA, *CHECKS])
    a = parser.parse_args()
    warnings.simplefilter("ignore")
    rows = recorded(a.results)
    done = {(row["data"], row["seed"]) for row in rows}
    for seed in range(a.seeds):
        for name in a.data:
            if (name, seed) in done or (name == WATERBIRDS and a.waterbirds is None):
                continue
            rows += record(a.results, *runs(name, a.data_dir, a.waterbirds, seed, a.sizes))
    rows.sort(key=lambda row: (row["data"], row["size"], row["seed"]))
    publish(tables(rows), a.markdown)


if __name__ == "__main__":
    main()
