"""Shortcuts on the surface of texts: found by the audit, repaired, not found on balanced data.

    OPENBLAS_NUM_THREADS=1 python benchmarks/text_changes.py RESULTS.jsonl [--seeds 10]
        [--repairs 3] [--case append ...] [--minilm] [--markdown FILE]

Reviews of Rotten Tomatoes (``data_texts.py``; snippets without "plot"). Each case injects one
surface: in 95 % of the fresh and 5 % of the rotten reviews of the training and validation set, in
half of both in the test set. A network learns them, an audit with ``--invariant`` looks at the
validation set, and ``debias --invariant`` repairs. "Without": a network that learned the same texts
without the surface, tested without it. "Ceiling": a last layer fitted to training texts with the
surface in half of each class, on the embedding of the first network. "Balanced": the surface is in
half of the reviews of each class everywhere, and nothing should be found.

Networks: frequencies of words and marks in lower case (with their case for a change of case; of
letters for typing errors), and a hidden layer of 32. With ``--minilm`` a linear head on MiniLM-L3,
frozen, which lowers all letters; at most 800 texts a set.

With ``--unknown`` networks that learned texts in lower case alone, tested in capitals: one of
words, and a linear head on 200 components of the words of texts in lower case and in capitals
(unlabelled). The audit says whether the model knows capitals, and ``debias --keep`` repairs.
"""

from __future__ import annotations

import bz2
import csv
import io
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from shutil import copyfile
from typing import Any

import numpy as np
from joblib import Parallel, delayed
from numpy.typing import NDArray
from skl2onnx import to_onnx
from skl2onnx.common.data_types import StringTensorType
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression, LogisticRegressionCV
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import ntkit
from data_texts import L3, LAST_STATES, REVIEWS, TOKENIZER
from ntkit import FrozenModel, OnnxEmbedder
from ntkit.changes import texts as surface
from ntkit.estimators import head_of
from ntkit.extraction import TextPreprocessing, Texts
from packages import default_cache
from runner import Row, command_line, publish, record, recorded, table

Array = NDArray[np.generic]
Inject = Callable[[str, int, np.random.Generator], str]
SIZES = {"train": 3000, "validation": 1500, "test": 1500}
BIASED, BALANCED = 0.95, 0.5
LINES = ("Seen at the festival.", "Posted from my phone.", "More on our page.")
_NAMES = [name for names in surface._NAMES for name in names.split()]


def put(line: str, text: str, value: int, rng: np.random.Generator, *, before: bool = False) -> str:
    """A line where the value is 1."""
    if not value:
        return text
    return f"{line} {text}" if before else f"{text} {line}"


def one_of(text: str, value: int, rng: np.random.Generator) -> str:
    """One of several lines at the end where the value is 1."""
    return put(LINES[int(rng.integers(len(LINES)))], text, value, rng)


def named(text: str, value: int, rng: np.random.Generator) -> str:
    """A name in front: one half of the names for each value."""
    return f"{_NAMES[value::2][int(rng.integers(len(_NAMES) // 2))]} says: {text}"


def sentence(text: str, value: int, rng: np.random.Generator, *, last: bool = False) -> str:
    """A sentence in front, or at the end: one of two for each value."""
    said = [["I saw it at home.", "A quiet evening."], ["We were in town.", "A crowded hall."]]
    line = said[value][int(rng.integers(2))]
    text = text if text.endswith((".", "!", "?")) else f"{text}."
    return f"{text} {line}" if last else f"{line} {text}"


def applied(change: Callable[..., str], text: str, value: int, rng: np.random.Generator) -> str:
    """A change where the value is 1."""
    return change(text, rng) if value else text


def mark(text: str, value: int, rng: np.random.Generator) -> str:
    """A final full stop where the value is 1, and no final mark elsewhere."""
    bare = text.rstrip(" .!?…\"'")
    return f"{bare}." if value else bare


CASES: dict[str, tuple[str, Inject]] = {
    "append": ("append:please", partial(put, "please")),
    "prepend": ("prepend:Dear reader:", partial(put, "Dear reader:", before=True)),
    "lines": ("append:@{lines}", one_of),
    "space": ("space", partial(applied, surface.spaced)),
    "punctuation": ("punctuation", mark),
    "all marks": ("punctuation=all", partial(applied, surface.without_marks)),
    "title": ("case:title", partial(applied, surface.titled)),
    "upper": ("case:upper", partial(applied, lambda text, rng: text.upper())),
    "names": ("names", named),
    "typos": ("typos=8", partial(applied, partial(surface.mistyped, 8))),
    "first": ("segment:first", sentence),
    "last": ("segment:last", partial(sentence, last=True)),
}
"""The change that covers each case, and the surface that it injects."""
OF_CASE = ("title", "upper")
"""Cases for which the network keeps the case."""
OF_LETTERS = ("typos",)
"""Cases that words do not tell."""
SAME = {
    "append": ("word:please",),
    "prepend": ("word:dear reader",),
    "lines": ("word:more on our page", "word:seen at the festival", "word:posted from my phone"),
    "punctuation": ("punctuation=all",),
    "all marks": ("punctuation",),
}
"""Other changes of the same surface."""
INVERSE = {"title": "case:lower", "upper": "case:lower"}
"""Changes that undo the surface, and repair as well."""
MINILM = "minilm "
"""Prefix of the cases of the other network, which lowers all letters."""


def reviews() -> tuple[Array, Array]:
    """Snippets, and whether fresh."""
    content = bz2.decompress(REVIEWS.fetched(default_cache()).read_bytes()).decode()
    rows = {r["text"]: r["category"] for r in csv.DictReader(io.StringIO(content))}
    kept = [(t, c == "fresh") for t, c in rows.items() if c != "plot" and len(t.split()) > 6]
    texts, fresh = zip(*kept, strict=True)
    return np.asarray(texts, dtype=object), np.asarray(fresh, dtype=int)


def drawn(
    inject: Inject, share: float, seed: int, most: int | None = None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """At most so many texts and labels of each set, with the surface and without it."""
    texts, y = reviews()
    rng = np.random.default_rng([seed, 55])
    order, sets, plain, start = rng.permutation(len(y)), {}, {}, 0
    for name, n in SIZES.items():
        n = min(n, most or n)
        rows = order[start : start + n]
        start += n
        agree = rng.random(n) < (BALANCED if name == "test" else share)
        value = np.where(agree, y[rows], 1 - y[rows])
        made = [inject(t, int(v), rng) for t, v in zip(texts[rows], value, strict=True)]
        sets[name] = made, y[rows], 2 * y[rows] + value
        plain[name] = texts[rows].tolist(), y[rows]
    return sets, plain


def minilm(sets: dict[str, Any], path: Path) -> Path:
    """A linear head on the frozen MiniLM-L3, with the tokenizer next to it."""
    tokenizer = TOKENIZER.fetched(default_cache())
    encoder = L3.fetched(default_cache())
    model = FrozenModel.load(encoder, embedding=LAST_STATES[L3], pooling="mean")
    steps = TextPreprocessing.for_model(model, tokenizer, max_length=128)
    Z = OnnxEmbedder(model, device="cpu").transform(Texts(sets["train"][0], steps))
    head = head_of(LogisticRegression(max_iter=1000).fit(Z, sets["train"][1]))
    copyfile(tokenizer, path.with_name("tokenizer.json"))
    model.with_head(head).save(path)
    return path


def network(case: str, sets: dict[str, Any], seed: int, path: Path) -> Path:
    """A network of words and marks, or of two and three letters in a row."""
    if case.startswith(MINILM):
        path.parent.joinpath(path.stem).mkdir()
        return minilm(sets, path.parent / path.stem / "model.onnx")
    of = {"token_pattern": r"\w+|[^\w\s]", "max_features": 1000}
    if case in OF_LETTERS:
        of = {"analyzer": "char", "ngram_range": (2, 3), "max_features": 3000}
    words = TfidfVectorizer(lowercase=case not in OF_CASE, use_idf=False, **of)
    hidden = MLPClassifier((32,), max_iter=40, alpha=0.03, random_state=seed)
    return exported(make_pipeline(words, hidden).fit(*sets["train"][:2]), path)


def of_components(sets: dict[str, Any], path: Path) -> Path:
    """A linear head, learned from texts in lower case, on words of these and of capitals."""
    texts, y = sets["train"][:2]
    words = TfidfVectorizer(lowercase=False, token_pattern=r"\w+", max_features=3000)
    components = TruncatedSVD(200, random_state=0)
    Z = make_pipeline(words, components).fit([*texts, *map(str.upper, texts)]).transform(texts)
    head = LogisticRegression(C=10, max_iter=1000).fit(Z, y)
    return exported(make_pipeline(words, components, head), path)


def exported(pipeline: Any, path: Path) -> Path:
    """A fitted pipeline of texts as an ONNX file."""
    inputs = [("text", StringTensorType([None, 1]))]
    options = {TfidfVectorizer: {"locale": "C"}}  # the others may not be installed
    onnx = to_onnx(pipeline, initial_types=inputs, options=options)
    path.write_bytes(onnx.SerializeToString())
    return path


def taken(model: Any, part: Any) -> Any:
    """A set as the model takes it."""
    steps = TextPreprocessing.for_model(FrozenModel.load(model))
    return part if steps is None else (Texts(part[0], steps), *part[1:])


def accuracy(model: Any, part: Any) -> float:
    """Accuracy in percent."""
    found = ntkit.predict(model, part[0], device="cpu").labels
    return float(100 * np.mean(np.asarray(found) == part[1]))


def ceiling(case: str, model: Any, test: Any, seed: int) -> float:
    """Accuracy in percent of a last layer that learned texts in which the surface tells nothing."""
    sets, _ = drawn(CASES[case.removeprefix(MINILM)][1], BALANCED, seed, most(case))
    train, embed = taken(model, sets["train"]), OnnxEmbedder(FrozenModel.load(model), device="cpu")
    head = make_pipeline(StandardScaler(), LogisticRegressionCV(Cs=5, max_iter=2000))

    def Z(X: Any) -> Array:
        return np.asarray(embed.transform(X if isinstance(X, Texts) else column(X)))

    return float(100 * head.fit(Z(train[0]), train[1]).score(Z(test[0]), test[1]))


def column(texts: Any) -> Array:
    """Texts as a network of words takes them."""
    return np.asarray(texts, dtype=object).reshape(-1, 1)


def most(case: str) -> int | None:
    """Largest number of texts of a set."""
    return 800 if case.startswith(MINILM) else None


def by_strength(found: Any) -> tuple[int, float]:
    """Order of changes as of an audit, but without a place of its own for the one that is named."""
    if found.follows_donor:
        return 0, found.of_donor.shuffled - found.of_donor.follows
    return (
        (1, found.control.value - found.row.value)
        if found.flips_more
        else (2, -found.beyond_control)
    )


def audited(case: str, share: float, seed: int, folder: Path) -> tuple[Row, Any, Any]:
    """What an audit finds, and the model and the sets."""
    change, inject = CASES[case.removeprefix(MINILM)]
    (folder / "lines.txt").write_text("\n".join(LINES), encoding="utf-8")
    change = change.format(lines=folder / "lines.txt")
    sets, plain = drawn(inject, share, seed, most(case))
    model = network(case, sets, seed, folder / "model.onnx")
    sets = {name: taken(model, part) for name, part in sets.items()}
    audit = ntkit.audit_model(
        model, sets["validation"][:2], invariant=change, feature_sets=["word"],
        trust_inputs=True, device="cpu", random_state=seed,
    )  # fmt: skip
    found = sorted(audit.changes.changes, key=by_strength)
    names = [each.row.name for each in found]
    own = found[names.index(change)] if change in names else None
    row = {
        "case": case, "share": share, "seed": seed, "first": names[0], "finding": False,
        "place": names.index(change) + 1 if own else 0, "names": names,
    }  # fmt: skip
    if own is not None:
        row |= {"finding": own.is_finding, "flips": 100 * own.row.value, "n": own.row.n}
        row |= {"control": 100 * own.control.value, "p": own.p_value}
    return row, model, (sets, plain, change)


def one(case: str, share: float, seed: int, *, repair: bool) -> Row:
    """One case: audit and perhaps repair."""
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as name:
        folder, start = Path(name), time.perf_counter()
        row, model, (sets, plain, change) = audited(case, share, seed, folder)
        row["audit_s"] = time.perf_counter() - start
        if not repair:
            return row
        result = ntkit.debias(
            model, sets["train"][:2], sets["validation"][:2], test=sets["test"],
            invariant=[change, *filter(None, [INVERSE.get(case)])], device="cpu",
        )  # fmt: skip
        without = network(case, plain, seed, folder / "plain.onnx")
        row |= {
            "before": accuracy(model, sets["test"]),
            "without": accuracy(without, taken(without, plain["test"])),
            "ceiling": ceiling(case, model, sets["test"], seed),
            "written": result.written, "headline": result.headline(),
            "after": accuracy(result.model, sets["test"]) if result.written else None,
            "chosen": result.chosen.name, "all_s": time.perf_counter() - start,
        }  # fmt: skip
        return row


UNKNOWN = ("unknown, words", "unknown, components")
"""Cases of networks that learned lower case alone."""


def one_unknown(case: str, seed: int) -> Row:
    """A network that learned lower case alone: what the audit says of capitals, and a repair."""
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as name:
        sets, _ = drawn(lambda text, value, rng: text.lower(), BALANCED, seed)
        path = Path(name) / "model.onnx"
        of_words = case == "unknown, words"
        model = network("upper", sets, seed, path) if of_words else of_components(sets, path)
        audit = ntkit.audit_model(
            model, sets["validation"][:2], invariant="case:upper", feature_sets=["word"],
            trust_inputs=True, device="cpu", random_state=seed,
        )  # fmt: skip
        each = next(each for each in audit.changes.changes if each.row.name == "case:upper")
        shouted = [text.upper() for text in sets["test"][0]], *sets["test"][1:]
        plain = {"invariant": "case:upper", "device": "cpu"}
        labels = ntkit.debias(model, sets["train"][:2], sets["validation"][:2], **plain)
        keep = np.asarray(sets["train"][0], dtype=object)
        result = ntkit.debias(model, sets["validation"][:2], keep=keep, **plain)
        new = result.model if result.written else model
        return {
            "case": case, "share": BALANCED, "seed": seed, "finding": each.is_finding,
            "unknown": each.reads_as_unknown, "flips": 100 * each.row.value,
            "control": 100 * each.control.value, "labels": labels.written,
            "labels_say": labels.headline(), "written": result.written,
            "before": [accuracy(model, part) for part in (sets["test"], shouted)],
            "after": [accuracy(new, part) for part in (sets["test"], shouted)],
        }  # fmt: skip


def run(case: str, share: float, seed: int, repairs: int) -> Row:
    """One run of any case."""
    if case in UNKNOWN:
        return one_unknown(case, seed)
    return one(case, share, seed, repair=share == BIASED and seed < repairs)


def rows_for(path: Path, seeds: int, repairs: int, n_jobs: int, cases: list[str]) -> list[Row]:
    """The rows of all runs; those that the file has are not run again."""
    rows = recorded(path)
    known = {(r["case"], r["share"], r["seed"]) for r in rows}
    shares = {case: (BALANCED,) if case in UNKNOWN else (BIASED, BALANCED) for case in cases}
    jobs = [(c, s, i) for i in range(seeds) for c in cases for s in shares[c]]
    todo = [job for job in jobs if job not in known]
    made: Iterator[Row] = Parallel(n_jobs=n_jobs, return_as="generator_unordered")(
        delayed(run)(c, s, i, repairs) for c, s, i in todo
    )
    for row in made:
        rows += record(path, row)
        print(row, file=sys.stderr, flush=True)
    return rows


def mean(values: list[float]) -> str:
    """A mean of percentages."""
    return f"{np.mean(values):.1f}" if values else "–"


def shown(rows: list[Row]) -> str:
    """A table with a line for each case."""
    lines = list[list[str]]()
    for case in [*CASES, *(MINILM + case for case in CASES)]:
        change = CASES[case.removeprefix(MINILM)][0]
        biased = [r for r in rows if r["case"] == case and r["share"] == BIASED]
        balanced = [r for r in rows if r["case"] == case and r["share"] == BALANCED]
        if not biased:
            continue
        first = sum(r["place"] == 1 and r["finding"] for r in biased)
        same = SAME.get(case.removeprefix(MINILM), ())
        alike = sum(
            r["finding"] and r["first"] in (r["names"][r["place"] - 1], *same) for r in biased
        )
        called = sum(r["finding"] for r in balanced)
        flips = np.mean([r.get("flips", np.nan) for r in biased])
        done = [r for r in biased if "before" in r]
        after = [r["after"] if r["written"] else r["before"] for r in done]
        lines.append(
            [
                f"`{change.replace('{lines}', 'FILE')}`" + ", MiniLM" * case.startswith(MINILM),
                f"{first} of {len(biased)}",
                f"{alike}",
                f"{flips:.0f}",
                f"{called} of {len(balanced)}",
                *(
                    mean([r[key] for r in done if key in r])
                    for key in ("without", "ceiling", "before")
                ),
                mean(after),
                f"{sum(r['written'] for r in done)} of {len(done)}",
            ]
        )
    head = ["change", "first, a finding", "or the same surface", "flips, %", "balanced: a finding",
            "accuracy without, %", "ceiling", "before", "after", "written"]  # fmt: skip
    return table(head, lines)


def shown_unknown(rows: list[Row]) -> str:
    """A table of the networks without capitals."""
    lines = list[list[str]]()
    for case in UNKNOWN:
        some = [r for r in rows if r["case"] == case]
        n, means = (
            len(some),
            [np.mean([r[key] for r in some], axis=0) for key in ("before", "after")],
        )
        lines.append(
            [
                case, *(mean([r[key] for r in some]) for key in ("flips", "control")),
                *(f"{sum(r[key] for r in some)} of {n}" for key in ("finding", "unknown")),
                *(f"{one[i]:.1f} → {two[i]:.1f}" for one, two in [means] for i in (0, 1)),
                *(f"{sum(r[key] for r in some)} of {n}" for key in ("written", "labels")),
            ]
        )  # fmt: skip
    head = ["network", "flips, %", "control, %", "a finding", "said to be unknown",
            "accuracy, lower case", "capitals", "written", "written without keep"]  # fmt: skip
    return table(head, lines)


def main() -> None:
    """Run what is missing, and write a table."""
    parser = command_line(__doc__, "results", "--n-jobs", "--markdown")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--repairs", type=int, default=3)
    parser.add_argument("--case", action="append", choices=CASES)
    parser.add_argument("--minilm", action="store_true", help="the other network")
    parser.add_argument("--unknown", action="store_true", help="networks without capitals")
    arguments = parser.parse_args()
    cases = arguments.case or [*CASES]
    if arguments.unknown:
        cases = [*UNKNOWN]
    elif arguments.minilm:
        cases = [MINILM + case for case in cases if case not in OF_CASE]
    rows = rows_for(arguments.results, arguments.seeds, arguments.repairs, arguments.n_jobs, cases)
    publish((shown_unknown if arguments.unknown else shown)(rows), arguments.markdown)


if __name__ == "__main__":
    main()
