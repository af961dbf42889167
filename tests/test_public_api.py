"""The public names: documented, on the API page, and light to import."""

import importlib
import inspect
import pkgutil
import re
import subprocess
import sys
from pathlib import Path
from typing import get_overloads

import pytest

import ntkit
import ntkit.jobs

# Packages whose names nobody outside types.
INSIDE = {"cli", "graph", "inputs", "jobs", "jobs.additions", "jobs.attribute_reader", "jobs.audit"}
INSIDE |= {
    "jobs.class_of_scores",
    "jobs.command_line",
    "jobs.debias",
    "jobs.label_tables",
    "jobs.matching",
    "jobs.report",
    "jobs.tables",
    "model.class_names",
    "pages",
    "samples",
    "solver",
    "study",
}
# Public modules below a package.
BELOW = ["attributes.findings", "pages.label_page"]
BELOW += [f"jobs.{module.name}" for module in pkgutil.iter_modules(ntkit.jobs.__path__)]
TOP = [module.name for module in pkgutil.iter_modules(ntkit.__path__) if module.name[0] != "_"]
MODULES = ["ntkit", *(f"ntkit.{name}" for name in [*BELOW, *TOP] if name not in INSIDE)]
API = (Path(__file__).parents[1] / "docs" / "reference" / "api.md").read_text("utf-8")


@pytest.mark.parametrize("module", MODULES)
def test_public_names(module):
    """They are on the API page; no ``{C, tol}`` is left; defaults are those of the signature."""
    loaded = importlib.import_module(module)
    section = API.partition(f"\n## {module}\n")[2].partition("\n## ")[0]
    for name in loaded.__all__:
        assert re.search(rf"(?<!\w){name}(?!\w)", section), name
        thing = getattr(loaded, name)
        if not callable(thing):
            continue
        assert thing.__doc__, name
        if hasattr(thing, "get_params"):
            parameters = inspect.signature(thing).parameters
            assert [p for p in parameters if not re.search(rf"\b{p}\b", thing.__doc__)] == [], name
        methods = inspect.getmembers(thing, inspect.isroutine) if inspect.isclass(thing) else []
        for each in [thing, *(method for _, method in methods)]:
            text = inspect.getdoc(each) or ""
            assert not re.search(r"(?m)^ *\{[A-Za-z][\w., ]*\}$", text), each
            for parameter, default in re.findall(
                r"(?m)^(\w+) : [^\n]*default=([\d.]+(?:e-?\d+)?)$", text
            ):
                signature = inspect.signature(each)
                assert signature.parameters[parameter].default == float(default), each


def test_documented_names_are_few():
    blocks = "\n".join(re.findall(r"```{eval-rst}\n(.*?)```", API, flags=re.DOTALL))
    names = re.findall(r"(?m)^(?:   |\.\. py:data:: )([A-Za-z_]\w*)$", blocks)
    assert 90 <= len(names) <= 104


def test_dir_and_unknown_names():
    assert set(ntkit.__all__) <= set(dir(ntkit))
    with pytest.raises(AttributeError, match="no attribute 'Nonsense'"):
        _ = ntkit.Nonsense


@pytest.mark.more
def test_imports_are_light():
    """In a fresh interpreter, `import ntkit` loads no heavy package, and a package few."""
    code = """if True:
        import importlib, sys
        heavy = ["torch", "onnxruntime", "skl2onnx", "matplotlib", "ray"]
        light = [*heavy, "onnx", "sklearn", "typer"]
        for name in ["", ".metrics", ".attributes", ".estimators", ".inspection", ".model",
                     ".extraction"]:
            importlib.import_module("ntkit" + name)
            assert not {*(heavy if name else light)} & {*sys.modules}, name
    """
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("function", [ntkit.audit, ntkit.check, ntkit.check_predictions])
def test_overloads_have_the_parameters_of_the_function(function):
    """An editor shows a call for each kind of input; together they leave out nothing."""
    own = inspect.signature(function).parameters
    shown = [inspect.signature(each).parameters for each in get_overloads(function)]
    assert len(shown) >= 2
    assert {name for each in shown for name in each} == {*own}
    for each in shown:
        assert all(each[name].kind is own[name].kind for name in each if name != "pred")
