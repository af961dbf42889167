"""A page to label samples on, one keystroke each, and the labels read back."""

from ntkit.report.label._labels_file import Labels, read_labels
from ntkit.report.label._page import write_label_page

__all__ = ["Labels", "read_labels", "write_label_page"]
