"""Draw which package imports which: writes ``docs/_static/packages.svg``.

The layers are those of the import contract in ``pyproject.toml``. An arrow means that one package
imports another directly. The script leaves out an arrow if other arrows lead to the same package.
Packages of one layer that import each other are joined by an arc.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import grimp
import matplotlib.pyplot as plt
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

ROOT = Path(__file__).parents[1]
DIAGRAM = ROOT / "docs" / "_static" / "packages.svg"
Edges = set[tuple[str, str]]


def layers() -> list[list[str]]:
    """Packages of each layer, the highest layer first, without those that all may import."""
    with (ROOT / "pyproject.toml").open("rb") as file:
        contracts = tomllib.load(file)["tool"]["importlinter"]["contracts"]
    layers = next(contract["layers"] for contract in contracts if contract["type"] == "layers")
    names = [re.split(r"\s*[|:]\s*", layer) for layer in layers]
    private = ("_", "exceptions")
    packages = [[f"ntkit.{name}" for name in row if not name.startswith(private)] for row in names]
    return [row for row in packages if row]


def imports() -> Edges:
    """Pairs of packages: the importer, and the package that it imports."""
    graph = grimp.build_graph("ntkit", exclude_type_checking_imports=True)
    packages = [package for layer in layers() for package in layer]
    inside = {package: {package, *graph.find_descendants(package)} for package in packages}
    return {
        (upper, lower)
        for upper in packages
        for lower in packages
        if upper != lower
        and any(graph.find_modules_directly_imported_by(m) & inside[lower] for m in inside[upper])
    }


def direct(edges: Edges) -> Edges:
    """Imports that no longer path of imports implies."""
    below: dict[str, set[str]] = {}
    for upper, lower in edges:
        below.setdefault(upper, set()).add(lower)

    def reached(package: str) -> set[str]:
        return set().union(*({r} | reached(r) for r in below.get(package, set())))

    return {
        (upper, lower)
        for upper, lower in edges
        if not any(lower in reached(other) for other in below[upper] - {lower})
    }


def facts(package: str) -> str:
    """Number of files and lines of a package."""
    place = ROOT / package.replace(".", "/")
    files = list(place.rglob("*.py")) if place.is_dir() else [place.with_suffix(".py")]
    lines = sum(len(file.read_text(encoding="utf-8").splitlines()) for file in files)
    return f"{len(files)} files, {lines} lines" if place.is_dir() else f"{lines} lines"


def described(edges: Edges) -> str:
    """All imports in one line, for readers who cannot see the diagram."""
    return "; ".join(f"{upper} imports {lower}" for upper, lower in sorted(edges))


def draw(path: Path) -> None:
    """Write the diagram to a file."""
    plt.rcParams |= {"svg.hashsalt": "packages", "svg.fonttype": "none"}
    rows, edges = layers(), imports()
    figure, ax = plt.subplots(figsize=(9, 0.82 * len(rows)))
    shift = (0.0, -0.9, 0.9)  # packages alone on a layer do not hide each other's arrows
    place = {
        package: (
            (i + 0.5) / len(row) * 8 + (shift[level % 3] if len(row) == 1 else 0),
            -float(level),
        )
        for level, row in enumerate(rows)
        for i, package in enumerate(row)
    }
    for upper, lower in sorted(direct(edges)):
        (x0, y0), (x1, y1) = place[upper], place[lower]
        beside = y0 == y1
        bend = 0.0 if y0 - y1 < 1.5 else (0.12 if x1 >= x0 else -0.12)
        bend = 0.5 / (x0 - x1) if beside else bend
        ax.add_patch(
            FancyArrowPatch(
                (x0, y0 + (0.27 if beside else -0.27)),
                (x1, y1 + 0.27),
                connectionstyle=f"arc3,rad={bend}",
                arrowstyle="-|>",
                mutation_scale=8,
                color="#7a8794",
                linewidth=0.8,
                zorder=1,
            )
        )
    for package, (x, y) in place.items():
        box = {"boxstyle": "round,pad=0.02", "facecolor": "#eaf2f8", "edgecolor": "#0072b2"}
        ax.add_patch(FancyBboxPatch((x - 0.75, y - 0.25), 1.5, 0.5, zorder=2, **box))
        name = package.removeprefix("ntkit.")
        ax.text(x, y + 0.09, name, ha="center", va="center", fontsize=11.5, zorder=3)
        ax.text(x, y - 0.13, facts(package), ha="center", va="center", fontsize=9, zorder=3)
    ax.set_xlim(0, 8)
    ax.set_ylim(-len(rows) + 0.5, 0.5)
    ax.axis("off")
    figure.savefig(
        path,
        bbox_inches="tight",
        metadata={"Date": None, "Title": "Packages of ntkit", "Description": described(edges)},
    )
    plt.close(figure)


if __name__ == "__main__":
    draw(DIAGRAM)
