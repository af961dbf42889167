"""Report page and model card of a repair."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import chain
from typing import Any

import numpy as np

from ntkit._html import markdown, offline_page, page_percent, rendered
from ntkit._text import counted, one_line, shortened
from ntkit._types import Array
from ntkit.extraction import Samples
from ntkit.metrics import GroupReport, Row, compare, group_report
from ntkit.pages.usage import Usage
from ntkit.samples.kinds import Arrays, ColumnData, SeveralInputs
from ntkit.samples.looks import Inputs, thumbnail_of
from ntkit.spuriousness import non_constant_neurons

_SIDE, _SNIPPET = 112, 160  # pixels of an image, characters of a text
_CURVE = 400  # points of the plot of scores
_BINS = 24
_STRONGEST = 50  # samples that show what a neuron responds to
_UNUSUAL = 3  # columns of a row that are furthest from the mean
_SHOWN_CLASSES = 12
_CHANGED = 3  # errors fixed shown on the first screen, and new errors
_SHOWN_GROUPS = 8  # on the first screen, of all attributes
_FEWEST_SHOWN = 4  # of one attribute
_PAIRS = 3  # originals and copies of a neuron
_SUPPRESSED = 24  # neurons shown
_SAMPLES = 6  # of a neuron
_MOST_CARD_ROWS = 30
_FEW_ERRORS = 10  # with fewer misclassified samples, a score is unreliable


@dataclass(frozen=True)
class Shown:
    """Samples with two predictions."""

    y: Array
    before: Array
    after: Array
    groups: Array | None = None
    samples: Samples | None = None

    def accuracies(self) -> GroupReport:
        """Accuracies before and after, with intervals."""
        return group_report(self.y, self.after, groups=self.groups, y_pred_before=self.before)

    def cards(self, rows: Array) -> list[dict[str, Any]]:
        """Some samples for the page: a small image or a text, classes, a name."""
        looks = self._looks
        images = {row: thumbnail_of(image, _SIDE) for row, image in looks.images_of(rows.tolist())}
        named = Inputs() if self.samples is None else self.samples.looks()
        cards = []
        for i in rows.tolist():
            text = ""
            if self._columns is not None:
                X, names, mean, deviation = self._columns
                furthest = _furthest((X[i] - mean) / deviation)
                text = ", ".join(f"{names[j]} = {X[i, j]:.4g}" for j in furthest)
            if looks.texts is not None:
                text = " / ".join(map(one_line, str(looks.texts[i]).split("\n\n")))
            cards.append(
                {
                    "image": images.get(i),
                    "text": shortened(text, _SNIPPET),
                    "name": named.title(i),
                    "label": self.y[i],
                    "before": self.before[i],
                    "after": self.after[i],
                    "was_right": self.before[i] == self.y[i],
                }
            )
        return cards

    def in_common(self, rows: Array) -> str:
        """The columns in which the mean of some rows differs most from that of all rows."""
        if self._columns is None:
            return ""
        X, names, mean, deviation = self._columns
        distance = (X[rows].mean(axis=0, dtype=float) - mean) / deviation
        return ", ".join(f"{names[j]} ({distance[j]:+.1f} sd)" for j in _furthest(distance))

    @cached_property
    def _columns(self) -> tuple[Array, Sequence[str], Array, Array] | None:
        """Values, names, means and deviations of the columns; None for other samples."""
        samples = self.samples
        if samples is None or type(samples.data) is not ColumnData:
            return None
        mean, deviation = samples.X.mean(axis=0, dtype=float), samples.X.std(axis=0, dtype=float)
        return samples.X, samples.columns, mean, np.where(deviation > 0, deviation, np.inf)

    @cached_property
    def _looks(self) -> Inputs:
        """Samples for display; of several model inputs, the first that a page can show."""
        samples = self.samples
        if samples is None:
            return Inputs()
        several = samples.X.values() if isinstance(samples.data, SeveralInputs) else ()
        parts = [samples, *map(Samples, several)]
        for part in parts:
            is_grey = type(part.data) is Arrays and getattr(part.X, "ndim", 0) == 3
            looks = Inputs(images=part.X) if is_grey else part.looks()
            if looks.images is not None or looks.texts:
                return looks
        return Inputs()


def _furthest(distance: Array) -> Array:
    return np.argsort(-np.abs(distance), kind="stable")[:_UNUSUAL]


@dataclass(frozen=True)
class Moved:
    """Changed copies: embeddings (n, D), rows of their originals, and both for display."""

    change: str
    Z: Array
    of: Array
    originals: Shown
    copies: Shown


@dataclass(frozen=True)
class Groups:
    """Accuracies of groups before and after, and what the page says of a group after its name."""

    title: str
    rows: Sequence[Row]
    tags: Mapping[str, str] = field(default_factory=dict)
    first: bool = True  # whether they are on the first screen
    counts: str = "samples"  # what the number of a row counts, or "labels"

    @property
    def worst_first(self) -> list[Row]:
        """The rows with the lowest accuracy after the repair first, without samples last."""
        return sorted(self.rows, key=lambda row: row.value if row.n else np.inf)


@dataclass(frozen=True)
class Conclusion:
    """The question that was asked, its answer with results and groups, and what to do now.

    A step has a heading, a sentence, and commands or an empty text.
    """

    question: str
    verdict: str
    results: Sequence[str] = ()
    groups: Sequence[Groups] = ()
    cost: str = ""
    steps: Sequence[tuple[str, str, str]] = ()
    others: str = ""  # a sentence on the outputs of other labels


@dataclass(frozen=True)
class Neurons:
    """Activations (n, D) of samples, scores of each class (K, D), and suppressed neurons (D,)."""

    Z: Array
    on: Shown
    scores: Array
    scores_of: str
    classes: Array
    suppressed: Array
    threshold: float | None = None
    moved: Moved | None = None


@dataclass(frozen=True)
class Report:
    """Content of a report."""

    title: str
    sentences: Sequence[str]
    options: Mapping[str, str]
    candidates: Sequence[Mapping[str, Any]]
    evaluated_on: str
    candidates_on: str
    shown: Shown
    facts: Mapping[str, str]
    neurons: Neurons | None = None  # None for predictions alone
    answer: Conclusion | None = None  # None compares two models
    seed: int = 0
    label: str | None = None  # of several
    accuracy_costs: Sequence[Mapping[str, Any]] = ()  # one is marked as chosen
    another_share: str = ""  # a command that writes another interpolation
    commands: Sequence[str] = ()


def report_html(report: Report) -> str:
    """A report as one HTML page."""
    # The page works offline, because it contains its images. It has a dark and a print style.
    shown, accuracies = report.shown, report.shown.accuracies()
    rows = {kind: [r for r in accuracies.rows if r.kind == kind] for kind in ("class", "group")}
    changed = sorted(rows["group"] + rows["class"], key=_change)
    answer = report.answer or _of_two_models(accuracies, report.label)
    was_right, is_right = shown.before == shown.y, shown.after == shown.y
    keys = ("average", "worst_class", "worst_group", "named")
    shares = [cost[key] for cost in report.accuracy_costs for key in keys]
    Z = np.empty((1, 0)) if report.neurons is None else report.neurons.Z
    n_suppressed = 0 if report.neurons is None else int(report.neurons.suppressed.sum())
    drawn = np.random.default_rng(report.seed)
    samples = list[dict[str, Any]]()
    changes = {"error{} fixed": ~was_right & is_right, "new error{}": was_right & ~is_right}
    for what, which in changes.items():
        of = np.flatnonzero(which)
        some = np.sort(drawn.choice(of, min(len(of), _CHANGED), replace=False))
        title = f"{len(of)} {what.format('s' * (len(of) != 1))}"
        samples.append({"title": title, "cards": shown.cards(some)})
    return offline_page(
        "report",
        report=report,
        answer=answer,
        first=[each for each in answer.groups if each.first],
        n_shown=(_FEWEST_SHOWN, _SHOWN_GROUPS),
        samples=samples,
        n_drawn=_CHANGED,
        summary={row.name: row for row in accuracies.rows if row.kind == "summary"},
        worst_before={row.name: row.which for row in (accuracies.before or accuracies).rows},
        classes=sorted(rows["class"], key=_change),
        groups=sorted(rows["group"], key=_change),
        n_unknown=accuracies.n_unknown,
        shown_classes=_SHOWN_CLASSES,
        worse=[row for row in changed if row.change_interval and row.change_interval[1] < 0],
        verdict=outcome(accuracies, report.label),
        controls=_controls(report.candidates),
        of_neurons=report.neurons,
        neurons=neuron_cards(report.neurons, _SUPPRESSED, _SAMPLES) if n_suppressed else [],
        few_errors=_FEW_ERRORS,
        curve=_curve(report.neurons) if n_suppressed else None,
        lowest=min([0.9, *(float(np.floor(10 * a) / 10) for a in shares if a is not None)]),
        n_suppressed=n_suppressed,
        n_neurons=Z.shape[1],
        n_non_constant=int(non_constant_neurons(Z).sum()),
    )


def _of_two_models(accuracies: GroupReport, label: str | None) -> Conclusion:
    """The answer of two models without a repair: by groups, or by classes without groups."""
    kind = "group" if accuracies.grouped else "class"
    rows = [row for row in accuracies.rows if row.kind == kind]
    groups = Groups("Groups" if accuracies.grouped else "Classes", rows)
    question = "Is the second model better than the first on these samples?"
    return Conclusion(question, outcome(accuracies, label), groups=[groups])


def outcome(accuracies: GroupReport, label: str | None = None) -> str:
    """Sentences on the accuracies of the worst group and the average, before and after."""
    worst, average = accuracies.worst_group, accuracies.summary("average")
    low, high = worst.change_interval or (0.0, 0.0)
    verb = "rises" if low > 0 else "falls" if high < 0 else "does not change significantly,"
    name = str(worst.name).replace(" ", "-")
    was, now, average_was, average_now = map(
        page_percent,
        (worst.before, worst.value, average.before, average.value),
    )
    n_before, n = (accuracies.before or accuracies).worst_group.n, worst.n
    of_before = f" of {n_before}" * (n_before != n)
    name = name.capitalize() if label is None else f"Label {label!r}: {name}"
    return (
        f"{name} accuracy {verb} from {was}{of_before} to {now} of {counted(n, 'sample')}. "
        f"The average changes from {average_was} to {average_now}."
    )


def _controls(candidates: Sequence[Mapping[str, Any]]) -> str:
    """Sentence that compares the chosen candidate with the controls; empty without candidates."""
    written = [row for row in candidates if row["chosen"]]
    if not written:
        return ""
    key = "worst_class" if written[0]["worst_group"] is None else "worst_group"
    controls = {"The chosen head": written[0]}
    balanced = [r for r in candidates if r["name"].startswith("class-balanced") and not r["chosen"]]
    if balanced:
        best = max(balanced, key=lambda row: float(row[key]))
        controls["the best class-balanced head"] = best
    rows = list[tuple[str, Mapping[str, Any]]]()
    for what, row in controls.items():
        share = float(row.get("share", 1))
        how = "" if share == 1 else f", interpolated at {100 * share:.0f} %"
        rows.append((f"{what} ({row['name']}{how})", row))
    rows += [(row["name"], row) for row in candidates if row["name"].startswith("random mask")]
    accuracies = "; ".join(f"{name}: {page_percent(row[key])}" for name, row in rows)
    return f"{key.replace('_', '-').capitalize()} accuracy and controls. {accuracies}."


def neuron_cards(of: Neurons | None, n_neurons: int, n_samples: int) -> list[dict[str, Any]]:
    """The suppressed neurons with the highest scores."""
    if of is None or np.isnan(of.scores).all():
        return []
    known = np.where(np.isnan(of.scores), -np.inf, of.scores)
    severity = np.where(of.suppressed, known.max(axis=0), -np.inf)
    chosen = np.argsort(-severity, kind="stable")[:n_neurons]
    return [
        _neuron_card(of, int(j), known[:, j], n_samples) for j in chosen if np.isfinite(severity[j])
    ]


def _neuron_card(of: Neurons, neuron: int, scores: Array, n_samples: int) -> dict[str, Any]:
    """Strongest samples of a neuron, and its activations on right and wrong samples."""
    on, of_class = of.on, of.classes[scores.argmax()]
    activation = np.asarray(of.Z[:, neuron], dtype=float)
    order = np.argsort(-activation, kind="stable")
    strongest = order[:_STRONGEST]
    labels, counts = np.unique(on.y[strongest], return_counts=True)
    in_class, was_right = on.y == of_class, on.before == on.y
    low, high = float(activation[in_class].min()), float(activation[in_class].max())
    edges = np.linspace(low, high if high > low else low + 1, _BINS + 1)
    (of_strongest,) = compare([~was_right], [("slice", "strongest", strongest)])
    parts = [in_class & was_right, in_class & ~was_right]
    densities = [np.histogram(activation[part], edges)[0] / max(1, part.sum()) for part in parts]
    top = max(float(d.max()) for d in densities) or 1.0
    right, wrong = ((d / top).tolist() for d in densities)
    return {
        "pairs": _pairs(of.moved, activation, neuron),
        "neuron": neuron,
        "score": float(scores.max()),
        "of_class": of_class,
        "n_wrong": int(parts[1].sum()),
        "samples": on.cards(order[:n_samples]),
        "n_strongest": len(strongest),
        "mostly": labels[counts.argmax()],
        "share_mostly": float(counts.max() / len(strongest)),
        "share_wrong": of_strongest.value,
        "in_common": on.in_common(strongest),
        "right": right,
        "wrong": wrong,
        "low": low,
        "high": high,
    }


def _pairs(moved: Moved | None, activation: Array, neuron: int) -> list[dict[str, Any]]:
    """Originals and copies with the most different activations, and these activations."""
    if moved is None:
        return []
    before, after = activation[moved.of], np.asarray(moved.Z[:, neuron], dtype=float)
    rows = np.argsort(-np.abs(after - before), kind="stable")[:_PAIRS]
    cards = zip(moved.originals.cards(moved.of[rows]), moved.copies.cards(rows), strict=True)
    return [
        {"original": one, "changed": other, "before": before[row], "after": after[row]}
        for row, (one, other) in zip(rows, cards, strict=True)
    ]


def _change(row: Row) -> float:
    return row.change if row.change is not None and row.n else np.inf


def _curve(of: Neurons | None) -> dict[str, Any] | None:
    """Largest score of every neuron, sorted, as points of a plot 100 wide and 40 high."""
    if of is None or np.isnan(of.scores).all():
        return None
    severity = np.where(np.isnan(of.scores), -np.inf, of.scores).max(axis=0)
    order = np.argsort(-severity, kind="stable")
    values, suppressed = severity[order], of.suppressed[order]
    low, high = float(min(values.min(), 0.0)), float(max(values.max(), 0.0))
    span = (high - low) or 1.0

    def y(value: float) -> float:
        return 40 * (high - value) / span

    picked = np.unique(np.linspace(0, len(values) - 1, _CURVE).astype(int))
    x = 100 * (picked + 0.5) / len(values)
    threshold = of.threshold
    inside = threshold is not None and low <= threshold <= high
    return {
        "points": [(float(a), y(float(v))) for a, v in zip(x, values[picked], strict=True)],
        "marks": [float(100 * (i + 0.5) / len(values)) for i in np.flatnonzero(suppressed)],
        "zero": y(0.0),
        "threshold": y(threshold) if inside and threshold is not None else None,
        "low": low,
        "high": high,
    }


def model_card(report: Report, usage: Usage) -> str:
    """A model card in Markdown, with the front matter of the Hugging Face Hub."""
    # The front matter has no licence, language or name of a data set, which ntkit does not know.
    accuracies = report.shown.accuracies()
    answer = report.answer or _of_two_models(accuracies, report.label)
    rows = [*accuracies.rows, *chain.from_iterable(each.rows for each in answer.groups)]
    parts = {(row.kind, str(row.name)): row for row in rows if row.kind != "summary" and row.n}
    return rendered(
        "card.md.jinja",
        report=report,
        usage=usage,
        answer=answer,
        neurons=report.neurons,
        table=_card_table(accuracies),
        grouped=accuracies.grouped,
        worse=[
            f"{row.kind} {markdown(row.name)} ({100 * _change(row):+.1f} points)"
            for row in parts.values()
            if row.change_interval and row.change_interval[1] < 0
        ],
    )


def _card_table(accuracies: GroupReport) -> str:
    """The table of accuracies; with many classes, the summaries and the largest losses."""
    rows, shown, left_out = accuracies.rows, [*range(len(accuracies.rows))], ""
    if len(rows) > _MOST_CARD_ROWS:
        others = [at for at in shown if rows[at].kind != "class"]
        losses = [at for at in shown if rows[at].kind == "class" and rows[at].n]
        losses.sort(key=lambda at: rows[at].change or 0.0)
        shown = [*losses[: max(0, _MOST_CARD_ROWS - len(others))], *others]
        left_out = f"\n\n{len(rows) - len(shown)} classes with smaller losses are left out."
    before, rows = accuracies.before or accuracies, tuple(rows[at] for at in shown)
    before = replace(before, rows=tuple(before.rows[at] for at in shown))
    escaped = tuple(
        replace(row, name=markdown(row.name), which=row.which and markdown(row.which))
        for row in rows
    )
    return replace(accuracies, rows=escaped, before=before).table() + left_out
