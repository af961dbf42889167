"""The ONNX file of a model that is named by its folder."""

from __future__ import annotations

import os
from pathlib import Path

from ntkit.exceptions import ModelError

__all__ = ["model_file"]

_NAME = "model.onnx"
_SHOWN = 6


def model_file(path: Path) -> Path:
    """Give the ONNX file that a path names: itself, or that of a folder of one model.

    Exporters (Optimum), the Hugging Face Hub, MLflow and ntkit's own ``--deploy`` write folders
    that hold a model as ``model.onnx`` or ``onnx/model.onnx``, beside its tokenizer and more.

    Parameters
    ----------
    path : pathlib.Path
        A file, or such a folder.

    Returns
    -------
    pathlib.Path
        ``path`` if it is no folder.

    Raises
    ------
    ModelError
        If it is a folder that holds no such file, or both.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from ntkit.graph._model_file import model_file
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     (Path(folder) / "onnx").mkdir()
    ...     (Path(folder) / "onnx" / "model.onnx").touch()
    ...     model_file(Path(folder)).relative_to(folder).as_posix()
    'onnx/model.onnx'
    """
    if not os.path.isdir(path):  # unlike is_dir no error where a name is too long
        return path
    found = [file for file in (path / _NAME, path / "onnx" / _NAME) if file.is_file()]
    if len(found) == 1:
        return found[0]
    if found:
        raise ModelError(
            f"{path} is a folder of two models, {_NAME} and onnx/{_NAME}; name the one that is "
            "meant."
        )
    names = sorted(
        file.relative_to(path).as_posix()
        for folder in (path, path / "onnx")
        for file in folder.glob("*.onnx")
    )
    more = ", …" * (len(names) > _SHOWN)
    raise ModelError(
        f"{path} is a folder without a {_NAME}; give the path of an ONNX model"
        + (f", such as one of those in it: {', '.join(names[:_SHOWN])}{more}." if names else ".")
    )
