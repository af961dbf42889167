"""ntkit open: go on with a run in the browser."""

from __future__ import annotations

from itertools import count
from pathlib import Path

from ntkit.cli import _options as o


@o.with_options(without={"browser"})
def command(
    *,
    run: Path = o.argument("Folder of a run of ntkit debias.", "FOLDER"),
    window: o.WindowOptions,
) -> None:
    """Go on with a run in your browser.

    The page shows the questions of the run and what was answered. You can change answers, repair,
    and choose the step to keep. Nothing is embedded again.

    Example: ntkit open debiased/

    If FOLDER holds a repair, another one goes to a folder inside it: repair-2, repair-3 and so on.

    Exit codes: as for ntkit debias.
    """
    from ntkit.cli import main
    from ntkit.jobs.debias import HEADS_FILE

    words = ["debias", "--from", str(run), "--browser"]
    if (run / HEADS_FILE).is_file():
        number = next(n for n in count(2) if not (run / f"repair-{n}").exists())
        words += ["--out", str(run / f"repair-{number}")]
    words += [] if window.idle is None else ["--idle", f"{window.idle:g}"]
    for name in window.allow_host or ():
        words += ["--allow-host", name]
    main(words)
