"""ntkit open: go on with a run in the browser."""

from __future__ import annotations

from pathlib import Path

from ntkit.cli import _options as o


@o.with_options(without={"browser"})
def command(
    *,
    run: Path = o.argument("Folder of a run of ntkit debias.", "FOLDER"),
    window: o.WindowOptions,
) -> None:
    """Go on with a run in your browser.

    A window shows the questions of the run and what was answered. You can change answers, repair,
    and choose the step to keep. Nothing is embedded again. The address is printed, with a line for
    SSH from another machine.

    Example: ntkit open debiased/

    Example: ntkit open debiased/ --idle 30

    If FOLDER holds a repair, another one goes to a folder inside it: repair-2, repair-3 and so on.

    Exit codes: as for ntkit debias.
    """
    from ntkit.cli._debias_run import go_on_in_browser

    go_on_in_browser(run, window.idle, window.allow_host or ())
