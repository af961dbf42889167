"""Take the README's pictures of pages: ``python docs/take_pictures.py``, with Chromium installed.

The pages are those of ``ntkit demo``, cut to what a picture can show. Each picture remembers the
first line of its page, which a test compares with the README.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image, ImageChops
from PIL.PngImagePlugin import PngInfo

PICTURES = Path(__file__).parent / "_static"
CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
HEIGHT = 4000  # more than any page needs; what is empty below is cut off


def taken(page: str, width: int, folder: Path) -> Image.Image:
    """What Chromium shows of a page."""
    program = next(path for name in CHROMIUM if (path := shutil.which(name)))
    source, target = folder / "page.html", folder / "page.png"
    source.write_text(page, encoding="utf-8")
    flags = ["--headless=new", "--no-sandbox", "--hide-scrollbars", "--disable-gpu"]
    flags += [f"--window-size={width},{HEIGHT}", f"--screenshot={target}", source.as_uri()]
    subprocess.run([program, *flags], check=True, stderr=subprocess.DEVNULL)
    with Image.open(target) as image:
        picture = image.convert("RGB")
    empty = Image.new("RGB", picture.size, picture.getpixel((0, HEIGHT - 1)))
    bottom = ImageChops.difference(picture, empty).getbbox()[3]
    return picture.crop((0, 0, width, bottom + 24))


def save(picture: Image.Image, name: str, says: str) -> None:
    """Write a picture, and the line of its page."""
    note = PngInfo()
    note.add_itxt("Description", says)
    small = picture.quantize(256, kmeans=3, dither=Image.Dither.NONE)
    small.save(PICTURES / name, optimize=True, pnginfo=note)


def main() -> None:
    """Run the demo, and take a picture of each of its pages."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        subprocess.run([sys.executable, "-m", "ntkit", "demo", "-o", folder / "out"], check=True)
        report = (folder / "out" / "report.html").read_text("utf-8")
        audit = (folder / "out" / "audit.html").read_text("utf-8")
        verdict = re.findall(r'<p class="verdict">(.*?)</p>', report)[0]
        first, rest = report.split("<h2>What was asked", 1)
        groups = re.findall(r"<h2>Who gained, who lost.*?(?=<h2>)", rest, re.DOTALL)[0]
        save(taken(f"{first}{groups}</main></body></html>", 960, folder), "report.png", verdict)
        head, finding, *_ = re.split(r'(?=<section class="finding")', audit)
        title = re.findall(r'id="title-1">(.*?)</h2>', finding)[0]
        finding = finding.split('<h2 class="list"')[0]
        save(taken(f"{head}{finding}</main></body></html>", 960, folder), "audit.png", title)


if __name__ == "__main__":
    main()
