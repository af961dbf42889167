"""ntkit as the README installs it, in bare environments: minutes, and hundreds of megabytes.

Run by ``make test-package``. The commands are those of the pages; they are run in the unpacked
sdist, as a user runs them in a checkout.
"""

import os
import platform
import re
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text("utf-8")
INSTALL = (ROOT / "docs" / "howto" / "install.md").read_text("utf-8")
GPU_BUILD = platform.machine() in ("x86_64", "AMD64") and sys.platform in ("linux", "win32")
DEFAULT = "onnxruntime-gpu" if GPU_BUILD else "onnxruntime"


def block_with(start):
    """The shell block of the README, or of the page on installing, that begins with a command."""
    (block,) = (
        block
        for page in (README, INSTALL)
        for block in re.findall(rf"^```bash\n({re.escape(start)}.*?)^```", page, re.DOTALL | re.M)
    )
    return block.replace("\\\n", " ")


class Environment:
    """A virtual environment with pip and nothing else, and a folder to work in."""

    def __init__(self, folder):
        self.folder = folder
        subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True)
        self.bin = folder / "venv" / ("Scripts" if sys.platform == "win32" else "bin")

    def run(self, command, cwd=None):
        """What a shell command in the activated environment says; it must end well."""
        done = self.ends(command, cwd)
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def ends(self, command, cwd=None):
        env = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
        env |= {"PATH": f"{self.bin}{os.pathsep}{env['PATH']}", "PYTHONUTF8": "1"}
        return subprocess.run(
            command, shell=True, cwd=cwd or self.folder, env=env, capture_output=True,
            text=True, encoding="utf-8",
        )  # fmt: skip

    def builds(self):
        """The distributions of ONNX Runtime in it."""
        listed = self.run("pip list --format=freeze").splitlines()
        return [name for name in (line.partition("==")[0] for line in listed) if "runtime" in name]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sdist")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (packed,) = folder.glob("*.tar.gz")
    with tarfile.open(packed) as file:
        file.extractall(folder, filter="data")
    (unpacked,) = (path for path in folder.iterdir() if path.is_dir())
    return unpacked


@pytest.fixture(scope="module")
def default(checkout, tmp_path_factory):
    environment = Environment(tmp_path_factory.mktemp("default"))
    environment.run(block_with("pip install '.[gpu]'  ").splitlines()[0], cwd=checkout)
    return environment


@pytest.fixture(scope="module")
def light(checkout, tmp_path_factory):
    environment = Environment(tmp_path_factory.mktemp("light"))
    environment.run(block_with("pip install '.[gpu]'  ").splitlines()[1], cwd=checkout)
    return environment


@pytest.fixture(params=["default", "light"])
def installed(request):
    return request.getfixturevalue(request.param)


def test_one_build_of_onnx_runtime_is_installed(default, light):
    assert default.builds() == [DEFAULT]
    assert light.builds() == ["onnxruntime"]
    for environment in (default, light):
        assert "the installation works" in environment.run("ntkit doctor")


def test_the_demo_runs(installed):
    said = installed.run("ntkit demo -o out").replace("\N{NO-BREAK SPACE}", " ")
    (outcome,) = re.findall(r"^Test set: .*", README, re.MULTILINE)
    assert outcome in said
    assert "best control: " in said
    assert (installed.folder / "out" / "debiased.onnx").is_file()
    assert (installed.folder / "out" / "report.html").is_file()


def test_the_quick_start_says_what_the_readme_says(installed, checkout):
    installed.run(f'python -W error -m doctest "{checkout / "README.md"}"')


def test_ntkit_is_typed_where_it_is_installed(installed):
    file = Path(installed.run("python -c 'import ntkit; print(ntkit.__file__)'").strip())
    assert file.is_relative_to(installed.folder)
    assert file.with_name("py.typed").is_file()
    assert not file.parents[1].joinpath("tests").exists()


@pytest.mark.skipif(not GPU_BUILD, reason="there is one build here")
def test_the_doctor_repairs_what_two_builds_did_to_each_other(default):
    default.run("pip install onnxruntime")
    assert default.builds() == ["onnxruntime", "onnxruntime-gpu"]
    said = default.run("ntkit doctor")  # the files of the later one work
    assert "installed together" in said
    default.run("pip uninstall -y onnxruntime")
    broken = default.ends("ntkit doctor")
    assert broken.returncode == 1
    (repair,) = re.findall(r"^repair +(.+)$", broken.stdout, re.MULTILINE)
    default.run(repair)
    assert default.builds() == [DEFAULT]
    assert "the installation works" in default.run("ntkit doctor")
