"""ntkit merge: the parts of an embedding store into one."""

from __future__ import annotations

from pathlib import Path

from ntkit.cli import _options as o


@o.with_options()
def command(
    *,
    parts: list[Path] = o.argument("All parts of one store, in any order.", "PART..."),
    out: Path = o.output("Output store, a folder."),
    force: o.Force = False,
    json: o.Json = False,
) -> None:
    """Join the parts of an embedding store.

    Several machines may have written the parts. The merged store has the same bytes as the store
    of one run.

    Example: ntkit merge part1.store part2.store part3.store -o train.store
    """
    from ntkit.store import EmbeddingStore

    store = EmbeddingStore.merge(parts, out, force=force)
    rows, neurons = store.X.shape
    facts = {"store": str(out), "rows": rows, "neurons": neurons, "parts": len(parts)}
    text = f"{out}: {rows} embeddings of {neurons} neurons, from {len(parts)} parts."
    o.show(facts, json=json, text=text)
