"""Paths of results: ntkit refuses a path before the work if writing it would lose data."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ntkit._disk import (
    StrPath,
    check_place,
    check_writable,
    give_name,
    saying_what_failed,
    sha256_of,
)
from ntkit._version import __version__
from ntkit.exceptions import InputError

RECORD = ".ntkit.json"
"""File in a folder that ntkit wrote; it lists the names of the files with SHA-256 and times."""


def check_file(
    path: StrPath, *, inputs: Iterable[StrPath | None] = (), force: bool = False, size: int = 0
) -> Path:
    """Raise an error if a file would overwrite an input, or cannot be written."""
    path = Path(path)
    with saying_what_failed(path):
        if path.is_dir():
            raise InputError(f"{path} is a folder; choose another name.")
        if os.path.lexists(path):
            _refuse_input(path, inputs)
            if not force:
                raise InputError(
                    f"{path} exists; choose another name or pass --force (force=True)."
                )
        check_place(path, Path(os.path.abspath(path)), size)
    return path


def check_folder(
    path: StrPath, *, inputs: Iterable[StrPath | None] = (), force: bool = False, size: int = 0
) -> Path:
    """Raise an error if a folder of results contains anything that ntkit did not write."""
    path = Path(path)
    with saying_what_failed(path):
        real = Path(os.path.realpath(path))
        if os.path.lexists(real):
            if not real.is_dir():
                raise InputError(f"{path} is a file, not a folder; choose another name.")
            refuse_folder_of_inputs(path, inputs)
            if not force:
                raise InputError(
                    f"{path} exists; choose another name or pass --force (force=True), which "
                    "replaces only what ntkit wrote."
                )
            if os.path.ismount(real):
                raise InputError(f"{path} is a mount point; choose a folder in it: {path}/NAME.")
            _refuse_foreign(path, real)
            check_writable(real)
        check_place(path, real, size)
    return path


@contextmanager
def new_file(path: StrPath) -> Iterator[Path]:
    """Yield a temporary path for a file, which gets its name when the block succeeds."""
    path = Path(path)
    with (
        saying_what_failed(path),
        tempfile.TemporaryDirectory(prefix=".ntkit-", dir=path.parent) as folder,
    ):
        yield Path(folder) / path.name
        give_name(Path(folder) / path.name, path)


@contextmanager
def new_folder(path: StrPath | None, *, force: bool = False) -> Iterator[Path]:
    """Yield an empty temporary folder, which gets its name when the block succeeds."""
    parent = None if path is None else Path(os.path.realpath(path)).parent
    with (
        saying_what_failed(path or "the temporary folder"),
        tempfile.TemporaryDirectory(
            prefix=".ntkit-", dir=parent, ignore_cleanup_errors=True
        ) as temporary,
    ):
        folder = Path(temporary) / "out"
        folder.mkdir()
        yield folder
        if path is not None:
            put_folder(folder, path, force=force)


def put_folder(made: Path, path: StrPath, *, force: bool = False) -> None:
    """Rename a finished folder; what ntkit wrote under that name before is removed."""
    # The old folder is first renamed within its parent, and restored if anything fails.
    real, aside = Path(os.path.realpath(path)), made.with_name(f"{made.name}-before")
    with saying_what_failed(path):
        digests = {f.relative_to(made).as_posix(): sha256_of(f) for f in _files_in(made)}
        (made / RECORD).write_text(_record(made, digests, {}), encoding="utf-8")
        if not os.path.lexists(real):
            give_name(made, real)
            return
        if not force:
            raise InputError(f"{path} exists by now; choose another name or pass --force.")
        try:
            give_name(real, aside)
            _refuse_foreign(path, aside)
            give_name(made, real)
        except BaseException:
            if aside.exists() and not os.path.lexists(real):
                give_name(aside, real)
            raise


def check_update(path: StrPath, names: Iterable[str] = ()) -> Path:
    """Raise an error if somebody changed the files that ntkit wrote in a folder."""
    path = Path(path)
    with saying_what_failed(path):
        recorded = _read_record(path)
        if not recorded:
            raise InputError(
                f"{path} is not a folder that ntkit wrote; give the folder of an earlier run."
            )
        check_writable(path)
        before = _read_record(path, "before")
        for name in {*recorded, *names}:
            known = (recorded.get(name, ""), before.get(name, ""))
            changed = all(_changed(path / name, digest) for digest in known)
            if changed or (path / name).is_symlink():
                raise InputError(
                    f"{path / name} was changed after ntkit wrote it, and continuing would replace "
                    "it; move it away."
                )
    return path


@contextmanager
def updated_folder(path: StrPath, *, keep: Collection[str] = ()) -> Iterator[Path]:
    """Yield an empty folder whose files are moved into an existing folder at the end."""
    # Files that ntkit wrote there before are removed first, unless they are new or in `keep`, so
    # that no result of an earlier run remains. Files of others are not touched.
    real = Path(os.path.realpath(path))
    with (
        saying_what_failed(path),
        tempfile.TemporaryDirectory(
            prefix=".ntkit-", dir=real.parent, ignore_cleanup_errors=True
        ) as temporary,
    ):
        folder = Path(temporary)
        yield folder
        made = [file.relative_to(folder).as_posix() for file in _files_in(folder)]
        check_update(path, made)
        recorded = _read_record(real)
        new = {name: sha256_of(folder / name) for name in made}
        for name in recorded:
            if name not in keep and name not in new:
                (real / name).unlink(missing_ok=True)
        kept = {name: digest for name, digest in recorded.items() if name in keep}
        _update_record(real, kept | new, recorded)  # a process that is stopped here can continue
        for name in made:
            (real / name).parent.mkdir(parents=True, exist_ok=True)
            give_name(folder / name, real / name)
        _update_record(real, kept | new, {})


def is_as_written(path: Path) -> bool:
    """Whether ntkit wrote a file here, and nobody changed, copied or linked it since."""
    # The record may come with the file, from a repository or an archive. But nobody can choose the
    # time at which the system last changed a file.
    recorded = _read_record(path.parent).get(path.name)
    whole = recorded is not None and path.is_file() and not path.is_symlink()
    at = _read_record(path.parent, "at").get(path.name)
    return whole and not _changed(path, recorded or "") and at == str(path.stat().st_ctime_ns)


def refuse_folder_of_inputs(path: StrPath, inputs: Iterable[StrPath | None]) -> None:
    """Raise an error if a folder is an input or contains one; links are followed."""
    if not os.path.exists(path):
        return
    for source in inputs:
        if source is None:
            continue
        for form in (os.path.abspath(source), os.path.realpath(source)):
            if _same(form, path):
                raise InputError(f"{path} is an input of this job; choose another name.")
            if any(_same(parent, path) for parent in Path(form).parents):
                raise InputError(
                    f"{path} contains {source}, an input of this job; choose another name."
                )


def refuse_nested(first: StrPath, second: StrPath) -> None:
    """Raise an error if two output folders are the same, or one is inside the other."""
    one, two = Path(os.path.realpath(first)), Path(os.path.realpath(second))
    if one == two or one in two.parents or two in one.parents:
        raise InputError(f"{first} and {second} must be two separate folders; choose another name.")


def _same(first: StrPath, second: StrPath) -> bool:
    try:
        return os.path.samefile(first, second)
    except (FileNotFoundError, NotADirectoryError):
        return False


def _refuse_input(path: Path, inputs: Iterable[StrPath | None]) -> None:
    """Raise an error if a file is an input, or is inside an input folder."""
    for source in inputs:
        if source is None:
            continue
        if _same(path, source):
            raise InputError(f"{path} is an input of this job; choose another name.")
        parents = {*Path(os.path.abspath(path)).parents, *Path(os.path.realpath(path)).parents}
        if any(_same(parent, source) for parent in parents):
            raise InputError(f"{path} is in {source}, an input of this job; choose another name.")


def _refuse_foreign(path: StrPath, folder: Path) -> None:
    """Raise an error if a folder contains anything but unchanged files of its record."""
    recorded = _read_record(folder)
    odd = _unlisted(folder, recorded)
    reason = "did not write"
    if odd is None:
        odd = next((n for n, digest in recorded.items() if _changed(folder / n, digest)), None)
        reason = "wrote, but somebody changed since"
    if odd is not None:
        raise InputError(
            f"{path} contains {odd}, which ntkit {reason}. Move it away or choose another name: "
            "--force replaces only what ntkit wrote."
        )


def _unlisted(folder: Path, recorded: dict[str, str]) -> str | None:
    """The first entry of a folder that is not a plain file of the record; None if there is none."""

    def fail(error: OSError) -> None:
        raise error

    for root, folders, names in os.walk(folder, onerror=fail):
        here = Path(root)
        for name in sorted([*names, *folders]):
            file = here / name
            relative = file.relative_to(folder).as_posix()
            known = name in folders and any(n.startswith(f"{relative}/") for n in recorded)
            known |= relative in recorded or (relative == RECORD and bool(recorded))
            if file.is_symlink() or not known:
                return relative
    return None


def _changed(file: Path, digest: str) -> bool:
    return file.exists() and not (file.is_file() and sha256_of(file) == digest)


def _files_in(folder: Path) -> list[Path]:
    """Files of a folder and those below it, without a record of earlier ones."""
    return [f for f in sorted(folder.rglob("*")) if f.is_file() and f != folder / RECORD]


def _update_record(folder: Path, digests: dict[str, str], before: dict[str, str]) -> None:
    """Record which files are ntkit's; during replacement, also the files from ``before``."""
    with new_file(folder / RECORD) as file:
        file.write_text(_record(folder, digests, before), encoding="utf-8")


def _record(folder: Path, digests: dict[str, str], before: dict[str, str]) -> str:
    at = {name: (folder / name).stat().st_ctime_ns for name in digests if (folder / name).exists()}
    content = {"ntkit": __version__, "files": digests, "at": at}
    return json.dumps(content | ({"before": before} if before else {}), indent=2)


def _read_record(folder: Path, part: str = "files") -> dict[str, str]:
    """Names with digests, or times; empty if the record is missing or unreadable."""
    try:
        content: Any = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        files = content[part]
        return {str(name): str(digest) for name, digest in files.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}
