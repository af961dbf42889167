"""All data sets × methods: worst group and average with no, 48, 96 and all group labels.

    make bench-data
    OPENBLAS_NUM_THREADS=1 python benchmarks/overview.py DATA_DIR RESULTS.jsonl
        [--birds CACHE] [--tuned CACHE …] [--draws 0 1 2 3 4] [--data NAME …]
        [--parts zero one some all alone tuned] [--method MODULE:CLASS …]
        [--markdown FILE] [--plot FILE.svg]

DATA_DIR is what ``make bench-data`` built, by default ``benchmarks/out/data``. Of every draw of
every data set of :mod:`overview_data`, all methods get the same rows: a training set and a
validation set that is distributed like it. Every penalty is cross-validated on these rows. The
tables compare methods that see no group label, one confirmed finding, 48 and 96 labels of samples,
and all group labels †. They show the accuracy of the worst group of a balanced test set, and the
average over groups by their shares of the training set. "debias" is what ``ntkit.debias``
would leave in the model: the original head if the other one is not better. It writes nothing
without an answer; then "--method auto" is what it is told. NeuronTune gets the embeddings as they
are, and so do its random masks. Each line of RESULTS is one fit, with the correct samples and all
samples of each test group, and the training samples of each group. No part of a data set and draw
is run again.

``--method MODULE:CLASS`` adds a classifier of your own, see :mod:`your_method`. It runs again if
the file of its module has changed.
"""

from __future__ import annotations

import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import answers
import evidence
import neurontune
import tuned_alike
import your_method
from ntkit.attributes import Attribute
from ntkit.estimators import (
    AutoDebiasClassifier,
    DFRClassifier,
    GroupDROClassifier,
)
from ntkit.jobs.debias._candidates import GROUP_BALANCED, OTHER_METHODS, FittedOn
from ntkit.jobs.debias._comparison import Comparison
from ntkit.jobs.debias._named_attributes import PartlyKnown
from ntkit.jobs.debias._plan import Plan
from ntkit.jobs.debias._pool import Pool
from ntkit.jobs.label import margins_of
from ntkit.study import Rows
from overview_data import Problem, has_names, problems
from rows import worst
from runner import command_line, record, recorded
from splits import joined
from written import written
from zero_one import balanced

Array = NDArray[Any]
Row = dict[str, Any]
Heads = Iterator[tuple[str, Any, bool]]
"""Name, head, and whether the head is for standardised embeddings; random masks share a name."""
COUNTS = (48, 96)


def run(problem: Problem, part: str, seed: int) -> list[Row]:
    """All fits of a part; a method is called by its number of answers and its name."""
    assert problem.train.groups is not None
    known = {"shares": np.bincount(problem.train.groups, minlength=4).tolist()}
    known["n_neurons"] = problem.train.X.shape[1]
    plain = Comparison(Pool(problem.train, problem.validation), problem.test, head=None, seed=seed)
    assert plain.test is not None
    if part == "tuned":
        return [known | row for row in tuned(problem, plain)]
    if ":" in part:
        return [known | yours(part, plain)]
    rows, draws = list[Row](), Counter[str]()
    for name, head, standardised in PARTS[part](problem, plain, seed):
        test = plain.test if standardised else problem.test
        rows.append(known | {"method": name, "draw": draws[name]} | rated(head, test))
        rows[-1]["embeddings"] = "standardised" if standardised else "raw"
        draws[name] += 1
    return rows


def rated(head: Any, test: Rows) -> Row:
    """Correct samples and samples of each test group, and how many neurons are suppressed."""
    hits, counts = neurontune.hits(head, test, test.groups)
    return {"n_suppressed": neurontune.n_suppressed(head), "hits": hits, "counts": counts}


# -- rows ---------------------------------------------------------------------------------------


def without_answers(problem: Problem, comparison: Comparison, seed: int) -> Heads:
    """What sees no group label."""
    both = joined(comparison.train, comparison.validation)
    yield "0 | ERM", evidence.tuned(both, None, seed), True
    yield "0 | class-balanced", evidence.tuned(both, "balanced", seed), True
    task = neurontune.Task(problem.train, problem.validation, problem.test, seed)
    yield "0 | NeuronTune", task.fitted(**neurontune.GRID["sgd, mask"]), False
    for draw in range(neurontune.N_RANDOM):
        yield "0 | random mask", task.masked(draw, solver="sgd"), False
    yield "0 | NeuronTune, default", task.fitted(), False
    for name, estimator in OTHER_METHODS.items():
        yield f"0 | {name}", comparison.fit(estimator)[0], True
    auto = AutoDebiasClassifier()
    fitted, _ = comparison.fit(auto)
    yield "0 | original", comparison.original, True
    yield "0 | auto", fitted, True
    yield "0 | --method auto", written(comparison, "auto", fitted, problem.read), True


def with_one(problem: Problem, comparison: Comparison, seed: int) -> Heads:
    """What a person confirms is balanced over; nothing is changed where nothing is recognised."""
    if problem.answer is None:
        return
    _, sides = problem.answer()
    if sides is None:
        yield "1 | balanced over it", comparison.original, True
        yield "1 | debias", comparison.original, True
        return
    told, fitted = balanced(problem.train, problem.validation, problem.test, seed, sides)
    yield "1 | balanced over it", fitted, True
    yield "1 | debias", written(told, "named", fitted), True


def with_some(problem: Problem, plain: Comparison, seed: int) -> Heads:
    """What 48 and 96 answers tell, and as many labels of samples drawn at random."""
    pool = problem.pool
    margins = margins_of(pool.Z, pool.y, random_state=seed)
    order = np.random.default_rng(seed).permutation(len(pool.y))
    for given, inference in answers.asked(
        pool, pool.feature_sets, margins, seed, pool.a, steps=answers.STEPS[:6]
    ):
        n = inference.n_known_
        if n not in COUNTS:
            continue
        yield f"{n} | ntkit", answers.retrained(pool, inference, seed), False
        for name, head in answers.rivals(pool, given, inference, seed).items():
            yield f"{n} | {name}", head, False
        alone = DFRClassifier(variant="weighted", C=None, random_state=seed)
        rows = order[:n]
        if len(np.unique(pool.y[rows])) == 2:
            alone.fit(pool.Z[rows], pool.y[rows], attribute=pool.a[rows])
            yield f"{n} | DFR, random labels", alone, False
        yield f"{n} | debias", by_answers(problem, given, seed), True


def by_answers(problem: Problem, given: Array, seed: int) -> Any:
    """The head that ``ntkit.debias(answers=…)`` would leave in the model."""
    values = np.where(given >= 0, given, None).astype(object)
    some = PartlyKnown(Attribute.from_labels("the answers", values, source="person"))
    pool = Pool(problem.train, problem.validation)
    known = some.completed(pool, problem.feature_sets, seed)
    told = Comparison(
        pool,
        problem.test,
        head=None,
        seed=seed,
        plan=Plan(known=known),
    )
    clf, _ = told.fit(DFRClassifier(variant="weighted", C=None), FittedOn.LABELS)
    return written(told, GROUP_BALANCED, clf, rows=FittedOn.LABELS)


def with_all(problem: Problem, comparison: Comparison, seed: int) -> Heads:
    """What is told every group."""
    both, held = joined(comparison.train, comparison.validation), problem.validation
    yield "all | DFR †", evidence.dfr(both, seed), True
    published = DFRClassifier(random_state=seed)
    yield "all | DFR as published †", published.fit(held.X, held.y, groups=held.groups), False
    dro = GroupDROClassifier(C=1 / len(both.y), eta=0.1)
    yield "all | group DRO †", dro.fit(both.X, both.y, groups=both.groups), True


def with_one_set(problem: Problem, comparison: Comparison, seed: int) -> Heads:
    """What is fitted on the training set alone, or on the validation set alone."""
    train, held = comparison.train, comparison.validation
    yield "0 | ERM, training rows", evidence.tuned(train, None, seed), True
    yield "0 | class-balanced, validation rows", evidence.tuned(held, "balanced", seed), True
    yield "all | DFR, validation rows †", evidence.dfr(held, seed), True


def tuned(problem: Problem, plain: Comparison) -> Iterator[Row]:
    """Every method with 24 configurations, by every rule that may choose among them."""
    rows = tuned_alike.rows_of(plain.train)
    task, half = tuned_alike.halved(plain.train, rows, plain.validation, plain.seed)
    for method in TUNED:
        run_of = tuned_alike.run(method, task, half, plain.test)
        if method == "erm":
            task = replace(task, head=tuned_alike.original_head(task, run_of))
        for rule in tuned_alike.RULES:
            yield {"method": f"{method}, by {rule}"} | picked(run_of, rule)


def picked(run_of: Row, rule: str) -> Row:
    """The fit of the configuration that a rule chooses, and its parameters."""
    best = tuned_alike.chosen(run_of, rule)
    found = {name: best["test"][name] for name in ("hits", "counts")}
    return {"given": best["given"], "draw": 0, "embeddings": "standardised", **found}


def yours(spec: str, comparison: Comparison) -> Row:
    """The fit of a method of :mod:`your_method`, tuned if it has more than one configuration."""
    method, validation = your_method.loaded(spec), comparison.validation
    known: Row = {"method": your_method.row_of(spec, method)}
    (given, *others) = your_method.configurations(method)
    if others:
        rows = tuned_alike.rows_of(comparison.train)
        task, half = tuned_alike.halved(comparison.train, rows, validation, comparison.seed)
        fits = partial(your_method.fits, method)
        run_of = tuned_alike.run(spec, task, half, comparison.test, fits)
        return known | picked(run_of, "group" if your_method.sees_groups(method) else "class")
    head = your_method.fitted(method, comparison.train, validation, given)
    return known | {"draw": 0, "embeddings": "standardised"} | rated(head, comparison.test)


PARTS: dict[str, Callable[[Problem, Comparison, int], Heads]] = {
    "zero": without_answers,
    "one": with_one,
    "some": with_some,
    "all": with_all,
    "alone": with_one_set,
}
TUNED = (
    *("erm", "balanced", "masked", "random", "neurontune", "jtt", "evals", "leace"),
    *("afr, wider", "leia, wider", "self, wider", "dfr", "groupdro"),
)
"""Methods of tuned_methods.py; AFR, LEIA and SELF with the wider of their grids."""


# -- all of it ----------------------------------------------------------------------------------


def names_in_help() -> str:
    """Help of ``--data`` with every name; the last two need caches."""
    names = [*problems(Path(), [Path()])]
    return "some data sets only, quoted: " + "; ".join(names).replace("%", "%%")


def main() -> None:
    """Run what is missing, and write table and plot of all there is."""
    parser = command_line(__doc__, "data_dir", "results", "--markdown")
    parser.add_argument("--birds", type=Path, help="cache of the real Waterbirds, frozen network")
    parser.add_argument("--tuned", type=Path, nargs="+", default=[], help="caches, fine-tuned")
    parser.add_argument("--draws", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--data", nargs="+", metavar="NAME", help=names_in_help())
    parser.add_argument("--parts", nargs="+", choices=[*PARTS, "tuned"], default=[*PARTS, "tuned"])
    parser.add_argument("--method", nargs="+", default=[], help="your classifiers: MODULE:CLASS")
    parser.add_argument("--plot", type=Path, help="draw the plot here (needs matplotlib)")
    arguments = parser.parse_args()
    results, ways = arguments.results, problems(arguments.birds, arguments.tuned)
    names = arguments.data or [*ways]
    unknown = [name for name in names if name not in ways]
    if unknown:
        hint = " It needs --birds or --tuned." if unknown[0].startswith("Waterbirds") else ""
        parser.error(f"no data set {unknown[0]!r}.{hint} Choose among: {'; '.join(ways)}.")
    if not arguments.data_dir.is_dir() and any(not n.startswith("Waterbirds") for n in names):
        parser.error(f"no folder {arguments.data_dir}. Build the data: make bench-data")
    for spec in arguments.method:
        try:
            your_method.loaded(spec)
        except (ImportError, AttributeError) as error:
            parser.error(f"--method {spec}: {error}. Run this in the folder of your module.")
        except (TypeError, ValueError) as error:
            parser.error(f"--method {spec}: {error}")
    version = {spec: your_method.version_of(spec) for spec in arguments.method}
    known = recorded(results)
    known = [r for r in known if version.get(r["part"], r.get("version")) == r.get("version")]
    done = {(row["data"], row["seed"], row["part"]) for row in known}
    for draw, name in product(arguments.draws, names):
        parts = [*arguments.method, *arguments.parts]
        parts = [part for part in parts if (name, draw, part) not in done]
        parts = [part for part in parts if part != "one" or has_names(name)]
        try:
            problem = ways[name](arguments.data_dir, draw) if parts else None
        except FileNotFoundError as error:
            parser.error(f"{name}, draw {draw}: no {error.filename or error}. Run: make bench-data")
        for part in parts:
            start = time.perf_counter()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                rows = run(problem, part, draw)
            said = f"{name}, draw {draw}, {part}: {time.perf_counter() - start:.0f} s"
            key: Row = {"part": part, "data": name, "seed": draw}
            if part in version:
                (row,) = rows
                key["version"] = version[part]
                said += f", worst group {worst(row):.1f} %"
                said += f", chosen: {row['given']}" if "given" in row else ""
            print(said, flush=True)
            known += record(results, *(key | row for row in rows))
    if arguments.markdown:
        from overview_tables import tables

        arguments.markdown.write_text(tables(known), encoding="utf-8")
    if arguments.plot:
        from overview_tables import plot

        plot(known, arguments.plot)


if __name__ == "__main__":
    main()
