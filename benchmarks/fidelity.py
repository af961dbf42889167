"""Are the methods what their papers say? Each next to a peer's own code, or the formula, in turn.

    pip install -r benchmarks/requirements.txt
    OPENBLAS_NUM_THREADS=1 python benchmarks/fidelity.py [--peers FOLDER] [--tuxscenes FILE.npz]
        [--markdown FILE]

Every row runs ntkit and something that is not ntkit on the same arrays and takes the largest
difference. Three kinds of other side:

* packages: scikit-learn, SciPy, PyTorch, fairlearn, concept-erasure;
* the formula: a plain loop, written from the paper's definitions (fidelity_formulas.py);
* the authors' repositories, run from FOLDER, which holds a clone of each under its own name
  (fidelity_peers.py says which, and at which commit). This project does not
  hold them. Without --peers those rows are left out.

--tuxscenes names embeddings that ``make bench-data`` built: how the published choice of C of DFR
spreads over draws, next to ours (fidelity_dfr.py).
"""

from __future__ import annotations

import argparse
import sys
import warnings
from pathlib import Path

import fidelity_dfr
import fidelity_formulas
import fidelity_packages
import fidelity_peers
from fidelity_rows import Row

HEAD = "| method | what | compared with | largest difference | goal |"


def lines_of(rows: list[Row]) -> list[str]:
    """A Markdown table of differences."""
    lines = [HEAD, "|---|---|---|---:|---:|"]
    for row in rows:
        goal = "–" if row.goal == float("inf") else f"{row.goal:.0e}"
        lines.append(
            f"| {row.method} | {row.what} | {row.beside} | {row.difference:.1e} | {goal} |"
        )
    return lines


def main() -> int:
    """Run what can be run; 1 if a difference is beyond its goal."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--peers", type=Path, help="folder with clones of the repositories")
    parser.add_argument("--tuxscenes", type=Path, help="embeddings, for the choice of C of DFR")
    parser.add_argument("--draws", type=int, default=40, help="draws of halves, for the same")
    parser.add_argument("--markdown", type=Path, help="also write the tables here")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    comparisons = [*fidelity_packages.COMPARISONS, *fidelity_formulas.COMPARISONS]
    rows = list[Row]()
    for compare in comparisons:
        rows += compare()
        print(*lines_of(rows[-1:])[2:], sep="\n", flush=True)
    if arguments.peers is not None:
        for compare_with in fidelity_peers.COMPARISONS:
            rows += compare_with(arguments.peers)
            print(*lines_of(rows[-1:])[2:], sep="\n", flush=True)
    text = ["## Differences", "", *lines_of(rows)]
    if arguments.tuxscenes is not None:
        text += [
            "",
            "## DFR: which C",
            "",
            *fidelity_dfr.lines(arguments.tuxscenes, arguments.draws),
        ]
    print("\n".join(text))
    if arguments.markdown is not None:
        arguments.markdown.write_text("\n".join(text) + "\n", encoding="utf-8")
    beyond = [row for row in rows if not row.difference <= row.goal]
    for row in beyond:
        print(f"beyond its goal: {row.method}, {row.what}", file=sys.stderr)
    return int(bool(beyond))


if __name__ == "__main__":
    sys.exit(main())
