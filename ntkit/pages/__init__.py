"""HTML pages for findings, labels and reports, and model cards."""
