"""What neurons respond to: their strongest samples, and how errors differ from the rest."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ntkit.report._sample_pictures import Picture

__all__ = ["NeuronCard", "SampleCard", "neuron_cards", "sample_cards"]

Array = NDArray[Any]
_BINS = 24
_STRONGEST = 50  # samples that say what a neuron responds to


@dataclass(frozen=True)
class SampleCard:
    """One sample: how it looks, its class, and what was predicted."""

    picture: Picture
    label: Any
    before: Any
    after: Any
    name: str

    @property
    def was_right(self) -> bool:
        """Whether the original model got it right."""
        return bool(self.before == self.label)

    @property
    def is_right(self) -> bool:
        """Whether the model written gets it right."""
        return bool(self.after == self.label)


@dataclass(frozen=True)
class NeuronCard:
    """One neuron.

    Attributes
    ----------
    neuron : int
        Its column.
    score : float
        Its largest spuriousness score over the classes.
    of_class : object
        The class with that score.
    n_wrong : int
        Samples of that class that the original model gets wrong.
    silenced : bool
        Whether the head no longer uses it.
    samples : tuple of SampleCard
        Strongest activations first.
    n_strongest : int
        The 50 strongest samples, or all there are.
    mostly : object
        The most frequent class among them.
    share_mostly, share_wrong : float
        Shares of that class, and of samples the original model gets wrong, among them.
    in_common : str
        In what they differ from the other samples, where that is known.
    right, wrong : tuple of float
        Densities of the activations of ``of_class``, over equal bins from ``low`` to ``high``;
        the highest is 1.
    low, high : float
        Smallest and largest activation in that class.
    """

    neuron: int
    score: float
    of_class: Any
    n_wrong: int
    silenced: bool
    samples: tuple[SampleCard, ...]
    n_strongest: int
    mostly: Any
    share_mostly: float
    share_wrong: float
    in_common: str
    right: tuple[float, ...]
    wrong: tuple[float, ...]
    low: float
    high: float


def sample_cards(
    rows: Array, y: Array, before: Array, after: Array, picture: Callable[[int], Picture], ids: Any
) -> tuple[SampleCard, ...]:
    """Cards of some samples."""
    return tuple(
        SampleCard(
            picture(int(i)),
            y[i],
            before[i],
            after[i],
            f"sample {i}" if ids is None else str(ids[i]),
        )
        for i in rows
    )


def neuron_cards(
    Z: Array,
    y: Array,
    before: Array,
    after: Array,
    *,
    scores: Array,
    classes: Array,
    silenced: Array,
    n_neurons: int,
    n_samples: int,
    picture: Callable[[int], Picture],
    in_common: Callable[[Array], str] = lambda rows: "",
    ids: Any = None,
) -> tuple[NeuronCard, ...]:
    """Cards of the neurons with the highest scores, of the silenced ones where there are any.

    Parameters
    ----------
    Z : ndarray of shape (N, D)
        Activations.
    y, before, after : ndarray of shape (N,)
        True classes, and predictions of the original model and of the model written.
    scores : ndarray of shape (C, D)
        From :func:`ntkit.spuriousness.spuriousness_scores`; NaN for a class that is not scored.
    classes : ndarray of shape (C,)
        The classes.
    silenced : ndarray of bool, shape (D,)
        Silenced neurons.
    n_neurons, n_samples : int
        Cards, and samples on each.
    picture : callable
        Shows a sample by its row.
    in_common : callable, optional
        Says in what some samples, by their rows, differ from the others.
    ids : sequence of str, optional
        Names of the samples.

    Returns
    -------
    tuple of NeuronCard
        Highest scores first; none where no class is scored.
    """
    if np.isnan(scores).all():
        return ()
    known = np.where(np.isnan(scores), -np.inf, scores)
    severity = np.where(silenced | ~silenced.any(), known.max(axis=0), -np.inf)
    chosen = np.argsort(-severity, kind="stable")[:n_neurons]
    return tuple(
        _card(
            int(j),
            np.asarray(Z[:, j], dtype=float),
            y,
            before,
            after,
            float(severity[j]),
            classes[known[:, j].argmax()],
            bool(silenced[j]),
            n_samples,
            picture,
            in_common,
            ids,
        )
        for j in chosen
        if np.isfinite(severity[j])
    )


def _card(
    neuron: int,
    activation: Array,
    y: Array,
    before: Array,
    after: Array,
    score: float,
    of_class: Any,
    silenced: bool,
    n_samples: int,
    picture: Callable[[int], Picture],
    in_common: Callable[[Array], str],
    ids: Any,
) -> NeuronCard:
    order = np.argsort(-activation, kind="stable")
    strongest = order[:_STRONGEST]
    labels, counts = np.unique(y[strongest], return_counts=True)
    own = y == of_class
    low, high = float(activation[own].min()), float(activation[own].max())
    edges = np.linspace(low, high if high > low else low + 1, _BINS + 1)
    sides = [own & (before == y), own & (before != y)]
    densities = [np.histogram(activation[side], edges)[0] / max(1, side.sum()) for side in sides]
    top = max(float(d.max()) for d in densities) or 1.0
    right, wrong = (tuple((d / top).tolist()) for d in densities)
    return NeuronCard(
        neuron=neuron,
        score=score,
        of_class=of_class,
        n_wrong=int(sides[1].sum()),
        silenced=silenced,
        samples=sample_cards(order[:n_samples], y, before, after, picture, ids),
        n_strongest=len(strongest),
        mostly=labels[counts.argmax()],
        share_mostly=float(counts.max() / len(strongest)),
        share_wrong=float((before != y)[strongest].mean()),
        in_common=in_common(strongest),
        right=right,
        wrong=wrong,
        low=low,
        high=high,
    )
