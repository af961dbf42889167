"""The wheel and the sdist hold what they should, and the one is made of the other."""

import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from email.parser import Parser
from functools import partial
from pathlib import Path

import pytest

from ntkit import __version__
from ntkit._extras import EXTRAS

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]


def build(project, target, *kinds):
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", *kinds, "-d", str(target)],
        cwd=project, check=True, capture_output=True,
    )  # fmt: skip
    return {file.suffix: file for file in Path(target).iterdir()}


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The two files, by suffix."""
    return build(ROOT, tmp_path_factory.mktemp("dist"))


@pytest.fixture(scope="module")
def wheel(built):
    with zipfile.ZipFile(built[".whl"]) as file:
        return {name: file.read(name) for name in file.namelist()}


@pytest.fixture(scope="module")
def metadata(wheel):
    return Parser().parsestr(wheel[f"ntkit-{__version__}.dist-info/METADATA"].decode())


def in_the_package():
    return {
        file.relative_to(ROOT).as_posix()
        for file in ROOT.joinpath("ntkit").rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }


@pytest.mark.more
def test_the_wheel_holds_the_package_whole_and_nothing_else(wheel):
    held = {name for name in wheel if ".dist-info/" not in name}
    assert held == in_the_package()
    kinds = {".typed", ".jinja", ".css", ".js", ".onnx", ".csv", ".py"}
    assert {Path(name).suffix for name in held} | {".typed"} == kinds
    assert "ntkit/py.typed" in held


def test_the_wheel_has_the_licence_and_the_command(wheel):
    folder = f"ntkit-{__version__}.dist-info"
    assert wheel[f"{folder}/licenses/LICENSE"] == (ROOT / "LICENSE").read_bytes()
    assert "ntkit = ntkit.cli:main" in wheel[f"{folder}/entry_points.txt"].decode()
    assert b"Root-Is-Purelib: true" in wheel[f"{folder}/WHEEL"]


def test_the_metadata_are_those_of_the_project(metadata):
    assert metadata["Name"] == "ntkit"
    assert metadata["Version"] == __version__
    assert metadata["License-Expression"] == "BSD-3-Clause"
    assert metadata["Requires-Python"] == PROJECT["requires-python"]
    assert metadata.get_payload().strip() == (ROOT / "README.md").read_text("utf-8").strip()
    assert len(metadata.get_all("Requires-Dist")) > len(PROJECT["dependencies"])


def test_the_sdist_builds_the_same_wheel_and_holds_the_tests(built, tmp_path):
    with tarfile.open(built[".gz"]) as file:
        file.extractall(tmp_path, filter="data")
    (project,) = tmp_path.iterdir()
    again = build(project, tmp_path / "again", "-t", "wheel")[".whl"]
    assert again.read_bytes() == built[".whl"].read_bytes()
    for name in ("tests/conftest.py", "docs/conf.py", "Makefile", "README.md", "LICENSE"):
        assert (project / name).is_file(), name
    held = {file.suffix for file in project.rglob("*") if file.is_file()}
    assert not held & {".pyc", ".whl", ".log"}


def test_extras_are_named_by_packages_that_an_index_has():
    """Nothing is published under our own name, so a hint that says ntkit[text] cannot work."""
    extras = PROJECT["optional-dependencies"]
    for extra, packages in EXTRAS.items():
        others = [package for package in extras[extra] if not package.startswith("ntkit[")]
        named = [re.split("[<>=;]", package)[0].strip() for package in others]
        assert list(packages) == named
    pages = [*ROOT.glob("docs/**/*.md"), *ROOT.glob("ntkit/**/*.py"), ROOT / "README.md"]
    assert [p for p in pages if "install 'ntkit[" in p.read_text("utf-8")] == []


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
def test_the_demo_is_that_of_this_checkout_whatever_is_active(tmp_path):
    """It runs in the checkout's own environment, which holds this checkout."""
    active = {"PYTHONPATH": str(tmp_path), "VIRTUAL_ENV": str(tmp_path)}
    # A make that runs the tests tells its own options to those that it runs.
    outside = {name: value for name, value in os.environ.items() if name[:4] != "MAKE"}
    run = partial(
        subprocess.run,
        cwd=ROOT,
        env=outside | active,
        capture_output=True,
        text=True,
        check=True,
    )
    commands = run(["make", "--dry-run", "--always-make", "demo"]).stdout.splitlines()
    *_, install, _, demo = commands
    assert re.fullmatch(r"\.venv/(bin|Scripts)/pip install -q -e '\.\[gpu\]'", install)
    assert re.fullmatch(r"\.venv/(bin|Scripts)/ntkit demo", demo)
    shown = run(["make", "--eval", 'shown:; @echo "[$$PYTHONPATH]"', "shown"]).stdout
    assert shown.strip() == "[]"


def test_the_classifiers_name_the_pythons_that_ci_runs():
    workflow = (ROOT / ".github/workflows/tests.yml").read_text("utf-8")
    matrices = [re.findall(r"\d+\.\d+", line) for line in re.findall(r"python: \[.*", workflow)]
    named = [c.split()[-1] for c in PROJECT["classifiers"] if re.search(r"Python :: 3\.\d", c)]
    assert matrices == [named, named]


def test_the_workflow_runs_what_the_makefile_has():
    workflow = (ROOT / ".github/workflows/tests.yml").read_text("utf-8")
    makefile = (ROOT / "Makefile").read_text("utf-8")
    for target in re.findall(r"run: make (\S+)", workflow):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE)
    assert "secrets" not in workflow
