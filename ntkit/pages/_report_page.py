"""Report page: tables, neurons and samples of a repair."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from ntkit._types import Array
from ntkit.exceptions import InputError
from ntkit.metrics import GroupReport, ReportRow, group_report
from ntkit.pages._looks import Picture, TableRows, picture_of
from ntkit.pages._offline import offline_page
from ntkit.spuriousness import non_constant_neurons

_BINS = 24
_STRONGEST = 50  # samples that say what a neuron responds to


@dataclass(frozen=True)
class SampleCard:
    """One sample: how it looks, its class, and what was predicted."""

    picture: Picture
    label: Any
    before: Any
    after: Any
    name: str

    @property
    def was_right(self) -> bool:
        """Whether the original model got it right."""
        return bool(self.before == self.label)

    @property
    def is_right(self) -> bool:
        """Whether the model written gets it right."""
        return bool(self.after == self.label)


@dataclass(frozen=True)
class NeuronCard:
    """One neuron."""

    neuron: int
    score: float
    of_class: Any
    n_wrong: int
    suppressed: bool
    samples: tuple[SampleCard, ...]
    n_strongest: int
    mostly: Any
    share_mostly: float
    share_wrong: float
    in_common: str
    right: tuple[float, ...]
    wrong: tuple[float, ...]
    low: float
    high: float


def sample_cards(
    rows: Array, y: Array, before: Array, after: Array, picture: Callable[[int], Picture], ids: Any
) -> tuple[SampleCard, ...]:
    """Cards of some samples."""
    return tuple(
        SampleCard(
            picture(int(i)),
            y[i],
            before[i],
            after[i],
            f"sample {i}" if ids is None else str(ids[i]),
        )
        for i in rows
    )


def neuron_cards(
    Z: Array,
    y: Array,
    before: Array,
    after: Array,
    *,
    scores: Array,
    classes: Array,
    suppressed: Array,
    n_neurons: int,
    n_samples: int,
    picture: Callable[[int], Picture],
    in_common: Callable[[Array], str] = lambda rows: "",
    ids: Any = None,
) -> tuple[NeuronCard, ...]:
    """Cards of the neurons with the highest scores, of the silenced ones where there are any."""
    if np.isnan(scores).all():
        return ()
    known = np.where(np.isnan(scores), -np.inf, scores)
    severity = np.where(suppressed | ~suppressed.any(), known.max(axis=0), -np.inf)
    chosen = np.argsort(-severity, kind="stable")[:n_neurons]
    return tuple(
        _card(
            int(j),
            np.asarray(Z[:, j], dtype=float),
            y,
            before,
            after,
            float(severity[j]),
            classes[known[:, j].argmax()],
            bool(suppressed[j]),
            n_samples,
            picture,
            in_common,
            ids,
        )
        for j in chosen
        if np.isfinite(severity[j])
    )


def _card(
    neuron: int,
    activation: Array,
    y: Array,
    before: Array,
    after: Array,
    score: float,
    of_class: Any,
    suppressed: bool,
    n_samples: int,
    picture: Callable[[int], Picture],
    in_common: Callable[[Array], str],
    ids: Any,
) -> NeuronCard:
    order = np.argsort(-activation, kind="stable")
    strongest = order[:_STRONGEST]
    labels, counts = np.unique(y[strongest], return_counts=True)
    own = y == of_class
    low, high = float(activation[own].min()), float(activation[own].max())
    edges = np.linspace(low, high if high > low else low + 1, _BINS + 1)
    sides = [own & (before == y), own & (before != y)]
    densities = [np.histogram(activation[side], edges)[0] / max(1, side.sum()) for side in sides]
    top = max(float(d.max()) for d in densities) or 1.0
    right, wrong = (tuple((d / top).tolist()) for d in densities)
    return NeuronCard(
        neuron=neuron,
        score=score,
        of_class=of_class,
        n_wrong=int(sides[1].sum()),
        suppressed=suppressed,
        samples=sample_cards(order[:n_samples], y, before, after, picture, ids),
        n_strongest=len(strongest),
        mostly=labels[counts.argmax()],
        share_mostly=float(counts.max() / len(strongest)),
        share_wrong=float((before != y)[strongest].mean()),
        in_common=in_common(strongest),
        right=right,
        wrong=wrong,
        low=low,
        high=high,
    )


_CURVE = 400  # points of a picture
_SHOWN_CLASSES = 12
_LOST = 12  # samples shown
_SUSPECTS = 6  # neurons shown where none was silenced
_FEW_ERRORS = 10  # misclassified samples: their median is noise


@dataclass(frozen=True)
class Shown:
    """Samples with two predictions."""

    y: Array
    before: Array
    after: Array
    groups: Array | None = None
    X: Any = None
    ids: Any = None

    def __post_init__(self) -> None:
        if not len(self.y) == len(self.before) == len(self.after):
            raise InputError(
                f"There are {len(self.y)} labels, {len(self.before)} predictions before and "
                f"{len(self.after)} after; give one of each for every sample."
            )

    def figures(self) -> GroupReport:
        """Accuracies before and after, with intervals."""
        return group_report(self.y, self.after, groups=self.groups, y_pred_before=self.before)


@dataclass(frozen=True)
class Report:
    """What a report shows."""

    title: str
    sentences: Sequence[str]
    asked: Mapping[str, str]
    candidates: Sequence[Mapping[str, Any]]
    evaluated_on: str
    candidates_on: str
    shown: Shown
    Z: Array
    neurons_on: Shown
    scores: Array
    scores_of: str
    classes: Array
    suppressed: Array
    threshold: float | None
    facts: Mapping[str, str]
    headline: str = ""
    accuracy_costs: Sequence[Mapping[str, Any]] = ()
    price_taken: Mapping[str, Any] | None = None
    commands: Sequence[str] = field(default_factory=tuple)


def report_html(report: Report, *, n_neurons: int = 24, n_samples: int = 6) -> str:
    """Write a report as one self-contained page."""
    # It opens offline and asks for nothing from outside: pictures are inside, in light and dark,
    # and it prints.
    shown, figures = report.shown, report.shown.figures()
    rows = {kind: [r for r in figures.rows if r.kind == kind] for kind in ("class", "group")}
    was_right, is_right = shown.before == shown.y, shown.after == shown.y
    lost, won = np.flatnonzero(was_right & ~is_right), np.flatnonzero(~was_right & is_right)
    return offline_page(
        "report",
        filters={"percent": _percent, "signed": _signed, "path": _svg_path},
        report=report,
        summary={row.label: row for row in figures.rows if row.kind == "summary"},
        worst_before={
            kind: min(some, key=lambda r: r.accuracy_before or 0.0).label
            for kind, found in rows.items()
            if (some := [row for row in found if row.count])
        },
        classes=sorted(rows["class"], key=_change),
        groups=sorted(rows["group"], key=_change),
        shown_classes=_SHOWN_CLASSES,
        worse=sorted(filter(_clearly_worse, rows["group"] + rows["class"]), key=_change),
        verdict=outcome(figures),
        beside=_beside(report.candidates),
        n_lost=len(lost),
        n_won=len(won),
        lost=sample_cards(lost[:_LOST], shown.y, shown.before, shown.after, *_looks(shown)),
        neurons=_neurons(
            report, n_neurons if report.suppressed.any() else min(n_neurons, _SUSPECTS), n_samples
        ),
        few_errors=_FEW_ERRORS,
        curve=_curve(report),
        dial_low=_floor(report.accuracy_costs),
        n_suppressed=int(report.suppressed.sum()),
        n_neurons=report.Z.shape[1],
        n_non_constant=int(non_constant_neurons(report.Z).sum()),
    )


def outcome(figures: GroupReport) -> str:
    """Say in one sentence what became of the worst group and of the average."""
    worst, average = figures.worst_group, figures.summary("average")
    low, high = worst.change_interval or (0.0, 0.0)
    verb = "rises" if low > 0 else "falls" if high < 0 else "does not clearly change,"
    name = str(worst.label).replace(" ", "-")
    return (
        f"{name.capitalize()} accuracy {verb} from {_percent(worst.accuracy_before)} to "
        f"{_percent(worst.accuracy)}; the average goes from {_percent(average.accuracy_before)} to "
        f"{_percent(average.accuracy)}."
    )


def _beside(candidates: Sequence[Mapping[str, Any]]) -> str:
    """Say how the chosen candidate stands beside the controls; empty without candidates."""
    written = [row for row in candidates if row["chosen"]]
    if not written:
        return ""
    key = "worst_class" if written[0]["worst_group"] is None else "worst_group"
    controls = {"The head chosen": written[0]}
    balanced = [r for r in candidates if r["name"].startswith("class-balanced") and not r["chosen"]]
    if balanced:
        best = max(balanced, key=lambda row: float(row[key]))
        controls["the best that only balances the classes"] = best
    said = [f"{what} ({row['name']}): {_percent(row[key])}" for what, row in controls.items()]
    random = [row for row in candidates if row["name"].startswith("random mask")]
    said += [f"{row['name']}: {_percent(row[key])}" for row in random]
    return f"{key.replace('_', '-').capitalize()} accuracy beside its controls. {'; '.join(said)}."


def _neurons(report: Report, n_neurons: int, n_samples: int) -> tuple[NeuronCard, ...]:
    on = report.neurons_on
    picture, ids = _looks(on)
    return neuron_cards(
        report.Z,
        on.y,
        on.before,
        on.after,
        scores=report.scores,
        classes=report.classes,
        suppressed=report.suppressed,
        n_neurons=n_neurons,
        n_samples=n_samples,
        picture=picture,
        in_common=on.X.in_common if isinstance(on.X, TableRows) else lambda rows: "",
        ids=ids,
    )


def _looks(shown: Shown) -> tuple[Callable[[int], Picture], Any]:
    return partial(picture_of, shown.X), shown.ids


def _change(row: ReportRow) -> float:
    return row.change if row.change is not None and row.count else np.inf


def _clearly_worse(row: ReportRow) -> bool:
    return row.change_interval is not None and row.change_interval[1] < 0


def _floor(accuracy_costs: Sequence[Mapping[str, Any]]) -> float:
    """Lowest accuracy of the dial, rounded down to a tenth; below 1."""
    shown = [p[key] for p in accuracy_costs for key in ("average", "worst_class", "worst_group")]
    return min([0.9, *(float(np.floor(10 * a) / 10) for a in shown if a is not None)])


def _curve(report: Report) -> dict[str, Any] | None:
    """Largest score of every neuron, sorted, as points of a picture 100 wide and 40 high."""
    if np.isnan(report.scores).all():
        return None
    severity = np.where(np.isnan(report.scores), -np.inf, report.scores).max(axis=0)
    order = np.argsort(-severity, kind="stable")
    values, suppressed = severity[order], report.suppressed[order]
    low, high = float(min(values.min(), 0.0)), float(max(values.max(), 0.0))
    span = (high - low) or 1.0

    def y(value: float) -> float:
        return 40 * (high - value) / span

    picked = np.unique(np.linspace(0, len(values) - 1, _CURVE).astype(int))
    x = 100 * (picked + 0.5) / len(values)
    inside = report.threshold is not None and low <= report.threshold <= high
    return {
        "points": [(float(a), y(float(v))) for a, v in zip(x, values[picked], strict=True)],
        "marks": [float(100 * (i + 0.5) / len(values)) for i in np.flatnonzero(suppressed)],
        "zero": y(0.0),
        "threshold": y(float(report.threshold)) if inside else None,  # type: ignore[arg-type]
        "low": low,
        "high": high,
    }


def _percent(value: float | None) -> str:
    return "–" if value is None or np.isnan(value) else f"{100 * value:.1f}\N{NO-BREAK SPACE}%"


def _signed(value: float | None) -> str:
    return "–" if value is None or np.isnan(value) else f"{100 * value:+.1f}".replace("-", "−")


def _svg_path(heights: Sequence[float], width: float, height: float) -> str:
    """An outline of bars, as the d of an SVG path that begins and ends on the ground."""
    step = width / len(heights)
    points = [(0.0, height)]
    for i, value in enumerate(heights):
        top = height * (1 - value)
        points += [(i * step, top), ((i + 1) * step, top)]
    points.append((width, height))
    return "M" + " L".join(f"{x:.2f} {y:.2f}" for x, y in points)
