"""Stores in parts: made anywhere, in any order, interrupted or not, they merge into one run's."""

import json
import tempfile
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from ntkit import FrozenModel
from ntkit.exceptions import InputError
from ntkit.extraction import Samples
from ntkit.store import EmbeddingStore, _embedding_store
from tests import models
from tests.cases import ntkit, refused
from tests.store.test_store import Embedder, Killed, dying

K, N = 3, 40


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "m.onnx"
    return FrozenModel.load(models.save(models.classifier(K), path))


def samples(n=N, **fields):
    y = np.asarray(["cat", "dog", "bird"])[np.arange(n) % K]
    ids = np.asarray([f"{i}.png" for i in range(n)])
    made = {"X": models.inputs(n), "y": y, "groups": np.arange(n) % 2, "ids": ids}
    return Samples(**{**made, **fields})


@pytest.fixture
def part(model, tmp_path):
    def part(i, of, name=None, embedder=None, **fields):
        path = tmp_path / (name or f"part{i}of{of}")
        embedder = embedder or Embedder(model)
        return EmbeddingStore.write(path, embedder, samples(**fields), part=(i, of))

    return part


# -- any sizes --------------------------------------------------------------------------------


@st.composite
def plans(draw):
    """Rows, batch size, window, rows per checkpoint, parts, and where the runs are killed."""
    n, batch = draw(st.integers(1, 60)), draw(st.integers(1, 12))
    window = batch * draw(st.integers(1, 4))
    parts = draw(st.integers(1, min(4, -(-n // window))))
    kills = draw(st.lists(st.integers(0, 12), max_size=3))
    return n, batch, window, draw(st.integers(1, 80)), parts, kills


@settings(max_examples=12, deadline=None)
@given(plan=plans(), dtype=st.sampled_from([None, "float16"]), seed=st.integers(0, 99))
def test_parts_of_any_size_merge_into_the_bytes_of_one_run(model, plan, dtype, seed):
    n, batch, window, checkpoint_rows, n_parts, kills = plan
    options = {"dtype": dtype, "checkpoint_rows": checkpoint_rows}
    rows = samples(n)

    def write(path, **more):
        for kill in kills:
            broken = dying(Embedder(model, batch, window), kill)
            try:
                return EmbeddingStore.write(path, broken, rows, **options, **more)
            except Killed:
                pass
        return EmbeddingStore.write(path, Embedder(model, batch, window), rows, **options, **more)

    # What flushing does shows after a power failure only.
    with tempfile.TemporaryDirectory() as folder, mock.patch("os.fsync"):
        root = Path(folder)
        fresh = Embedder(model, batch, window)
        whole = EmbeddingStore.write(root / "whole", fresh, rows, dtype=dtype)
        assert_array_equal(whole.X, fresh.transform(rows.X).astype(whole.X.dtype))
        assert models.contents(write(root / "killed").path) == models.contents(whole.path)
        order = np.random.default_rng(seed).permutation(n_parts) + 1
        parts = [write(root / str(i), part=(int(i), n_parts)).path for i in order]
        with mock.patch.object(_embedding_store, "_CHUNK", seed * 7):
            merged = EmbeddingStore.merge(parts, root / "merged")
        assert models.contents(merged.path) == models.contents(whole.path)


@given(total=st.integers(1, 10**7), window=st.integers(1, 10**5), n=st.integers(1, 50))
def test_parts_are_whole_windows_of_about_the_same_size(total, window, n):
    windows = -(-total // window)
    if n > windows:
        with pytest.raises(InputError, match=f"make at most {windows} parts, not {n}; use fewer"):
            _embedding_store.row_range(total, window, (1, n))
        return
    parts = [_embedding_store.row_range(total, window, (i, n)) for i in range(1, n + 1)]
    firsts, rows = map(np.array, zip(*parts, strict=True))
    assert_array_equal(firsts, np.cumsum([0, *rows[:-1]]))
    assert not (firsts % window).any()
    assert rows.min() > 0
    assert rows.sum() == total
    assert np.ptp(-(-rows // window)) <= 1


def test_there_are_parts_1_to_n(part, tmp_path):
    for i in (0, 4, -1):
        with pytest.raises(InputError, match=f"no part {i} of 3; count from 1 of 3 to 3 of 3"):
            part(i, 3)
    assert not list(tmp_path.iterdir())
    second = part(2, 3)
    assert (second.manifest["part"], second.manifest["first_row"]) == ([2, 3], 10)
    assert_array_equal(second.ids, samples().ids[10:20])


# -- what does not belong together ------------------------------------------------------------


@pytest.fixture
def not_merged(tmp_path):
    def refused(said, *stores, **options):
        with pytest.raises(InputError, match=said) as error:
            EmbeddingStore.merge([store.path for store in stores], tmp_path / "out", **options)
        assert len(str(error.value).splitlines()) == 1
        assert not (tmp_path / "out").exists()

    return refused


def test_missing_and_repeated_parts_are_named(part, not_merged, model, tmp_path):
    one, two, four = part(1, 4), part(2, 4), part(4, 4)
    not_merged(r"1 of 4 parts are missing: 3; embed them", one, two, four)
    not_merged(r"3 of 4 parts are missing: 1, 3, 4;", two)
    not_merged(r"part1of4 and .*copy are both part 1 of 4; leave one", one, two, part(1, 4, "copy"))
    not_merged("no parts to merge")
    whole = EmbeddingStore.write(tmp_path / "whole", Embedder(model), samples())
    not_merged(r"whole is a whole store, not a part; leave it out", part(1, 2), whole)


def test_parts_that_were_not_made_alike_are_refused(part, not_merged, model, zoo, tmp_path):
    one = part(1, 2)
    graph = zoo.classifier(K, metadata={"another": "model"})
    other = FrozenModel.load(zoo.save(graph, tmp_path / "o.onnx"))
    gpu = Embedder(model)
    gpu.device_ = "cuda"
    for name, options in {
        r"model \('[0-9a-f]{64}' and '": {"embedder": Embedder(other)},
        r"device \('cpu' and 'cuda'\)": {"embedder": gpu},
        r"run \(.*'batch_size': 5.* and .*'batch_size': 2": {"embedder": Embedder(model, 2, 10)},
        r"preprocessing \(None and {'a': 1}\)": {"preprocessing": {"a": 1}},
        r"total_rows \(40 and 41\)": {"n": 41},
        r"samples \(": {"groups": None},
        r"precision \('float32' and 'float64'\)": {"embedder": Embedder(model, dtype=float)},
    }.items():
        two = part(2, 2, name=f"{len(name)}", **options)
        not_merged(rf"part1of2 and .* are not parts of one store: they differ in {name}", one, two)
    not_merged(r"differ in number of parts \(2 and 3\)", one, part(2, 3))


def test_ranges_that_do_not_join_are_refused(part, not_merged):
    one, two = part(1, 2), part(2, 2)

    def change(store, **fields):
        (store.path / "manifest.json").write_text(json.dumps({**store.manifest, **fields}))

    change(one, total_rows=50)
    change(two, first_row=10, total_rows=50)
    not_merged("part2of2 begins at row 10 instead of 20", one, two)
    change(two, total_rows=50)
    not_merged("The parts have 40 of 50 rows", one, two)


def test_a_store_that_is_there_is_replaced_with_force_only_and_a_part_never(part, tmp_path):
    parts = [part(i, 2).path for i in (1, 2)]
    with pytest.raises(InputError, match="part1of2 is one of the parts; choose another name"):
        EmbeddingStore.merge(parts, parts[0], force=True)
    assert EmbeddingStore.open(parts[0]).manifest["part"] == [1, 2]
    whole = EmbeddingStore.merge(parts, tmp_path / "out")
    before = models.contents(whole.path)
    EmbeddingStore.merge(parts, whole.path)  # of these parts: there is nothing to do
    assert models.contents(whole.path) == before
    EmbeddingStore.merge(parts, whole.path, force=True)


def test_a_merge_that_was_killed_goes_on_and_a_changed_part_is_noticed(part, tmp_path, monkeypatch):
    parts = [part(i, 3).path for i in (1, 2, 3)]
    whole = models.contents(EmbeddingStore.merge(parts, tmp_path / "whole").path)
    monkeypatch.setattr(_embedding_store, "_CHUNK", 1)
    read, calls = _embedding_store.read_rows, []

    def failing(*args):
        calls.append(args)
        if len(calls) == 25:
            raise Killed
        return read(*args)

    def changing(path, start, stop):
        if start == 5:
            path.write_bytes(path.read_bytes()[:-1])
        return read(path, start, stop)

    with monkeypatch.context() as patch:
        patch.setattr(_embedding_store, "read_rows", failing)
        with pytest.raises(Killed):
            EmbeddingStore.merge(parts, tmp_path / "out")
    assert models.contents(EmbeddingStore.merge(parts, tmp_path / "out").path) == whole
    monkeypatch.setattr(_embedding_store, "read_rows", changing)
    with pytest.raises(InputError, match=r"part1of3 was changed while it was being merged \("):
        EmbeddingStore.merge(parts, tmp_path / "again")


# -- the command ------------------------------------------------------------------------------


def test_the_command_merges(part, tmp_path):
    parts, out = [part(i, 3).path for i in (3, 1, 2)], tmp_path / "out"
    said = f"{out}: 40 embeddings of 5 neurons, from 3 parts.\n"
    assert ntkit("merge", *parts, "-o", out)[:2] == (0, said)
    code, said, _ = ntkit("merge", *parts, "-o", out, "--force", "--json")
    facts = {"store": str(out), "rows": 40, "neurons": 5, "parts": 3}
    assert (code, json.loads(said)) == (0, facts)
    assert ntkit("merge", *parts, "-o", out)[0] == 0  # all is there
    for more in ([], ["--force"]):
        refused("merge", *parts[1:], "-o", out, *more, says="missing: 3")
