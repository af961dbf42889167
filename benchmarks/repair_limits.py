"""Whether ``repair-limits.toml`` passes the repair on new data, and refuses its undoing.

    OPENBLAS_NUM_THREADS=1 python benchmarks/repair_limits.py RESULTS.jsonl
        [--seeds 0 1 2] [--kinds tables texts images] [--size 1000] [--validation 1000]

Data and models are those of ``field.py`` with a named shortcut and one class as frequent as the
other. ntkit repairs each model with a training and a validation set, and writes the limits. New
data are drawn as the validation set was, ``--size`` samples. ``ntkit.check`` holds four models to
the limits there: the repair; the original as the new model; and the head between both that has half
of the gain of the group that gained most, of those with a lowest accuracy.

The *gain* of a group and its accuracies are counted on 10 000 more samples. The margin is the new
head's accuracy there less the lowest accuracy in the limits. The half of a repair counts if half of
the gain of that group is more than twice its margin. With 25 validation samples in a rare group no
half counts: give more with ``--validation 10000 --size 10000``.

Each run is a line of RESULTS.jsonl; the script goes on where it stopped.
"""

from __future__ import annotations

import json
import tempfile
import tomllib
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import data_made_up
import field
import ntkit
from data_made_up import write_samples
from ntkit.head import LinearHead
from ntkit.model import FrozenModel
from runner import command_line, record, recorded

Run = dict[str, Any]
_STEPS = np.linspace(0, 1, 21)


def run(kind: str, seed: int, size: int, validation: int) -> Run:
    """Repair a model, and check three models on new data."""
    job = field.Job(field.SHORTCUT, kind, seed)
    field.SIZES["validation"] = validation
    rng = np.random.default_rng([seed, [*field.KINDS].index(kind), 49])
    sets = {"train": job.inputs.samples(*job.drawn("train", rng), "model", rng)}
    sets["validation"] = job.inputs.samples(*job.drawn("validation", rng), "validation", rng)
    new_data = job.inputs.samples(*job.drawn("field", rng), "test", rng)
    found: Run = {"kind": kind, "seed": seed, "size": size, "validation": validation}
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        place, columns = Path(folder), job.inputs.columns()
        job.inputs.train(sets["train"].X, sets["train"].y, seed, place / "old.onnx")
        given = {n: write_samples(s, place / f"{n}.csv", columns) for n, s in sets.items()}
        many = write_samples(new_data, place / "many.csv", columns)
        some = data_made_up.Samples(
            new_data.X[:size],
            new_data.y[:size],
            new_data.shortcuts[:size],
            {name: values[:size] for name, values in new_data.metadata.items()},
        )
        few = write_samples(some, place / "few.csv", columns)
        result = ntkit.debias(
            place / "old.onnx", **given, spurious=[*job.named], device="cpu", out=place / "out"
        )
        found |= {"word": result.outcome.word, "written": result.written}
        file = place / "out" / "repair-limits.toml"
        if not file.is_file():
            return found
        limits = tomllib.loads(file.read_text("utf-8"))
        old, new = (FrozenModel.load(place / m) for m in ("old.onnx", "out/debiased.onnx"))

        def outcome(model: FrozenModel) -> str:
            return ntkit.check(old, model, few, limits=file, device="cpu").outcome

        found |= {"repair": outcome(new), "original": outcome(old)}
        least = {n: v["accuracy"] for n, v in limits.get("slices", {}).items() if "accuracy" in v}
        found |= {"n_minima": len(least), "without_limit": limits["repair"]["without_limit"]}
        if not least:
            return found
        rows = {t: accuracies(old, between(old, new, float(t)), many, file) for t in (0.0, 1.0)}
        name = max(least, key=lambda each: rows[1.0][each] - rows[0.0][each])
        before, after = rows[0.0][name], rows[1.0][name]
        low, high, wanted = 0, len(_STEPS) - 1, (before + after) / 2
        reached = {low: before, high: after}
        while high - low > 1:  # accuracy rises with the step
            at = (low + high) // 2
            reached[at] = accuracies(old, between(old, new, _STEPS[at]), many, file)[name]
            low, high = (at, high) if reached[at] < wanted else (low, at)
        middle = _STEPS[min(low, high, key=lambda at: abs(reached[at] - wanted))]
        margin = after - least[name] / 100
        found |= {"group": name, "before": before, "after": after, "margin": margin}
        found |= {"counts": bool((after - before) / 2 > 2 * margin), "t": float(middle)}
        found["half"] = outcome(between(old, new, float(middle)))
    return found


def between(old: FrozenModel, new: FrozenModel, t: float) -> FrozenModel:
    """The model with a head between two."""
    assert old.head is not None
    assert new.head is not None
    one, two = old.head, new.head
    coef = (1 - t) * one.coef + t * two.coef
    return old.with_head(LinearHead(coef, (1 - t) * one.intercept + t * two.intercept, one.classes))


def accuracies(old: FrozenModel, model: FrozenModel, data: Any, file: Path) -> dict[str, float]:
    """Accuracy of each slice on many samples."""
    rows = ntkit.check(old, model, data, limits=file, device="cpu").rows
    return {row.name: row.value for row in rows if row.kind == "slice"}


def summary(runs: Sequence[Run]) -> str:
    """Counts of all runs."""
    written = [r for r in runs if "repair" in r]
    minima = [r for r in written if r["n_minima"]]
    halves = [r for r in minima if r["counts"]]

    def n(some: Sequence[Run], key: str, *words: str) -> str:
        return f"{sum(r[key] in words for r in some)} of {len(some)}"

    return "\n".join([
        f"runs {len(runs)}, with limits {len(written)}",
        f"the repair passes: {n(written, 'repair', 'pass')} (19 of 20); fails: "
        f"{n(written, 'repair', 'fail')}; too few: {n(written, 'repair', 'too few')}",
        f"the original is refused: {n(minima, 'original', 'fail', 'too few')} (19 of 20, where a "
        f"minimum exists); with exit code 1: {n(minima, 'original', 'fail')}",
        f"half of the repair is refused: {n(halves, 'half', 'fail', 'too few')} (9 of 10); with "
        f"exit code 1: {n(halves, 'half', 'fail')}",
    ])  # fmt: skip


def main() -> None:
    """Run what is missing, and print all there is."""
    parser = command_line(__doc__, "results")
    parser.add_argument("--seeds", type=int, nargs="*", default=[*range(10)], help="none: counts")
    parser.add_argument("--kinds", nargs="+", choices=[*field.KINDS], default=[*field.KINDS])
    parser.add_argument("--size", type=int, default=1000, help="new samples (default 1000)")
    parser.add_argument("--validation", type=int, default=1000, help="(default 1000)")
    arguments = parser.parse_args()
    path = arguments.results
    known = recorded(path)
    done = {(r["kind"], r["seed"], r["size"], r.get("validation", 1000)) for r in known}
    sizes = arguments.size, arguments.validation
    for seed in arguments.seeds:
        for kind in arguments.kinds:
            if field.CASES.get((kind, seed)) or (kind, seed, *sizes) in done:
                continue
            known += record(path, run(kind, seed, *sizes))
            print(json.dumps(known[-1]), flush=True)
    print(summary(known))


if __name__ == "__main__":
    main()
