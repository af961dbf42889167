"""A page to label samples on, one keystroke each."""

from ntkit.report.label._page import label_html as label_html  # for other rooms
from ntkit.report.label._page import write_label_page

__all__ = ["write_label_page"]
