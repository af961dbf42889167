"""The original head, put back into a model that debias wrote."""

from __future__ import annotations

from pathlib import Path

from ntkit._disk import StrPath, size_of
from ntkit._output import check_file
from ntkit.debiasing._write_candidate import kept_head
from ntkit.debiasing.result import MODEL_FILE, ORIGINAL
from ntkit.exceptions import InputError
from ntkit.frozen_model import FrozenModel
from ntkit.verification import Verification, random_inputs, save_verified

__all__ = ["undo"]


def undo(run: StrPath, out: StrPath, *, device: str = "auto", force: bool = False) -> Verification:
    """Put the original head back into the model that a run wrote; the original file is not needed.

    Parameters
    ----------
    run : path-like
        The folder that :func:`ntkit.debias` wrote, or the model in it.
    out : path-like
        File to write.
    device : {"auto", "cpu", "cuda"}
        Where to verify.
    force : bool
        Replace a file that exists.

    Returns
    -------
    Verification
        ONNX Runtime's logits against the original head's.

    Raises
    ------
    InputError
        If the folder holds no model that was written, or the run gave the model a new head for
        other classes, so that there is no original one.
    VerificationError
        If the model written would not compute the original head.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from ntkit import FrozenModel, debias
    >>> from ntkit.datasets import load_marked_digits, marked_digits_model_path
    >>> from ntkit.debiasing import undo
    >>> d = load_marked_digits()
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     run, back = Path(folder) / "run", Path(folder) / "back.onnx"
    ...     _ = debias(
    ...         marked_digits_model_path(),
    ...         (d.X_train[:300], d.y_train[:300]),
    ...         (d.X_heldout[:300], d.y_heldout[:300]),
    ...         method="class-balanced",
    ...         even_if_worse=True,
    ...         out=run,
    ...         device="cpu",
    ...     )
    ...     _ = undo(run, back, device="cpu")
    ...     FrozenModel.load(back).head == FrozenModel.load(marked_digits_model_path()).head
    True
    """
    folder = Path(run) if Path(run).is_dir() else Path(run).parent
    file = folder / MODEL_FILE
    if not file.is_file():
        raise InputError(f"{folder} holds no {MODEL_FILE}, so there is no repair to undo.")
    kept = kept_head(folder, ORIGINAL)
    if kept.new_head:
        raise InputError(f"{file} has a head for other classes, so there is no original head.")
    written = FrozenModel.load(file, **kept.located_by)
    if written.metadata.get("ntkit.source_sha256") != kept.source_sha256:
        raise InputError(
            f"{file} is not what {folder} was written with; give the folder of its run."
        )
    place = check_file(out, inputs=written.files, force=force, size=size_of(written.files))
    if kept.model_classes is not None:  # names that were given with --classes
        written = written.with_classes(kept.model_classes)
    head = kept.head
    return save_verified(
        written.with_head(head).with_provenance(kept.metadata),
        place,
        original=written,
        X=random_inputs(written),
        head=head,
        device=device,
        force=force,
    )
