"""Result of comparing two models, and whether it passes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ntkit._text import counted
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
    """Tolerance of the coarsest precision among the model's own and other element types."""
    kinds = {tensor.dtype for tensor in (model.embedding, model.logits) if tensor is not None}
    if model.describe().get("quantisation") is not None:
        kinds.add("quantised")
    return max(_BY_PRECISION.get(name, TOLERANCE) for name in (*kinds, *dtypes))


@dataclass(frozen=True)
class Verification:
    """Result of a comparison of two models; :func:`verify` makes it.

    Attributes
    ----------
    n_samples : int
        Number of compared inputs.
    logit_difference : float
        Largest difference between the debiased file's logits in ONNX Runtime and the logits of its
        head in NumPy on the original's embeddings, relative to the largest logit.
    embedding_difference : float
        Largest difference between the two models' embeddings; 0 for an unchanged network.
    agreement : float
        Share of inputs with the same predicted class in both models; NaN if their classes differ.
    same_nodes, same_signature : bool
        Whether the node list, and the inputs, outputs, opset and IR version, are the original's.
    tolerance : float
        Tolerance for the differences of logits, embeddings and outputs.
    same_metadata : bool
        Whether the file still has all of the original's metadata, except ``ntkit.*``.
    output_difference : float
        Largest difference of the file's float outputs after the logits (probabilities) from what
        the original's nodes compute from NumPy's logits, relative to the output's largest value. It
        is infinite if labels differ although the logits are not close. It is NaN if the logits are
        the only output, or if the nodes after them read more than the logits and the model's
        inputs.
    decision_agreement : float
        Smallest share, over the outputs that show classes, of samples on which the file decides
        like its head. Only samples whose logits are not close count.
    side_difference : float
        Largest difference between the two models' outputs that do not depend on the logits,
        relative to the output's largest value; NaN if there are none.
    kept_outputs : bool
        Whether the debiased model has all of the original's inputs and outputs, by name and
        element type.
    same_class_order : bool
        Whether no class has moved: neither in the names in both files, nor in the predictions. The
        latter holds unless another order of the classes fits the debiased model's predictions far
        better (``ntkit.metrics.class_order``).
    same_other_labels : bool
        With one label of several, whether the outputs of all other labels are equal to the bit.
    n_other_labels : int
        Number of other labels whose outputs were compared to the bit.
    notes : tuple of str
        Comparisons that were not possible, and facts that a reader should know; they do not affect
        ``passed``.
    latency, original_latency : float
        Median milliseconds per run of the debiased model and of the original on the first 8
        samples, measured in turn; NaN if not measured. They do not affect ``passed``.
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
    same_other_labels: bool = True
    n_other_labels: int = 0
    notes: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether the file computes its head on the original's embeddings, and keeps the rest."""
        return not self.failures()

    def differences(self) -> str:
        """The differences as text: of logits and embeddings, and of outputs if compared."""
        text = f"{self.logit_difference:.1e} (logits), {self.embedding_difference:.1e} (embeddings)"
        if not np.isnan(self.output_difference):
            text = f"{text}, {self.output_difference:.1e} (outputs)"
        if self.decision_agreement < 1:
            share = 100 * (1 - self.decision_agreement)
            text += f", and an output decides differently from the head on {share:.0f} % of samples"
        if not np.isnan(self.side_difference):
            text += f", {self.side_difference:.1e} (other outputs)"
        if not self.same_class_order:
            text += ", and its classes are in another order than the original's"
        if not self.same_other_labels:
            text += ", and outputs of its other labels are not the original's"
        if not self.kept_outputs:
            text += ", and it lacks an input or output that the original has"
        return text

    def on_other_labels(self) -> str:
        """Sentence on the outputs of the other labels; empty if they changed or are not known."""
        if not self.n_other_labels or not self.same_other_labels:
            return ""
        return (
            f"The outputs of the other {counted(self.n_other_labels, 'label')} are the same to the "
            f"bit on {counted(self.n_samples, 'sample')}."
        )

    def failures(self) -> tuple[str, ...]:
        """Reasons for failing, as predicates without a subject; empty if it passed."""
        # A NaN must fail if it is a difference; for outputs it means that there were none.
        within = self.tolerance
        checks = {
            "does not compute its head on the original's embeddings": (
                self.logit_difference <= within and self.embedding_difference <= within
            ),
            "has outputs that do not follow from its head": (
                not self.output_difference > within and self.decision_agreement == 1
            ),
            "computes its other outputs differently from the original": (
                not self.side_difference > within
            ),
            "has its classes in another order than the original": self.same_class_order,
            "changes the outputs of other labels": self.same_other_labels,
            "lacks an input or output of the original, or has another element type there": (
                self.kept_outputs
            ),
        }
        return tuple(failure for failure, passed in checks.items() if not passed)

    @property
    def latency_ratio(self) -> float:
        """Latency of the debiased model as a multiple of the original's."""
        return self.latency / self.original_latency
