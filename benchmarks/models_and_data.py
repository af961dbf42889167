"""Does debias harm a good model, and does it say so? Every combination of model and data.

    make bench-data
    OPENBLAS_NUM_THREADS=1 python benchmarks/models_and_data.py RESULTS.jsonl [--seeds 0 1 2]
        [--inputs Adult texts …] [--cases "data only" …] [--said "right change" …]
        [--data DATA_DIR] [--markdown FILE]

A shortcut is an attribute that agrees with the class in 92 % of the samples. It is in the rows that
the model was trained on, in the training and validation rows that ``ntkit.debias`` gets, in both,
or in neither. Where it is in both or in neither, debias gets the very rows that trained the model.
Inputs are made-up tables, texts and images, tables with two shortcuts at once
(``data_made_up.py``), and real tables, texts and images (``data_real.py``).

``ntkit.debias`` is told what a person might say:

* nothing: no answer, "no" to every question, or a single set and no answer;
* something right: the shortcut's name (with two sets or one), a change that removes it, or labels
  of 48 or 96 training samples that ``ntkit label`` asks about;
* something wrong: an attribute that says nothing, one that rightly tells the class, or a change
  that has nothing to do with the shortcut;
* complaints: up to 30 errors of the group with the highest error rate, in balanced samples, with
  the validation set as traffic;
* a method: each name that ``--method`` takes.

The test set is balanced over class × shortcuts, and debias never sees it. How runs are judged:

* A group is *lost* if its test accuracy falls by more than 2 points, and by more than chance. The
  test is the exact sign test on samples that one model alone gets right (McNemar 1947), one-sided,
  p < .05 after Holm's correction (1979) over the groups of the run; or, in a second count, over
  all groups of all written models of the page together.
* A group is lost *to a shortcut* if it contradicts a shortcut on which the new model relies more.
  That is so if the gap between the groups that agree and those that contradict grows by more than
  5 points. Other groups are lost where a repair takes away the advantage of a shortcut, or where
  one class gains at the cost of the other.
* A lost group is *reported* if the summary lists, among the validation groups that lose accuracy,
  its class, or a group of its class by the shortcut; or if it says that the groups of the shortcut
  in its class are too small to check.
* A loss to a shortcut is *named* if a line with "relies more on" names that shortcut.

Each run is a line of RESULTS.jsonl; the script goes on where it stopped.
"""

from __future__ import annotations

import csv
import shutil
import tempfile
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

import ntkit
from data_made_up import BALANCED, KINDS, Kind, Samples, write_samples
from data_real import REAL
from ntkit.attributes.answers import Answer
from ntkit.attributes.findings import Finding
from ntkit.exceptions import InputError, VerificationError
from ntkit.jobs.audit import Audit
from ntkit.jobs.debias import DebiasResult, _debias
from ntkit.jobs.debias._candidates import CANDIDATES, GROUP_BALANCED, OTHER_METHODS, FittedOn
from ntkit.jobs.debias._comparison import Comparison
from ntkit.jobs.label import label_samples
from ntkit.scorers import LABEL_FREE_SCORES
from ntkit.study import digest
from runner import command_line, record, recorded

Array = NDArray[Any]
Run = dict[str, Any]
Sets = dict[str, Samples]
BIASED = 0.92
DATA_DIR = Path(__file__).parent / "out" / "data"
CASES = {  # how often the shortcut agrees with the class: for the model, in the data
    "neither": (BALANCED, BALANCED),
    "data only": (BALANCED, BIASED),
    "model only": (BIASED, BALANCED),
    "both": (BIASED, BIASED),
}
EVERY_KIND = KINDS | REAL
NO_ANSWER = "no answer"
NO_ORDER = (NO_ANSWER, "every question: no", "one set, no answer")
RIGHT = ("right answer", "one set, right answer", "right change", "48 labels", "96 labels")
COMPLAINTS = "complaints"
INCOMPLETE = "one of two shortcuts"
WRONG = ("irrelevant answer", "wrong answer", "irrelevant change")
METHODS = tuple(f"`{name}`" for name in (*CANDIDATES, *OTHER_METHODS, *LABEL_FREE_SCORES))
N_COMPLAINTS, BATCH = 30, 48
FALL, LEVEL = 0.02, 0.05


def options_of(kind: Kind) -> dict[str, dict[str, Any]]:
    """Options of debias, by what a person says."""
    options: dict[str, dict[str, Any]] = {name: {} for name in NO_ORDER}
    options["every question: no"] = {"ask": all_legitimate}
    if len(kind.shortcuts) > 1:
        options |= {INCOMPLETE: {"spurious": [kind.shortcuts[0]]}}
        options |= {"both shortcuts": {"spurious": [*kind.shortcuts]}}
    else:
        right = {"spurious": [*kind.shortcuts]}
        options |= {"right answer": right, "one set, right answer": right}
        options |= {"48 labels": {}, "96 labels": {}, COMPLAINTS: {}}
        options |= {"irrelevant answer": {"spurious": [kind.irrelevant]}}
        options |= {"wrong answer": {"spurious": [kind.real]}}
        changes = zip(("right change", "irrelevant change"), kind.changes, strict=False)
        options |= {name: {"invariant": change} for name, change in changes}
    return options | {method: {"method": method[1:-1]} for method in METHODS}


def all_legitimate(audit: Audit, questions: Sequence[Finding]) -> list[Answer]:
    """A person who calls no finding a shortcut."""
    return [Answer(each.name, "legitimate", ((each.name,),)) for each in questions]


def cases_of(kind: Kind) -> list[str]:
    """Two shortcuts are looked at where both the model and the data have them."""
    return list(CASES) if len(kind.shortcuts) == 1 else ["both"]


def runs(name: str, case: str, seed: int, sayings: list[str], data: Path) -> Iterator[Run]:
    """Train one model, and run debias on it with each of these options."""
    kind = EVERY_KIND[name]
    rng = np.random.default_rng([seed, list(EVERY_KIND).index(name), list(CASES).index(case)])
    sets = kind.sets(*CASES[case], rng, data)
    with tempfile.TemporaryDirectory() as folder, fits_kept():
        place = Path(folder)
        kind.train(sets["model"].X, sets["model"].y, seed, place / "model.onnx")
        given = {
            part: write_samples(sets[part], place / f"{part}.csv", kind.columns())
            for part in ("train", "validation", "test", "complaints")
        }
        before = correctness(place / "model.onnx", given["test"], sets["test"])
        for saying in sayings:
            start = time.perf_counter()
            run: Run = {"input": name, "case": case, "seed": seed, "said": saying}
            after = before
            try:
                result = said(kind, saying, place, sets, given)
            except VerificationError as error:  # a job that fails is a result as well
                run |= {"written": False, "state": "failed", "summary": str(error)}
            except InputError as error:
                run |= {"written": False, "state": "refused", "summary": str(error)}
            else:
                run |= {"written": bool(result.written), "state": result.state}
                run |= {"printed": result.summary(), "summary": told_in_full(result)}
                if result.written:
                    result.model.save(place / "new.onnx", force=True)
                    after = correctness(place / "new.onnx", given["test"], sets["test"])
            groups = compared(kind, sets["test"], before, after)
            yield run | {"groups": groups, "seconds": time.perf_counter() - start}


def said(kind: Kind, saying: str, place: Path, sets: Sets, given: dict[str, Any]) -> Any:
    """What debias makes of a model after a person has said something."""
    model, options = place / "model.onnx", options_of(kind)[saying]
    if saying == COMPLAINTS:
        return debias(model, complaints(kind, model, place, sets), keep=unlabelled(given, sets))
    used = ("validation",) if saying.startswith("one set") else ("train", "validation")
    if columns := sets["train"].metadata:
        metadata = {c: np.concatenate([sets[part].metadata[c] for part in used]) for c in columns}
        options = options | {"metadata": metadata}
    if saying.endswith(" labels"):
        options = options | {"answers": labelled(model, place, sets, given, int(saying.split()[0]))}
    return debias(model, *(given[part] for part in used), **options)


def debias(*sets: Any, **options: Any) -> Any:
    """``ntkit.debias`` as the command runs it, on the CPU."""
    return ntkit.debias(*sets, device="cpu", **options)


def told_in_full(result: Any) -> str:
    """What the result says of groups; all of a result without groups."""
    if not isinstance(result, DebiasResult):
        return str(result.summary())
    return "\n".join([result.headline(), *result.check.sentences()])


def labelled(model: Path, place: Path, sets: Sets, given: dict[str, Any], n: int) -> Path:
    """Labels of a person for ``n`` training samples, in batches of the size that is usual."""
    folder, answers = place / "labels", place / "labels" / "answers.json"
    while True:
        options = {"question": "Is it there?", "batch": BATCH, "device": "cpu"}
        asking = label_samples(model, given["train"], folder, **options)
        if asking.labels.n_answers >= n or not asking.asked:
            kept = place / f"answers-{n}.json"
            shutil.copyfile(answers, kept)
            return kept
        table = folder / asking.table
        with table.open(newline="", encoding="utf-8-sig") as file:
            header, *rows = csv.reader(file)
        for row in rows:
            is_there = sets["train"].shortcuts[int(row[header.index("id")]), 0]
            row[header.index("Is it there?")] = "yes" if is_there else "no"
        with table.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([header, *rows])


def complaints(kind: Kind, model: Path, place: Path, sets: Sets) -> Any:
    """Errors of the group with the most of them, with their right labels."""
    some = sets["complaints"]
    wrong = ~correctness(model, write_samples(some, place / "some.csv", kind.columns()), some)
    groups = 2 * (some.y == kind.classes[1]) + some.shortcuts[:, 0]
    sizes = np.bincount(groups, minlength=4)
    most = np.argmax(np.bincount(groups, weights=wrong, minlength=4) / np.maximum(sizes, 1))
    rows = np.flatnonzero(wrong & (groups == most))[:N_COMPLAINTS]
    errors = Samples(some.X[rows], some.y[rows], some.shortcuts[rows])
    return write_samples(errors, place / "complaints.csv", kind.columns())


def unlabelled(given: dict[str, Any], sets: Sets) -> Any:
    """The validation set as traffic."""
    return given["validation"][0] if isinstance(given["validation"], tuple) else given["validation"]


@contextmanager
def fits_kept() -> Iterator[None]:
    """Embed and fit once what all runs of one model and its data have in common."""
    # Candidates without attribute, labels and copies are the same, whatever a person says.
    kept: dict[Any, Any] = {}
    fit, prepared = Comparison.fit, _debias.prepared

    def fit_once(
        self: Comparison,
        estimator: Any,
        rows: FittedOn = FittedOn.TRAIN,
        validation: Any = None,
        **how: Any,
    ) -> Any:
        parameters = {k: v for k, v in estimator.get_params().items() if k != "head"}
        if rows.tunes_itself or parameters.get("recipe") == GROUP_BALANCED:
            return fit(self, estimator, rows, validation, **how)
        shown = type(estimator), repr(sorted(parameters.items())), repr(how)
        key = *shown, rows, digest(validation), self.pool.one_set
        if key not in kept:
            kept[key] = fit(self, estimator, rows, validation, **how)
        return kept[key]

    def prepared_once(model: Any, sets: Any, order: Any, **how: Any) -> Any:
        key = "sets", *sets, how["layers"]
        if key not in kept:
            kept[key] = prepared(model, sets, order, **how)
        return kept[key]

    with (
        patch.object(Comparison, "fit", fit_once),
        patch.object(_debias, "prepared", prepared_once),
    ):
        yield


def correctness(model: Path, inputs: Any, samples: Samples) -> Array:
    """Whether a model gets each sample right, by ONNX Runtime."""
    return np.asarray(ntkit.predict(model, inputs, device="cpu").labels == samples.y)


def compared(kind: Kind, test: Samples, before: Array, after: Array) -> list[dict[str, Any]]:
    """Accuracy of each group class × shortcuts before and after, and whether it is lost."""
    groups = list[dict[str, Any]]()
    for y, *values in product((0, 1), repeat=1 + test.shortcuts.shape[1]):
        rows = (test.y == kind.classes[y]) & (test.shortcuts == values).all(axis=1)
        old, new = before[rows], after[rows]
        broken, fixed = int((old & ~new).sum()), int((new & ~old).sum())
        p = binomtest(broken, broken + fixed, alternative="greater").pvalue if broken else 1.0
        agrees = [value == y for value in values]
        group = {"class": kind.classes[y], "values": values, "agrees": agrees, "p": float(p)}
        group |= {"n": int(rows.sum()), "new_errors": broken, "fixed": fixed}
        groups.append({**group, "before": float(old.mean()), "after": float(new.mean())})
    adjusted = 0.0
    for i, group in enumerate(sorted(groups, key=lambda group: group["p"])):
        adjusted = max(adjusted, (len(groups) - i) * group["p"])
        group["lost"] = bool(adjusted < LEVEL and group["before"] - group["after"] > FALL)
    return groups


def main() -> None:
    """Run what is missing, and write tables of all there is."""
    parser = command_line(__doc__, "results", "--markdown")
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2], help="none: tables")
    parser.add_argument("--inputs", nargs="+", choices=EVERY_KIND, default=list(EVERY_KIND))
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--said", nargs="+", help="only these runs")
    parser.add_argument("--data", type=Path, default=DATA_DIR, help="what make bench-data built")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    path = arguments.results
    known = recorded(path)
    done = {(r["input"], r["case"], r["seed"], r["said"]) for r in known}
    for seed, name, case in product(arguments.seeds, arguments.inputs, arguments.cases):
        if case not in cases_of(EVERY_KIND[name]):
            continue
        missing = [s for s in options_of(EVERY_KIND[name]) if (name, case, seed, s) not in done]
        missing = [s for s in missing if not arguments.said or s in arguments.said]
        for run in runs(name, case, seed, missing, arguments.data) if missing else ():
            print(f"{name}, {case}, seed {seed}, {run['said']}: {run['seconds']:.1f} s", flush=True)
            known += record(path, run)
    if arguments.markdown:
        from models_and_data_tables import tables

        arguments.markdown.write_text(tables(known), encoding="utf-8")


if __name__ == "__main__":
    main()
