"""``python -m ntkit`` is the ``ntkit`` command."""

from ntkit.cli import main

main()
