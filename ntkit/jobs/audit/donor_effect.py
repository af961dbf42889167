"""What copies with a part of another sample, the donor, tell about the class of the donor."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import norm

from ntkit._text import percent
from ntkit._types import Array
from ntkit.study import stratified_folds

_MIN_DONORS = 20  # of each class
_N_FOLDS = 5
_N_DRAWS = 9999
_HALF = float(norm.ppf(0.975))  # half of a 95 % interval, in standard errors


@dataclass(frozen=True, eq=False)
class DonorEffect:
    """How well copies tell the class of the donor, and how often the model changes to it."""

    # `told` is the cross-fitted accuracy of a linear classifier on the donor's class, the mean over
    # the classes; NaN if a class has fewer than 20 donors. `follows` and `shuffled` are shares of
    # the `n` copies whose donor has another class than the model's answer on the original.
    part: str  # such as "border"
    n_classes: int
    of_labels: bool  # else the class of the donor is the model's answer on it
    told: float
    told_interval: tuple[float, float]
    n: int
    follows: float  # copies on which the answer is the donor's class
    shuffled: float  # the same after shuffling the donors' classes
    p_value: float
    is_significant: bool = False

    def sentences(self) -> list[str]:
        """What the copies tell, in words."""
        said = [
            f"Each copy has the {self.part} of another sample, its donor; one copy of each donor "
            "counts here."
        ]
        if not self.of_labels:
            said.append("Without labels, the donor's class is the model's answer on the donor.")
        guessing = percent(1 / self.n_classes, 0)
        if self.told_interval[0] > 1 / self.n_classes:
            low, high = (100 * bound for bound in self.told_interval)
            said.append(
                f"From the copies, the donor's class can be told in {percent(self.told, 0)} "
                f"(95 % interval {low:.0f} to {high:.0f} %, guessing: {guessing})."
            )
        elif not np.isnan(self.told):
            said.append(
                f"From the copies, the donor's class can be told in {percent(self.told, 0)}, "
                f"which may be guessing ({guessing})."
            )
        if self.n:
            said += [
                f"In {percent(self.follows, 0)} of {self.n} copies whose donor has another class "
                "than the model's answer, the model changes to the donor's class (donors "
                f"shuffled: {percent(self.shuffled, 0)}).",
                f"So it {'follows' if self.is_significant else 'does not significantly follow'} "
                f"the donor (p = {self.p_value:.1g}).",
            ]
        return said


def donor_effect(
    part: str,
    Z: Array,
    donors: Array,
    answers: tuple[Array, Array],
    class_of: Array,
    *,
    of_labels: bool,
    rng: np.random.Generator,
) -> DonorEffect | None:
    """Effect of the donors' classes on embedded copies (n, D); None if no class is known.

    ``answers`` are on originals and on copies. ``class_of`` has the class of all samples, −1 if
    unknown.
    """
    # One copy for each donor, because copies of the same donor are not independent.
    at = np.sort(np.unique(donors, return_index=True)[1])
    at = at[class_of[donors[at]] >= 0]
    classes, of_donor = np.unique(class_of[class_of >= 0]), class_of[donors[at]]
    if not len(at):
        return None
    before, after = (each[at] for each in answers)
    told, interval = _told(Z[at], np.searchsorted(classes, of_donor), len(classes))
    n, followed, draws = int((of_donor != before).sum()), 0, np.zeros(_N_DRAWS)
    # The null hypothesis: given the answer on the original, that on the copy is independent of the
    # donor's class. Then these classes can be shuffled among copies with the same answer. The
    # p-value counts the data as a draw (Phipson and Smyth, doi:10.2202/1544-6115.1585).
    for answer in np.unique(before):
        given, to = of_donor[before == answer], after[before == answer]
        followed += int(((given == to) & (given != answer)).sum())
        shuffled = rng.permuted(np.tile(given, (_N_DRAWS, 1)), axis=1)
        draws += ((shuffled == to) & (shuffled != answer)).sum(axis=1)
    p_value = float(1 + (draws >= followed).sum()) / (1 + _N_DRAWS)
    follows, by_chance = (float(of) / n if n else float("nan") for of in (followed, draws.mean()))
    return DonorEffect(
        part, len(classes), of_labels, told, interval, n, follows, by_chance, p_value
    )


def _told(Z: Array, of_donor: Array, n_classes: int) -> tuple[float, tuple[float, float]]:
    """Cross-fitted accuracy on the donors' classes, the mean over them, and its 95 % interval."""
    # Slow to import. A ridge chooses its penalty within each fold in closed form.
    from sklearn.linear_model import RidgeClassifierCV
    from sklearn.model_selection import cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    unknown = float("nan")
    if n_classes < 2 or np.bincount(of_donor, minlength=n_classes).min() < _MIN_DONORS:
        return unknown, (unknown, unknown)
    ridge = RidgeClassifierCV(np.logspace(-2, 6, 17), class_weight="balanced")
    reader = make_pipeline(StandardScaler(), ridge)
    # The copies are in random order, and each has its own original and donor.
    folds = stratified_folds(of_donor, _N_FOLDS, None, np.arange(len(Z)), shuffle=False)
    read = cross_val_predict(reader, Z.astype(np.float64), of_donor, cv=folds)
    right = [(read == of_donor)[of_donor == label] for label in range(n_classes)]
    told = float(np.mean([each.mean() for each in right]))
    # With a copy more that is right and one that is wrong, so that a few copies that are all right
    # have a variance (Agresti and Coull, The American Statistician 52, 1998).
    variance = sum(np.append(each, [0, 1]).var() / (len(each) + 2) for each in right)
    half = _HALF * float(np.sqrt(variance)) / n_classes
    return told, (max(told - half, 0.0), min(told + half, 1.0))
