"""Which tool names the attribute that errors depend on? Others find slices; all get the same data.

    OPENBLAS_NUM_THREADS=1 python benchmarks/slices.py DATA_DIR [--draws 5] [--markdown FILE]

DATA_DIR is what ``make bench-data`` built. Each tool is asked for its first ten slices, sets of
samples. A slice is counted for the attribute if it is correlated with it by 0.35 or more among the
samples of one class: so it may be the attribute itself, or one group of it. Tables and words are
given as columns (numbers as five quantiles where a tool takes categories only), embeddings to those
that cluster. Tools that are not installed are left out, and said to be:

- SliceLine (PyPI ``sliceline``; Sagadeeva and Boehm 2021): slices of one or two columns, α = 0.95;
- a mixture as in Domino (Eyuboglu et al. 2022): Gaussian, on principal components of the embedding
  next to the class and the prediction, by scikit-learn; components by their share of errors;
- cleanlab's underperforming group (PyPI ``cleanlab`` and ``datasets``): one cluster at most.

deepchecks 0.19.1 does not run next to scikit-learn 1.8; in an environment of its own its weak
segments found none on any case that was tried, and it is left out.
"""

from __future__ import annotations

import argparse
import csv
import io
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import data_adult
import data_texts
from audit import sizes_of
from evidence_tables import table
from ntkit import audit
from ntkit.attributes import FeatureSet, columns, words
from packages import default_cache
from splits import drawn

Array = NDArray[Any]
ALIKE = 0.35
FIRST = 10
WORDS = 60  # of texts, for the tools that look at pairs of columns


@dataclass(frozen=True)
class Case:
    """Samples, what a model makes of them, and the attribute that is to be found, if any."""

    columns: dict[str, Array]
    feature_set: FeatureSet
    Z: Array
    y: Array
    proba: Array
    a: Array | None

    @property
    def pred(self) -> Array:
        """Predicted classes."""
        return np.asarray(self.proba.argmax(axis=1))


# -- data ---------------------------------------------------------------------------------------


def predicted(Z: Array, y: Array, seed: int) -> Array:
    """Cross-fitted probabilities of a class-balanced logistic regression on embeddings."""
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, class_weight="balanced"))
    order = np.random.default_rng(seed).permutation(len(y))
    proba = np.empty((len(y), 2))
    proba[order] = cross_val_predict(model, Z[order], y[order], cv=5, method="predict_proba")
    return proba


def planted(seed: int, n: int = 3000, share: float | None = 0.9) -> Case:
    """A table of six categories and six numbers; a site goes with the class, or none does."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, n)
    goes = np.full(n, 0.5) if share is None else np.full(n, share)
    a = np.where(rng.random(n) < goes, y, 1 - y)
    core = 2 * y - 1 + 1.2 * rng.normal(size=n)
    found: dict[str, Array] = {f"category {i}": rng.integers(0, 3 + i, n) for i in range(5)}
    found["site"] = a * 2 + rng.integers(0, 2, n)  # two sites of either kind
    found |= {f"number {i}": rng.normal(size=n) for i in range(5)}
    found["measure"] = core + 0.5 * rng.normal(size=n)
    leaned = 0.0 if share is None else 1.5
    logit = 2 * core + leaned * (2 * a - 1) * 2 + rng.normal(size=n)
    proba = 1 / (1 + np.exp(-logit))
    Z = np.column_stack([core, leaned * (2 * a - 1) + 0.5 * rng.normal(size=n)])
    Z = np.concatenate([Z, rng.normal(size=(n, 30))], axis=1) @ rng.normal(size=(32, 32))
    cells = {name: values.astype(str) if values.dtype.kind == "i" else values
             for name, values in found.items()}  # fmt: skip
    return Case(found, columns(cells), Z, y, np.column_stack([1 - proba, proba]),
                None if share is None else a)  # fmt: skip


def texts(folder: Path, name: str, shares: str, seed: int) -> Case:
    """Reviews or mails: film or movie, HTML or plain."""
    reader = {"rotten_tomatoes": data_texts.reviews, "spam_assassin": data_texts.mails}[name]
    read, y, a = reader(default_cache())
    with np.load(folder / f"{name}.npz") as data:
        Z = data["Z"]
    rows = drawn(2 * y + a, sizes_of(2 * y + a, shares), seed)
    feature_set = words([read[i] for i in rows])
    names, values = zip(
        *((block.names, block.values) for block in feature_set.blocks()), strict=True
    )
    X = np.concatenate([v.toarray() for v in values], axis=1)
    flat = [n for some in names for n in some]
    common = np.argsort(-X.sum(axis=0), kind="stable")[:WORDS]
    cells = {flat[i]: X[:, i].astype(int) for i in common}
    Z, y, a = Z[rows], y[rows], a[rows]
    return Case(
        cells, feature_set, Z, y, predicted(Z, y, seed), None if shares == "balanced" else a
    )


def people(folder: Path, seed: int, shares: str = "95 %") -> Case:
    """Adult, 95 % of whom have the sex that goes with their income."""
    source = data_adult.SOURCE.fetched(default_cache())
    X, y, a = data_adult.people(source)
    with zipfile.ZipFile(source) as archive:
        text = archive.read(archive.namelist()[0]).decode()
    names = [n for n in next(csv.reader(io.StringIO(text))) if not n.startswith("salary")]
    unseen = np.array_split(np.random.default_rng(seed).permutation(len(y)), 2)[1]
    with np.load(folder / f"{'adult' if shares == 'balanced' else 'adult95'}_{seed}.npz") as data:
        Z = data["Z"]
    groups = 2 * y[unseen] + a[unseen]
    rows = drawn(groups, sizes_of(groups, shares), seed)
    chosen, some = unseen[rows], [j for j, n in enumerate(names) if X[unseen, j].mean() > 0.01]
    cells = {names[j]: X[chosen, j] for j in some}
    y, a, Z = y[chosen], a[chosen], Z[rows]
    return Case(cells, columns(cells), Z, y, predicted(Z, y, seed),
                None if shares == "balanced" else a)  # fmt: skip


def cases(folder: Path, draws: int) -> Iterator[tuple[str, Case]]:
    """All draws, by name."""
    for seed in range(draws):
        yield "table, injected", planted(seed)
        yield "Rotten Tomatoes, 95 %", texts(folder, "rotten_tomatoes", "95 %", seed)
        yield "Rotten Tomatoes, natural", texts(folder, "rotten_tomatoes", "natural", seed)
        yield "SpamAssassin, natural", texts(folder, "spam_assassin", "natural", seed)
        yield "Adult, 95 %", people(folder, seed)
        yield "table, nothing injected", planted(seed, share=None)


# -- tools --------------------------------------------------------------------------------------


def by_ntkit(case: Case) -> list[Array]:
    """Samples that have the attributes of the first findings."""
    found = audit(case.y, case.pred, feature_sets=[case.feature_set])
    return [found.values(s.name) == 1 for s in found.findings[:FIRST]]


def by_sliceline(case: Case) -> list[Array]:
    """SliceLine on columns and the class."""
    from sliceline.slicefinder import Slicefinder

    X = np.column_stack([*map(coded, case.columns.values()), case.y]).astype(int)
    finder = Slicefinder(alpha=0.95, k=FIRST, max_l=2, min_sup=max(5, len(X) // 100), verbose=False)
    finder.fit(X, (case.pred != case.y).astype(float))
    found = []
    for wanted in finder.top_slices_[:FIRST]:
        used = [j for j, value in enumerate(wanted) if value is not None]
        found.append(np.all([X[:, j] == int(wanted[j]) for j in used], axis=0))
    return found


def by_mixture(case: Case) -> list[Array]:
    """Components of a mixture of embedding, class and prediction, by their share of errors."""
    Z = PCA(min(32, case.Z.shape[1]), random_state=0).fit_transform(
        StandardScaler().fit_transform(case.Z)
    )
    Z /= Z.std()
    beside = np.column_stack([case.y, case.proba[:, 1]]) * 10
    mixture = GaussianMixture(25, covariance_type="diag", reg_covar=1e-3, random_state=0)
    component = mixture.fit_predict(np.column_stack([Z, beside]))
    wrong = case.pred != case.y
    share = [wrong[component == k].mean() if (component == k).any() else 0 for k in range(25)]
    return [component == k for k in np.argsort(share)[::-1][:FIRST] if share[k] > wrong.mean()]


def by_cleanlab(case: Case) -> list[Array]:
    """The samples that Datalab puts into an underperforming group."""
    from cleanlab import Datalab

    lab = Datalab({"y": case.y}, label_name="y", verbosity=0)
    kinds: dict[str, dict[str, Any]] = {"underperforming_group": {}}
    lab.find_issues(features=case.Z, pred_probs=case.proba, issue_types=kinds)
    issues = lab.get_issues("underperforming_group")["is_underperforming_group_issue"]
    rows = issues.to_numpy()
    return [rows] if rows.any() else []


def coded(values: Array) -> Array:
    """Categories from 1 on; of numbers with more than ten values, their fifths."""
    if values.dtype.kind == "f" and len(np.unique(values)) > 10:
        return 1 + np.searchsorted(np.quantile(values, [0.2, 0.4, 0.6, 0.8]), values)
    return 1 + np.unique(values, return_inverse=True)[1]


# -- what is counted ----------------------------------------------------------------------------


def is_of(rows: Array, case: Case) -> bool:
    """Whether a slice is one of the attribute, within a class."""
    if case.a is None:
        return False
    near = [0.0]
    for label in (0, 1):
        v, w = rows[case.y == label].astype(float), case.a[case.y == label].astype(float)
        if v.std() and w.std():
            near.append(abs(float(np.corrcoef(v, w)[0, 1])))
    return max(near) >= ALIKE


def main() -> None:
    """Ask all tools and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data_dir", type=Path)
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--markdown", type=Path, help="also write the table here")
    arguments = parser.parse_args()
    tools: dict[str, Callable[[Case], list[Array]]] = {
        "ntkit": by_ntkit,
        "SliceLine": by_sliceline,
        "mixture": by_mixture,
        "cleanlab": by_cleanlab,
    }
    results: dict[tuple[str, str], list[tuple[list[bool], float]]] = {}
    missing = dict[str, str]()
    for name, case in cases(arguments.data_dir, arguments.draws):
        for tool, ask in tools.items():
            if tool in missing:
                continue
            begun = time.perf_counter()
            try:
                found = ask(case)
            except ImportError as error:
                missing[tool] = str(error)
                continue
            taken = time.perf_counter() - begun
            said = f"{name}, {tool}: {len(found)} slices, {taken:.0f} s"
            print(said, file=sys.stderr, flush=True)
            results.setdefault((name, tool), []).append(([is_of(s, case) for s in found], taken))
    rows = []
    for (name, tool), draws in results.items():
        hits, n, nothing = [hit for hit, _ in draws], len(draws), name.endswith("nothing injected")
        precision = [np.mean(hit) for hit in hits if hit]
        rows.append([
            name, tool, f"{np.mean([len(hit) for hit in hits]):.1f}",
            "" if nothing else f"{sum(any(hit[:1]) for hit in hits)}/{n}",
            "" if nothing else f"{sum(any(hit[:3]) for hit in hits)}/{n}",
            "" if nothing else f"{np.mean(precision):.2f}" if precision else "–",
            f"{np.median([taken for _, taken in draws]):.1f}",
        ])  # fmt: skip
    header = ["data", "tool", "slices (of 10)", "first", "in three", "precision", "seconds"]
    shown = table(header, rows)
    for tool, why in missing.items():
        shown += f"\n\nNot asked: {tool} ({why})."
    print(shown)
    if arguments.markdown:
        arguments.markdown.write_text(shown + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
