"""What one answer is worth: a person confirms a word, and the groups class × word are balanced.

    OPENBLAS_NUM_THREADS=1 python benchmarks/zero_one.py DATA_DIR [--draws 0 1 2 3 4]
        [--setting i.i.d.] [--markdown FILE]

DATA_DIR is what ``make bench-data`` built; texts and columns are read anew from their packages.
Worst-group accuracy on the balanced test sets of the evidence, with a validation set that is
distributed as the training set. Everything is fitted on the same rows, the training and the
validation set, and every penalty is cross-validated:

* ERM (on the training set), class-balanced retraining;
* zero answers: "auto", which goes by errors, and what ``--method auto`` would leave in the model;
* one answer: a person confirms the first finding of an audit of these rows that is of the true
  attribute (by a list of words), and its values are balanced over. For Adult the answer is
  the column sex. Without such a finding there is no answer, and ntkit keeps the original head. And
  what ntkit.debias would leave in the model then;
* the values named outright, as on the command line: word:film|word:movie;
* DFR, which is told the group of every sample †.

Data without texts or columns have no names to answer on.
"""

from __future__ import annotations

import warnings
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from joblib import Parallel, delayed
from numpy.typing import NDArray

from evidence import dfr, tuned
from ntkit import audit
from ntkit.attributes import Attribute, FeatureSet
from ntkit.attributes.feature_set import values_of
from ntkit.estimators import AutoDebiasClassifier
from ntkit.jobs.debias._comparison import Comparison
from ntkit.jobs.debias._named_attributes import NamedAttributes
from ntkit.jobs.debias._plan import Plan
from ntkit.jobs.debias._pool import Pool
from ntkit.metrics import worst_group_accuracy
from ntkit.study import Rows
from runner import command_line, mean_std, publish, table
from splits import CHECKS, DATA, joined, splits_of
from written import kind_of, read_of, written

Array = NDArray[Any]
SIDES = {
    "rotten_tomatoes": [["word:film"], ["word:movie"]],
    "spam_assassin": [["word:<html", "word:<body", "word:<font", "word:<br", "word:<head"]],
    "adult": [["column:sex_Male=1"]],
}
TRUE = {
    "rotten_tomatoes": {"word:film", "word:movie", "word:films", "word:movies"},
    "spam_assassin": set(SIDES["spam_assassin"][0]),
}
ROWS = (
    "ERM",
    "class-balanced",
    "auto",
    "--method auto",
    "one answer",
    "debias, one answer",
    "values named",
    "DFR †",
)
HEADER = ["data", *(f"`{row}`" if "auto" in row else row for row in ROWS), "confirmed"]


def run(folder: Path, name: str, setting: str, seed: int) -> dict[str, Any]:
    """Fit all rows of the table once."""
    splits, kind = splits_of(name, folder, seed), kind_of(name)
    train, held = splits.train, splits.validation[setting]
    auto = AutoDebiasClassifier()
    feature_set = read_of(name, folder, seed, [train, held])
    sides, true = SIDES.get(kind or "", []), TRUE.get(kind or "", set())
    return compared(train, held, splits.test, seed, auto, feature_set, sides, true)


def compared(
    train: Rows,
    held: Rows,
    test: Rows,
    seed: int,
    auto: AutoDebiasClassifier,
    feature_set: FeatureSet | None,
    sides: list[list[str]],
    true: set[str],
) -> dict[str, Any]:
    """Fit all rows of the table on training and validation samples.

    ``feature_set`` is of both, ``sides`` are those named outright, and ``true`` are the attributes
    that a person recognises; without any, the sides are the answer.
    """
    warnings.simplefilter("ignore")
    found = heads(train, held, test, seed, auto, feature_set, sides, true)
    figures = {
        which: 100 * worst_group_accuracy(test.y, head.predict(found.Z_test), groups=test.groups)
        for which, head in found.heads.items()
    }
    return {"figures": figures, "confirmed": found.confirmed}


@dataclass(frozen=True)
class Fitted:
    """Heads by row, the samples that they are rated on, and what a person confirmed."""

    heads: dict[str, Any]
    Z_test: Array
    confirmed: str | None


def heads(
    train: Rows,
    held: Rows,
    test: Rows,
    seed: int,
    auto: AutoDebiasClassifier,
    feature_set: FeatureSet | None,
    sides: list[list[str]],
    true: set[str],
) -> Fitted:
    """Fit all rows of the table, as :func:`compared`."""
    plain = Comparison(Pool(train, held), test, head=None, seed=seed)
    both = joined(plain.train, plain.validation)
    alone, _ = plain.fit(auto)
    heads: dict[str, Any] = {
        "ERM": tuned(plain.train, None, seed),
        "class-balanced": tuned(both, "balanced", seed),
        "auto": alone,
        "--method auto": written(plain, "auto", alone, feature_set),
        "DFR †": dfr(both, seed),
    }
    confirmed = None
    if feature_set is not None and sides:
        on = Attribute.from_names(sides, lambda name: values_of([feature_set], name)).value
        _, heads["values named"] = balanced(train, held, test, seed, on)
        confirmed, answered = answer(feature_set, both, true, seed) if true else (None, on)
        heads["one answer"] = heads["debias, one answer"] = plain.original
        if answered is not None:
            told, heads["one answer"] = balanced(train, held, test, seed, answered)
            heads["debias, one answer"] = written(told, "named", heads["one answer"])
    return Fitted(heads, plain.test.X, confirmed)


def answer(
    feature_set: FeatureSet, rows: Rows, true: set[str], seed: int
) -> tuple[str | None, Array | None]:
    """Name of the first finding of the true attribute, and sides as the audit has them."""
    found = audit(rows.y, embeddings=rows.X, feature_sets=[feature_set], random_state=seed)
    for i, finding in enumerate(found.findings):
        if true & {finding.name, *finding.same, *finding.opposed}:
            on, names = found.found.values[:, i], found.found.value_names[i]
            return finding.name, np.where(on > 0, on - 1, -1) if len(names) > 1 else on
    return None, None


def balanced(
    train: Rows,
    held: Rows,
    test: Rows,
    seed: int,
    on: Array,
) -> tuple[Comparison, Any]:
    """A comparison that is told these sides, and group-balanced retraining on them."""
    called = tuple(str(side) for side in range(on.max() + 1))
    said = NamedAttributes((), {}, read=(Attribute("the answer", on, called),))
    told = Comparison(Pool(train, held), test, head=None, seed=seed, plan=Plan(said=said))
    return told, told.fit(AutoDebiasClassifier(recipe="group-balanced"))[0]


def line(name: str, results: list[dict[str, Any]]) -> list[str]:
    """One row of the table."""
    cells = [
        mean_std([r["figures"][which] for r in results]) if which in results[0]["figures"] else "–"
        for which in ROWS
    ]
    confirmed = Counter(r["confirmed"] for r in results if r["confirmed"])
    said = ", ".join(f"`{word.partition(':')[2]}` {n}×" for word, n in confirmed.most_common())
    return [name, *cells, said or "–"]


def gaps(results: list[list[dict[str, Any]]], which: str) -> list[float]:
    """Mean of DFR minus a row, for every data set that has it."""
    return [
        float(np.mean([r["figures"]["DFR †"] - r["figures"][which] for r in of_set]))
        for of_set in results
        if which in of_set[0]["figures"]
    ]


def main() -> None:
    """Run all draws and print a table."""
    parser = command_line(__doc__, "data_dir", "--n-jobs", "--markdown")
    parser.add_argument("--draws", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--data", nargs="+", default=[*DATA, *CHECKS], help="some data sets only")
    parser.add_argument("--setting", choices=("i.i.d.", "balanced"), default="i.i.d.")
    arguments = parser.parse_args()
    flat = Parallel(n_jobs=arguments.n_jobs, batch_size=1)(
        delayed(run)(arguments.data_dir, name, arguments.setting, seed)
        for name in arguments.data
        for seed in arguments.draws
    )
    n = len(arguments.draws)
    results = [flat[i * n : (i + 1) * n] for i in range(len(arguments.data))]
    lines = [line(name, r) for name, r in zip(arguments.data, results, strict=True)]
    for what, of in (("mean", np.mean), ("worst", max)):
        found = [gaps(results, row) for row in ROWS]
        cells = [f"{of(gap):.1f}" if gap else "–" for gap in found]
        lines.append([f"**{what} gap to DFR**", *cells, ""])
    shown = table(HEADER, lines)
    publish(shown, arguments.markdown)


if __name__ == "__main__":
    main()
