"""What a repair said against what came true: results on a test set, and the gain in the field.

    OPENBLAS_NUM_THREADS=1 python benchmarks/field.py RESULTS.jsonl [--seeds 0 1 2]
        [--settings shortcut "no shortcut" "irrelevant answer"] [--n-jobs 2]

A shortcut is a column of a table, a phrase of texts or the border of images. It agrees with the
class in 95 % (each of two in 85 %) of the rows that train the model, which ntkit gets as well, and
of the validation and the test set. ``ntkit.debias`` is told an attribute by its name. The *field*
has 10 000 other samples, which it never sees: classes and values are as frequent as in the data,
and unrelated. Images of the field show digits of the test set, moved and with noise of their own.
In each set of images just half have the border: its name, "above the median", means half of them.

The truth is the *gain* there of the head that was judged, written or not: average accuracy, new
less original, in points. The *first number* is the same gain as the test set tells it: the mean of
the groups class × value, with shares P(class) · P(value) of the test set. Two named shortcuts count
as one attribute, of pairs of values. If a group has no sample, there is no first number.

Runs:

* "shortcut": its name is said. Seeds 0 to 9 of each kind, all as above but for these. Tables: 6 and
  7 have classes 9 : 1, and 8 and 9 two shortcuts, both named. Texts: 8 has no sample of the second
  class without the phrase, in no set, and 9 has none in the test set.
* "no shortcut": seeds 0 to 9, of each kind in turn. The attribute agrees with the class in half of
  the samples, for the model and in the data, and its name is said anyway.
* "irrelevant answer": seeds 0 to 9, of each kind in turn. The name of an attribute is said that
  says nothing. Seeds 0 to 4 are without a shortcut. With the others the shortcut is there, and
  nobody names it. The field has it unrelated to the class as well. But a first number is about data
  that is like the test set in all else. So the gain is also measured on 10 000 samples where only
  what was named is unrelated (``alike``). In all other runs the two are equal.

Each run is a line of RESULTS.jsonl; the script goes on where it stopped.
"""

from __future__ import annotations

import tempfile
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from joblib import Parallel, delayed
from numpy.typing import NDArray

import data_made_up
import ntkit
from data_made_up import BALANCED, BORDER, Kind, Samples, write_samples
from ntkit.jobs.attribute_reader import AttributeReader
from ntkit.metrics import Row, compare, mean_of_rows, unrelated_shares
from ntkit.model import FrozenModel
from ntkit.samples.read import read
from runner import command_line, record, recorded

Array = NDArray[Any]
Run = dict[str, Any]
BIASED, BIASED_TWO = 0.95, 0.85
SIZES = {"train": 3000, "validation": 1000, "test": 2000, "field": 10_000}
PHRASES = ("", "on screen")
PLAIN, RARE, TWO = "plain", "classes 9 : 1", "two shortcuts"
EMPTY, EMPTY_TEST = "a group is empty", "a group is empty in the test set"
UNNAMED, NONE = "an unnamed shortcut", "no shortcut"
SHORTCUT, IRRELEVANT = "shortcut", "irrelevant answer"
SETTINGS = (SHORTCUT, NONE, IRRELEVANT)
CASES = {
    ("tables", 6): RARE,
    ("tables", 7): RARE,
    ("tables", 8): TWO,
    ("tables", 9): TWO,
    ("texts", 8): EMPTY,
    ("texts", 9): EMPTY_TEST,
}
KINDS = {
    "tables": data_made_up.KINDS["tables"],
    "texts": replace(
        data_made_up.KINDS["texts"],
        shortcuts=(f"word:{PHRASES[1]}",),
        inputs=partial(data_made_up.text_inputs, marks=PHRASES),
        train=partial(data_made_up.text_network, marks=PHRASES),
    ),
    "images": replace(
        data_made_up.KINDS["images"],
        shortcuts=("image:border brightness above the median",),
        inputs=partial(data_made_up.image_inputs, mark=BORDER),
    ),
}
WORDS = {
    "Better.": "better",
    "Better, but chance may explain the difference.": "probably better",
    "Accepted at a cost.": "at a cost",
}
"""Outcomes in one word; others are those of ``word_of``."""


@dataclass(frozen=True)
class Job:
    """What is run: setting, kind and seed."""

    setting: str
    kind: str
    seed: int

    @property
    def case(self) -> str:
        """What is special about the data."""
        if self.setting == SHORTCUT:
            return CASES.get((self.kind, self.seed), PLAIN)
        return UNNAMED if self.setting == IRRELEVANT and self.seed % 10 >= 5 else NONE

    @property
    def inputs(self) -> Kind:
        """The kind of input."""
        return data_made_up.KINDS["tables, two shortcuts"] if self.case == TWO else KINDS[self.kind]

    @property
    def named(self) -> tuple[str, ...]:
        """The attributes that a person calls shortcuts."""
        kind = self.inputs
        return (kind.irrelevant,) if self.setting == IRRELEVANT else kind.shortcuts

    def drawn(self, part: str, rng: np.random.Generator) -> tuple[Array, Array]:
        """Numbers of classes (N,), and values of the shortcuts (N, k), for a part of the data."""
        n, share = SIZES[part], BIASED_TWO if self.case == TWO else BIASED
        share = BALANCED if self.case == NONE else share
        y = (rng.random(n) < (0.1 if self.case == RARE else 0.5)).astype(int)
        agree = rng.random((n, len(self.inputs.shortcuts))) < share
        if self.kind == "images":  # the name cuts at the median, so just half have a border
            numbers = rng.permutation(n)
            y, agree = numbers % 2, (numbers // 2 < share * (n // 2))[:, None]
        values = np.where(agree, y[:, None], 1 - y[:, None])
        if self.case == EMPTY or (self.case == EMPTY_TEST and part == "test"):
            values[y == 1] = 1
        return y, values

    def sets(self, rng: np.random.Generator) -> dict[str, Samples]:
        """Training, validation and test set, and the field; perhaps samples alike in all else."""
        made = {}
        # The rows that train the model have the digits of that part.
        for part, lot in (("train", "model"), ("validation", "validation"), ("test", "test")):
            made[part] = self.inputs.samples(*self.drawn(part, rng), lot, rng)
        # Values of other samples: as frequent, and unrelated to the class.
        (y, _), (_, values) = self.drawn("field", rng), self.drawn("field", rng)
        made["field"] = self.inputs.samples(y, values, "test", rng)
        if self.case == UNNAMED:
            made["alike"] = self.inputs.samples(*self.drawn("field", rng), "test", rng)
        return made


def jobs(settings: Sequence[str] = SETTINGS, seeds: Sequence[int] = range(10)) -> list[Job]:
    """All runs."""
    kinds = [*KINDS]
    found = [Job(SHORTCUT, kind, seed) for seed in seeds for kind in kinds]
    found += [Job(each, kinds[seed % 3], seed) for each in SETTINGS[1:] for seed in seeds]
    return [job for job in found if job.setting in settings]


def run(job: Job) -> Run:
    """Train a model, repair it, and compare what the result says with the field."""
    start, kind = time.perf_counter(), job.inputs
    seed = [job.seed, [*KINDS].index(job.kind), SETTINGS.index(job.setting)]
    sets = job.sets(np.random.default_rng(seed))
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        place = Path(folder)
        kind.train(sets["train"].X, sets["train"].y, job.seed, place / "old.onnx")
        given = {
            part: write_samples(samples, place / f"{part}.csv", kind.columns())
            for part, samples in sets.items()
        }
        fields = {part: given.pop(part) for part in ("field", "alike") if part in given}
        options: dict[str, Any] = {"spurious": [*job.named], "device": "cpu"}
        result = judged = ntkit.debias(place / "old.onnx", **given, **options)
        if not result.written:  # the head that was judged all the same
            judged = ntkit.debias(
                place / "old.onnx",
                **given,
                **options,
                settings=ntkit.DebiasSettings(otherwise="new head"),
            )
        judged.model.save(place / "new.onnx")
        models = place / "new.onnx", place / "old.onnx"
        rights = {
            part: [right(model, inputs, sets[part].y) for model in models]
            for part, inputs in fields.items()
        }
        first = first_number(result, job.named, models, given, sets["test"].y)
    found: Run = {"setting": job.setting, "kind": job.kind, "seed": job.seed, "case": job.case}
    gains = {part: float(new.mean() - old.mean()) for part, (new, old) in rights.items()}
    found |= {"before": float(rights["field"][1].mean()), "gain": gains["field"]}
    found |= {"alike": gains.get("alike", gains["field"]), "first": None}
    if first is not None:
        found |= {"first": first.change, "interval": first.change_interval}
    found |= {"word": word_of(result), "said": result.headline(), "written": result.written}
    found |= {"share": judged.accuracy_cost.t, "seconds": time.perf_counter() - start}
    return found


def right(model: Path, inputs: Any, y: Array) -> Array:
    """Whether a model gets each sample right, by ONNX Runtime."""
    return np.asarray(ntkit.predict(model, inputs, device="cpu", batch_size=256).labels == y)


# -- what the result says: the only place that knows it ---------------------------------------


def word_of(result: Any) -> str:
    """The outcome in one word."""
    if (outcome := getattr(result, "outcome", None)) is not None:
        return str(outcome.word)
    if not result.written:
        return "kept"
    return WORDS.get(result.change.verdict, "lower")


def first_number(
    result: Any, named: Sequence[str], models: tuple[Path, Path], given: dict[str, Any], y: Array
) -> Row | None:
    """Accuracy on the test set as if class and named attributes were unrelated, and its change."""
    if (outcome := getattr(result, "outcome", None)) is not None:
        first: Row | None = outcome.groups[-1].first  # of several attributes, all together
        return first
    values, n_values = values_in_test(named, models[1], given, len(y))
    outcomes = [right(model, given["test"], y) for model in models]
    classes, y_index, of_class = np.unique(y, return_inverse=True, return_counts=True)
    of_value = np.bincount(values, minlength=n_values)
    cells: list[tuple[Any, Any, Array]] = [
        ("group", (label, v), (y_index == k) & (values == v))
        for k, label in enumerate(classes.tolist())
        for v in range(len(of_value))
    ]
    rows = compare(outcomes, cells)
    if not all(row.n for row in rows):
        return None
    return mean_of_rows(rows, unrelated_shares(of_class.tolist(), of_value.tolist()).ravel())


def values_in_test(
    named: Sequence[str], model: Path, given: dict[str, Any], n: int
) -> tuple[Array, int]:
    """Numbers of values of the named attributes in the test set, each pair as one; how many."""
    frozen = FrozenModel.load(model)
    reader = AttributeReader([read(each, frozen) for each in given.values()])
    of_each = [reader.attribute(((name,),)) for name in named]
    values = np.stack([each.value for each in of_each], axis=1)
    distinct, numbers = np.unique(values, axis=0, return_inverse=True)
    return numbers.ravel()[-n:], len(distinct)


# -- tables -----------------------------------------------------------------------------------


def line_of(run: Run) -> str:
    """One run as a line."""
    number = "none"
    if run["first"] is not None:
        low, high = (100 * bound for bound in run["interval"])
        number = f"{100 * run['first']:+.1f} [{low:+.1f}, {high:+.1f}]"
    where = f"{run['setting']:<17} {run['kind']:<6} {run['seed']} {run['case']:<19.19}"
    kept = "written" if run["written"] else "kept"
    return (
        f"{where} field {100 * run['before']:.1f} {100 * run['gain']:+5.1f}, "
        f"alike {100 * run['alike']:+5.1f}; "
        f"first {number:<21} {run['word']:<15} {kept} t={run['share']:.1f} {run['seconds']:.1f} s"
    )


def summary(runs: Sequence[Run]) -> str:
    """Counts of all runs."""
    large = [r for r in runs if r["gain"] >= 0.05]
    there, *others = (of_setting(runs, setting) for setting in SETTINGS)
    nothing = [r for some in others for r in some]
    good = {"better", "probably better"}

    def n(some: Sequence[Run], *words: str) -> str:
        return f"{sum(r['word'] in words for r in some)} of {len(some)}"

    lines = [
        f"gain of at least 5 points: {sum(r in large for r in there)} of {len(there)} with the "
        "shortcut named (at least 25 of 30)",
        f"better, but the field loses: {sum(r['gain'] < 0 and r['word'] == 'better' for r in runs)}"
        f" of {len(runs)} (at most 1 of 50)",
        f"at least 5 points, and better or probably better: {n(large, *good)} (9 in 10); "
        f"worse: {n(large, 'worse')} (none)",
        f"no shortcut or irrelevant answer: probably better {n(nothing, 'probably better')}, "
        f"better {n(nothing, 'better')} (at most 4 of 20)",
    ]
    parts = {"all": (runs, "gain"), **{s: (of_setting(runs, s), "gain") for s in SETTINGS}}
    parts |= {"all, if only the named is unrelated": (runs, "alike")}
    for name, (some, truth) in parts.items():
        numbers = [r for r in some if r["first"] is not None]
        if numbers:
            error = [100 * abs(r["first"] - r[truth]) for r in numbers]
            held = [r["interval"][0] <= r[truth] <= r["interval"][1] for r in numbers]
            width = [100 * (r["interval"][1] - r["interval"][0]) for r in numbers]
            lines.append(
                f"first number, {name}: mean absolute difference to the gain {np.mean(error):.1f} "
                f"points (at most 5), largest {max(error):.1f}; the interval holds it in "
                f"{sum(held)} of {len(held)} (9 in 10), median width {np.median(width):.1f}"
            )
    return "\n".join(lines)


def of_setting(runs: Sequence[Run], setting: str) -> list[Run]:
    """The runs of a setting."""
    return [run for run in runs if run["setting"] == setting]


def main() -> None:
    """Run what is missing, and print all there is."""
    parser = command_line(__doc__, "results", "--n-jobs")
    parser.add_argument("--seeds", type=int, nargs="*", default=[*range(10)], help="none: counts")
    parser.add_argument("--settings", nargs="+", choices=SETTINGS, default=SETTINGS)
    arguments = parser.parse_args()
    path = arguments.results
    known = recorded(path)
    done = {(r["setting"], r["kind"], r["seed"]) for r in known}
    missing = [
        job
        for job in jobs(arguments.settings, arguments.seeds)
        if (job.setting, job.kind, job.seed) not in done
    ]
    found = Parallel(n_jobs=arguments.n_jobs, batch_size=1, return_as="generator_unordered")(
        delayed(run)(job) for job in missing
    )
    for result in found:
        print(line_of(result), flush=True)
        known += record(path, result)
    print(summary(known) if known else "no runs")


if __name__ == "__main__":
    main()
