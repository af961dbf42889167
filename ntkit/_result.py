"""What the main job did, as a value: table, verdict, summary."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from ntkit._comparison import Candidate
from ntkit._version import __version__
from ntkit.export import Verification
from ntkit.frozen_model import FrozenModel
from ntkit.head import LinearHead

__all__ = ["MODEL_FILE", "REPORT_FILE", "DebiasResult"]

Array = NDArray[Any]
MODEL_FILE = "debiased.onnx"
REPORT_FILE = "report.html"
_SCORE_IN_WORDS = {
    "worst_class_cell_accuracy": "worst class + half the worst class × correctness cell"
}


@dataclass(frozen=True)
class DebiasResult:
    """What :func:`ntkit.debias` did.

    Attributes
    ----------
    model : FrozenModel
        The debiased model.
    head : LinearHead
        Its head, on raw embeddings.
    estimator : estimator
        The chosen candidate, fitted on standardised embeddings.
    candidates : tuple of Candidate
        All rows, the original head first.
    suppressed : ndarray of int, shape (n_suppressed,)
        Indices of the suppressed neurons.
    n_live : int
        Neurons that vary on the held-out set.
    verification : Verification
        What ONNX Runtime computes against NumPy.
    evaluated_on : str
        "test set", or "held-out set" where no test set was given.
    select : str
        Name of the held-out score.
    path : pathlib.Path or None
        The folder written.
    notes : tuple of str
        What a reader should know about this run.

    Examples
    --------
    >>> from ntkit import debias
    >>> from ntkit.datasets import load_marked_digits, marked_digits_model_path
    >>> d = load_marked_digits()
    >>> result = debias(
    ...     marked_digits_model_path(),
    ...     (d.X_train[:300], d.y_train[:300]),
    ...     (d.X_heldout[:300], d.y_heldout[:300]),
    ...     method="neurontune",
    ...     device="cpu",
    ... )
    >>> result.chosen.name
    'neurontune'
    >>> len(result.suppressed) == result.chosen.n_suppressed
    True
    >>> result.table().startswith("| candidate ")
    True
    """

    model: FrozenModel
    head: LinearHead
    estimator: Any
    candidates: tuple[Candidate, ...]
    suppressed: Array
    n_live: int
    verification: Verification | None
    evaluated_on: str
    select: str
    path: Path | None
    notes: tuple[str, ...]

    @property
    def chosen(self) -> Candidate:
        """Candidate: the row of the head that was written."""
        return next(c for c in self.candidates if c.chosen)

    def table(self) -> str:
        """All candidates as a Markdown table; accuracies in percent.

        Returns
        -------
        str
            A header and one line per candidate; ← marks the chosen one.
        """
        groups = any(c.worst_group is not None for c in self.candidates)
        header = ["candidate", "suppressed", "held-out score", "average", "worst class"]
        rows = [header + (["worst group"] if groups else [])]
        for c in self.candidates:
            cells = [
                f"{c.name}{' ←' if c.chosen else ''}",
                str(c.n_suppressed),
                _with_spread(c.score, c.spread.get("score"), digits=3, factor=1),
                _with_spread(c.average, c.spread.get("average")),
                _with_spread(c.worst_class, c.spread.get("worst_class")),
            ]
            if groups:
                cells.append(_with_spread(c.worst_group, c.spread.get("worst_group")))
            rows.append(cells)
        widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
        lines = ["| " + " | ".join(map(str.ljust, row, widths)) + " |" for row in rows]
        lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
        return "\n".join(lines)

    def verdict(self) -> str:
        """One sentence: did silencing neurons help, by the held-out score.

        Returns
        -------
        str
            It names the scores compared.
        """
        chosen, original = self.chosen, self.candidates[0]
        others = [c for c in self.candidates if c is not chosen]
        random = next(c for c in others if c.name.startswith("random mask"))
        plain = max((c for c in others if not c.n_suppressed and c is not original), key=_score)
        if original.score > max(map(_score, self.candidates[1:])):
            return (
                f"By the held-out score no candidate beats the {original.name} "
                f"({original.score:.3f}; the head written {chosen.score:.3f}): keep the original "
                "model."
            )
        if not chosen.n_suppressed:
            masks = [c for c in others if c.n_suppressed and c is not random]
            if not masks:
                return "No rule found a neuron to silence here."
            masked = max(masks, key=_score)
            outcome = "would have helped" if masked.score > chosen.score else "did not help"
            return (
                f"Silencing neurons {outcome} here, by the held-out score: {masked.score:.3f} for "
                f"the best with suppression ({masked.name}), {chosen.score:.3f} for the head "
                f"written ({chosen.name}), which suppresses none."
            )
        helped = chosen.score > max(random.score, plain.score)
        return (
            f"Silencing {chosen.n_suppressed} of {self.n_live} live neurons "
            f"{'helped' if helped else 'did not help'}, by the held-out score: "
            f"{chosen.score:.3f}, against {plain.score:.3f} for the best retraining without "
            f"suppression ({plain.name}) and {random.score:.3f} for random masks of the same size."
        )

    def summary(self) -> str:
        """The table and what to know about it, as text.

        Returns
        -------
        str
            What ``ntkit debias`` prints and ``table.md`` holds.
        """
        lines = [
            self.table(),
            "",
            f"Accuracies in % on the {self.evaluated_on}; ← marks the head that was written. The "
            "held-out score needs no group labels: "
            f"{_SCORE_IN_WORDS.get(self.select, self.select)}.",
            self.verdict(),
            *([_checked(self.verification)] if self.verification else []),
            *self.notes,
        ]
        if self.path is not None:
            lines.append(f"Written: {self.path / MODEL_FILE}")
        return "\n".join(lines)

    def as_dict(self) -> dict[str, Any]:
        """Everything as plain values, for JSON.

        Returns
        -------
        dict
            The content of ``result.json``; accuracies in [0, 1].
        """
        return {
            "candidates": [asdict(c) for c in self.candidates],
            "chosen": self.chosen.name,
            "parameters": {
                k: v
                for k, v in self.estimator.get_params().items()
                if v is None or isinstance(v, bool | int | float | str)
            },
            "suppressed_neurons": self.suppressed.tolist(),
            "n_live": self.n_live,
            "classes": self.head.classes.tolist(),
            "evaluated_on": self.evaluated_on,
            "verdict": self.verdict(),
            "verification": asdict(self.verification) if self.verification else None,
            "notes": list(self.notes),
            "model": str(self.path / MODEL_FILE) if self.path else None,
            "version": __version__,
        }


def _score(candidate: Candidate) -> float:
    return candidate.score


def _checked(check: Verification) -> str:
    return (
        f"ONNX Runtime against NumPy: largest relative difference of logits "
        f"{check.logit_difference:.1e} on {check.n_samples} samples; node list "
        f"{'unchanged' if check.same_nodes else 'changed'}, inputs and outputs "
        f"{'unchanged' if check.same_signature else 'changed'}."
    )


def _with_spread(
    value: float | None, spread: float | None, digits: int = 1, factor: float = 100
) -> str:
    if value is None:
        return "–"
    text = f"{factor * value:.{digits}f}"
    return text if spread is None else f"{text} ± {factor * spread:.{digits}f}"
