"""Does the written file compute what it should? Asked of ONNX Runtime, on real inputs."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ntkit.exceptions import InputError, VerificationError
from ntkit.extraction import OnnxEmbedder, make_session, run_batches
from ntkit.frozen_model import FrozenModel
from ntkit.head import LinearHead

__all__ = ["Verification", "random_inputs", "save_verified", "verify"]

Array = NDArray[Any]
# Largest relative difference of logits between ONNX Runtime and NumPy, by the model's precision.
TOLERANCE = 1e-4
_HALF_TOLERANCE = 8 * float(np.finfo(np.float16).eps)


@dataclass(frozen=True)
class Verification:
    """What the comparison of two models found.

    Attributes
    ----------
    n_samples : int
        Inputs compared.
    logit_difference : float
        Largest difference between the debiased file's logits in ONNX Runtime and its head in
        NumPy on the original's embeddings, relative to the largest logit.
    embedding_difference : float
        Largest difference between the two models' embeddings; 0 for an untouched body.
    agreement : float
        Share of inputs for which original and debiased model predict the same class; NaN if
        their classes differ.
    same_nodes, same_signature : bool
        Whether node list, and inputs, outputs, opset and IR version, are the original's.
    tolerance : float
        Largest difference accepted, of logits and of embeddings.

    Examples
    --------
    >>> from ntkit.export import Verification
    >>> Verification(
    ...     n_samples=8,
    ...     logit_difference=2e-7,
    ...     embedding_difference=0.0,
    ...     agreement=1.0,
    ...     same_nodes=True,
    ...     same_signature=True,
    ... ).passed
    True
    """

    n_samples: int
    logit_difference: float
    embedding_difference: float
    agreement: float
    same_nodes: bool
    same_signature: bool
    tolerance: float = TOLERANCE

    @property
    def passed(self) -> bool:
        """Whether the file computes its head on the original's embeddings."""
        # Not their maximum: a NaN must fail, and max() may lose it.
        differences = (self.logit_difference, self.embedding_difference)
        return all(difference <= self.tolerance for difference in differences)


def verify(
    original: FrozenModel | str | os.PathLike[str],
    debiased: FrozenModel | str | os.PathLike[str],
    X: Any,
    *,
    head: LinearHead | None = None,
    device: str = "auto",
    tolerance: float | None = None,
) -> Verification:
    """Compare a debiased file with the original and with NumPy, on inputs.

    Parameters
    ----------
    original, debiased : FrozenModel or path-like
        The two models; the debiased one is run as the file it is.
    X : array-like, lazy sequence or mapping
        Model inputs.
    head : LinearHead, optional
        What the file should hold; by default the head read from it.
    device : {"auto", "cpu", "cuda"}
        Where to run.
    tolerance : float, optional
        For :attr:`Verification.passed`; by default 1e-4, and 8e-3 for a model in float16.

    Returns
    -------
    Verification
        It does not raise where the two differ; see :attr:`Verification.passed`.

    Raises
    ------
    InputError
        If the debiased model has no head, there are no samples, or they do not fit the model.
    DeviceError
        If ``device="cuda"`` and ONNX Runtime cannot use a GPU.
    ModelError
        If a model cannot be read or run.

    Examples
    --------
    >>> from ntkit import FrozenModel
    >>> from ntkit.datasets import marked_digits_model_path
    >>> from ntkit.export import random_inputs, verify
    >>> model = FrozenModel.load(marked_digits_model_path())
    >>> result = verify(model, model.with_head(model.head), random_inputs(model), device="cpu")
    >>> result.passed, result.agreement
    (True, 1.0)
    """
    first, second = _loaded(original), _loaded(debiased)
    expected_head = head if head is not None else second.head
    if expected_head is None or second.logits is None:
        raise InputError("The debiased model has no head to verify.")
    Z = OnnxEmbedder(first, device=device).transform(X)
    if not len(Z):
        raise InputError("There are no samples to verify on.")
    embedding, logits = _run(second, X, device)
    if tolerance is None:
        tolerance = _HALF_TOLERANCE if logits.dtype == np.float16 else TOLERANCE
    expected = _decisions(expected_head.aligned_to(_class_order(first, second)), Z)
    found = _as_decisions(logits * second.logit_scale)
    return Verification(
        n_samples=len(Z),
        logit_difference=_difference(found, expected),
        embedding_difference=_difference(embedding, Z),
        agreement=_agreement(first.head, expected_head, Z),
        same_nodes=first.nodes == second.nodes,
        same_signature=_signature(first) == _signature(second),
        tolerance=tolerance,
    )


def save_verified(
    model: FrozenModel,
    path: str | os.PathLike[str],
    *,
    original: FrozenModel,
    X: Any,
    head: LinearHead | None = None,
    device: str = "auto",
    force: bool = False,
) -> Verification:
    """Write a model; it takes its name only if ONNX Runtime agrees with NumPy on ``X``.

    Parameters
    ----------
    model : FrozenModel
        From :meth:`FrozenModel.with_head`.
    path : path-like
        Target file.
    original : FrozenModel
        The model it was made from.
    X : array-like, lazy sequence or mapping
        Inputs to compare on; some dozens suffice.
    head : LinearHead, optional
        The head it should hold.
    device : {"auto", "cpu", "cuda"}
        Where to run, as in :func:`verify`.
    force : bool
        Whether to replace an existing file.

    Returns
    -------
    Verification
        What the comparison found.

    Raises
    ------
    VerificationError
        If logits or embeddings differ by more than the tolerance; nothing is written then.
    InputError
        If the file exists and ``force`` is not given, it cannot be written, or the samples do not
        fit the model.
    ModelError
        If the model does not pass ONNX's checker.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from ntkit import FrozenModel
    >>> from ntkit.datasets import marked_digits_model_path
    >>> from ntkit.export import random_inputs, save_verified
    >>> original = FrozenModel.load(marked_digits_model_path())
    >>> head = original.head.scaled(np.arange(64) != 5)  # neuron 5 silenced
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     check = save_verified(
    ...         original.with_head(head),
    ...         Path(folder) / "silenced.onnx",
    ...         original=original,
    ...         X=random_inputs(original),
    ...         device="cpu",
    ...     )
    >>> check.passed, check.same_nodes, check.same_signature
    (True, True, True)
    """
    results: list[Verification] = []

    def check(temporary: Path) -> None:
        classes = model.head.classes if model.head is not None else None
        written = FrozenModel.load(temporary, **model.located_by, classes=classes)
        result = verify(original, written, X, head=head, device=device)
        if not result.passed:
            raise VerificationError(
                "The written model differs from its head in NumPy by "
                f"{result.logit_difference:.1e} (logits) and "
                f"{result.embedding_difference:.1e} (embeddings), more than "
                f"{result.tolerance:.0e}; {path} was not written."
            )
        results.append(result)

    model.save(path, force=force, verify=check)
    return results[0]


def random_inputs(model: FrozenModel, n_samples: int = 8) -> dict[str, Array]:
    """Make inputs of the model's shape, to verify on where there are no samples.

    Parameters
    ----------
    model : FrozenModel
        What the inputs are for.
    n_samples : int
        Samples to make.

    Returns
    -------
    dict of str to ndarray of float32, shape (n_samples, ...)
        Numbers in [0, 1) for each input, the same at every call.

    Raises
    ------
    InputError
        If the model leaves the size of an input open, or an input is not of floats.

    Examples
    --------
    >>> from ntkit import FrozenModel
    >>> from ntkit.datasets import marked_digits_model_path
    >>> from ntkit.export import random_inputs
    >>> inputs = random_inputs(FrozenModel.load(marked_digits_model_path()))
    >>> {name: array.shape for name, array in inputs.items()}
    {'image': (8, 1, 20, 20)}
    """
    rng = np.random.default_rng(0)
    inputs: dict[str, Array] = {}
    for tensor in model.inputs:
        shape = tensor.shape or ()
        sides = [side for side in shape[1:] if isinstance(side, int)]
        if tensor.dtype not in ("float16", "float32", "double"):
            raise InputError(
                f"The model's input {tensor} takes no plain numbers; give samples to verify on "
                "(--data)."
            )
        if not shape or len(sides) + 1 < len(shape):
            raise InputError(
                f"The model's input {tensor} leaves its size open; give samples to verify on "
                "(--data)."
            )
        inputs[tensor.name] = rng.random((n_samples, *sides), dtype=np.float32)
    return inputs


def _class_order(first: FrozenModel, second: FrozenModel) -> Array:
    """The original's order of classes, where the two models know the same: users rely on it."""
    classes: Array = second.head.classes  # type: ignore[union-attr]
    if first.head is not None and set(first.head.classes.tolist()) == set(classes.tolist()):
        return first.head.classes
    return classes


def _difference(found: Array, expected: Array) -> float:
    """Largest difference, relative to the largest value; infinite between other shapes."""
    if found.shape != expected.shape:
        return float("inf")
    return float(np.abs(found - expected).max()) / max(1.0, float(np.abs(expected).max()))


def _loaded(model: FrozenModel | str | os.PathLike[str]) -> FrozenModel:
    return model if isinstance(model, FrozenModel) else FrozenModel.load(model)


def _run(model: FrozenModel, X: Any, device: Any) -> tuple[Array, Array]:
    """Embeddings and logits in ONNX Runtime; the logits from the file itself if it gives them."""
    body = model.body(logits=True).SerializeToString()
    both = make_session(body, device=device, folder=model.folder)
    embedding, logits = (np.concatenate(parts) for parts in zip(*run_batches(both, X), strict=True))
    if model.path is not None:
        whole = make_session(str(model.path), device=device)
        names = [output.name for output in whole.get_outputs()]
        outputs = list(run_batches(whole, X))
        if model.logits is not None and model.logits.name in names:
            index = names.index(model.logits.name)
            logits = np.concatenate([batch[index] for batch in outputs])
    return embedding, logits


def _decisions(head: LinearHead, Z: Array) -> Array:
    return _as_decisions(head.decision_function(Z))


def _as_decisions(logits: Array) -> Array:
    """One column per class; for two classes the margin, which is all that two logits say."""
    if logits.ndim == 1 or logits.shape[1] == 1:
        return logits.reshape(-1)
    return logits[:, 1] - logits[:, 0] if logits.shape[1] == 2 else logits


def _signature(model: FrozenModel) -> tuple[Any, ...]:
    return model.inputs, model.outputs, model.opset_imports, model.ir_version


def _agreement(first: LinearHead | None, second: LinearHead, Z: Array) -> float:
    if first is None or set(first.classes.tolist()) != set(second.classes.tolist()):
        return float("nan")
    return float((first.predict(Z) == second.predict(Z)).mean())
