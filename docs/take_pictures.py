"""Take the screenshots of the documentation: ``python docs/take_pictures.py``.

It needs Chromium. It repairs the model of ``ntkit demo``, with names for classes and groups, and
takes images of the pages that this writes: ``audit.png``, ``label.png``, ``report.png``, and
``repair.png``, which shows a finding next to its groups before and after the repair. In the browser
it would show ``steps.png``. Each image keeps lines that its readers must find in the text next to
it, and a test compares them.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import chdir
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
from PIL import Image, ImageChops
from PIL.PngImagePlugin import PngInfo

from ntkit import DebiasSettings, FrozenModel, debias
from ntkit._text import percent
from ntkit.datasets import load_scanned_digits
from ntkit.jobs.debias import DebiasResult, Step
from ntkit.jobs.label import label_samples
from ntkit.pages.window_page import steps_html

STATIC = Path(__file__).resolve().parent / "_static"
CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
HEIGHT = 3000  # more than any part needs; empty rows below are cut off
WIDTH, SCALE = 720, 1.5  # of a page in CSS pixels, and pixels of the image for each
HALF, GAP, ZOOM = 430, 16, 1.25  # of repair.png: width of a half, gap between them, scale
EDGE = 12  # CSS pixels above and below a part
MODEL = "classifier.onnx"
QUESTION = "Is there a bright border?"
COLORS = "#8c959f", "#0072b2"  # of bars before and after, as on the report
YES = 'aria-pressed="true"'
VOID = {"meta", "img", "line", "path", "polyline", "input", "br", "hr", "circle", "rect"}
SHORT = """
body { background: #fff; } main { padding: 0 !important; } .card { border: 1px solid #d0d7de;
  border-radius: .8rem; background: #f6f8fa; padding: 1rem 1.1rem; min-height: var(--height, 0); }
.step { margin: 0 0 .3rem; color: #57606a; font-weight: 600; }
h2 { font-size: 1.25rem !important; line-height: 1.3; margin: 0 0 .6rem !important; }
.bars { grid-template-columns: 1fr !important; margin: 0 0 .6rem; }
.bars svg { height: 1rem; order: 1; } .bars > div { display: grid !important; gap: .1rem; }
.all { margin: .8rem 0 0 !important; } .sides { gap: .8rem; margin: .4rem 0 1rem !important;
  grid-template-columns: 1fr 1fr !important; } .sides > div > p { display: none; }
.sides h3 { font-size: .9rem; font-weight: 400; min-height: 4.5em; line-height: 1.4; }
.examples li:nth-child(n+3), .answers kbd, .answers span { font-size: 0; }
.examples li:nth-child(n+3) { display: none; } .answers b { font-size: 1rem; }
.examples { grid-template-columns: 1fr 1fr !important; } figcaption { font-size: .8rem; }
.answers { grid-template-columns: 3fr 3fr 4fr !important; }
.answers button { min-height: 0; padding: .5rem .6rem; align-items: center; }
.group { margin: 0 0 1rem; } main p { margin: .3rem 0; }
.group p { margin: 0 0 .2rem; font-weight: 600; }
.group div { display: grid; grid-template-columns: 3.6rem 1fr 4.2rem; align-items: center;
  gap: .6rem; line-height: 1.5; } .group svg { height: 1rem; width: 100%; display: block; }
.group span { color: #57606a; font-size: .9rem; } .group b { text-align: right; }
"""


class Parts(HTMLParser):
    """Finds where elements start and end in a page."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=False)
        self.page = page
        self._lines = [0]
        for line in page.split("\n"):
            self._lines.append(self._lines[-1] + len(line) + 1)
        self._open = list[tuple[str, dict[str, str | None], int]]()
        self._found = list[tuple[str, dict[str, str | None], int, int]]()
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Remember where an element starts."""
        if tag not in VOID:
            self._open.append((tag, dict(attrs), self._at()))

    def handle_endtag(self, tag: str) -> None:
        """Note the element that ends here."""
        if tag not in VOID:
            name, attributes, start = self._open.pop()
            assert name == tag
            end = self.page.index(">", self._at()) + 1
            self._found.append((name, attributes, start, end))

    def _at(self) -> int:
        line, column = self.getpos()
        return self._lines[line - 1] + column

    def places(self, **wanted: str) -> list[tuple[int, int]]:
        """Start and end of each element with these attributes, in the order of the page."""
        wanted = {name.strip("_").replace("_", "-"): value for name, value in wanted.items()}
        return sorted(
            (start, end)
            for _, attributes, start, end in self._found
            if all(value in (attributes.get(name) or "").split() for name, value in wanted.items())
        )

    def texts(self, **wanted: str) -> list[str]:
        """The elements themselves."""
        return [self.page[start:end] for start, end in self.places(**wanted)]


def words_of(element: str) -> str:
    """The text of an element."""
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", element)).split())


def style_of(page: str) -> str:
    """The style sheet of a page."""
    (style,) = re.findall(r"<style>(.*?)</style>", page, flags=re.DOTALL)
    return str(style)


def taken(
    page: str, width: int, folder: Path, *, height: int | None = None, scale: float = SCALE
) -> Image.Image:
    """A page as Chromium shows it, down to its end or to a height."""
    program = next(path for name in CHROMIUM if (path := shutil.which(name)))
    source, target = folder / "page.html", folder / "page.png"
    source.write_text(page, encoding="utf-8")
    flags = ["--headless=new", "--no-sandbox", "--hide-scrollbars", "--disable-gpu"]
    flags += [f"--force-device-scale-factor={scale}", "--virtual-time-budget=2000"]
    # A window is at least 500 pixels wide, so the page stands in a frame.
    frame = folder / "frame.html"
    size = f"width: {width}px; height: {height or HEIGHT}px; border: 0; display: block"
    frame.write_text(f'<body style="margin: 0"><iframe src="page.html" style="{size}"></iframe>')
    flags += [f"--window-size={max(width, 500)},{HEIGHT + 200}"]
    subprocess.run(
        [program, *flags, f"--screenshot={target}", frame.as_uri()],
        check=True,
        stderr=subprocess.DEVNULL,
    )
    with Image.open(target) as image:
        whole = image.convert("RGB").crop((0, 0, round(width * scale), round(HEIGHT * scale)))
    if height is not None:
        return whole.crop((0, 0, whole.width, round(height * scale)))
    empty = Image.new("RGB", whole.size, whole.getpixel((0, whole.height - 1)))
    box = ImageChops.difference(whole, empty).getbbox()
    assert box is not None
    edge = round(EDGE * scale)
    return whole.crop((0, max(0, box[1] - edge), whole.width, box[3] + edge))


def save(image: Image.Image, name: str, lines: Sequence[str]) -> None:
    """Write an image, and the lines that the text next to it quotes."""
    note = PngInfo()
    note.add_itxt("Description", "\n".join(lines))
    small = image.quantize(256, kmeans=3, dither=Image.Dither.NONE)
    small.save(STATIC / name, optimize=True, pnginfo=note)


def looked_at(steps: Sequence[Step]) -> int:
    """Write the page of the steps, and choose as ntkit does."""
    page = steps_html(MODEL, [step.as_dict() for step in steps])
    # Its script needs a run in the browser; it only moves the slider.
    page = re.sub("<script>.*?</script>", "", page, flags=re.DOTALL)
    number = next(n for n, step in enumerate(steps) if step.chosen)
    share = re.findall('data-share="(.*?)"', page)[number]
    Path("steps.html").write_text(page.replace("</output>", f"{share}</output>"), "utf-8")
    return number


def repaired() -> DebiasResult:
    """The repair of the demo, with names for its classes and groups; it writes all pages."""
    digits = load_scanned_digits()
    classes = np.array([name.replace("-", "–") for name in digits.target_names])
    groups = np.array([name.replace("-", "–") for name in digits.group_names])
    result = debias(
        FrozenModel.load(MODEL, classes=[*classes]),
        (digits.X_train, classes[digits.y_train]),
        (digits.X_validation, classes[digits.y_validation]),
        test=(digits.X_test, classes[digits.y_test], groups[digits.groups_test]),
        ask=lambda audit, findings: audit.answers(findings[0].name).answers,
        device="cpu",
        out="repaired",
        settings=DebiasSettings(review=looked_at),
    )
    assert isinstance(result, DebiasResult)
    assert result.written
    label_samples(
        MODEL,
        (digits.X_train, digits.y_train),
        "labels",
        question=QUESTION,
        device="cpu",
    )
    return result


def audit_page(page: str) -> tuple[str, str]:
    """The first finding of an audit's page, and its question."""
    parts = Parts(page)
    finding = parts.texts(class_="finding")[0]
    (start, end), *_ = parts.places(class_="finding")
    main = page.index("<main")
    open_main = page[main : page.index(">", main) + 1]
    question = words_of(re.findall(r"<legend>.*?</legend>", finding, re.DOTALL)[0])
    assert start < end
    folded = re.sub(r"<details.*?</details>", "", finding, flags=re.DOTALL)
    return f"{page[:main]}{open_main}{folded}</main></body></html>", question


def report_page(page: str) -> str:
    """A report down to its details."""
    (start, _), *_ = Parts(page).places(id="details")
    return f"{page[:start]}</main></body></html>"


def rows_of(report: str) -> list[list[str]]:
    """Cells of the groups of a report: name, samples, accuracy before and after, and more."""
    table = Parts(report).texts(data_rows="group")[0]
    rows = re.findall(r"<tr><td>.*?</tr>", table, flags=re.DOTALL)
    return [[words_of(cell) for cell in re.findall(r"<td.*?</td>", row, re.DOTALL)] for row in rows]


def bars(row: Sequence[str]) -> str:
    """Two bars of a group: its accuracy before and after."""
    name, _, *accuracies = row[:4]
    text = f'<div class="group"><p>{name}</p>'
    for when, color, accuracy in zip(("before", "after"), COLORS, accuracies, strict=True):
        share = float(re.findall(r"[\d.]+", accuracy)[0])
        track = '<rect class="track" width="100%" height="100%" rx="4" fill="#d4dae0"/>'
        value = f'<rect width="{share}%" height="100%" rx="4" fill="{color}"/>'
        text += f"<div><span>{when}</span><svg>{track}{value}</svg><b>{accuracy}</b></div>"
    return f"{text}</div>"


def halves(audit: str, report: str, average: Sequence[str], folder: Path) -> Image.Image:
    """A finding next to its groups before and after the repair."""
    finding = Parts(audit)
    section = Parts(finding.texts(class_="finding")[0])
    question = words_of(re.findall(r"<legend>.*?</legend>", section.page, re.DOTALL)[0])
    label = re.findall("“.+?”", words_of(section.texts(class_="all")[0]))[0]
    left = [
        '<p class="step">1. ntkit asks about a finding</p>',
        f"<h2>{question}</h2>",
        f"<p>Share of {label} that the model gets right:</p>",
        section.texts(class_="bars")[0],
        section.texts(class_="all")[0],
        section.texts(class_="sides")[0],
        section.texts(class_="answers")[0].replace('aria-pressed="false"', YES, 1),
    ]
    right = [
        '<p class="step">2. After a <i>yes</i>, ntkit repairs the model</p>',
        "<h2>Accuracy on the test set</h2>",
        *map(bars, rows_of(report)),
        bars(["all samples", "", *average]),
    ]
    shots = []
    for page, half in ((audit, left), (report, right)):
        style = style_of(page).replace("prefers-color-scheme: dark", "prefers-color-scheme: none")
        shots.append((style + SHORT, half))
    heights = [0, 0]
    for again in (False, True):  # the second time both cards are as high as the higher one
        images = []
        for i, (style, half) in enumerate(shots):
            height = max(heights) if again else 0
            card = f'<div class="card" style="--height: {height}px">{"".join(half)}</div>'
            head = f'<!doctype html><meta charset="utf-8"><style>{style}</style>'
            text = f"{head}<body><main>{card}</main></body>"
            images.append(taken(text, HALF, folder, scale=ZOOM))
            heights[i] = round(images[i].height / ZOOM) - EDGE
    gap = round(GAP * ZOOM)
    size = sum(image.width for image in images) + gap, max(image.height for image in images)
    both = Image.new("RGB", size, "white")
    for i, image in enumerate(images):
        both.paste(image, (i * (images[0].width + gap), 0))
    return both


def main() -> None:
    """Take all images."""
    with tempfile.TemporaryDirectory() as temporary, chdir(temporary):  # paths on pages are short
        folder = Path(temporary)
        shutil.copy(load_scanned_digits().model_path, MODEL)
        result = repaired()
        audit = (folder / "repaired" / "audit.html").read_text("utf-8")
        report = (folder / "repaired" / "report.html").read_text("utf-8")
        label = (folder / "labels" / "label.html").read_text("utf-8")
        steps = (folder / "steps.html").read_text("utf-8")
        old, new = result.candidates[0], result.chosen
        assert old.worst_group is not None
        assert new.worst_group is not None
        # The text names the worst group between its accuracies.
        average = f"{100 * old.average:.1f} → {percent(new.average)}"
        numbers = [f"{100 * old.worst_group:.1f} (", f"→ {percent(new.worst_group)} (", average]
        finding, question = audit_page(audit)
        save(taken(finding, WIDTH, folder), "audit.png", [question])
        save(taken(report_page(report), WIDTH, folder), "report.png", numbers)
        save(taken(label, WIDTH, folder, height=640), "label.png", [QUESTION])
        save(taken(steps, WIDTH, folder), "steps.png", [])
        of_all = [percent(old.average), percent(new.average)]
        save(halves(audit, report, of_all, folder), "repair.png", numbers)


if __name__ == "__main__":
    main()
