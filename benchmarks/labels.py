"""One of several labels, repaired next to the same label alone, while all others stay.

    OPENBLAS_NUM_THREADS=1 python benchmarks/labels.py OUT.jsonl [--seeds 3] [--data NAME …]
        [--scale 1] [--markdown FILE]

Real messages and images with five labels each (``labels_data.py``). A shortcut agrees with one
label in 95 % of the training and validation samples; the test set is balanced. ``ntkit.debias``
repairs that label, by what a person says:

* named: the word, or the column of metadata;
* 96 labels: whether the shortcut is there, of the samples that ``ntkit label`` asks about;
* copies: a change after which the right answer stays the same.

Three models: the one of five labels (with its label named), the same network with that label's row
alone, and a network that was trained on that label alone. Both of these are ordinary classifiers
of two classes. The written model of five labels runs in ONNX Runtime next to the original: the
repaired label is rated there, and the others are compared bit by bit.

Another table has labels that are hard to repair: 1 % of the messages, none of them, and the copy
of another label. It shows what ntkit says.

Rows are written as they are made, so an interrupted run goes on. Two runs give the same rows.
"""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from labels_data import COPY, EDGES, PROBLEMS, TOPIC, TOPICS, Problem, by_words
from ntkit import DebiasSettings, FrozenModel, OnnxEmbedder, audit_model, check, debias
from ntkit._text import counted, escaped
from ntkit.exceptions import NtkitError
from ntkit.jobs.audit import LabelAudits
from ntkit.jobs.check.files import summary_of
from ntkit.jobs.debias import DebiasResult
from ntkit.jobs.label import margins_of, next_questions
from packages import default_cache
from runner import command_line, mean_std, publish, record, recorded, table

Array = NDArray[Any]
Row = dict[str, Any]
N_LABELS, BATCH = 96, 64
MODELS = {"five": "five labels", "row": "its row alone", "alone": "its own network"}
EDGE = "edges"


def said(problem: Problem, way: str, seed: int) -> dict[str, Any]:
    """What a person says, as options of debias."""
    mark = np.concatenate([problem.parts[name].mark for name in ("train", "validation")])
    if way == "copies":
        return {"invariant": problem.change}
    if way == "named":
        values = np.where(mark, "bright", "dark")
        metadata = {"metadata": {"corner": values}} if "metadata" in problem.spurious else {}
        return {"spurious": problem.spurious, **metadata}
    y = np.concatenate([problem.parts[k].Y[:, problem.at] for k in ("train", "validation")])
    model = FrozenModel.load(problem.model, label=problem.repaired)
    embedder = OnnxEmbedder(model, device="cpu")
    Z = np.concatenate([embedder.transform(given(problem, k)) for k in ("train", "validation")])
    margins = margins_of(Z, y, random_state=seed)
    rows = next_questions(y, margins=margins, n=N_LABELS, random_state=seed)
    known = np.full(len(y), -1)
    known[rows] = mark[rows]
    return {"attribute": known}


WAYS = {"named": "named", "labels": f"{N_LABELS} labels", "copies": "copies"}


def given(problem: Problem, name: str) -> Any:
    """Inputs of a set as the model takes them."""
    X = problem.parts[name].X
    return np.asarray(X, dtype=object)[:, None] if isinstance(X, list) else X


def scores(path: Path, X: Any) -> Array:
    """The last output of a model in ONNX Runtime, batch by batch."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names, out = [each.name for each in session.get_inputs()], []
    for start in range(0, len(X), BATCH):
        batch = X[start : start + BATCH]
        out.append(session.run(None, batch if isinstance(batch, dict) else {names[0]: batch})[-1])
    return np.concatenate(out)


def by_group(right: Array, groups: Array) -> list[float]:
    """Accuracy of each of four groups."""
    return [float(right[groups == group].mean()) for group in range(4)]


def sets_of(problem: Problem, model: str) -> tuple[dict[str, Any], Array]:
    """The sets for debias, and the test groups."""
    test = problem.parts["test"]
    groups = 2 * test.Y[:, problem.at] + test.mark
    sets = dict[str, Any]()
    for name, part in problem.parts.items():
        one = np.asarray(problem.classes)[part.Y[:, problem.at]]
        sets[name] = (part.X, part.Y if model == "five" else one)
    sets["test"] = (*sets["test"], groups)
    return sets, groups


def repaired(problem: Problem, model: str, way: str, seed: int, out: Path) -> Row:
    """One repair: accuracies before and after, of two controls, and whether other labels stay."""
    path = {"five": problem.model, "row": problem.row, "alone": problem.alone}[model]
    sets, groups = sets_of(problem, model)
    label = problem.repaired if model == "five" else None
    options: Row = {"device": "cpu", "settings": DebiasSettings(random_state=seed)}
    options |= {"out": out, "force": True} if model == "five" else {}  # the file is rated
    loaded = FrozenModel.load(path, label=label)
    result = debias(loaded, **sets, **options, **said(problem, way, seed))
    assert isinstance(result, DebiasResult)
    original, chosen = result.candidates[0], result.chosen
    after = chosen if result.written else original
    row: Row = {"state": result.state, "chosen": chosen.name, "says": result.headline()}
    row["before"], row["after"] = original.worst_group, after.worst_group
    row["average"] = [original.average, after.average]
    for name in ("class-balanced", "random"):
        found = [c.worst_group for c in result.candidates if c.name.startswith(name)]
        row[name] = found[0] if found else None
    if model == "five" and result.written:
        X, at = given(problem, "test"), problem.at
        old, new = (scores(file, X) for file in (path, out / "debiased.onnx"))
        differs = (old != new).any(axis=0)
        row["others equal"] = not np.delete(differs, at).any()
        y = problem.parts["test"].Y[:, at]
        row["in ONNX Runtime"] = [min(by_group((s[:, at] > 0.5) == y, groups)) for s in (old, new)]
    return row


# -- labels that are hard to repair --------------------------------------------------------------

HARD = {
    "fire": "1 % of the samples",
    "child_alone": "no sample",
    TOPIC: f"copied as {COPY}",
    COPY: f"copy of {TOPIC}",
}


def edges(cache: Path, scale: float, out: Path) -> Iterator[Row]:
    """What the jobs say of each label that is hard to repair."""
    problem = by_words(cache, out, 0, (*TOPICS, *EDGES, COPY), scale=scale)
    sets = {name: (given(problem, name), part.Y) for name, part in problem.parts.items()}
    audits = audit_model(problem.model, sets["validation"], changes=None, device="cpu")
    assert isinstance(audits, LabelAudits)
    for label in HARD:
        found = audits.get(label)
        notes = [note for note in audits.notes if repr(label) in note]
        count = [] if found is None else [counted(len(found.findings), "finding")]
        reason = [audits.not_audited[label]] if label in audits.not_audited else []
        yield {"data": EDGE, "label": label, "job": "audit", "says": [*reason, *count, *notes]}
        yield {"data": EDGE, "label": label, "job": "debias", "says": repair(problem, label)}
        model = FrozenModel.load(problem.model, label=label)
        try:
            text = summary_of(check(model, model, sets["test"], device="cpu"))
            limits = [line.strip() for line in text.splitlines() if "drop at most" in line]
            said = [f"{text.partition(':')[0]}.", *limits]
        except NtkitError as error:
            said = [f"error: {error}"]
        yield {"data": EDGE, "label": label, "job": "check", "says": said}


def repair(problem: Problem, label: str) -> list[str]:
    """What debias says of a label: an error, or the headline and notes on labels."""
    sets = [(problem.parts[name].X, problem.parts[name].Y) for name in ("train", "validation")]
    options: Row = {"spurious": problem.spurious, "device": "cpu"}
    try:
        result = debias(FrozenModel.load(problem.model, label=label), *sets, **options)
    except NtkitError as error:
        return [f"error: {error}"]
    notes = [note for note in result.notes if repr(label) in note or "has only" in note]
    return [result.headline() if isinstance(result, DebiasResult) else str(result), *notes]


# -- tables --------------------------------------------------------------------------------------


def percent(rows: Sequence[Row], name: str, at: int | None = None) -> str:
    """Mean ± standard deviation over seeds, in %."""
    values = [row[name] if at is None else row[name][at] for row in rows]
    known = [100 * value for value in values if value is not None]
    return mean_std(known) if known else "–"


def tables(results: Sequence[Row]) -> str:
    """Repairs by data set, way and model; then what ntkit says of hard labels."""
    lines = []
    header = ["data, person says", "model", "written", "original", "repaired", "average"]
    header += ["class-balanced", "random mask", "next to five labels", "others equal"]
    for data in PROBLEMS:
        for way, words in WAYS.items():
            cells = {
                model: sorted(
                    (r for r in results if (r["data"], r.get("way")) == (data, way)
                     and r["model"] == model),
                    key=lambda r: r["seed"],
                )
                for model in MODELS
            }  # fmt: skip
            for model, name in MODELS.items():
                if rows := cells[model]:
                    lines.append([f"{data}, {words}", name, *cells_of(rows, cells["five"])])
    parts = [table(header, lines)] if lines else []
    hard = [row for row in results if row["data"] == EDGE]
    if hard:
        shown = [
            [f"{r['label']} ({HARD[r['label']]})", r["job"], escaped(" · ".join(r["says"])) or "–"]
            for r in hard
        ]
        parts.append("What ntkit says of labels that are hard to repair:")
        parts.append(table(["label", "job", "ntkit says"], shown).replace("---:", "---"))
    return "\n\n".join(parts) + "\n"


def cells_of(rows: Sequence[Row], five: Sequence[Row]) -> list[str]:
    """One line of the table."""
    written = f"{sum(row['state'] == 'written' for row in rows)} of {len(rows)}"
    cells = [written, percent(rows, "before"), percent(rows, "after"), percent(rows, "average", 1)]
    cells += [percent(rows, "class-balanced"), percent(rows, "random")]
    if rows[0]["model"] == "five":
        equal = [row.get("others equal") for row in rows if "others equal" in row]
        return [*cells, "", f"{sum(equal)} of {len(equal)}"]
    pairs = [
        100 * (row["after"] - other["after"])
        for row in rows
        for other in five
        if other["seed"] == row["seed"]
    ]
    return [*cells, mean_std(pairs) if pairs else "–", ""]


def main() -> None:
    """Run what is missing, and print the tables."""
    parser = command_line(__doc__, "results", "--markdown")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--data", nargs="+", choices=[*PROBLEMS, EDGE], default=[*PROBLEMS, EDGE])
    parser.add_argument("--scale", type=float, default=1.0, help="of the numbers of samples")
    parser.add_argument("--cache", type=Path, default=default_cache(), help="unpacked packages")
    a = parser.parse_args()
    warnings.simplefilter("ignore")
    rows = recorded(a.results)

    for data in a.data:
        if data == EDGE:
            if not any(row["data"] == EDGE for row in rows):
                with tempfile.TemporaryDirectory() as folder:
                    rows += record(a.results, *edges(a.cache, a.scale, Path(folder)))
            continue
        for seed in range(a.seeds):
            done = {
                (r["model"], r["way"]) for r in rows if (r["data"], r.get("seed")) == (data, seed)
            }
            with tempfile.TemporaryDirectory() as folder:
                problem: Problem | None = None
                for model in MODELS:
                    for way in WAYS:
                        if (model, way) in done or (model == "alone" and way != "named"):
                            continue
                        problem = problem or PROBLEMS[data](
                            a.cache, Path(folder), seed, scale=a.scale
                        )
                        if model == "alone" and problem.alone is None:
                            continue
                        key = {"data": data, "seed": seed, "model": model, "way": way}
                        out = Path(folder) / f"{model}-{way}"
                        row = key | repaired(problem, model, way, seed, out)
                        rows += record(a.results, row)
                        print(f"{data}, seed {seed}, {model}, {way}", flush=True)
    publish(tables(rows), a.markdown)


if __name__ == "__main__":
    main()
