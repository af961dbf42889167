"""What runs here is to run on Windows and macOS: open files, encodings, what a system lacks."""

import ast
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import ntkit as ntkit_package
from ntkit import FrozenModel, _disk
from ntkit import spuriousness as _columns
from ntkit.cli import main
from ntkit.datasets import marked_digits_model_path
from ntkit.exceptions import InputError, VerificationError
from ntkit.export import save_verified
from ntkit.extraction import EmbeddingStore
from ntkit.store._fill import RowFile
from tests.windows import refuse_if_in_use, windows  # noqa: F401

K = 3
ROOT = Path(ntkit_package.__file__).parent


@pytest.fixture
def folder(tmp_path, digits):
    """A user's folder: a model and arrays."""
    shutil.copy(marked_digits_model_path(), tmp_path / "model.onnx")
    for part in ("train", "validation"):
        X, y = digits[f"X_{part}"][:300], digits[f"y_{part}"][:300]
        np.savez(tmp_path / f"{part}.npz", X=X, y=y)
    return tmp_path


def run(*arguments):
    code = 0
    try:
        main([str(a) for a in arguments])
    except SystemExit as end:
        code = end.code
    assert not code, arguments


# -- files that are open or mapped ------------------------------------------------------------


def test_the_disk_of_these_tests_refuses_what_windows_refuses(windows, tmp_path):  # noqa: F811
    np.save(tmp_path / "a.npy", np.zeros((300, 300)))
    np.save(tmp_path / "b.npy", np.zeros(3))
    mapped = np.load(tmp_path / "a.npy", mmap_mode="r")
    for call in (
        (tmp_path / "a.npy").unlink,
        lambda: os.replace(tmp_path / "b.npy", tmp_path / "a.npy"),
        lambda: tmp_path.rename(tmp_path.with_name("moved")),
    ):
        with pytest.raises(PermissionError, match="in use"):
            call()
    del mapped
    with (tmp_path / "a.npy").open("rb"), pytest.raises(PermissionError):
        refuse_if_in_use(tmp_path / "a.npy")
    os.replace(tmp_path / "b.npy", tmp_path / "a.npy")


def test_a_store_is_written_renewed_resumed_and_merged(windows, folder):  # noqa: F811
    model, data = folder / "model.onnx", folder / "train.npz"
    for extra in ([], ["--force"]):
        run("embed", model, data, "-o", folder / "z", "--device", "cpu", *extra)
    for shard in ("1/2", "2/2"):
        out = folder / f"part{shard[0]}"
        run("embed", model, data, "-o", out, "--device", "cpu", "--shard", shard)
    run("merge", folder / "part1", folder / "part2", "-o", folder / "merged")
    whole, merged = EmbeddingStore.open(folder / "z"), EmbeddingStore.open(folder / "merged")
    assert np.array_equal(whole.X, merged.X)


def test_a_second_writer_of_a_store_is_refused(windows, folder):  # noqa: F811
    with (
        RowFile(folder / "X.npy"),
        pytest.raises(InputError, match="Another process is writing"),
        RowFile(folder / "X.npy"),
    ):
        raise AssertionError("both write")


@pytest.mark.more
def test_results_from_stores_are_written_and_replaced(windows, folder):  # noqa: F811
    stores = {part: folder / f"z_{part}" for part in ("train", "validation")}
    for part, store in stores.items():
        run("embed", folder / "model.onnx", folder / f"{part}.npz", "-o", store, "--device=cpu")
    data = [f"--{part}={store}" for part, store in stores.items()]
    for extra in ([], ["--force"]):
        run(
            "debias",
            folder / "model.onnx",
            *data,
            "-o",
            folder / "out",
            "--method=class-balanced",
            *extra,
        )
        run("fit", stores["validation"], "-o", folder / "head.onnx", "--method=balanced", *extra)
        run("export", folder / "model.onnx", folder / "head.onnx", "-o", folder / "new.onnx",
              *extra)  # fmt: skip


def test_a_model_with_external_data_is_written_and_replaced(windows, zoo, tmp_path):  # noqa: F811
    graph = zoo.body()
    graph.add("MatMul", ["z", graph.constant("wide", np.eye(5, 80))], "wide_z")
    weights = graph.constant("W", np.ones((80, K))), graph.constant("b", np.arange(K))
    graph.add("Gemm", ["wide_z", *weights], "logits")
    graph.output("logits", ["batch", K])
    model = FrozenModel.load(zoo.save_external(graph.model(), tmp_path / "m.onnx"))
    debiased = model.with_head(replace(model.head, coef=-model.head.coef))
    options = {"original": model, "X": zoo.inputs(), "device": "cpu"}
    for force in (False, True, True):
        save_verified(debiased, tmp_path / "new.onnx", force=force, **options)
    assert len(list(tmp_path.glob("new.onnx*.data"))) == 1
    other = replace(model.head, coef=2 * model.head.coef)
    with pytest.raises(VerificationError):  # and not that its temporary folder is in use
        save_verified(debiased, tmp_path / "wrong.onnx", head=other, **options)
    assert not list(tmp_path.glob("wrong*"))


def test_a_rename_is_tried_again_while_another_program_looks(monkeypatch, tmp_path):
    (tmp_path / "new").write_text("new", encoding="utf-8")
    rename, calls = os.replace, []

    def looked_at(made, path):
        calls.append(made)
        if len(calls) <= n_looks:
            raise PermissionError(13, "in use")
        rename(made, path)

    monkeypatch.setattr(os, "replace", looked_at)
    monkeypatch.setattr(_disk, "_WAITS", (0, 0, 0))
    n_looks = 4
    with pytest.raises(PermissionError):
        _disk.give_name(tmp_path / "new", tmp_path / "name")
    calls.clear()
    n_looks = 3
    _disk.give_name(tmp_path / "new", tmp_path / "name")
    assert os.listdir(tmp_path) == ["name"]


# -- what a system lacks ------------------------------------------------------------------------


def test_cores_are_counted_without_affinity(monkeypatch):
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert _columns._usable_cores() == 1


@pytest.mark.parametrize("encoding", ["cp1252", "cp437"])
def test_signs_that_the_output_lacks_do_not_end_a_job(encoding, tmp_path):
    """As where a Windows shell redirects the output into a file."""
    code = "from ntkit.cli import main; main(['inspect', 'λ.onnx'])"
    env = {**os.environ, "PYTHONIOENCODING": encoding, "PYTHONPATH": os.getcwd()}
    shutil.copy(marked_digits_model_path(), tmp_path / "λ.onnx")
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=env, capture_output=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"?.onnx" in done.stdout


def text_calls(path):
    """Lines of a module that open a text without saying its encoding."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if not isinstance(node, ast.Call):
            continue
        name = getattr(node.func, "attr", getattr(node.func, "id", ""))
        if name not in ("open", "read_text", "write_text", "fdopen"):
            continue
        given = [ast.unparse(a) for a in (*node.args, *(k.value for k in node.keywords))]
        binary = name == "open" and not re.search(r"'[rwxa]\+?t?'", " ".join(given))
        if not binary and "utf-8" not in " ".join(given):
            yield f"{path.name}:{node.lineno}"


def test_texts_are_read_and_written_in_utf8_wherever_they_are():
    found = [line for path in ROOT.rglob("*.py") for line in text_calls(path)]
    assert not found
