"""Which retraining the data call for, decided without group labels."""

from ntkit.estimators.auto._auto import AutoDebiasClassifier

__all__ = ["AutoDebiasClassifier"]
