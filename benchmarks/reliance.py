"""Whether rises of flip rates tell good repairs from repairs that let another shortcut in.

    OPENBLAS_NUM_THREADS=1 python benchmarks/reliance.py RESULTS.jsonl [--seeds 2] [--markdown FILE]

Each set has two shortcuts, each in half of every class of the test set. A network learned the
first one, and the second one less. "Good": ``debias`` repairs the first one. "Substitution": a
last layer refitted on samples in which the first shortcut is in half of each class, and the
second one always tells the class. Both are compared with the original on the test set, by the
changes that ntkit knows for the kind of input. A row of the results has, for each change, the
flips before and after, and the lower bound of the rise (95 %, corrected for the changes).

Sets: marks on digits (``load_marked_digits``; the second mark is drawn at another corner), reviews
with two surfaces (``text_changes.py``), and tables with two columns.
"""

from __future__ import annotations

import sys
import tempfile
import warnings
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from joblib import Parallel, delayed
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier

import ntkit
from ntkit import FrozenModel, OnnxEmbedder
from ntkit._key import touches_subject
from ntkit.attributes.word_lists import plain_words
from ntkit.changes import change_named
from ntkit.changes.change import HARMLESS
from ntkit.changes.images import NAMES
from ntkit.datasets import load_marked_digits, marked_digits_model_path
from ntkit.estimators import head_of
from runner import Row, command_line, publish, record, recorded, table
from text_changes import CASES, network, reviews

BOUNDS = (0, 5, 10, 15, 20, 25)
"""Limits of the rise in percentage points."""
_TEXTS = {
    "append, prepend": ("append", "prepend"),
    "prepend, append": ("prepend", "append"),
    "first, append": ("first", "append"),
    "lines, prepend": ("lines", "prepend"),
}
_CORNERS = ["bottom right", "top right", "bottom left"]
_DAMAGE = ("blur", "jpeg", "grey", "brightness", "contrast", "resize", "noise")


def agreeing(y: Any, share: float, rng: np.random.Generator) -> Any:
    """A value for each label that is the label for this share."""
    return np.where(rng.random(len(y)) < share, y, 1 - y)


def refitted(model: FrozenModel, X: Any, y: Any) -> FrozenModel:
    """The model with a last layer that these samples fit."""
    Z = OnnxEmbedder(model, device="cpu").transform(X)
    scale = Z.std(axis=0) + 1e-6
    fitted = LogisticRegression(max_iter=3000).fit(Z / scale, y)
    fitted.coef_ = fitted.coef_ / scale
    return model.with_head(head_of(fitted))


def drawn_on(X: Any, value: Any, corner: str) -> Any:
    """Images with a mark of three pixels a side in this corner where the value is 1."""
    X = X.copy()
    row = slice(1, 4) if "top" in corner else slice(16, 19)
    column = slice(1, 4) if "left" in corner else slice(16, 19)
    X[value == 1, :, row, column] = 1.0
    return X


def digits(case: str, seed: int, folder: Path) -> tuple[Any, ...]:
    """The model, both kinds of training sets, the test set, the repair, and the changes."""
    rng, sets = np.random.default_rng([seed, 5]), load_marked_digits()
    model = FrozenModel.load(marked_digits_model_path())
    X, y, groups = sets.X_train, sets.y_train, sets.groups_train
    Xv, yv, gv = sets.X_validation, sets.y_validation, sets.groups_validation
    Xt = drawn_on(sets.X_test, rng.integers(0, 2, len(sets.y_test)), case)
    counts = np.bincount(groups, minlength=4)
    even = np.concatenate([np.flatnonzero(groups == g)[: counts.min()] for g in range(4)])
    one = np.concatenate([X[even], Xv[gv % 3 != 0]])
    of_one = np.concatenate([y[even], yv[gv % 3 != 0]])
    other = drawn_on(one, of_one, case)
    first = ((X, y), (Xv, yv))
    return model, first, (other, of_one), (Xt, sets.y_test, sets.groups_test), "image:top left", [
        f"image:{name}" for name in NAMES
    ]  # fmt: skip


def texts(case: str, seed: int, folder: Path) -> tuple[Any, ...]:
    """Reviews with two surfaces."""
    rng, (said, fresh) = np.random.default_rng([seed, 6]), reviews()
    names, order = _TEXTS[case], rng.permutation(len(fresh))
    (folder / "lines.txt").write_text("Seen at the festival.\nPosted from my phone.\n", "utf-8")

    def part(rows: Any, one: float, two: float) -> tuple[Any, ...]:
        y = fresh[rows]
        values = [agreeing(y, share, rng) for share in (one, two)]
        found = list(said[rows])
        for name, value in zip(names, values, strict=True):
            of = CASES[name][1]
            found = [of(t, int(v), rng) for t, v in zip(found, value, strict=True)]
        return found, y, 2 * y + values[0]

    train = part(order[:3000], 0.95, 0.8)
    model = network("append", {"train": train}, seed, folder / "model.onnx")
    valid = part(order[3000:4500], 0.95, 0.5)
    repair = part(order[:3000], 0.95, 0.5)
    other, test = part(order[:3000], 0.5, 1.0), part(order[4500:6000], 0.5, 0.5)
    counts = Counter(w for t in test[0] for w in {*plain_words(t)})
    words = [f"word:{word}" for word, _ in counts.most_common(20)]
    change = CASES[names[0]][0].format(lines=folder / "lines.txt")
    changes = [*words, "case:lower", *HARMLESS]
    return FrozenModel.load(model), (repair[:2], valid[:2]), other[:2], test, change, changes


def tables(case: str, seed: int, folder: Path) -> tuple[Any, ...]:
    """Eight columns: six that tell the class in part, and two shortcuts."""
    rng = np.random.default_rng([seed, 7])

    def part(n: int, one: float, two: float) -> tuple[Any, ...]:
        y = rng.integers(0, 2, n)
        core = rng.normal(size=(n, 6)) + 0.7 * (2 * y[:, None] - 1)
        value = agreeing(y, one, rng)
        both = np.stack([value, agreeing(y, two, rng)], axis=1) * 2.0 - 1
        X = np.concatenate([core, both + 0.2 * rng.normal(size=(n, 2))], axis=1)
        return X.astype("f4"), y, 2 * y + value

    train = part(3000, 0.97, 0.85)
    fitted = MLPClassifier((32,), max_iter=60, random_state=seed).fit(*train[:2])
    options = {"zipmap": False}
    onnx = to_onnx(fitted, initial_types=[("x", FloatTensorType([None, 8]))], options=options)
    (folder / "table.onnx").write_bytes(onnx.SerializeToString())
    model = FrozenModel.load(folder / "table.onnx")
    sets = part(3000, 0.97, 0.5)[:2], part(1500, 0.97, 0.5)[:2]
    changes = [f"column:{i}" for i in range(8)]
    return model, sets, part(3000, 0.5, 1.0)[:2], part(2000, 0.5, 0.5), "column:6", changes


def one(kind: str, case: str, seed: int, good: bool) -> Row:
    """One repair, compared with the original."""
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as name:
        made = {"digits": digits, "texts": texts, "tables": tables}[kind]
        model, sets, other, test, change, changes = made(case, seed, Path(name))
        if good:
            result = ntkit.debias(model, *sets, invariant=change, device="cpu", random_state=seed)
            new = result.model if result.written else None
        else:
            new = refitted(model, *other)
        row: Row = {"kind": kind, "case": case, "seed": seed, "good": good, "written": bool(new)}
        if new is None:
            return row
        fixed = [change_named(each) for each in changes if each != change]
        checked = ntkit.check(
            model, new, test, invariant=[change, *fixed], limits={"max_drop": 5}, device="cpu"
        )
        level = 0.05 / len(checked.changes)
        row["changes"] = [
            {
                "name": each.name, "n": each.n, "before": 100 * each.before,
                "after": 100 * each.value, "own": each.name == change,
                "rise": 100 * each.drop_bounds(upper_level=level, lower_level=level)[0],
            }
            for each in checked.changes
        ]  # fmt: skip
        row["rows"] = [
            {
                "name": each.title, "kind": each.kind, "n": each.n, "before": 100 * each.before,
                "after": 100 * each.value,
                "loss": 100 * each.drop_bounds(upper_level=0.05, lower_level=0.05)[0],
            }
            for each in checked.rows
        ]  # fmt: skip
        return row


def rows_for(path: Path, seeds: int, n_jobs: int) -> list[Row]:
    """The rows of all runs; those that the file has are not run again."""
    rows = recorded(path)
    known = {(r["kind"], r["case"], r["seed"], r["good"]) for r in rows}
    cases = [("digits", each) for each in _CORNERS] + [("texts", each) for each in _TEXTS]
    cases += [("tables", "columns")]
    todo = [(k, c, s, g) for s in range(seeds) for k, c in cases for g in (True, False)]
    run = partial(Parallel, n_jobs=n_jobs, return_as="generator_unordered")
    for row in run()(delayed(one)(*job) for job in todo if job not in known):
        rows += record(path, row)
        print({k: v for k, v in row.items() if k != "changes"}, file=sys.stderr, flush=True)
    return rows


def of_subject(name: str) -> bool:
    """Whether a change is general damage or one of the middle."""
    what = name.removeprefix("image:").partition("=")[0]
    return touches_subject(name) or (name.startswith("image:") and what in _DAMAGE)


def largest(row: Row, *, panel: bool) -> dict[str, Any]:
    """The change that rises most surely, other than that of the repair."""
    found = [r for r in row["changes"] if not r["own"] and not (panel and of_subject(r["name"]))]
    return max(found, key=lambda r: r["rise"])


def shown(rows: list[Row]) -> str:
    """A table of the largest rises, and one of the limits that tell both apart."""
    done = [r for r in rows if r["written"]]
    lines = list[list[str]]()
    for r in sorted(done, key=lambda r: (not r["good"], r["kind"], r["case"], r["seed"])):
        top = largest(r, panel=True)
        loss = max(r["rows"], key=lambda each: each["loss"])
        own = next(each for each in r["changes"] if each["own"])
        lines.append(
            [
                "good" if r["good"] else "substitution", f"{r['kind']}, {r['case']}",
                f"{own['before']:.0f} → {own['after']:.0f}",
                f"`{top['name']}` {top['before']:.0f} → {top['after']:.0f}",
                f"{top['rise']:.1f}", f"{loss['name']} {loss['before']:.0f} → {loss['after']:.0f}",
                f"{loss['loss']:.1f}",
            ]
        )  # fmt: skip
    head = ["repair", "set", "own change, %", "largest other rise, %", "surely, points",
            "largest loss, %", "surely, points"]  # fmt: skip
    told = [["limit, points", "good that pass", "substitutions that fail"]]
    good, bad = ([r for r in done if r["good"] == g] for g in (True, False))
    for bound in BOUNDS:
        passed = sum(largest(r, panel=True)["rise"] <= bound for r in good)
        failed = sum(largest(r, panel=True)["rise"] > bound for r in bad)
        told.append([f"{bound}", f"{passed} of {len(good)}", f"{failed} of {len(bad)}"])
    return f"{table(head, lines)}\n\n{table(told[0], told[1:])}"


def main() -> None:
    """Run what is missing, and write the tables."""
    parser = command_line(__doc__, "results", "--n-jobs", "--markdown")
    parser.add_argument("--seeds", type=int, default=2)
    arguments = parser.parse_args()
    rows = rows_for(arguments.results, arguments.seeds, arguments.n_jobs)
    publish(shown(rows), arguments.markdown)


if __name__ == "__main__":
    main()
