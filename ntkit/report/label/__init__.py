"""A page to label samples on, one keystroke each."""

from ntkit.report.label._page import write_label_page

__all__ = ["write_label_page"]
