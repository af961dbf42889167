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
from ntkit.datasets import marked_digits_model_path
from ntkit.exceptions import InputError, VerificationError
from ntkit.export import save_verified
from ntkit.store import EmbeddingStore
from ntkit.store._fill import RowFile
from tests.cases import done
from tests.windows import refuse_if_in_use, windows  # noqa: F401

K = 3
ROOT = Path(ntkit_package.__file__).parent


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


def test_a_store_is_written_renewed_resumed_and_merged(windows, user, tmp_path):  # noqa: F811
    embed = ("embed", user / "model.onnx", user / "train.npz", "--device", "cpu", "-o")
    for force in ([], ["--force"]):
        done(*embed, tmp_path / "z", *force)
    for shard in ("1/2", "2/2"):
        done(*embed, tmp_path / f"part{shard[0]}", "--shard", shard)
    done("merge", tmp_path / "part1", tmp_path / "part2", "-o", tmp_path / "merged")
    whole, merged = EmbeddingStore.open(tmp_path / "z"), EmbeddingStore.open(tmp_path / "merged")
    assert np.array_equal(whole.X, merged.X)


def test_a_second_writer_of_a_store_is_refused(windows, tmp_path):  # noqa: F811
    with (
        RowFile(tmp_path / "X.npy"),
        pytest.raises(InputError, match="Another process is writing"),
        RowFile(tmp_path / "X.npy"),
    ):
        raise AssertionError("both write")


@pytest.mark.more
def test_results_from_stores_are_written_and_replaced(windows, user, tmp_path):  # noqa: F811
    model, train, validation = (user / n for n in ("model.onnx", "train.store", "validation.store"))
    head, out = tmp_path / "head.onnx", tmp_path / "out"
    for force in ([], ["--force"]):
        sets = ("--train", train, "--validation", validation, "--method=class-balanced")
        done("debias", model, *sets, "--even-if-worse", "-o", out, *force)
        done("fit", validation, "-o", head, "--method=balanced", *force)
        done("export", model, head, "-o", tmp_path / "new.onnx", *force)


@pytest.mark.more
def test_a_model_with_external_data_is_written_and_replaced(windows, zoo, tmp_path):  # noqa: F811
    graph = zoo.body()
    graph.add("MatMul", ["z", graph.constant("wide", np.eye(5, 80))], "wide_z")
    weights = graph.constant("W", np.ones((80, K))), graph.constant("b", np.arange(K))
    graph.add("Gemm", ["wide_z", *weights], "logits")
    graph.output("logits", ["batch", K])
    model = FrozenModel.load(zoo.save_external(graph.model(), tmp_path / "m.onnx"))
    debiased = model.with_head(replace(model.head, coef=-model.head.coef))
    options = {"original": model, "X": zoo.inputs(), "device": "cpu"}
    for force in (False, True):
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


@pytest.mark.more
def test_signs_that_the_output_lacks_do_not_end_a_job(tmp_path):
    """As where a Windows shell redirects the output into a file."""
    code = "from ntkit.cli import main; main(['inspect', 'λ.onnx'])"
    env = {**os.environ, "PYTHONIOENCODING": "cp1252", "PYTHONPATH": os.getcwd()}
    shutil.copy(marked_digits_model_path(), tmp_path / "λ.onnx")
    command = [sys.executable, "-c", code]
    ended = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, check=False)
    assert (ended.returncode, ended.stderr) == (0, b"")
    assert b"?.onnx" in ended.stdout


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


@pytest.mark.more
def test_texts_are_read_and_written_in_utf8_wherever_they_are():
    found = [line for path in ROOT.rglob("*.py") for line in text_calls(path)]
    assert not found
