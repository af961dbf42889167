"""The command line: one file per verb, each a thin shell over one public function."""

from ntkit.cli._app import main

__all__ = ["main"]
