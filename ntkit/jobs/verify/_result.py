"""What the comparison with a service found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Parity:
    """Comparison with a service's own outputs; :func:`check_parity` makes it.

    Attributes
    ----------
    matched : bool
        Whether ntkit computes what was recorded, for every sample.
    n_samples, n_agreeing : int
        Samples compared, and those of them that agree.
    n_recorded, n_searched : int
        Samples that were recorded, and those that a cause was looked for on.
    difference : float
        Largest difference, relative to how far the recorded outputs vary (of labels: 1 if one
        differs).
    tolerance : float
        Largest difference accepted.
    kind : str
        What was compared: "logits", "probabilities" or "labels".
    cause : tuple of str
        What the service does differently ("resample", "channel order"), perhaps several things
        together; empty if they agree, and if no cause was found.
    words : tuple of str
        The same in words, to go on with "the service …".
    explained : float
        Largest difference that is left with the cause; NaN without one.
    fix : str
        Options of the command line with which ntkit does as the service; may be empty.
    others : tuple of str
        What explains the outputs as well.
    same_embeddings : bool
        Whether a head for ntkit's embeddings is one for the service's: the outputs agree, or what
        differs is done to outputs only (softmax, temperature; not another order of the classes)
        or is a matter of rounding.
    """

    matched: bool
    n_samples: int
    n_agreeing: int
    difference: float
    tolerance: float
    kind: str
    cause: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    explained: float = float("nan")
    fix: str = ""
    others: tuple[str, ...] = ()
    same_embeddings: bool = True
    n_recorded: int = 0
    n_searched: int = 0

    def summary(self) -> str:
        """Whether they agree, and if not, why: one to four sentences, a line each."""
        if self.matched:
            return (
                f"The {self.kind} agree on all {self.n_samples} samples{self._of_all()} (largest "
                f"difference {self._much(self.difference)})."
            )
        lines = [
            f"The {self.kind} differ on {self.n_samples - self.n_agreeing} of {self.n_samples} "
            f"samples{self._of_all()} (largest difference {self._much(self.difference)}, at most "
            f"{self.tolerance:.0e} is accepted"
            f"{', relative to how far they vary' * (self.kind != 'labels')})."
        ]
        if not self.cause:
            return "\n".join([*lines, self._nothing()])
        lines.append(
            f"Likely cause: {', '.join(self.cause)}. The service {'; it '.join(self.words)}."
        )
        tried = " that were tried" if self.n_searched < self.n_samples else ""
        if self.explained <= self.tolerance:
            lines.append(
                f"So computed, all {self.n_searched} samples{tried} agree (largest difference "
                f"{self._much(self.explained)})."
            )
        else:
            lines.append(
                f"So computed, a difference of {self._much(self.explained)} is left; nothing else "
                "that was tried comes near."
            )
        if self.others:
            lines.append(f"As good an explanation: the service {'; or it '.join(self.others)}.")
        if self.fix:
            lines.append(f"ntkit does the same with {self.fix}.")
        return "\n".join(lines)

    def _of_all(self) -> str:
        """Number of recorded samples, if not all were compared."""
        looked_at = self.n_samples < self.n_recorded
        return f" looked at, of {self.n_recorded} recorded" if looked_at else ""

    def _nothing(self) -> str:
        if self.others:
            return (
                f"No cause found: several explain the {self.kind} alike (the service "
                f"{'; or it '.join(self.others)}). Record more samples, or logits."
            )
        return "No cause found among what was tried."

    def _much(self, difference: float) -> str:
        return f"{difference:.1e}" if self.kind != "labels" else f"{difference:.0f}"

    def as_dict(self) -> dict[str, Any]:
        """Everything as plain values, for JSON."""
        return {**self.__dict__, "summary": self.summary()}
