"""What holds for all pages and programs that are written from templates."""

import re
from dataclasses import fields
from pathlib import Path

import ntkit
from ntkit.extraction import ImagePreprocessing

PACKAGE = Path(ntkit.__file__).parent
POLICY = '<meta http-equiv="Content-Security-Policy" content="{{ policy }}">'


def test_every_page_has_the_content_policy_and_escapes_all_that_it_shows():
    pages = [page.read_text(encoding="utf-8") for page in PACKAGE.rglob("*.html.jinja")]
    assert len(pages) >= 3
    for page in pages:
        assert POLICY in page
        assert not re.search(r"\bsafe\b|autoescape", page)
    sources = [file.read_text(encoding="utf-8") for file in PACKAGE.rglob("*.py")]
    assert sum(source.count("Environment(") for source in sources) == 1


def test_programs_for_images_know_every_step():
    (file,) = PACKAGE.rglob("predict_images.py.jinja")
    known = {*re.findall(r"steps\.(\w+)", file.read_text(encoding="utf-8")), "source"}
    assert {field.name for field in fields(ImagePreprocessing)} <= known
