"""Places of results: a place that would lose something is refused before the work."""

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
"""File in a folder that ntkit wrote: the names of its files, and the SHA-256 of each."""


def check_file(
    path: StrPath, *, inputs: Iterable[StrPath | None] = (), force: bool = False, size: int = 0
) -> Path:
    """Refuse a name for a file that would overwrite an input, or that cannot be written."""
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
    """Refuse a name for a folder of results that holds anything but what ntkit wrote."""
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
    """Give the place to write a file, which takes its name when the block ends well."""
    path = Path(path)
    with (
        saying_what_failed(path),
        tempfile.TemporaryDirectory(prefix=".ntkit-", dir=path.parent) as folder,
    ):
        yield Path(folder) / path.name
        give_name(Path(folder) / path.name, path)


@contextmanager
def new_folder(path: StrPath | None, *, force: bool = False) -> Iterator[Path]:
    """Give an empty folder, which takes its name, whole, when the block ends well."""
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
    """Give a finished folder its name, whole; what ntkit wrote there before goes."""
    # The old folder is moved beside the new one first, and comes back if anything fails.
    real, aside = Path(os.path.realpath(path)), made.with_name(f"{made.name}-before")
    with saying_what_failed(path):
        _write_record(made)
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
    """Refuse to go on in a folder whose files, as ntkit wrote them, somebody changed."""
    path = Path(path)
    with saying_what_failed(path):
        recorded = _read_record(path)
        if not recorded:
            raise InputError(
                f"{path} is no folder that ntkit wrote; give the folder of an earlier run."
            )
        check_writable(path)
        before = _read_record(path, "before")
        for name in {*recorded, *names}:
            known = (recorded.get(name, ""), before.get(name, ""))
            changed = all(_changed(path / name, digest) for digest in known)
            if changed or (path / name).is_symlink():
                raise InputError(
                    f"{path / name} is not as ntkit wrote it, and going on would replace it; move "
                    "it away."
                )
    return path


@contextmanager
def updated_folder(path: StrPath, *, keep: Collection[str] = ()) -> Iterator[Path]:
    """Give an empty folder whose files move into one that ntkit wrote before, at the end."""
    # Files that ntkit wrote there before and that are neither new nor to `keep` go first, so that
    # no result of an earlier run stays. Files of others stay.
    real = Path(os.path.realpath(path))
    with (
        saying_what_failed(path),
        tempfile.TemporaryDirectory(
            prefix=".ntkit-", dir=real.parent, ignore_cleanup_errors=True
        ) as temporary,
    ):
        folder = Path(temporary)
        yield folder
        made = [f.relative_to(folder).as_posix() for f in folder.rglob("*") if f.is_file()]
        check_update(path, made)
        recorded = _read_record(real)
        new = {name: sha256_of(folder / name) for name in made}
        for name in recorded:
            if name not in keep and name not in new:
                (real / name).unlink(missing_ok=True)
        kept = {name: digest for name, digest in recorded.items() if name in keep}
        _update_record(real, kept | new, recorded)  # whoever stops here can go on
        for name in made:
            (real / name).parent.mkdir(parents=True, exist_ok=True)
            give_name(folder / name, real / name)
        _update_record(real, kept | new, {})


def refuse_folder_of_inputs(path: StrPath, inputs: Iterable[StrPath | None]) -> None:
    """Refuse a folder that is an input, or in which one lies, links followed."""
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
                    f"{path} holds {source}, an input of this job; choose another name."
                )


def refuse_nested(first: StrPath, second: StrPath) -> None:
    """Refuse two folders to write that are one, or of which one is in the other."""
    one, two = Path(os.path.realpath(first)), Path(os.path.realpath(second))
    if one == two or one in two.parents or two in one.parents:
        raise InputError(
            f"{first} and {second} are to be two folders, side by side; choose another name."
        )


def _same(first: StrPath, second: StrPath) -> bool:
    try:
        return os.path.samefile(first, second)
    except (FileNotFoundError, NotADirectoryError):
        return False


def _refuse_input(path: Path, inputs: Iterable[StrPath | None]) -> None:
    """Refuse a file that is an input, or lies in a folder of them."""
    for source in inputs:
        if source is None:
            continue
        if _same(path, source):
            raise InputError(f"{path} is an input of this job; choose another name.")
        parents = {*Path(os.path.abspath(path)).parents, *Path(os.path.realpath(path)).parents}
        if any(_same(parent, source) for parent in parents):
            raise InputError(f"{path} is in {source}, an input of this job; choose another name.")


def _refuse_foreign(path: StrPath, folder: Path) -> None:
    """Refuse a folder that holds anything but files that its record lists, as they were."""
    recorded = _read_record(folder)
    odd = _unlisted(folder, recorded)
    reason = "has no record of writing"
    if odd is None:
        odd = next((n for n, digest in recorded.items() if _changed(folder / n, digest)), None)
        reason = "wrote, but which was changed since"
    if odd is not None:
        raise InputError(
            f"{path} holds {odd}, which ntkit {reason}; move it away or choose another name: "
            "--force replaces only what ntkit wrote."
        )


def _unlisted(folder: Path, recorded: dict[str, str]) -> str | None:
    """The first thing in a folder that is no plain file of the record; None if there is none."""
    for root, folders, names in os.walk(folder, onerror=_raise):
        here = Path(root)
        for name in sorted([*names, *folders]):
            file = here / name
            relative = file.relative_to(folder).as_posix()
            known = name in folders and any(n.startswith(f"{relative}/") for n in recorded)
            known |= relative in recorded or (relative == RECORD and bool(recorded))
            if file.is_symlink() or not known:
                return relative
    return None


def _raise(error: OSError) -> None:
    raise error


def _changed(file: Path, digest: str) -> bool:
    return file.exists() and not (file.is_file() and sha256_of(file) == digest)


def _write_record(folder: Path) -> None:
    files = [file for file in sorted(folder.rglob("*")) if file.is_file()]
    digests = {file.relative_to(folder).as_posix(): sha256_of(file) for file in files}
    digests.pop(RECORD, None)
    (folder / RECORD).write_text(_record(digests, {}), encoding="utf-8")


def _update_record(folder: Path, digests: dict[str, str], before: dict[str, str]) -> None:
    """Say which files are ntkit's; while they are replaced, what they were ``before``, too."""
    with new_file(folder / RECORD) as file:
        file.write_text(_record(digests, before), encoding="utf-8")


def _record(digests: dict[str, str], before: dict[str, str]) -> str:
    content = {"ntkit": __version__, "files": digests} | ({"before": before} if before else {})
    return json.dumps(content, indent=2)


def _read_record(folder: Path, part: str = "files") -> dict[str, str]:
    """Names and digests; empty where there is no record, or one that cannot be read."""
    try:
        content: Any = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        files = content[part]
        return {str(name): str(digest) for name, digest in files.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}
