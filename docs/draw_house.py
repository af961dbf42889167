"""Draw which room imports which: ``python docs/draw_house.py`` writes ``docs/_static/house.svg``.

Rooms stand on the floors of the import contract in ``pyproject.toml``. An arrow is drawn where one
room imports another and no third one stands between them; one that goes up would be red.
"""

from __future__ import annotations

import tomllib
from pathlib import Path

import grimp
import matplotlib.pyplot as plt
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

ROOT = Path(__file__).parents[1]
PICTURE = ROOT / "docs" / "_static" / "house.svg"
Edges = set[tuple[str, str]]


def floors() -> list[list[str]]:
    """Rooms of each floor, the highest first; what all may use is not drawn."""
    with (ROOT / "pyproject.toml").open("rb") as file:
        contracts = tomllib.load(file)["tool"]["importlinter"]["contracts"]
    layers = next(contract["layers"] for contract in contracts if contract["type"] == "layers")
    named = [[room.strip() for room in layer.split("|")] for layer in layers]
    rooms = [
        [room for room in row if not room.startswith(("ntkit._", "ntkit.exc"))] for row in named
    ]
    return [row for row in rooms if row]


def imports() -> Edges:
    """Pairs of rooms (importer, imported)."""
    graph = grimp.build_graph("ntkit", exclude_type_checking_imports=True)
    rooms = [room for floor in floors() for room in floor]
    inside = {room: {room, *graph.find_descendants(room)} for room in rooms}
    return {
        (upper, lower)
        for upper in rooms
        for lower in rooms
        if upper != lower
        and any(graph.find_modules_directly_imported_by(m) & inside[lower] for m in inside[upper])
    }


def direct(edges: Edges) -> Edges:
    """Those that no other path of imports stands for."""
    below: dict[str, set[str]] = {}
    for upper, lower in edges:
        below.setdefault(upper, set()).add(lower)

    def reached(room: str) -> set[str]:
        return set().union(*({r} | reached(r) for r in below.get(room, set())))

    return {
        (upper, lower)
        for upper, lower in edges
        if not any(lower in reached(other) for other in below[upper] - {lower})
    }


def facts(room: str) -> str:
    """How many files a room has, and lines."""
    place = ROOT / room.replace(".", "/")
    files = list(place.rglob("*.py")) if place.is_dir() else [place.with_suffix(".py")]
    lines = sum(len(file.read_text(encoding="utf-8").splitlines()) for file in files)
    return f"{len(files)} files, {lines} lines" if place.is_dir() else f"{lines} lines"


def described(edges: Edges) -> str:
    """The edges in one line, which the picture keeps for who cannot see it."""
    return "; ".join(f"{upper} imports {lower}" for upper, lower in sorted(edges))


def draw(path: Path) -> None:
    """Write the picture."""
    plt.rcParams |= {"svg.hashsalt": "house", "svg.fonttype": "none"}
    rows, edges = floors(), imports()
    figure, ax = plt.subplots(figsize=(9, 0.82 * len(rows)))
    shift = (0.0, -0.9, 0.9)  # rooms alone on a floor do not hide each other's arrows
    place = {
        room: ((i + 0.5) / len(row) * 8 + (shift[level % 3] if len(row) == 1 else 0), -float(level))
        for level, row in enumerate(rows)
        for i, room in enumerate(row)
    }
    for upper, lower in sorted(direct(edges)):
        rises = place[upper][1] <= place[lower][1]
        (x0, y0), (x1, y1) = place[upper], place[lower]
        bend = 0.0 if y0 - y1 < 1.5 else (0.12 if x1 >= x0 else -0.12)
        ax.add_patch(
            FancyArrowPatch(
                (x0, y0 - 0.27),
                (x1, y1 + 0.27),
                connectionstyle=f"arc3,rad={bend}",
                arrowstyle="-|>",
                mutation_scale=8,
                color="#d55e00" if rises else "#7a8794",
                linewidth=0.8,
                zorder=1,
            )
        )
    for room, (x, y) in place.items():
        box = {"boxstyle": "round,pad=0.02", "facecolor": "#eaf2f8", "edgecolor": "#0072b2"}
        ax.add_patch(FancyBboxPatch((x - 0.75, y - 0.25), 1.5, 0.5, zorder=2, **box))
        name = room.removeprefix("ntkit.")
        ax.text(x, y + 0.08, name, ha="center", va="center", fontsize=10, zorder=3)
        ax.text(x, y - 0.14, facts(room), ha="center", va="center", fontsize=6.5, zorder=3)
    ax.set_xlim(0, 8)
    ax.set_ylim(-len(rows) + 0.5, 0.5)
    ax.axis("off")
    figure.savefig(
        path,
        bbox_inches="tight",
        metadata={"Date": None, "Title": "Rooms of ntkit", "Description": described(edges)},
    )
    plt.close(figure)


if __name__ == "__main__":
    draw(PICTURE)
