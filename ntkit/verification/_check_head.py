"""Check that NumPy computes with the head found in a model what the model computes."""

from __future__ import annotations

from typing import Any

from ntkit.exceptions import InputError, VerificationError
from ntkit.frozen_model import FrozenModel
from ntkit.verification._verify import Verification, verify

__all__ = ["check_head"]


def check_head(
    model: FrozenModel, X: Any, *, device: str = "auto", tolerance: float | None = None
) -> Verification:
    """Check that the head found in a model is what turns its embeddings into its outputs.

    Ask before you retrain or edit: a head that was misread cannot be put back right.

    Parameters
    ----------
    model : FrozenModel
        The model, with the head that was found in it.
    X : array-like, lazy sequence or mapping
        Model inputs; some dozens suffice.
    device : {"auto", "cpu", "cuda"}
        Where to run.
    tolerance : float, optional
        Largest difference accepted, as in :func:`verify`.

    Returns
    -------
    Verification
        Of the model with itself; the latency is not measured.

    Raises
    ------
    VerificationError
        If logits or outputs differ by more than the tolerance between ONNX Runtime and NumPy, or
        an output decides otherwise than the head does.
    InputError
        If the model has no head, there are no samples, or they do not fit the model.
    DeviceError
        If ``device="cuda"`` and ONNX Runtime cannot use a GPU.
    ModelError
        If the model cannot be run.

    Examples
    --------
    >>> from ntkit import FrozenModel
    >>> from ntkit.datasets import marked_digits_model_path
    >>> from ntkit.verification import check_head, random_inputs
    >>> model = FrozenModel.load(marked_digits_model_path())
    >>> check_head(model, random_inputs(model), device="cpu").passed
    True
    """
    if model.head is None or model.logits is None:
        raise InputError("The model has no head to check; name its logits with --logits NAME.")
    result = verify(model, model, X, device=device, tolerance=tolerance, latency=False)
    if not result.passed:
        raise VerificationError(
            f"The head found in {model.path or 'the model'} ({model.describe()['head']}, "
            f"{model.logits.name!r}) does not compute what the model does: they differ by "
            f"{result.differences()}, where at most {result.tolerance:.0e} is accepted; name the "
            "right one with --logits NAME, or export the model without what reorders its classes "
            "or draws random numbers."
        )
    return result
