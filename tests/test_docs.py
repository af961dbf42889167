"""The pages say what the code does: commands, options, candidates, methods, scores, names."""

import importlib
import inspect
import json
import re
import shlex
import socket
import subprocess
import sys
import warnings
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import typer
from PIL import Image
from typer.testing import CliRunner

import ntkit.estimators
from ntkit import FrozenModel
from ntkit.changes.change import KINDS
from ntkit.cli._app import app
from ntkit.estimators import LABEL_FREE
from ntkit.jobs.debias._candidates import CANDIDATES, OTHER_METHODS, change_candidates
from ntkit.scorers import LABEL_FREE_SCORES
from tests.test_public_api import INSIDE, MODULES

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
COMMANDS = typer.main.get_command(app).commands
HOWTO = sorted(DOCS.glob("howto/*.md"))
TUTORIALS = sorted(DOCS.glob("tutorials/*.md"))
REFERENCE = [*sorted(DOCS.glob("reference/*.md")), *sorted(DOCS.glob("explanation/*.md"))]
BENCHMARKS = sorted(DOCS.glob("benchmarks/*.md"))
WRITTEN = [*sorted(DOCS.glob("*.md")), *TUTORIALS, *HOWTO, *REFERENCE]
IN_CHECKOUT = [*ROOT.glob("*.md"), *DOCS.rglob("*.md")]
IN_CHECKOUT = [p for p in IN_CHECKOUT if not {"_build", "generated", "notebooks"} & {*p.parts}]
PAGES = [*WRITTEN, *sorted(ROOT.joinpath("notebooks").glob("*.ipynb"))]
OURS = [page for page in PAGES if page not in [*HOWTO, *TUTORIALS]]
NEEDS = {  # packages of a page, or of one tab of it, that are not among our own dependencies
    ("export", "PyTorch"): ("torch", "onnxscript"),
    ("export", "timm, torchvision"): ("torch", "onnxscript", "timm"),
    ("export", "Transformers"): ("torch", "onnxscript", "transformers"),
    ("export", "Keras 3"): ("keras", "tensorflow", "tf2onnx"),
    ("export", "TensorFlow"): ("tensorflow", "tf2onnx"),
    ("export", "JAX"): ("flax", "jax2onnx"),
    ("embeddings", None): ("pyarrow",),
    ("deploy", "Hugging Face Hub, Optimum"): (
        "torch",
        "transformers",
        "optimum.onnxruntime",
        "huggingface_hub",
    ),
    ("deploy", "MLflow"): ("mlflow", "pandas"),
    ("skore_fairlearn", "skore"): ("skore",),
    ("skore_fairlearn", "fairlearn"): ("fairlearn",),
}
# They repair several models, or larger ones.
LONG = {"change_inputs", "quantised", "new_head", "Triton"}
# Tabs whose commands are run as they stand. Elsewhere a test writes what `ntkit debias` would.
RUN = {"Hugging Face Hub, Optimum": ("ntkit", "optimum-cli"), "MLflow": ("ntkit",)}


def options_of(command):
    return {name for p in COMMANDS[command].params for name in (*p.opts, *p.secondary_opts)}


def section(page, heading):
    """What stands under a level-2 heading of a reference page."""
    text = (DOCS / "reference" / f"{page}.md").read_text("utf-8")
    parts = re.split(r"^## (.+)\n", text, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))[heading]


def test_commands_on_pages_exist():
    """Every `ntkit` command in a shell block names a command, and options that it has."""
    for page in [*WRITTEN, *BENCHMARKS, ROOT / "README.md"]:
        fence = r"```(?:\{code-block\} )?bash\n(.*?)```"
        for block in re.findall(fence, page.read_text("utf-8"), re.DOTALL):
            for line in block.replace("\\\n", " ").splitlines():
                words = shlex.split(line, comments=True)
                if words[:1] == ["ntkit"]:
                    assert words[1] in COMMANDS, (page, line)
                    options = {word for word in words[2:] if word.startswith("-")}
                    assert options <= options_of(words[1]), (page, line)


def in_code_spans(page):
    """What stands between backticks on a page, blocks of code left out."""
    text = page.read_text("utf-8")
    if page.suffix == ".ipynb":
        cells = [c for c in json.loads(text)["cells"] if c["cell_type"] == "markdown"]
        text = "\n".join("".join(cell["source"]) for cell in cells)
    return re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))


def test_options_that_sentences_name_exist():
    ours = {"--debug", "--help", "--version"}.union(*map(options_of, COMMANDS))
    of_others = {"--excludes", "--task"}  # uv's, Optimum's
    for page in [*PAGES, ROOT / "README.md"]:
        spans = " ".join(in_code_spans(page))
        assert {*re.findall(r"(?<!\S)--[a-z][\w-]+", spans)} <= ours | of_others, page


def public_parameters():
    """Names of parameters and attributes of everything public."""
    for module in map(importlib.import_module, [*MODULES, *(f"ntkit.{name}" for name in INSIDE)]):
        for name in getattr(module, "__all__", []):
            thing = getattr(module, name)
            methods = [m for _, m in inspect.getmembers(thing, inspect.isfunction)]
            for one in [thing, *methods] if inspect.isclass(thing) else [thing]:
                yield from getattr(one, "__annotations__", {})
                if callable(one):
                    with suppress(ValueError, TypeError):
                        yield from inspect.signature(one).parameters


def test_parameters_that_sentences_name_exist():
    """Written as `name=`; how-to pages and tutorials name those of other libraries as well."""
    known = {*public_parameters(), "error_score", "format", *KINDS}
    for page in OURS:
        spans = in_code_spans(page)
        named = {n for code in spans for n in re.findall(r"(?<![\w.:-])([a-z_]\w*)=", code)}
        assert named <= known, page


def test_screenshots_are_of_the_demo_that_the_readme_shows():
    """`python docs/take_pictures.py` takes them again."""
    text = (ROOT / "README.md").read_text("utf-8")
    for name in ("repair.png", "report.png"):
        with Image.open(DOCS / "_static" / name) as image:
            missing = [line for line in image.text["Description"].splitlines() if line not in text]
        assert missing == [], name


def test_pages_that_the_readme_links_to_read_well_on_a_code_host():
    text = (ROOT / "README.md").read_text("utf-8")
    pages = {ROOT / target for target in re.findall(r"\]\(([^)#]+\.md)", text)}
    assert DOCS / "explanation" / "when.md" in pages
    raw = re.compile(r"^\s*:::|^\s*```\{(image|figure|tab-set|grid)", re.MULTILINE)
    assert [page for page in pages if raw.search(page.read_text("utf-8"))] == []


def test_candidates_and_kinds_of_changes_are_explained():
    text = section("results", "What the rows mean")
    for candidate in [*CANDIDATES, *OTHER_METHODS, *change_candidates(named=True)]:
        assert re.search(rf"(?<![\w-]){re.escape(candidate)}(?![\w.-])", text), candidate
    text = section("input_formats", "Changes of inputs")
    assert [kind for kind in KINDS if f"| `{kind}" not in text] == []


def test_estimators_scores_and_methods_of_fit_are_listed():
    text = section("estimators", "The estimators")
    names = [n for n in ntkit.estimators.__all__ if n != "LABEL_FREE"]
    assert [n for n in names if not re.search(rf"(?<!\w){n} <ntkit", text)] == []
    text = section("estimators", "Choosing without group labels")
    assert re.findall(r"^\| `(\w+)` \|", text, flags=re.MULTILINE) == list(LABEL_FREE_SCORES)
    text = section("estimators", "ntkit fit")
    rows = re.findall(r"^\| `([\w-]+)` \| \{py:class\}`(\w+) <", text, flags=re.MULTILINE)
    assert dict(rows) == {name: cls.__name__ for name, cls in LABEL_FREE.items()}


def test_no_machine_on_a_page():
    """No path or name of the machine a page was written on."""
    parts = ["/work/", "/home/", "/root/", "/tmp/", "/Users/", "site-packages", ".venv"]
    parts += [socket.gethostname()] * (len(socket.gethostname()) > 4)
    for page in PAGES:
        text = page.read_text("utf-8")
        assert [part for part in parts if part in text] == [], page


def programs(page):
    """Blocks of each tab of a page, in order, and those outside tabs, each with its own tab."""
    blocks, tab, fence = [], None, None
    pattern = r"^(:{3,})(?:\{([\w-]+)\}(.*))?$|^```(python|bash)\n([\s\S]*?)^```"
    for match in re.finditer(pattern, page.read_text("utf-8"), re.MULTILINE):
        colons, directive, title, language, block = match.groups()
        if language:
            blocks.append((tab, language, block))
        elif directive == "tab-item":
            tab, fence = title.strip(), colons
        elif colons == fence and not directive:
            tab = fence = None
    tabs = list(dict.fromkeys(tab for tab, _, _ in blocks if tab)) or [None]
    return {tab: [block for block in blocks if block[0] in (None, tab)] for tab in tabs}


PROGRAMS = {
    (page, tab): blocks
    for page in [*HOWTO, *TUTORIALS]
    for tab, blocks in programs(page).items()
    if any(language == "python" and ">>>" not in block for _, language, block in blocks)
}


def test_every_need_is_of_a_tab():
    assert {*NEEDS} <= {(page.stem, tab) for page, tab in PROGRAMS}
    assert {*RUN} <= {tab for _, tab in PROGRAMS}


@pytest.mark.parametrize(
    ("page", "tab"),
    [
        pytest.param(page, tab, marks=[pytest.mark.more] * bool({page.stem, tab} & LONG))
        for page, tab in PROGRAMS
    ],
    ids=lambda part: getattr(part, "stem", part),
)
def test_howto_runs(page, tab, tmp_path, monkeypatch):
    """Its Python runs from top to bottom; what a command would write lies there when it is read."""
    for module in NEEDS.get((page.stem, tab), ()):
        pytest.importorskip(module)
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "__main__"}
    with warnings.catch_warnings():
        if (page.stem, tab) in NEEDS:  # exporters warn
            warnings.simplefilter("ignore")
        for of, language, block in PROGRAMS[page, tab]:
            if language == "python":
                exec(compile(block, str(page), "exec"), names)
            elif of in RUN:
                run_commands(block, RUN[of])
            elif "ntkit debias classifier.onnx" in block and Path("classifier.onnx").exists():
                write_as_debias_would(Path("classifier.onnx"), Path("debiased/debiased.onnx"))


def run_commands(block, programs):
    """Run the lines of a shell block that begin with one of these programs."""
    for line in block.replace("\\\n", " ").splitlines():
        program, *words = shlex.split(line, comments=True) or [""]
        if program not in programs:
            continue
        if program == "ntkit":
            done = CliRunner().invoke(app, words)
            assert done.exit_code == 0, done.output
        else:
            subprocess.run([Path(sys.executable).with_name(program), *words], check=True)


def write_as_debias_would(source, target):
    model, rng = FrozenModel.load(source), np.random.default_rng(0)
    coef = rng.normal(size=model.head.coef.shape).astype(model.head.coef.dtype)
    target.parent.mkdir(exist_ok=True)
    model.with_head(replace(model.head, coef=coef)).save(target, force=True)


def test_numbered_sections_count_up():
    for page in WRITTEN:
        numbers = re.findall(r"^## (\d+)\. ", page.read_text("utf-8"), re.M)
        assert numbers == [str(i + 1) for i in range(len(numbers))], page


def test_links_hold_in_a_checkout():
    """Pages are read there as well; the help of the commands is a page of the site alone."""
    for page in IN_CHECKOUT:
        text = re.sub(r"```.*?```", "", page.read_text("utf-8"), flags=re.DOTALL)
        targets = {*re.findall(r"\]\(([^)#\s]+)[^)]*\)", text)} - {"../generated/cli_reference.md"}
        files = [each for each in targets if not re.match(r"https?:|mailto:", each)]
        assert [each for each in files if not (page.parent / each).exists()] == [], page


def test_the_readme_shows_how_to_try_and_to_test():
    readme = Path("README.md").read_text(encoding="utf-8")
    assert "`make test`" in readme
    assert "`make demo`" in readme
