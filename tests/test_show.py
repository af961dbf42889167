"""Pages inside a notebook's cell: whole, offline, and shut off from the notebook."""

import re
from html import unescape

import pytest

from ntkit import debias
from ntkit.datasets import load_marked_digits, marked_digits_model_path
from ntkit.exceptions import InputError


@pytest.fixture(scope="module")
def digits():
    d = load_marked_digits()
    return marked_digits_model_path(), (d.X_train, d.y_train), (d.X_validation, d.y_validation)


def framed(shown):
    """Attributes of the frame, and the page in it."""
    html = shown._repr_html_()
    assert html.count("<iframe") == html.count("</iframe>") == 1
    sandbox, page = (re.search(f'{name}="([^"]*)"', html)[1] for name in ("sandbox", "srcdoc"))
    return sandbox.split(), unescape(page)


@pytest.mark.more
def test_results_show_their_page(digits, tmp_path):
    open_run = debias(*digits, device="cpu", out=tmp_path / "out")
    sandbox, page = framed(open_run.show(height=500))
    assert page == debias(*digits, device="cpu").show().page  # without a folder as well
    assert "allow-same-origin" not in sandbox  # the page cannot reach the notebook
    assert page.startswith("<!doctype html>")
    assert open_run.open[0].name in page
    assert "height: 500px" in open_run.show(height=500)._repr_html_()
    answers = open_run.audit.answers(open_run.open[0].name)
    repaired = debias(*digits, device="cpu", answers=answers, out=tmp_path / "repaired")
    assert framed(repaired.show())[1] == (tmp_path / "repaired" / "report.html").read_text("utf-8")
    with pytest.raises(InputError, match="without out= has no report"):
        debias(*digits, device="cpu", answers=answers).show()
