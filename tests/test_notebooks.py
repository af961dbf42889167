"""Every notebook runs from top to bottom, and is committed with outputs fit to be shown."""

import json
import shutil
from pathlib import Path

import nbclient
import nbformat
import pytest

NOTEBOOKS = sorted(Path(__file__).parents[1].joinpath("notebooks").glob("*.ipynb"))
# What is repeated for the spread alone is repeated less here; the outputs committed are of it all.
FEWER = {
    "02_no_pytorch": ("N_DRAWS = 6", "N_DRAWS = 2"),
    "04_which_method_when": ("N_SEEDS = 5", "N_SEEDS = 2"),
}
NEEDS = {"08_file_types": "magika"}
"""Packages that a notebook needs besides those of the tests."""


@pytest.mark.more
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_runs(path, tmp_path, monkeypatch):
    if path.stem in NEEDS:
        pytest.importorskip(NEEDS[path.stem])
    monkeypatch.chdir(tmp_path)  # whatever it writes, it writes there
    for model in path.parent.glob("*.onnx"):
        shutil.copy(model, tmp_path)
    notebook = nbformat.read(path, as_version=4)
    if path.stem in FEWER:
        (cell,) = (c for c in notebook.cells if FEWER[path.stem][0] in c.source)
        cell.source = cell.source.replace(*FEWER[path.stem])
    client = nbclient.NotebookClient(
        notebook, timeout=900, kernel_name="python3", resources={"metadata": {"path": tmp_path}}
    )
    client.execute()  # raises CellExecutionError, with the cell, at the first error


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_committed_outputs(path):
    """The site shows them without running anything: all there, none an error or a warning."""
    cells = [c for c in json.loads(path.read_text("utf-8"))["cells"] if c["cell_type"] == "code"]
    assert any("image/png" in output.get("data", {}) for c in cells for output in c["outputs"])
    for cell in cells:
        assert cell["execution_count"], "".join(cell["source"])
        for output in cell["outputs"]:
            assert output["output_type"] != "error"
            assert output.get("name") != "stderr", output["text"]
