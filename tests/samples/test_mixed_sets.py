"""Two sets of which one has names or an index: the other one's form does not hide an order."""

import re

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import ntkit
from ntkit.exceptions import InputError
from ntkit.extraction import Samples
from ntkit.inputs.image_preprocessing import ImagePreprocessing
from ntkit.jobs.attribute_reader import AttributeReader
from ntkit.samples.read import read_samples
from tests.cases import write_csv
from tests.jobs.label.models import rows, write_model

N = {"train": 160, "validation": 120}
COLUMNS = [*"abcdef"]
CPU = {"device": "cpu", "method": "group-balanced"}
OTHER = "in another order, by its"


class Sets:
    """The same samples as arrays, frames and files; facts of them with an index of names."""

    def __init__(self, folder):
        self.folder, self.model = folder, write_model(folder / "model.onnx")
        self.frames, self.site = {}, {}
        for seed, (name, n) in enumerate(N.items()):
            X, y, mark = rows(seed, n)
            index = [f"{name[0]}{i}" for i in range(n)]
            self.frames[name] = pd.DataFrame(X, index, COLUMNS).assign(label=y)
            self.site[name] = pd.Series(np.array(["A", "B"])[mark], index, name="site")
        self.aligned = pd.concat(self.site.values())

    def shuffled(self, name):
        """Facts of which those of one set are in another order."""
        parts = self.site | {name: self.site[name].sample(frac=1, random_state=0)}
        return pd.concat(parts.values())

    def arrays(self, name):
        frame = self.frames[name]
        return frame[COLUMNS].to_numpy(), frame.label.to_numpy()

    def frame(self, name):
        return self.frames[name][COLUMNS], self.frames[name].label

    def labels(self, name):
        """Arrays with labels that have an index."""
        return self.arrays(name)[0], self.frames[name].label

    def samples(self, name):
        return Samples(*self.frame(name))

    def file(self, name):
        """A table without names."""
        return write_csv(self.folder / f"{name}.csv", self.frames[name].to_dict("list"))

    def named(self, name):
        """A table with a column of names."""
        frame = self.frames[name].rename_axis("id").reset_index()
        return write_csv(self.folder / f"{name}-named.csv", frame.to_dict("list"))

    def npz(self, name):
        X, y = self.arrays(name)
        np.savez(self.folder / f"{name}.npz", X=X, y=y)
        return self.folder / f"{name}.npz"

    def repaired(self, train, validation, **facts):
        named = {"spurious": "metadata:site"} if "metadata" in facts else {}
        return ntkit.debias(
            self.model, train("train"), validation("validation"), **facts, **named, **CPU
        )


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    return Sets(tmp_path_factory.mktemp("sets"))


def pairs(one, other):
    """Each form of the first for training with each of the second for validation, or turned."""
    return [
        pytest.param(which, a, b, id=f"{which}: {a} and {b}")
        for a in one
        for b in other
        for which in N
    ]


def forms(sets, which, a, b):
    of_set = {name: a if name == which else b for name in N}
    return [getattr(sets, of_set[name]) for name in N]


@pytest.mark.parametrize("what", ["attribute", "groups", "metadata", "table", "columns"])
@pytest.mark.parametrize(
    ("which", "a", "b"), pairs(["frame", "labels", "samples"], ["arrays", "npz", "file"])
)
def test_an_index_is_compared_next_to_a_set_without_one(sets, what, which, a, b):
    def facts(values):
        if what in ("metadata", "table"):
            values = values.to_frame("site" if what == "metadata" else "attribute")
        if what == "columns":
            values = {"site": values}
        name = {"table": "attribute", "columns": "metadata"}.get(what, what)
        return {name: values}

    train, validation = forms(sets, which, a, b)
    with pytest.raises(InputError, match=rf"has the samples of [Xy] {OTHER} index"):
        sets.repaired(train, validation, **facts(sets.shuffled(which)))


@pytest.mark.parametrize("what", ["attribute", "metadata"])
def test_facts_in_the_order_of_every_set_are_taken(sets, what):
    """With the index of the samples, or one that only numbers rows; as next to two arrays."""
    plain = sets.aligned.reset_index(drop=True)
    numbered = pd.concat([each.reset_index(drop=True) for each in sets.site.values()])

    def heads(train, validation, values):
        facts = {what: values.to_frame() if what == "metadata" else values}
        return sets.repaired(train, validation, **facts).candidates

    expected = heads(sets.arrays, sets.arrays, plain)
    assert heads(sets.frame, sets.arrays, sets.aligned) == expected
    assert heads(sets.npz, sets.samples, plain) == expected
    assert heads(sets.samples, sets.file, numbered) == expected


def test_an_index_of_row_numbers_is_compared_for_each_set(sets):
    """Numbers of two sets occur twice, and those of one are of its own rows."""
    X, y = sets.frame("train")
    order = np.random.default_rng(0).permutation(len(y))
    train = X.set_axis(order), y.set_axis(order)
    numbered = {name: each.reset_index(drop=True) for name, each in sets.site.items()}
    facts = pd.concat(numbered.values())
    validation = (each.reset_index(drop=True) for each in sets.frame("validation"))
    for second in (sets.arrays("validation"), tuple(validation)):
        with pytest.raises(InputError, match=f"has the samples of X {OTHER} index"):
            ntkit.debias(sets.model, train, second, attribute=facts, **CPU)


def test_samples_that_were_left_out_keep_their_places_in_the_index(sets):
    """Of unknown label: the part of the index that belongs to a set counts them."""
    X, y = sets.frame("train")
    kept = np.r_[0:40, 50:160]
    frame = Samples(X, y, index={"X": X.index}, rows=np.arange(160)).take(kept)
    left = [
        Samples(frame.X, np.asarray(frame.y), index=frame.index, rows=kept, n_left_out=10),
        Samples(*sets.arrays("validation")),
    ]
    values = AttributeReader(left, sets.aligned.to_frame()).values("metadata:site=A")
    expected = np.r_[sets.site["train"].to_numpy()[kept], sets.site["validation"]] == "A"
    assert values.tolist() == expected.tolist()
    with pytest.raises(InputError, match=f"{OTHER} index"):
        AttributeReader(left, sets.shuffled("train").to_frame()).values("metadata:site=A")


@pytest.mark.parametrize(("which", "a", "b"), pairs(["named"], ["arrays", "npz", "file", "frame"]))
def test_a_column_of_names_is_compared_next_to_a_set_without_names(sets, which, a, b):
    """Also under another title, as row numbers, or with the rows of the sets turned."""
    train, validation = forms(sets, which, a, b)
    if b == "frame":  # whose own index would be compared
        validation, train = (
            (lambda name, form=form: tuple(each.reset_index(drop=True) for each in form(name)))
            if form == sets.frame
            else form
            for form in (validation, train)
        )
    says = "Another set has no names to match by"
    turned = pd.concat([sets.site["validation"], sets.site["train"]])
    for facts in (sets.shuffled(which), turned):
        named = facts.rename_axis("id").reset_index()
        blank = named.assign(id=named.id.where(named.id.str.startswith(which[0]), ""))
        for table, by in (
            (named, "column 'id'"),
            (blank, "column 'id'"),
            (facts.rename_axis("id"), "index"),
        ):
            with pytest.raises(InputError, match=rf"{OTHER} {by} \(first in row .*{says}"):
                sets.repaired(train, validation, metadata=pd.DataFrame(table))
        with pytest.raises(InputError, match=f"{OTHER} column 'patient'.*names in 'id'"):
            sets.repaired(train, validation, metadata=named.rename(columns={"id": "patient"}))
        for values in ({"metadata": facts.to_frame()}, {"attribute": facts}, {"groups": facts}):
            with pytest.raises(InputError, match=rf"{OTHER} index \(first in row .*{says}"):
                sets.repaired(train, validation, **values)


def test_the_note_on_the_matching_is_true(sets):
    named = sets.aligned.rename_axis("id").reset_index()
    expected = sets.repaired(sets.arrays, sets.arrays, metadata=named[["site"]])
    for forms, why in (
        ((sets.arrays, sets.npz), "the samples have no names for its column 'id'"),
        ((sets.named, sets.npz), "not every set has names for its column 'id'"),
    ):
        found = sets.repaired(*forms, metadata=named)
        (note,) = [each for each in found.notes if "row by row" in each]
        assert note == f"The metadata is matched row by row, because {why}."
        assert found.candidates == expected.candidates
    two = sets.repaired(sets.named, sets.named, metadata=named.sample(frac=1, random_state=0))
    assert two.candidates == expected.candidates
    assert any("is matched by its column 'id'" in note for note in two.notes)


def test_the_same_numbers_may_name_samples_of_another_set(sets):
    """A set without names may number its own samples like the other one."""
    frame = sets.frames["train"].reset_index(drop=True).rename_axis("id").reset_index()
    train = write_csv(sets.folder / "numbered.csv", frame.to_dict("list"))
    own = np.r_[0:160, 0:120]
    table = {"id": own, "site": sets.aligned.to_numpy(), "age": np.resize(np.arange(90), 280)}
    found = sets.repaired(lambda _: train, sets.npz, metadata=table)
    assert any("is matched row by row" in note for note in found.notes)
    table["id"] = np.r_[np.random.default_rng(0).permutation(160), 0:120]
    with pytest.raises(InputError, match=f"{OTHER} column 'id'"):
        sets.repaired(lambda _: train, sets.npz, metadata=table)


def test_names_of_image_files_are_compared_next_to_arrays(tmp_path):
    """By `file_name`, an index with or without folders, and a path under another title."""
    rng, n = np.random.default_rng(0), 40
    pixels = rng.integers(0, 255, (n, 4, 4, 3), np.uint8)
    for i, image in enumerate(pixels):
        path = tmp_path / "train" / ("cat", "dog")[i % 2] / f"é{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
    steps = ImagePreprocessing(resize=None, crop=4)
    train = read_samples(tmp_path / "train", preprocessing=steps)
    arrays = Samples(rng.random((20, 3, 4, 4), np.float32), np.array(["cat", "dog"] * 10))
    site = np.array(["A", "B"])[rng.integers(0, 2, n + 20)]
    names = np.r_[train.ids.astype(object), [f"new {i}" for i in range(20)]]
    order = np.r_[rng.permutation(n), n : n + 20]

    def values(facts, *sets):
        return AttributeReader(sets or [train, arrays], facts).values("metadata:site=A").tolist()

    short = [name.rpartition("/")[2] for name in names]
    for title in ("file_name", "path"):
        for written in (names, np.array(short, dtype=object)):
            facts = pd.DataFrame({title: written, "site": site})
            assert values(facts) == values(facts.set_index(title)) == (site == "A").tolist()
            with pytest.raises(InputError, match=f"{OTHER} column '{title}'"):
                values(facts.iloc[order])
            with pytest.raises(InputError, match=f"{OTHER} (index|column)"):
                values(facts.iloc[order].set_index(title))
    of_folder = pd.DataFrame({"site": site[:n]}, index=short[:n]).iloc[order[:n]]
    assert values(of_folder, train) == (site[:n] == "A").tolist()  # by name, without folders


def test_values_that_both_tables_have_agree_next_to_a_set_without_them(sets):
    """A column of the table of one set is compared with that set's part."""
    facts = pd.DataFrame({"a": np.r_[sets.frames["train"].a, np.zeros(120)]})
    facts["site"] = sets.aligned.to_numpy()
    sets.repaired(sets.file, sets.npz, metadata=facts)
    order = np.r_[np.random.default_rng(0).permutation(160), 160:280]
    with pytest.raises(InputError, match=re.escape(f"{OTHER} column 'a' (first in row 1")):
        sets.repaired(sets.file, sets.npz, metadata=facts.iloc[order].reset_index(drop=True))


def test_row_numbers_of_each_set_are_in_order(sets):
    """From 0 in each set, for which all of them together look like no numbers of rows."""
    number = np.r_[0:160, 0:120]
    facts = {"index": number, "site": sets.aligned.to_numpy()}
    sets.repaired(sets.arrays, sets.arrays, metadata=facts)
    facts["index"] = np.r_[0:160, np.arange(120)[::-1]]
    with pytest.raises(InputError, match=rf"{OTHER} column 'index' \(first in row 162"):
        sets.repaired(sets.arrays, sets.arrays, metadata=facts)


def test_an_audit_of_one_set_compares_names_and_index(sets):
    X, y = sets.frame("train")
    site = sets.site["train"].to_frame()
    options = {"device": "cpu", "changes": 0}
    for data in ((X, y), sets.named("train")):
        found = ntkit.audit_model(sets.model, data, metadata=site, **options)
        assert found.values("metadata:site=A").tolist() == (site.site == "A").tolist()
    with pytest.raises(InputError, match=f"{OTHER} index"):
        ntkit.audit_model(sets.model, (X, y), metadata=site[::-1], **options)
    found = ntkit.audit_model(sets.model, sets.named("train"), metadata=site[::-1], **options)
    assert found.values("metadata:site=A").tolist() == (site.site == "A").tolist()
