"""One answer or one change: what ``ntkit.debias`` writes, on problems that no rule was chosen on.

    python benchmarks/data_apart.py DATA_DIR
    OPENBLAS_NUM_THREADS=1 python benchmarks/routes.py DATA_DIR RESULTS.jsonl
        [--only NAME …] [--seeds 0 1 2] [--markdown FILE]

A person says one thing: the attribute (by a name if it has one, else by metadata of all samples), a
change of it, or both. A third of each pool is the validation set. The test set has every group
alike. ``no counterexample`` leaves out the samples whose attribute is the other class's. The table
of candidates is cut to those that such a run may write, which saves time and changes nothing else.
Each problem, setting, route and seed is one line of RESULTS, and is not run again.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image
from sklearn.preprocessing import StandardScaler

import data_apart
import data_apart_sources
from data_apart import ApartPool
from data_texts import L3, LAST_STATES, TOKENIZER
from evidence import dfr, tuned
from evidence_tables import mean_std, table
from ntkit import FrozenModel, debias
from ntkit.estimators import DFRClassifier
from ntkit.extraction import ImagePreprocessing, Samples, TextPreprocessing, Texts
from ntkit.jobs.debias import _candidates
from ntkit.study import Rows
from packages import default_cache
from splits import two_thirds
from written import written
from zero_one import balanced

Array = NDArray[Any]
Row = dict[str, Any]
SETTINGS = ("biased", "no counterexample")
ROUTES = ("answer", "change", "both")
DFR = "DFR †"
NEEDED = {"class-balanced", "neurontune", "auto"}
STEPS = ImagePreprocessing(
    resize=(224, 224), resample=3, mean=(127 / 255,) * 3, std=(128 / 255,) * 3
)
TABLES = {
    "Crashes": data_apart_sources.crashes,
    "Credit card": data_apart_sources.credit,
    "Law school": data_apart_sources.law_school,
}


def runs(name: str) -> Iterator[tuple[str, str]]:
    """Settings and routes of a problem."""
    yield "biased", "reference"
    yield "biased", "answer"
    if name in data_apart.CHANGES:
        yield "biased", "change"
        yield "no counterexample", "change"
        if name == "Digits":  # a name of a word or a column brings its change
            yield "biased", "both"


def parts_of(pool: ApartPool, setting: str, seed: int) -> tuple[Array, Array]:
    """Row numbers of the training and the validation set."""
    rows = np.arange(len(pool.y))
    if setting == "no counterexample":
        agree = pool.a == pool.y
        rows = rows[agree if agree.mean() > 0.5 else ~agree]
    numbered = Rows.of(rows[:, None], pool.y[rows], (2 * pool.y + pool.a)[rows])
    train, held = two_thirds(numbered, seed)
    return train.X[:, 0], held.X[:, 0]


def model_of(name: str, folder: Path, seed: int, pool: ApartPool, train: Array) -> FrozenModel:
    """The classifier: its own head, or one that ERM fits on the training set."""
    path = data_apart.network_path(name, folder, seed)
    if path.exists():
        return FrozenModel.load(path)
    if name == "Clip art":
        encoder = FrozenModel.load(data_apart.backbone_path(folder), embedding="embedding")
    else:
        path = L3.fetched(default_cache())
        encoder = FrozenModel.load(path, embedding=LAST_STATES[L3], pooling="mean")
    own = Rows.of(pool.Z[train], pool.y[train], None)
    mean, std = own.X.mean(axis=0), np.maximum(own.X.std(axis=0), 1e-9)
    head = tuned(Rows.of((own.X - mean) / std, own.y, None), None, seed)
    return encoder.with_head(head.scaled(1 / std, mean))


def samples_of(name: str, model: FrozenModel, raw: Any, y: Array, place: Path) -> Any:
    """Samples as a user has them: a table, texts, or images."""
    place.mkdir(parents=True, exist_ok=True)
    if name in TABLES:
        names = TABLES[name](default_cache())[1]
        path = place / "table.csv"
        pd.DataFrame(raw, columns=names).assign(label=y).to_csv(path, index=False)
        return path
    if isinstance(raw, list):
        steps = TextPreprocessing.for_model(model, TOKENIZER.fetched(default_cache()), 128)
        assert steps is not None
        return Samples(Texts(raw, steps), y)
    if raw.ndim == 3:  # grey images of a network for pixels
        return Samples((raw[:, None] / 255).astype(np.float32), y)
    for number, (image, label) in enumerate(zip(raw, y.tolist(), strict=True)):
        path = place / str(label) / f"{number:05d}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(image).save(path)
    return place


def rows_of(raw: Any, rows: Array) -> Any:
    """Some of the raw inputs."""
    return [raw[i] for i in rows] if isinstance(raw, list) else raw[rows]


def run(folder: Path, name: str, setting: str, route: str, seed: int) -> Row:
    """What one sentence of a person leaves in the model."""
    pool = data_apart.PROBLEMS[name](folder, seed)
    train, held = parts_of(pool, setting, seed)
    if name == "Clip art":  # ntkit reads the folders of the classes one after the other
        train, held = (rows[np.argsort(pool.y[rows], kind="stable")] for rows in (train, held))
    asked = np.append(train, held)
    groups = (2 * pool.y + pool.a)[asked]
    shares = np.bincount((2 * pool.y + pool.a)[train], minlength=4)
    if route == "reference":
        return references(pool, train, asked, shares, seed)
    found: Row = {}
    for label, given in (("DFR, weighted", groups), ("class-balanced", pool.y[asked])):
        weighted = DFRClassifier(variant="weighted", C=None, random_state=seed)
        found[label] = rated(weighted.fit(pool.Z[asked], pool.y[asked], groups=given), pool, shares)
    if name not in data_apart.CHANGES or (name, route) == ("Clip art", "answer"):
        return found | on_arrays(pool, train, held, shares, seed)
    pool = data_apart.with_raw(name, folder, pool)
    said: dict[str, Any] = {}
    if route != "change":
        said["spurious"] = data_apart.NAMED.get(name, "metadata:attribute")
        if name not in data_apart.NAMED:
            said["metadata"] = {"attribute": np.asarray(["no", "yes"])[pool.a[asked]]}
    if route != "answer":
        said["invariant"] = data_apart.CHANGES[name]
    with tempfile.TemporaryDirectory() as place:
        model = model_of(name, folder, seed, pool, train)
        sets = {
            which: samples_of(
                name, model, rows_of(pool.raw, rows), pool.y[rows], Path(place) / which
            )
            for which, rows in (("train", train), ("validation", held))
        }
        if name == "Clip art":
            said["preprocessing"] = STEPS
        result = debias(model, **sets, **said, device="cpu", n_random=1, random_state=seed)
    head = result.model.head if result.written else model.head
    found |= {"original": rated(model.head, pool, shares), "written": rated(head, pool, shares)}
    return found | {
        "chosen": result.chosen.name,
        "t": result.accuracy_cost.t if result.written else 0.0,
        "headline": result.headline(),
        "sizes": np.bincount(groups, minlength=4).tolist(),
    }


def references(pool: ApartPool, train: Array, asked: Array, shares: Array, seed: int) -> Row:
    """DFR with all groups of the same rows: tuned as in ``zero_one.py``, and two variants."""
    groups = (2 * pool.y + pool.a)[asked]
    scaler = StandardScaler().fit(pool.Z[train])
    scaled = replace(pool, Z_test=scaler.transform(pool.Z_test))
    own = Rows.of(scaler.transform(pool.Z[asked]), pool.y[asked], groups)
    found = {DFR: rated(dfr(own, seed), scaled, shares)}
    for label, options in (("DFR, defaults", {}), ("DFR, weighted", {"variant": "weighted"})):
        head = DFRClassifier(random_state=seed, **options, **({"C": None} if options else {}))
        found[label] = rated(head.fit(pool.Z[asked], pool.y[asked], groups=groups), pool, shares)
    return found


def on_arrays(pool: ApartPool, train: Array, held: Array, shares: Array, seed: int) -> Row:
    """The same for an answer where the benchmark has embeddings alone; ERM fits the original."""
    groups = 2 * pool.y + pool.a
    parts = [Rows.of(pool.Z[rows], pool.y[rows], groups[rows]) for rows in (train, held)]
    test = Rows.of(pool.Z_test, pool.y_test, pool.groups_test)
    told, head = balanced(*parts, test, seed, pool.a[np.append(train, held)])
    scaled = replace(pool, Z_test=told.test.X)
    best = written(told, "named", head)
    return {
        "original": rated(told.original, scaled, shares),
        "written": rated(best, scaled, shares),
        "whole": rated(head, scaled, shares),
        "chosen": "group-balanced" if best is not told.original else "original head",
        "sizes": np.bincount(groups[np.append(train, held)], minlength=4).tolist(),
    }


def rated(head: Any, pool: ApartPool, shares: Array) -> Row:
    """Test accuracies in %: worst group, mean of the groups, and average by training shares."""
    right = head.predict(pool.Z_test) == pool.y_test
    by_group = [100 * float(right[pool.groups_test == g].mean()) for g in range(4)]
    average = float(np.average(by_group, weights=shares))
    mean = float(np.mean(by_group))
    return {"worst": min(by_group), "mean": mean, "average": average, "by_group": by_group}


# -- tables --------------------------------------------------------------------------------------

SAID = {"answer": "one answer", "change": "one change", "both": "both"}


def tables(known: Sequence[Row]) -> str:
    """Both halves, biased and without counterexamples, as Markdown."""
    by_run: dict[tuple[str, ...], list[Row]] = {}
    for row in known:
        by_run.setdefault((row["data"], row["setting"], row["route"]), []).append(row)
    shown = []
    for half, names in (("chose", data_apart.CHOOSE), ("stayed aside", data_apart.ASIDE)):
        some = {key: rows for key, rows in by_run.items() if key[0] in names}
        if some:
            shown += [f"### The half that {half}", biased(some)]
            shown += [f"### Without counterexamples: the half that {half}", without(some)]
    return "\n\n".join(shown) + "\n"


def worst(rows: Sequence[Row], key: str) -> list[float]:
    """Worst groups of a head."""
    return [row[key]["worst"] for row in rows]


def biased(by_run: dict[tuple[str, ...], list[Row]]) -> str:
    """What is written next to DFR with all groups, and the gaps."""
    lines, gaps = list[list[str]](), dict[str, list[float]]()
    for (name, setting, route), rows in sorted(by_run.items()):
        told = by_run.get((name, SETTINGS[0], "reference"))
        if setting != SETTINGS[0] or route not in SAID or not told:
            continue
        seeds = {row["seed"] for row in rows}
        told = [row for row in told if row["seed"] in seeds]
        gaps.setdefault(route, []).append(
            float(np.mean(worst(told, DFR)) - np.mean(worst(rows, "written")))
        )
        cells = [
            mean_std(worst(*pair)) for pair in ((rows, "original"), (rows, "written"), (told, DFR))
        ]
        cells += [f"{gaps[route][-1]:.1f}"]
        cells += [
            f"{np.mean([row[k]['average'] for row in of]):.1f}"
            for k, of in (("written", rows), (DFR, told))
        ]
        cells += [
            f"{np.mean(worst(told, f'DFR, {kind}')):.1f}" for kind in ("defaults", "weighted")
        ]
        lines.append([name, SAID[route], *cells, str(len(rows))])
    header = ["problem", "said", "original", "written", DFR, "below DFR", "average", "of DFR"]
    ends = [
        f"{SAID[route]}: mean {np.mean(of):.1f}, worst {max(of):.1f} ({len(of)} problems)"
        for route, of in gaps.items()
    ]
    header += ["DFR, defaults", "DFR, penalty by the worse half", "seeds"]
    return table(header, lines) + f"\n\nBelow DFR, {'; '.join(ends)}."


def without(by_run: dict[tuple[str, ...], list[Row]]) -> str:
    """The change with and without counterexamples."""
    lines, losses = list[list[str]](), list[float]()
    for (name, setting, route), rows in sorted(by_run.items()):
        with_some = by_run.get((name, SETTINGS[0], route))
        if setting == SETTINGS[0] or not with_some:
            continue
        losses.append(float(np.mean(worst(with_some, "written")) - np.mean(worst(rows, "written"))))
        cells = [mean_std(worst(some, "written")) for some in (with_some, rows)]
        cells += [mean_std(worst(rows, "DFR, weighted")), f"{losses[-1]:.1f}", str(len(rows))]
        lines.append([name, *cells])
    header = ["one change", "with counterexamples", "without", "DFR † without", "lost", "seeds"]
    return table(header, lines)


def main() -> None:
    """Run what is missing, and write tables of all there is."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data_dir", type=Path)
    parser.add_argument("results", type=Path, help="JSON lines, added to")
    parser.add_argument("--only", nargs="+", choices=list(data_apart.PROBLEMS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--markdown", type=Path, help="write the tables here")
    arguments = parser.parse_args()
    for name in [*_candidates.CANDIDATES]:
        if name not in NEEDED:
            del _candidates.CANDIDATES[name]
    results = arguments.results
    known = [json.loads(line) for line in results.open()] if results.exists() else []
    done = {(row["data"], row["setting"], row["route"], row["seed"]) for row in known}
    for seed, name in product(arguments.seeds, arguments.only or data_apart.PROBLEMS):
        for setting, route in runs(name):
            if (name, setting, route, seed) in done:
                continue
            start, row = time.perf_counter(), {"data": name, "setting": setting}
            row |= {"route": route, "seed": seed}
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                row |= run(arguments.data_dir, name, setting, route, seed)
            print(f"{[*row.values()][:4]}: {time.perf_counter() - start:.0f} s", flush=True)
            line = json.dumps(row, default=float)
            with results.open("a") as file:
                file.write(line + "\n")
            known.append(json.loads(line))
    if arguments.markdown:
        arguments.markdown.write_text(tables(known), encoding="utf-8")


if __name__ == "__main__":
    main()
