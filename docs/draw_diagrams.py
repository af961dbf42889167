"""Draw the diagrams of the documentation: ``python docs/draw_diagrams.py``.

It writes three SVG files to ``docs/_static``: how the data sets are used (``data_flow.svg``), which
command a reader needs (``commands.svg``), and how ``ntkit check`` decides
(``check_intervals.svg``). The last one shows the results of a real check, which takes a minute.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from html import escape, unescape
from pathlib import Path
from typing import TypedDict

STATIC = Path(__file__).parent / "_static"
INK, SOFT, LINE, PAPER = "#1b1f24", "#57606a", "#c4ccd4", "#ffffff"
BLUE, ORANGE, GREEN = "#0072b2", "#b3400b", "#00694b"  # train, validation, test
TINTS = {BLUE: "#eaf3fa", ORANGE: "#fdf0e8", GREEN: "#e8f5f0", SOFT: "#f3f5f7"}
SANS = "system-ui, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
MONO = "ui-monospace, 'Cascadia Mono', Menlo, Consolas, 'DejaVu Sans Mono', monospace"
STYLE = (
    f"text {{ font: 15px {SANS}; fill: {INK} }} .code {{ font: 14px {MONO} }} "
    f".bold {{ font-weight: 600 }} .soft {{ fill: {SOFT}; font-size: 14px }} "
    ".middle { text-anchor: middle } .end { text-anchor: end }"
)


def document(size: tuple[int, int], title: str, description: str, parts: Sequence[str]) -> str:
    """An SVG with a light background, so that it is readable on a dark page as well."""
    width, height = size
    box = f'width="{width}" height="{height}" viewBox="0 0 {width} {height}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {box} role="img"'
    background = f'<rect width="{width}" height="{height}" rx="10" fill="{PAPER}"/>'
    lines = [
        f'{head} aria-labelledby="title" aria-describedby="desc">',
        f'<title id="title">{escape(title)}</title>',
        f'<desc id="desc">{escape(description)}</desc>',
        f"<style>{STYLE}</style>",
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" '
        f'markerHeight="8" orient="auto"><path d="M0 0 8 4 0 8z" fill="{SOFT}"/></marker></defs>',
        background,
        *parts,
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def words(x: float, y: float, text: str, style: str = "", fill: str = "") -> str:
    """A line of text."""
    more = f' class="{style}"' if style else ""
    more += f' style="fill: {fill}"' if fill else ""
    return f'<text x="{x:g}" y="{y:g}"{more}>{escape(text, quote=False)}</text>'


def box(
    x: float, y: float, width: float, title: str, lines: Sequence[str], color: str
) -> tuple[str, float]:
    """A box with a title and lines of text, and where it ends."""
    height = 36 + 20 * len(lines)
    shape = f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height}" rx="8"'
    parts = [f'{shape} fill="{TINTS[color]}" stroke="{color}" stroke-width="1.5"/>']
    middle = x + width / 2
    parts.append(words(middle, y + 24, title, "bold middle"))
    parts += [words(middle, y + 44 + 20 * i, line, "soft middle") for i, line in enumerate(lines)]
    return "\n".join(parts), y + height


def arrow(x0: float, y0: float, x1: float, y1: float, color: str = SOFT) -> str:
    """A straight arrow."""
    ends = f'x1="{x0:g}" y1="{y0:g}" x2="{x1:g}" y2="{y1:g}"'
    return f'<line {ends} stroke="{color}" stroke-width="1.5" marker-end="url(#tip)"/>'


def data_flow() -> str:
    """How ``ntkit debias`` uses the training, validation and test sets."""
    lane, gap, left = 182, 12, 12
    x = [left + i * (lane + gap) for i in range(3)]
    middle = [start + lane / 2 for start in x]
    two, whole = 2 * lane + gap, 3 * lane + 2 * gap
    sets = (
        ("Training set", ["may be what the", "network was trained on"], BLUE),
        ("Validation set", ["samples the network", "was not trained on"], ORANGE),
        ("Test set (optional)", ["without it, the", "validation set serves"], GREEN),
    )
    boxes, bottom = [], 0.0
    for start, (title, lines, color) in zip(x, sets, strict=True):
        drawn, bottom = box(start, 16, lane, title, lines, color)
        boxes.append(drawn)
    top = bottom + 26
    lanes = [arrow(each, bottom, each, top - 2) for each in middle]
    drawn, bottom = box(x[0], top, whole, "Embeddings", ["The network stays as it is."], SOFT)
    boxes.append(drawn)
    judged = [
        "One half judges what",
        "the other half fitted.",
        "Not better? You keep",
        "the original.",
    ]
    fitted = ["last layers, fitted on the training set", "or on both sets"]
    steps = (
        (1, lane, "Find", ["What do the model’s", "errors depend on?", "You answer."], ORANGE),
        (0, two, "Fit candidates", fitted, BLUE),
        (1, lane, "Choose and judge", judged, ORANGE),
        (1, two, "Report", ["Accuracy of each group and class,", "before and after"], GREEN),
    )
    after, ends = bottom, []
    for column, width, title, lines, color in steps:
        top = bottom + 26
        drawn, bottom = box(x[column], top, width, title, lines, color)
        boxes.append(drawn)
        lanes.append(arrow(middle[1], top - 26, middle[1], top - 2))
        ends.append(top)
    lanes.append(arrow(middle[0], after, middle[0], ends[1] - 2))
    lanes.append(arrow(middle[2], after, middle[2], ends[3] - 2))
    place = f'x="{middle[2] - 70:g}" y="{ends[1] - 22:g}" width="140" height="52"'
    boxes.append(f'<rect {place} fill="{PAPER}"/>')
    note = enumerate(["Only the report", "reads the test set."])
    boxes += [words(middle[2], ends[1] + 20 * i, line, "soft middle") for i, line in note]
    description = (
        "All three sets become embeddings. The validation set shows what the errors depend on. "
        "Candidates are last layers that are fitted on the training set or on both sets. "
        "They are fitted again on each half of the validation set, and the other half judges them. "
        "If no head is better, you keep the original model. "
        "The test set enters the report only."
    )
    title = "How ntkit debias uses your data"
    return document((whole + 2 * left, round(bottom) + 16), title, description, [*lanes, *boxes])


QUESTIONS: tuple[tuple[str, tuple[tuple[str, tuple[str, ...]], ...]], ...] = (
    (
        "What do you know about the shortcut?",
        (
            ("I can name it.", ("ntkit debias --spurious word:film",)),
            ("A change must not matter.", ("ntkit debias --invariant image:border",)),
            ("I know it for some samples.", ("ntkit debias --groups groups.csv",)),
            (
                "I recognise it when I see it.",
                ("ntkit label --question TEXT", "ntkit debias --answers FILE"),
            ),
            (
                "I don’t know it.",
                ("ntkit audit", "answer on its page", "ntkit debias --answers FILE"),
            ),
        ),
    ),
    (
        "What if the model is not an ONNX network?",
        (
            ("I have predictions only.", ("ntkit audit --predictions FILE",)),
            (
                "I have a tree or linear model.",
                ("ntkit audit --predictions FILE", "check_predictions() in Python"),
            ),
        ),
    ),
    (
        "Does a new model replace an old one?",
        (("Block worse models in CI.", ("ntkit check OLD NEW DATA --max-drop 2",)),),
    ),
)


def commands() -> str:
    """Which command a reader needs, by what the reader knows."""
    parts, lines, y = [], [], 16.0
    for question, answers in QUESTIONS:
        parts.append(words(14, y + 20, question, "bold"))
        y += 34
        first = y
        for known, todo in answers:
            height = 12 + 22 * len(todo)
            centre = y + height / 2
            shape = f'<rect x="294" y="{y:g}" width="336" height="{height}" rx="8"'
            parts.append(f'{shape} fill="{TINTS[BLUE]}" stroke="{BLUE}"/>')
            lines.append(f'<path d="M20 {centre:g}H30" stroke="{LINE}" stroke-width="1.5"/>')
            parts.append(words(36, centre + 5, known))
            lines.append(arrow(262, centre, 290, centre))
            for i, line in enumerate(todo):
                style = "code" if line.startswith(("ntkit", "check")) else "soft"
                parts.append(words(304, y + 22 + 22 * i, line, style))
            y += height + 8
            last = centre
        lines.append(f'<path d="M20 {first - 6:g}V{last:g}" stroke="{LINE}" stroke-width="1.5"/>')
        y += 12
    told = (
        f"{question} {known} → {', then '.join(todo)}"
        for question, answers in QUESTIONS
        for known, todo in answers
    )
    return document((640, round(y)), "Which command do I need?", "; ".join(told), [*lines, *parts])


def commands_drawn(svg: str) -> list[str]:
    """The commands in a diagram."""
    return re.findall(r">(ntkit [^<]+)</text>", svg)


CANDIDATE, LIMIT = "neurontune-half", 5.0
OUTCOMES = {"pass": (GREEN, "pass"), "fail": (ORANGE, "fail"), "too few": (SOFT, "too few samples")}


class Change(TypedDict):
    """How the accuracy of some samples changes, in points, and how the check decides."""

    name: str
    n: int
    change: float
    interval: tuple[float, float]
    outcome: str


def checked_changes() -> list[Change]:
    """Results of a check of the demo's model and a repair that costs two groups accuracy."""
    from ntkit import DebiasSettings, check, debias
    from ntkit.datasets import load_marked_digits, marked_digits_model_path

    digits, old = load_marked_digits(), marked_digits_model_path()
    repaired = debias(
        old,
        (digits.X_train, digits.y_train),
        (digits.X_validation, digits.y_validation),
        method=CANDIDATE,
        settings=DebiasSettings(otherwise="new head"),
        device="cpu",
    )
    data = digits.X_test, digits.y_test, digits.groups_test
    result = check(old, repaired.model, data, limits={"max_drop": LIMIT}, device="cpu")
    names = {"group": digits.group_names, "class": [f"all {name}" for name in digits.target_names]}
    changes = list[Change]()
    for row in result.rows:
        (verdict,) = row.verdicts
        name = names[row.kind][int(row.name)] if row.kind in names else "all digits"
        value, high, low = (-round(100 * each, 1) for each in (verdict.value, *verdict.interval))
        changes.append(
            Change(
                name=name.replace("-", "–").replace("mark", "patch"),
                n=verdict.n,
                change=value,
                interval=(low, high),
                outcome=verdict.outcome,
            )
        )
    return changes


def check_intervals(changes: Sequence[Change]) -> str:
    """Intervals of a change of accuracy next to the limit."""
    left, right, row, top = 156, 468, 34, 90
    low = 10 * (min(each["interval"][0] for each in changes) // 10)
    high = -10 * (-max(each["interval"][1] for each in changes) // 10)

    def at(points: float) -> float:
        return round(left + (points - low) / (high - low) * (right - left), 1)

    bottom, limit = top + row * len(changes), at(-LIMIT)
    region = f'x="{left}" y="{top - 14}" width="{limit - left:g}" height="{bottom - top + 14}"'
    parts = [
        words(14, 32, f"Limit: no group may lose more than {LIMIT:g} points of accuracy.", "bold"),
        f'<rect {region} fill="{TINTS[ORANGE]}"/>',
    ]
    for points in range(round(low), round(high) + 1, 10):
        x, label = at(points), f"{points:+d}".replace("-", "−") if points else "0"
        parts.append(f'<path d="M{x} {top - 14}V{bottom}" stroke="{LINE}" stroke-width=".7"/>')
        parts.append(words(x, bottom + 20, label, "soft middle"))
    parts += [
        f'<path d="M{limit} {top - 14}V{bottom}" stroke="{ORANGE}" stroke-width="2"/>',
        words(limit, top - 22, f"limit −{LIMIT:g}", "middle", ORANGE),
        words((left + right) / 2, bottom + 44, "change of accuracy in points", "soft middle"),
    ]
    for i, each in enumerate(changes):
        y = top + row * i + row // 2 - 4
        color, verdict = OUTCOMES[each["outcome"]]
        start, end = map(at, each["interval"])
        parts += [
            words(left - 12, y + 5, each["name"], "end"),
            f'<path d="M{start} {y}H{end}M{start} {y - 6}v12M{end} {y - 6}v12" '
            f'stroke="{color}" stroke-width="3"/>',
            f'<circle cx="{at(each["change"])}" cy="{y}" r="5" fill="{color}"/>',
            words(right + 14, y + 5, verdict, "bold", color),
        ]
    parts.append(f"<metadata>{escape(json.dumps(changes, ensure_ascii=False))}</metadata>")
    told = (
        f"{each['name']}: {each['change']:+.1f} points ({each['interval'][0]:+.1f} to "
        f"{each['interval'][1]:+.1f}), {OUTCOMES[each['outcome']][1]}"
        for each in changes
    )
    title = f"ntkit check with a limit of {LIMIT:g} points on the demo’s model and {CANDIDATE}"
    return document((640, bottom + 60), title, "; ".join(told), parts)


def changes_drawn(svg: str) -> list[Change]:
    """The results in a diagram of intervals."""
    (text,) = re.findall(r"<metadata>(.*)</metadata>", svg)
    changes: list[Change] = json.loads(unescape(text))
    return changes


def drawn() -> Iterator[tuple[str, str]]:
    """Names of the files, and their text."""
    yield "data_flow.svg", data_flow()
    yield "commands.svg", commands()
    yield "check_intervals.svg", check_intervals(checked_changes())


if __name__ == "__main__":
    for file, svg in drawn():
        (STATIC / file).write_text(svg, encoding="utf-8")
