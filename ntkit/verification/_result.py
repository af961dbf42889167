"""The result of comparing two models, and whether it passes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ntkit.model import FrozenModel

# Largest difference of logits, relative to the largest logit:
# | model           | tolerance |                                                     |
# |-----------------|-----------|-----------------------------------------------------|
# | float32, double | 1e-4      | sums in another order                               |
# | float16         | 8e-3      | 8 steps of its 11-bit mantissa                      |
# | quantised       | 2e-2      | 8-bit activations around the head                   |
# | bfloat16        | 6e-2      | 8 steps of its 8-bit mantissa                       |
TOLERANCE = 1e-4
_BY_PRECISION = {
    "float16": 8 * float(np.finfo(np.float16).eps),
    "quantised": 2e-2,
    "bfloat16": 8 * 2.0**-7,
}


def tolerance_of(model: FrozenModel, *dtypes: str) -> float:
    """Tolerance of the coarsest precision among the model's own and further element types."""
    kinds = {tensor.dtype for tensor in (model.embedding, model.logits) if tensor is not None}
    if model.describe().get("quantisation") is not None:
        kinds.add("quantised")
    return max(_BY_PRECISION.get(name, TOLERANCE) for name in (*kinds, *dtypes))


@dataclass(frozen=True)
class Verification:
    """Outcome of a comparison of two models; :func:`verify` makes it.

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
        Largest difference accepted, of logits, embeddings and outputs.
    same_metadata : bool
        Whether the file still has all of the original's metadata, other than ``ntkit.*``.
    output_difference : float
        Largest difference between the file's float outputs after the logits (probabilities)
        and what the original's nodes make of NumPy's logits, relative to the output's largest
        value; infinite if labels differ where the logits leave no doubt. NaN if the logits
        are the only output, or what follows them reads more than them and the model's inputs.
    decision_agreement : float
        Smallest share of samples, over the outputs that show classes, on which the file decides
        as its head does; only samples whose logits leave no doubt count.
    side_difference : float
        Largest difference between the two models' outputs that are not computed from the logits,
        relative to the output's largest value; NaN if there are none.
    kept_outputs : bool
        Whether the debiased model has all of the original's inputs and outputs, by name and
        element type.
    same_class_order : bool
        Whether no class has moved: neither in the names that both files give, nor in what the
        two models predict, where another order of the classes would explain the debiased model's
        predictions far better (:func:`ntkit.metrics.class_order`).
    notes : tuple of str
        What could not be compared, and what a reader should know; they decide nothing.
    latency, original_latency : float
        Median milliseconds per run of the debiased model and of the original on the first 8
        samples, measured in turn; NaN if not measured. It decides nothing.
    """

    n_samples: int
    logit_difference: float
    embedding_difference: float
    agreement: float
    same_nodes: bool
    same_signature: bool
    tolerance: float = TOLERANCE
    same_metadata: bool = True
    output_difference: float = float("nan")
    decision_agreement: float = 1.0
    latency: float = float("nan")
    original_latency: float = float("nan")
    side_difference: float = float("nan")
    kept_outputs: bool = True
    same_class_order: bool = True
    notes: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether the file computes its head on the original's embeddings, and keeps the rest."""
        return not self.failures()

    def differences(self) -> str:
        """The differences in words: of logits and embeddings, and of outputs if compared."""
        text = f"{self.logit_difference:.1e} (logits), {self.embedding_difference:.1e} (embeddings)"
        if not np.isnan(self.output_difference):
            text = f"{text}, {self.output_difference:.1e} (outputs)"
        if self.decision_agreement < 1:
            share = 100 * (1 - self.decision_agreement)
            text += f", and an output decides otherwise than the head on {share:.0f} % of samples"
        if not np.isnan(self.side_difference):
            text += f", {self.side_difference:.1e} (other outputs)"
        if not self.same_class_order:
            text += ", and its classes are in another order than the original's"
        if not self.kept_outputs:
            text += ", and it lacks an input or output that the original has"
        return text

    def failures(self) -> tuple[str, ...]:
        """Reasons for failing, in words without a subject; empty if it passed."""
        # A NaN must fail where it is a difference; of outputs it says that there were none.
        within = self.tolerance
        checks = {
            "does not compute its head on the original's embeddings": (
                self.logit_difference <= within and self.embedding_difference <= within
            ),
            "has outputs that do not follow from its head": (
                not self.output_difference > within and self.decision_agreement == 1
            ),
            "computes its other outputs otherwise than the original": (
                not self.side_difference > within
            ),
            "has its classes in another order than the original": self.same_class_order,
            "lacks an input or output of the original, or has another element type there": (
                self.kept_outputs
            ),
        }
        return tuple(failure for failure, passed in checks.items() if not passed)

    @property
    def latency_ratio(self) -> float:
        """Latency of the debiased model as a multiple of the original's."""
        return self.latency / self.original_latency
