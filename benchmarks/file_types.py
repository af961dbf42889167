"""Repair Magika with more files than its notebook, and judge it once on packages never seen.

    python benchmarks/file_types.py FIT JUDGE [--json FILE]

Needs ``pip install magika``. Reads the functions of ``notebooks/08_file_types.ipynb``.
Files of this machine and of FIT repair, those of JUDGE judge.
A folder in FIT or JUDGE is an unpacked package.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import magika
import numpy as np

import ntkit
from ntkit.extraction import RawInputs, Samples
from runner import command_line, save

FIT, JUDGE = (500, 8), (120, 20)  # most files of a suffix, and of a suffix of a package
NOTEBOOK = Path(__file__).parents[1] / "notebooks" / "08_file_types.ipynb"


def notebook() -> dict[str, Any]:
    """What the notebook defines and the files that it finds, before its model is used."""
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    names: dict[str, Any] = {}
    for cell in (code[0], code[1], code[2].partition("answers = labels")[0], code[4]):
        exec(cell, names)
    return names


def files_below(root: Path, names: dict[str, Any], most: int, each: int) -> list[Any]:
    """Files of unpacked packages: at most so many of a suffix, and of a suffix of a package."""
    known = {*names["SOURCES"], *(f".{ending}" for ending in names["OTHERS"])}
    found = [p for p in sorted(root.rglob("*.*")) if p.suffix.lower() in known and p.is_file()]
    files, contents, counts = [], set(), Counter()
    for i in np.random.default_rng(0).permutation(len(found)):
        path = found[i]
        suffix, package = path.suffix.lower(), path.relative_to(root).parts[0]
        full = counts[suffix] >= most or counts[suffix, package] >= each
        if full or path.is_symlink() or not 200 <= path.stat().st_size <= 400_000:
            continue
        data = path.read_bytes()
        if data not in contents:
            contents.add(data)
            files.append((suffix, package, data))
            counts.update([suffix, (suffix, package)])
    return files


def split(files: list[Any], answers: np.ndarray, names: dict[str, Any]) -> tuple[Any, Any]:
    """Source files with the right answer, and files of other types, with the answers."""
    sources = names["SOURCES"]
    right = [
        f[0] in sources and a in sources[f[0]][0].split()
        for f, a in zip(files, answers, strict=True)
    ]
    others = [f[0] not in sources for f in files]
    rows = (np.flatnonzero(right), np.flatnonzero(others))
    one, other = (([files[i] for i in each], answers[each]) for each in rows)
    return one, other


def magika_with(network: Path, names: dict[str, Any]) -> Any:
    """Magika's own API with another network, in a copy of its folder."""
    folder = Path(shutil.copytree(names["folder"], network.parent / "model"))
    shutil.copy(network, folder / "model.onnx")
    return magika.Magika(model_dir=folder)


def main() -> None:
    """Fit, write, judge and print."""
    parser = command_line(__doc__, "--json")
    parser.add_argument("fit", type=Path)
    parser.add_argument("judge", type=Path)
    given = parser.parse_args()
    names = notebook()
    model, tokens, commented = (names[name] for name in ("model", "tokens", "commented"))
    labels, changes = names["labels"], names["changes"]
    fitted = names["files"] + files_below(given.fit, names, *FIT)
    judging = files_below(given.judge, names, *JUDGE)
    seen = {file[-1] for file in fitted}
    judging = [file for file in judging if file[-1] not in seen]
    (ours, right), (kept, _) = split(fitted, labels(model, fitted), names)
    (judged, types), (others, others_types) = split(judging, labels(model, judging), names)
    print(
        f"{len(ours)} repair, {len(kept)} kept; {len(judged)} and {len(others)} judge", flush=True
    )
    more = [commented(900, "another"), commented(900, "a third")]
    out = Path(tempfile.mkdtemp())
    result = ntkit.debias(
        model, (RawInputs(ours, tokens), right), keep=RawInputs(kept, tokens),
        invariant=[*changes, *more], max_cost=0.015, out=out / "repaired", device="cpu",
    )  # fmt: skip
    print(result, flush=True)
    new, api = result.model, magika_with(out / "repaired" / "debiased.onnx", names)
    after, in_api = labels(new, judged), names["labels_in_magika"]
    same = [in_api(api, judged) == after]
    rows: dict[str, Any] = {}
    for change in changes:
        copies, of = change.copies(Samples(RawInputs(judged, tokens), types))
        before, answers = (labels(each, copies.X.raw) for each in (model, new))
        old, now = before != types[of], answers != after[of]
        same.append(in_api(api, copies.X.raw) == answers)
        rows[change.name] = {
            "n": len(of), "before": int(old.sum()), "after": int(now.sum()),
            "types": {
                t: [int((types[of] == t).sum()), int(old[types[of] == t].sum()),
                    int(now[types[of] == t].sum())]
                for t in sorted(set(types.tolist()))
            },
        }  # fmt: skip
    rows["unchanged"] = [int((after != types).sum()), len(judged)]
    after = labels(new, others)
    rows["others"] = [int((after != others_types).sum()), len(others)]
    same.append(in_api(api, others) == after)
    rows["as in Magika's API"] = [int(np.concatenate(same).sum()), sum(map(len, same))]
    save(rows, given.json)
    print(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
