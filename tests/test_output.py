"""Nothing of the user's is lost: what may be replaced, and what is refused before the work."""

import errno
import json
import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from ntkit import _output
from ntkit._output import (
    RECORD,
    check_file,
    check_folder,
    check_update,
    new_folder,
    put_folder,
    updated_folder,
)
from ntkit.exceptions import InputError
from tests.models import contents

FILES = {"debiased.onnx": b"weights", "report.html": b"page", "images/1.png": b"image"}


def fill(folder, files):
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


def put(tmp_path, out, files=FILES, force=False):
    made = fill(tmp_path / "work" / "made", files)
    try:
        put_folder(made, out, force=force)
    finally:
        shutil.rmtree(tmp_path / "work")


@pytest.fixture
def out(tmp_path):
    """A folder that ntkit wrote."""
    put(tmp_path, tmp_path / "out")
    return tmp_path / "out"


# -- folders ----------------------------------------------------------------------------------


def test_what_is_put_there_is_all_that_is_there(out):
    files = contents(out)
    assert json.loads(files.pop(Path(RECORD)))["files"].keys() == FILES.keys()
    assert {path.as_posix(): content for path, content in files.items()} == FILES


def test_without_force_nothing_is_replaced(out, tmp_path):
    before = contents(tmp_path)
    with pytest.raises(InputError, match=r"out exists; .*--force .* only what ntkit wrote\.$"):
        check_folder(out)
    with pytest.raises(InputError, match="exists by now"):
        put(tmp_path, out)
    assert contents(tmp_path) == before


def test_with_force_what_ntkit_wrote_is_replaced(out, tmp_path):
    (out / "report.html").unlink()  # a file less is nobody's loss
    for files in ({"debiased.onnx": b"new"}, {"other": b"1"}):
        assert check_folder(out, force=True) == out
        put(tmp_path, out, files, force=True)
        assert {p.as_posix() for p in contents(out)} == {RECORD, *files}
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def refused(out, tmp_path, match):
    before = contents(tmp_path)
    with pytest.raises(InputError, match=match):
        check_folder(out, force=True)
    with pytest.raises(InputError, match=match):
        put(tmp_path, out, {"new": b""}, force=True)
    assert contents(tmp_path) == before


def damaged(content):
    return lambda out: (out / RECORD).write_bytes(content)


OTHERS, CHANGED = r"ntkit did not write\. Move it away", r"but somebody changed since\. Move it"
RECORDS = [b"", b"{", b"[]", b"null", b"\xff", b'{"files": 3}', b"[" * 100_000, b'{"files": {}}']


@pytest.mark.parametrize(
    ("name", "meddle", "words"),
    [
        ("thesis.txt", lambda out: (out / "thesis.txt").write_text("precious"), OTHERS),
        (".hidden", lambda out: (out / ".hidden").write_text("precious"), OTHERS),
        ("deep", lambda out: fill(out, {"deep/down/thesis.txt": b"precious"}), OTHERS),
        ("images/2.png", lambda out: (out / "images/2.png").write_text("precious"), OTHERS),
        ("empty", lambda out: (out / "empty").mkdir(), OTHERS),
        ("link", lambda out: (out / "link").symlink_to(out.parent / "elsewhere"), OTHERS),
        ("images/link", lambda out: (out / "images/link").symlink_to(out / "images"), OTHERS),
        ("pipe", lambda out: os.mkfifo(out / "pipe"), OTHERS),
        ("report.html", lambda out: (  # the same bytes
            (out / "report.html").rename(out.parent / "moved.html"),
            (out / "report.html").symlink_to(out.parent / "moved.html")), OTHERS),
        ("report.html", lambda out: (out / "report.html").write_text("My notes"), CHANGED),
        ("report.html", lambda out: (
            (out / "report.html").unlink(), (out / "report.html").mkdir()), CHANGED),
        ("debiased.onnx", lambda out: (out / RECORD).unlink(), OTHERS),
        *(("", damaged(content), "ntkit did not write") for content in RECORDS),
    ],
)  # fmt: skip
def test_what_ntkit_did_not_write_is_named_and_stays(out, tmp_path, name, meddle, words):
    meddle(out)
    refused(out, tmp_path, rf"out contains {name}.*, which .*{words}")


def test_an_empty_folder_and_a_free_name_may_be_used(tmp_path):
    (tmp_path / "empty").mkdir()
    check_folder(tmp_path / "empty", force=True)
    put(tmp_path, tmp_path / "empty", force=True)
    check_folder(tmp_path / "free")


@pytest.mark.parametrize("force", [False, True])
def test_a_folder_that_is_or_holds_an_input_is_refused(out, tmp_path, force):
    data, model = out / "images", out / "debiased.onnx"
    (tmp_path / "link").symlink_to(model)
    (tmp_path / "folder").symlink_to(out)
    before = contents(tmp_path)
    for inputs, said in [
        ([None, model], r"contains .*debiased\.onnx, an input of this job; choose another name"),
        ([data], "contains .*images, an input"),
        ([out], "out is an input of this job"),
        ([tmp_path / "folder"], "out is an input of this job"),
        ([tmp_path / "link"], "contains .*link, an input"),
        ([tmp_path / "folder" / "debiased.onnx"], "contains .*, an input"),
        ([os.path.relpath(model)], "contains .*, an input"),
    ]:
        for path in (out, tmp_path / "folder", os.path.relpath(out), f"{out}/images/.."):
            with pytest.raises(InputError, match=said.replace("out ", r"\S+ ")):
                check_folder(path, inputs=inputs, force=force)
    assert contents(tmp_path) == before
    check_folder(out, inputs=[tmp_path / "other", "nowhere"], force=True)


@pytest.mark.parametrize("step", range(4))
def test_the_old_result_stays_if_the_new_one_fails(out, tmp_path, monkeypatch, step):
    """Whatever rename is the last, by an error or by Ctrl-C."""
    before, rename, done = contents(out), os.replace, []

    def failing(made, target):
        done.append(made)
        if len(done) == step + 1:
            raise (KeyboardInterrupt if step % 2 else OSError)
        return rename(made, target)

    monkeypatch.setattr(os, "replace", failing)
    if step < 2:
        with pytest.raises((InputError, KeyboardInterrupt)):
            put(tmp_path, out, {"new": b""}, force=True)
        assert contents(out) == before
    else:
        put(tmp_path, out, {"new": b""}, force=True)


def test_a_mount_point_is_found_before_the_work(tmp_path, monkeypatch):
    (tmp_path / "out").mkdir()
    monkeypatch.setattr(os.path, "ismount", lambda path: True)
    with pytest.raises(
        InputError, match=r"out is a mount point; choose a folder in it: .*out/NAME"
    ):
        check_folder(tmp_path / "out", force=True)
    monkeypatch.undo()
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(InputError, match=r"out cannot be written \(Permission denied\)"):
        check_folder(tmp_path / "out", force=True)
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="file is a file, not a folder"):
        check_folder(tmp_path / "file", force=True)


# -- files ------------------------------------------------------------------------------------


@pytest.mark.parametrize("force", [False, True])
def test_no_file_takes_the_place_of_an_input(tmp_path, force):
    model = fill(tmp_path, {"model.onnx": b"weights", "images/cat/1.png": b"cat"}) / "model.onnx"
    (tmp_path / "symbolic.onnx").symlink_to(model)
    (tmp_path / "hard.onnx").hardlink_to(model)
    (tmp_path / "linked").symlink_to(tmp_path / "images")
    before = contents(tmp_path)
    inputs = [None, model, tmp_path / "images"]
    for name in ("model.onnx", "symbolic.onnx", "hard.onnx"):
        with pytest.raises(InputError, match=rf"{name} is an input of this job; choose another"):
            check_file(tmp_path / name, inputs=inputs, force=force)
        with pytest.raises(InputError, match=r"model\.onnx is an input of this job"):
            check_file(model, inputs=[tmp_path / name], force=force)
    for name in ("images/cat/1.png", "linked/cat/1.png"):
        with pytest.raises(InputError, match=r"1\.png is in .*images, an input of this job"):
            check_file(tmp_path / name, inputs=inputs, force=force)
    for name in ("images", "linked"):
        with pytest.raises(InputError, match="is a folder; choose another name"):
            check_file(tmp_path / name, inputs=inputs, force=force)
    assert contents(tmp_path) == before
    check_file(tmp_path / "images" / "report.html", inputs=inputs)


def test_an_existing_file_needs_force(tmp_path):
    fill(tmp_path, {"old": b"1"})
    (tmp_path / "nowhere").symlink_to(tmp_path / "missing")
    for name in ("old", "nowhere"):
        with pytest.raises(InputError, match=rf"{name} exists; choose another name or pass --fo"):
            check_file(tmp_path / name)
        check_file(tmp_path / name, force=True)


# -- places -----------------------------------------------------------------------------------

CHECKS = [check_file, check_folder]


@pytest.mark.parametrize("check", CHECKS)
def test_places_that_are_none(tmp_path, check):
    fill(tmp_path, {"file": b""})
    for path, said in [
        ("no/such/out", "The folder .*no/such does not exist; create it first"),
        ("file/out", "file is a file, not a folder|cannot be written"),
        ("n" * 300, "cannot be written .File name too long"),
        ("a\0b", "is not a valid file name|cannot be written"),
    ]:
        with pytest.raises(InputError, match=said):
            check(tmp_path / path)
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("check", CHECKS)
def test_a_disk_without_room(tmp_path, check, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=2.5e9))
    check(tmp_path / "out", size=2_500_000_000)
    with pytest.raises(
        InputError,
        match=r"disk space for .*out: it needs about 3 GB, and 2\.5 GB are free\. Free some",
    ):
        check(tmp_path / "out", size=3_000_000_000)


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize(
    ("code", "said"),
    [
        (errno.EACCES, r"cannot be written \(Permission denied\); choose another path"),
        (errno.EROFS, r"cannot be written \(Read-only file system\)"),
        (errno.ENOSPC, r"not enough disk space for .* \(No space left on device\)"),
    ],
)
def test_a_place_that_cannot_be_written(tmp_path, monkeypatch, check, code, said):
    def refuse(*_, **__):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr("tempfile.mkdtemp", refuse)
    with pytest.raises(InputError, match=said):
        check(tmp_path / "out")


def test_a_disk_that_fills_up_meanwhile_keeps_the_old_result(out, tmp_path, monkeypatch):
    before = contents(out)

    def full(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(
        InputError, match=r"not enough disk space for .*out \(No space left on device\)"
    ):
        put(tmp_path, out, force=True)
    assert contents(out) == before


def test_the_record_is_no_key_to_other_folders(out, tmp_path):
    """Names in it are looked up, never opened."""
    fill(tmp_path, {"thesis.txt": b"precious"})
    record = json.loads((out / RECORD).read_text())
    digest = _output.sha256_of(tmp_path / "thesis.txt")
    record["files"] |= {"../thesis.txt": digest, str(tmp_path / "thesis.txt"): digest}
    (out / RECORD).write_text(json.dumps(record))
    put(tmp_path, out, {"new": b""}, force=True)
    assert (tmp_path / "thesis.txt").read_text() == "precious"


def test_whoever_is_stopped_while_files_are_replaced_can_go_on(tmp_path, monkeypatch):
    out, give = tmp_path / "out", _output.give_name

    def update(folder_of, text, *names):
        with folder_of(out) as folder:
            for name in names:
                (folder / name).write_text(text)

    def stopped(made, path):
        if Path(path).name == "b.txt":
            raise KeyboardInterrupt
        give(made, path)

    update(new_folder, "old", "a.txt", "b.txt")
    with monkeypatch.context() as patched:
        patched.setattr(_output, "give_name", stopped)
        with pytest.raises(KeyboardInterrupt):
            update(updated_folder, "new", "a.txt", "b.txt")
    check_update(out, ["a.txt", "b.txt"])
    update(updated_folder, "newer", "a.txt")
    assert sorted(file.name for file in out.iterdir()) == [".ntkit.json", "a.txt"]
    (out / "a.txt").write_text("somebody's")
    with pytest.raises(InputError, match="was changed after ntkit wrote it"):
        check_update(out)
