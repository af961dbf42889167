"""Embeddings of any framework, in a Parquet file, become a store: the same numbers."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ntkit import NeuronTuneClassifier
from ntkit.exceptions import InputError
from ntkit.extraction import EmbeddingStore
from ntkit.store._contents import contents_of_parquet

pa = pytest.importorskip("pyarrow", reason="needs the extra text")
pq = pytest.importorskip("pyarrow.parquet", reason="needs the extra text")


def lists(X, kind):
    value = pa.from_numpy_dtype(X.dtype)
    if kind == "fixed":
        return pa.FixedSizeListArray.from_arrays(pa.array(X.ravel(), value), X.shape[1])
    make = pa.LargeListArray if kind == "large" else pa.ListArray
    return make.from_arrays(np.arange(0, X.size + 1, X.shape[1]), pa.array(X.ravel(), value))


def write(path, X, kind="list", row_group=None, **columns):
    if kind == "columns":
        embedding = {f"e{i}": X[:, i] for i in range(X.shape[1])}
    else:
        embedding = {"embedding": lists(X, kind)}
    pq.write_table(pa.table({**embedding, **columns}), path, row_group_size=row_group)
    return path


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    kind=st.sampled_from(["list", "large", "fixed", "columns"]),
    dtype=st.sampled_from([np.float16, np.float32, np.float64]),
    n=st.integers(1, 40),
    width=st.integers(1, 5),
    row_group=st.integers(1, 50),
)
def test_a_store_holds_what_the_file_holds(kind, dtype, n, width, row_group, tmp_path_factory):
    folder = tmp_path_factory.mktemp("parquet")
    rng = np.random.default_rng(n)
    X, y = rng.normal(size=(n, width)).astype(dtype), rng.integers(0, 3, n)
    file = write(folder / "t.parquet", X, kind, row_group, label=y, group=[str(g) for g in y])
    store = EmbeddingStore.from_parquet(folder / "store", file, group="group")
    assert store.X.dtype == dtype
    assert np.array_equal(store.X, X)
    assert np.array_equal(store.y, y)
    assert np.array_equal(store.groups, y.astype(str))


def test_resumed_where_it_stopped(tmp_path, monkeypatch):
    X = np.random.default_rng(0).normal(size=(20_000, 3)).astype(np.float32)
    file = write(tmp_path / "t.parquet", X, row_group=6000, label=np.arange(20_000) % 2)

    def interrupt(done, rows):
        if done > 15_000:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        EmbeddingStore.from_parquet(tmp_path / "s", file, progress=interrupt)
    with pytest.raises(InputError, match="run the same ntkit command again"):
        EmbeddingStore.open(tmp_path / "s")
    seen = []
    store = EmbeddingStore.from_parquet(tmp_path / "s", file, progress=lambda d, _: seen.append(d))
    assert seen[0] > 8192
    assert np.array_equal(store.X, X)


def test_a_large_file_is_never_in_memory(tmp_path):
    X = np.random.default_rng(0).normal(size=(60_000, 128)).astype(np.float32)
    file = write(tmp_path / "t.parquet", X, "fixed", 5000, label=np.arange(60_000) % 2)
    before = pa.total_allocated_bytes()
    peak = 0

    def watch(done, rows):
        nonlocal peak
        peak = max(peak, pa.total_allocated_bytes() - before)

    tracemalloc.start()
    store = EmbeddingStore.from_parquet(tmp_path / "store", file, progress=watch)
    numpy_peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak + numpy_peak < X.nbytes / 2
    NeuronTuneClassifier(max_suppressed=0.3, standardize=True).fit(store.X, store.y)


@pytest.mark.parametrize(
    ("columns", "options", "message"),
    [
        ({"embedding": [[1.0], [2.0]]}, {}, "has no column 'label'"),
        ({"label": [0, 1]}, {}, "pass embedding="),
        ({"label": [0, 1], "t": ["a", "b"]}, {"embedding": "t"}, "lists of numbers"),
        ({"label": [0, 1], "e": [["a"], ["b"]]}, {"embedding": "e"}, "lists of numbers"),
        ({"label": [0, 1], "e": [[1.0], [1.0]]}, {"embedding": "z"}, "no column 'z'"),
        ({"label": [0, 1], "e": [[1.0], [1.0]], "f": [[1], [1]]}, {}, "several columns of lists"),
        ({"label": [0, 1], "e": [[1.0], [1.0, 2.0]]}, {}, "row 2 has 2 numbers instead of 1"),
        ({"label": [0, 1], "e": [[1.0], None]}, {}, "row 2 has no value in 'e'"),
        ({"label": [0, 1], "e": [[1.0], [float("nan")]]}, {}, "row 2 has a value"),
        ({"label": [0, 1], "e": [[1.0], [None]]}, {}, "row 2 has a value"),
        ({"label": [0, None], "e": [[1.0], [2.0]]}, {}, "row 2 has no label"),
    ],
)
def test_other_files_are_refused_with_a_sentence(columns, options, message, tmp_path):
    pq.write_table(pa.table(columns), tmp_path / "t.parquet")
    with pytest.raises(InputError, match=message):
        EmbeddingStore.from_parquet(tmp_path / "store", tmp_path / "t.parquet", **options)


def test_damaged_files_are_refused_with_a_sentence(tmp_path):
    (tmp_path / "t.parquet").write_bytes(b"PAR1 and nothing else PAR1")
    with pytest.raises(InputError, match="not a readable Parquet file"):
        EmbeddingStore.from_parquet(tmp_path / "store", tmp_path / "t.parquet")


def test_another_file_does_not_finish_a_store(tmp_path):
    X = np.ones((5, 2), dtype=np.float32)
    first = write(tmp_path / "a.parquet", X, label=[0, 1, 0, 1, 0])
    second = write(tmp_path / "b.parquet", 2 * X, label=[0, 1, 0, 1, 0])
    EmbeddingStore.from_parquet(tmp_path / "store", first)
    with pytest.raises(InputError, match="another samples"):
        EmbeddingStore.from_parquet(tmp_path / "store", second)


def test_a_file_whose_early_bytes_changed_is_another_one(tmp_path, rng):
    table = pa.table({"embedding": list(rng.normal(size=(5000, 8))), "label": [0, 1] * 2500})
    path = tmp_path / "t.parquet"
    options = {"compression": "none", "use_dictionary": False, "write_statistics": False}
    pq.write_table(table, path, **options)
    before = contents_of_parquet(path, None, "label", None).identity
    content = bytearray(path.read_bytes())
    content[1000] ^= 1  # of a number; what describes the columns, at the end, stays
    path.write_bytes(content)
    assert contents_of_parquet(path, None, "label", None).identity != before
