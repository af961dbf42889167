"""Data that ships with ntkit: the embedded demo."""

from ntkit.datasets._marked_digits import load_marked_digits, marked_digits_model_path

__all__ = ["load_marked_digits", "marked_digits_model_path"]
