"""Weak segments by deepchecks, for slices.py: it needs older packages, and so its own Python.

    python benchmarks/slices_deepchecks.py FILE.npz

FILE has the arrays ``table`` (N, F; numbers, categories as codes), ``names`` and ``categories``
(columns), ``y`` and ``proba``; the segments are written as ``FILE.slices.npy``, bool, (S, N), the
worst first.
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import numpy as np


def main() -> None:
    """Find segments of the table in a file."""
    warnings.filterwarnings("ignore")
    import pandas as pd
    from deepchecks.core.errors import DeepchecksProcessError
    from deepchecks.tabular import Dataset
    from deepchecks.tabular.checks import WeakSegmentsPerformance

    path = Path(sys.argv[1])
    with np.load(path) as data:
        names, kept = data["names"].tolist(), data["categories"].tolist()
        frame = pd.DataFrame(data["table"], columns=names)
        y, proba = data["y"], data["proba"]
    frame["label"] = y
    data_set = Dataset(frame, label="label", cat_features=kept)
    check = WeakSegmentsPerformance(n_top_features=10, segment_minimum_size_ratio=0.01)
    try:
        result = check.run(
            data_set,
            y_proba=proba,
            y_pred=proba.argmax(axis=1),
            feature_importance=pd.Series(1.0, index=names),
        )
        segments = result.value["weak_segments_list"]
    except DeepchecksProcessError:  # no tree of its own says where the errors are
        segments = pd.DataFrame()
    found = []
    for _, segment in segments.iterrows():
        rows = np.ones(len(frame), dtype=bool)
        for which in ("Feature1", "Feature2"):
            name, span = segment[which], segment[f"{which} Range"]
            if not name or name not in frame:
                continue
            values = frame[name].to_numpy()
            if isinstance(span, (tuple, list, np.ndarray)) and name not in kept:
                rows &= (values > span[0]) & (values <= span[1])
            else:
                rows &= np.isin(values, np.atleast_1d(span))
        found.append(rows)
    slices = np.asarray(found, dtype=bool).reshape(-1, len(frame))
    np.save(path.with_suffix(".slices.npy"), slices)


if __name__ == "__main__":
    main()
