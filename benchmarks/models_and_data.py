"""Does debias harm a good model, and does it say so? Every combination of model and data.

    OPENBLAS_NUM_THREADS=1 python benchmarks/models_and_data.py RESULTS.jsonl [--seeds 0 1 2]
        [--inputs tables texts] [--said "right change"] [--markdown FILE]

A shortcut is an attribute that agrees with the class in 92 % of the samples. It is in the rows that
the model was trained on, in the training and validation rows that ``ntkit.debias`` gets, in both,
or in neither. Where it is in both or in neither, debias gets the very rows that trained the model.
``ntkit.debias`` is told what a person might say: nothing, a method, an attribute, or a change after
which the right answer stays the same. Inputs are
made-up tables, texts and images, and tables with two shortcuts at once (``data_made_up.py``).

The test set is balanced over class × shortcuts, and debias never sees it. How runs are judged:

* A group is *lost* if its test accuracy falls by more than 2 points, and by more than chance. The
  test is the exact sign test on samples that one model alone gets right (McNemar 1947), one-sided,
  p < .05 after Holm's correction (1979) over the groups of the run.
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

import argparse
import json
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

import ntkit
from data_made_up import KINDS, Kind, Samples, write_samples
from evidence_tables import mean_std, table
from ntkit.exceptions import VerificationError

Array = NDArray[Any]
Run = dict[str, Any]
SIZES = {"train": 3000, "validation": 1000, "test": 2000}
BIASED, BALANCED = 0.92, 0.5
CASES = {  # how often the shortcut agrees with the class: for the model, in the data
    "neither": (BALANCED, BALANCED),
    "data only": (BALANCED, BIASED),
    "model only": (BIASED, BALANCED),
    "both": (BIASED, BIASED),
}
METHODS = ("auto", "class-balanced", "neurontune", "afr")
NO_ANSWER = "no answer"
FALL, GROWTH, LEVEL = 0.02, 0.05, 0.05


def options_of(kind: Kind) -> dict[str, dict[str, Any]]:
    """Options of debias, by what a person says."""
    options: dict[str, dict[str, Any]] = {NO_ANSWER: {}}
    options |= {f"`{method}`": {"method": method} for method in METHODS}
    if len(kind.shortcuts) > 1:
        first, _ = kind.shortcuts
        answers = {"one of two shortcuts": [first], "both shortcuts": [*kind.shortcuts]}
    else:
        answers = {
            "right answer": [*kind.shortcuts],
            "irrelevant answer": [kind.irrelevant],
            "wrong answer": [kind.real],
        }
    changes = zip(("right change", "irrelevant change"), kind.changes, strict=True)
    options |= {name: {"spurious": spurious} for name, spurious in answers.items()}
    return options | {name: {"invariant": change} for name, change in changes}


def cases_of(kind: Kind) -> list[str]:
    """Two shortcuts are looked at where both the model and the data have them."""
    return list(CASES) if len(kind.shortcuts) == 1 else ["both"]


def runs(name: str, case: str, seed: int, sayings: list[str]) -> Iterator[Run]:
    """Train one model, and run debias on it with each of these options."""
    kind = KINDS[name]
    of_model, of_data = CASES[case]
    n = len(kind.shortcuts)
    rng = np.random.default_rng([seed, list(KINDS).index(name), list(CASES).index(case)])
    learned = kind.draw("model", SIZES["train"], [of_model] * n, rng)
    same = of_model == of_data
    train = learned if same else kind.draw("train", SIZES["train"], [of_data] * n, rng)
    validation = kind.draw("validation", SIZES["validation"], [of_data] * n, rng)
    test = kind.draw("test", SIZES["test"], [BALANCED] * n, rng)
    with tempfile.TemporaryDirectory() as folder:
        model, new = Path(folder) / "model.onnx", Path(folder) / "new.onnx"
        kind.train(learned.X, learned.y, seed, model)
        samples = zip(SIZES, (train, validation, test), strict=True)
        *sets, tested = (write_samples(s, Path(folder) / f"{part}.csv") for part, s in samples)
        before = correctness(model, tested, test)
        for saying in sayings:
            start = time.perf_counter()
            run: Run = {"input": name, "case": case, "seed": seed, "said": saying}
            try:
                result = ntkit.debias(model, *sets, device="cpu", **options_of(kind)[saying])
            except VerificationError as error:  # a job that fails is a result as well
                run |= {"written": False, "state": "failed", "summary": str(error)}
                after = before
            else:
                run |= {"written": result.written, "state": getattr(result, "state", None)}
                run |= {"summary": result.summary()}
                result.model.save(new, force=True)
                after = correctness(new, tested, test)
            groups = compared(kind, test, before, after)
            yield run | {"groups": groups, "seconds": time.perf_counter() - start}


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
        group = {"class": kind.classes[y], "values": values, "agrees": agrees, "p": p}
        groups.append({**group, "before": float(old.mean()), "after": float(new.mean())})
    adjusted = 0.0
    for i, group in enumerate(sorted(groups, key=lambda group: group["p"])):
        adjusted = max(adjusted, (len(groups) - i) * group["p"])
        group["lost"] = bool(adjusted < LEVEL and group["before"] - group["after"] > FALL)
    return groups


# -- what the runs say ------------------------------------------------------------------------


def reliance(run: Run, j: int, when: str) -> float:
    """Gap between the groups that agree with a shortcut and those that contradict it."""
    means = [
        np.mean([group[when] for group in run["groups"] if group["agrees"][j] == agrees])
        for agrees in (True, False)
    ]
    return abs(float(means[0] - means[1]))


def relied_on_more(run: Run) -> list[int]:
    """Shortcuts on which the new model relies more than the old one."""
    shortcuts = range(len(KINDS[run["input"]].shortcuts))
    return [j for j in shortcuts if reliance(run, j, "after") - reliance(run, j, "before") > GROWTH]


def lost(run: Run) -> list[dict[str, Any]]:
    """Groups that are lost."""
    return [group for group in run["groups"] if group["lost"]]


def lost_to_shortcuts(run: Run) -> list[list[int]]:
    """For each group that is lost to shortcuts, those shortcuts."""
    to = [[j for j in relied_on_more(run) if not group["agrees"][j]] for group in lost(run)]
    return [shortcuts for shortcuts in to if shortcuts]


def mentioned(run: Run, shortcuts: list[int], phrase: str = "") -> bool:
    """Whether a line of the summary that holds a phrase names one of these shortcuts."""
    lines = [line for line in run["summary"].splitlines() if phrase in line]
    signs = [sign for j in shortcuts for sign in KINDS[run["input"]].signs[j]]
    return any(sign in line for line in lines for sign in signs)


def n_told(run: Run) -> int:
    """How many of the lost groups the summary tells of."""
    signs = [sign for own in KINDS[run["input"]].signs for sign in own]
    lines = run["summary"].splitlines()
    unchecked = [line for line in lines if line.startswith("Not checked")]
    parts = [part for line in unchecked for part in line.partition(": ")[2].split("; ")]
    for line in (line.strip() for line in lines if line.startswith("  ")):
        attribute = line.partition(": class ")[0] if ": class " in line else ""
        parts += [f"{attribute} {part}" for part in line.split("; ")]
    return sum(
        any(
            f"class {group['class']}" in part
            and (any(sign in part for sign in signs) or f"class {group['class']}:" in part)
            for part in parts
        )
        for group in lost(run)
    )


def n_named(run: Run) -> int:
    """How many of the groups lost to a shortcut the summary names."""
    return sum(mentioned(run, to, "relies more on") for to in lost_to_shortcuts(run))


def percent(run: Run, when: str, of: Any) -> float:
    """Accuracy of the worst group (of=min) or of all (of=np.mean; groups are equally large)."""
    return 100 * float(of([group[when] for group in run["groups"]]))


# -- tables -----------------------------------------------------------------------------------


def tables(results: list[Run]) -> str:
    """The models themselves, one table for each kind of input, and totals."""
    by_cell: dict[tuple[str, str, str], list[Run]] = {}
    for name, kind in KINDS.items():
        for cell in product([name], cases_of(kind), options_of(kind)):
            of_cell = [r for r in results if (r["input"], r["case"], r["said"]) == cell]
            by_cell |= {cell: of_cell} if of_cell else {}
    models = {cell[:2]: of_cell for cell, of_cell in by_cell.items() if cell[2] == NO_ANSWER}
    header = ["input", "shortcut in", "worst group", "average", "mentioned without an answer"]
    parts = [
        "## The models before\n",
        table(header, [[*cell, *model_row(of_cell)] for cell, of_cell in models.items()]),
    ]
    header = ["shortcut in", "person says", "written", "worst group", "average"]
    header += ["groups lost", "reported", "to a shortcut", "named"]
    for name in dict.fromkeys(name for name, *_ in by_cell):
        rows = [[*cell[1:], *row(of_cell)] for cell, of_cell in by_cell.items() if cell[0] == name]
        parts.append(f"\n## {name.capitalize()}\n\n{table(header, rows)}")
    seeds = sorted({run["seed"] for run in results})
    parts.append(f"\nSeeds {', '.join(map(str, seeds))}. {totals(results)}")
    return "\n".join(parts) + "\n"


def model_row(of_cell: list[Run]) -> list[str]:
    """What the model is worth, and how often the summary mentions a shortcut with no answer."""
    every = list(range(len(KINDS[of_cell[0]["input"]].shortcuts)))
    n = sum(mentioned(run, every) for run in of_cell)
    accuracies = [mean_std([percent(r, "before", of) for r in of_cell]) for of in (min, np.mean)]
    return [*accuracies, f"{n} of {len(of_cell)}"]


def row(of_cell: list[Run]) -> list[str]:
    """What debias made of the model: means and sums over the seeds."""
    states = Counter(run["state"] for run in of_cell if run["state"] and not run["written"])
    shown = "".join(f", {n} {state}" for state, n in states.items())
    cells = [f"{sum(run['written'] for run in of_cell)} of {len(of_cell)}{shown}"]
    for of in (min, np.mean):
        old, new = (np.mean([percent(r, w, of) for r in of_cell]) for w in ("before", "after"))
        cells.append(f"{old:.1f} → {new:.1f}")
    n_lost = sum(len(lost(run)) for run in of_cell)
    n_to = sum(len(lost_to_shortcuts(run)) for run in of_cell)
    n_told_of = str(sum(map(n_told, of_cell))) if n_lost else "–"
    cells += [f"{n_lost} of {sum(len(run['groups']) for run in of_cell)}", n_told_of, str(n_to)]
    return [*cells, str(sum(map(n_named, of_cell))) if n_to else "–"]


def totals(results: list[Run]) -> str:
    """Models written without an answer, and losses that nobody is told of."""
    silent = [run for run in results if run["said"] == NO_ANSWER]
    harmful = [run for run in results if lost_to_shortcuts(run)]
    told = [run for run in harmful if n_named(run) == len(lost_to_shortcuts(run))]
    n_lost = sum(len(lost(run)) for run in results)
    return (
        f"Without an answer a model was written in {sum(run['written'] for run in silent)} of "
        f"{len(silent)} runs. Groups were lost to a shortcut in {len(harmful)} of {len(results)} "
        f"runs; the summary named them all in {len(told)} of these. {n_lost} groups were lost in "
        f"all, and the summary reported {sum(map(n_told, results))}."
    )


def main() -> None:
    """Run what is missing, and write tables of all there is."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("results", type=Path, help="JSON lines, added to")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--inputs", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--said", nargs="+", help="only these runs")
    parser.add_argument("--markdown", type=Path, help="write the tables here")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    path = arguments.results
    known = [json.loads(line) for line in path.open(encoding="utf-8")] if path.exists() else []
    done = {(r["input"], r["case"], r["seed"], r["said"]) for r in known}
    for seed, name in product(arguments.seeds, arguments.inputs):
        for case in cases_of(KINDS[name]):
            missing = [s for s in options_of(KINDS[name]) if (name, case, seed, s) not in done]
            missing = [s for s in missing if not arguments.said or s in arguments.said]
            for run in runs(name, case, seed, missing) if missing else ():
                said, seconds = run["said"], run["seconds"]
                print(f"{name}, {case}, seed {seed}, {said}: {seconds:.1f} s", flush=True)
                with path.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(run) + "\n")
                known.append(run)
    text = tables(known)
    print(text)
    if arguments.markdown:
        arguments.markdown.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
