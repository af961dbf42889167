"""The command line: one file per command, each a thin layer over one public function."""

from ntkit.cli._app import main

__all__ = ["main"]
