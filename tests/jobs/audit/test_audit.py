"""The audit as users call it: predictions in every form, every kind of input, readable results."""

import json
import re

import numpy as np
import pandas as pd
import pytest

import ntkit
from ntkit._key import Key
from ntkit._text import counted
from ntkit.attributes import Attribute, words
from ntkit.attributes.image_statistics import OF_COLOUR, image_statistics, measured
from ntkit.attributes.named import attribute_named
from ntkit.exceptions import InputError
from ntkit.jobs.check import check_predictions
from tests.attributes.findings.builders import planted

N = 1200
RNG = np.random.default_rng(0)
Y = RNG.integers(0, 2, N)
FILM = np.where(RNG.random(N) < 0.9, Y, 1 - Y)
PRED = np.where(RNG.random(N) < 0.5, FILM, Y)
OTHERS = RNG.choice(["good", "bad", "long", "odd"], (N, 2))
TEXTS = [f"a {['movie', 'film'][f]} {o[0]} {o[1]}" for f, o in zip(FILM, OTHERS, strict=True)]


def first(found):
    return found.findings[0].name


@pytest.mark.parametrize(
    "given",
    [
        {"pred": PRED},
        {"scores": np.eye(2)[PRED]},
        {"pred": np.eye(2)[PRED]},
        {"scores": PRED + 0.0},
        {"scores": PRED - 0.5},
        {"scores": (PRED * 0.8 + 0.1)[:, None]},
    ],
)
def test_predictions_in_every_form(given):
    found = ntkit.audit(Y, **given, texts=TEXTS)
    assert first(found) == "word:film"
    assert found.as_dict()["accuracy"] == pytest.approx((PRED == Y).mean())


def test_scores_in_the_order_of_classes():
    names = np.array(["fresh", "rotten"])
    found = ntkit.audit(names[Y], scores=np.eye(2)[PRED][:, ::-1], classes=["rotten", "fresh"],
                        texts=TEXTS)  # fmt: skip
    assert found.as_dict()["accuracy"] == pytest.approx((PRED == Y).mean())
    assert found.findings[0].goes_with == "rotten"
    assert len(found.findings) == 1


def test_scores_named_like_classes_count_by_name():
    """A table of scores means the same in Python and in a file."""
    names, scores = np.array(["fresh", "rotten"]), np.eye(2)[PRED]
    right = pytest.approx((PRED == Y).mean())
    by_name = pd.DataFrame({"prob_rotten": scores[:, 1], "prob_fresh": scores[:, 0]})
    for y, table in (
        (names[Y], by_name),
        (names[Y].astype(object), by_name[["prob_fresh", "prob_rotten"]]),
        (names[Y], by_name[["prob_rotten"]]),
        (names[Y], by_name[["prob_fresh"]]),
        (names[Y], by_name.rename(columns=lambda name: name.removeprefix("prob_") + "_score")),
        (Y, pd.DataFrame({1: scores[:, 1], 0: scores[:, 0]})),
        (Y.astype(float), pd.DataFrame({"prob_1": scores[:, 1], "prob_0": scores[:, 0]})),
        (Y.astype(float), pd.DataFrame({"prob_1.0": scores[:, 1], "prob_0.0": scores[:, 0]})),
        (Y.astype(float).astype(str), pd.DataFrame({"prob_0": scores[:, 0]})),
        (Y.astype(float).astype(str), pd.DataFrame({"p1": scores[:, 1], "p0": scores[:, 0]})),
        (names[Y], pd.DataFrame(scores, columns=["first", "second"])),
    ):
        found = ntkit.audit(y, scores=table, texts=TEXTS)
        assert found.as_dict()["accuracy"] == right
        by_order = [*table] == ["first", "second"]
        assert any("'first', 'second' are taken for" in note for note in found.notes) == by_order
    for table, classes in (
        (by_name, names),
        (pd.DataFrame(scores, columns=["rotten", "other"]), None),
    ):
        with pytest.raises(InputError, match=r"scores of '(fresh|rotten)' would be in"):
            ntkit.audit(names[Y], scores=table, classes=classes, texts=TEXTS)


def test_scores_that_contradict_the_labels_are_refused():
    pred = np.where(np.arange(N) % 20, Y, 1 - Y)
    scores = np.eye(2)[pred]
    for wrong in (scores[:, ::-1], scores[:, 0], scores[:, :1]):
        with pytest.raises(InputError, match=r"accuracy is 5 %, and 95 % in another order"):
            ntkit.audit(Y, scores=wrong, texts=TEXTS)
        found = ntkit.audit(Y, scores=wrong, classes=[1, 0], texts=TEXTS)
        assert found.as_dict()["accuracy"] == pytest.approx(0.95)
    with pytest.raises(InputError, match=r"scores from 0 to 10, which are not probabilities"):
        ntkit.audit(Y, scores=10 * pred, texts=TEXTS)


@pytest.mark.parametrize(
    ("y", "pred", "says"),
    [
        (["Cat", "Dog"], ["cat", "Dog"], "did you mean 'Cat'"),
        (["Cat", "Dog"], ["Cat ", "Dog"], "did you mean 'Cat'"),
        ([1, 2], [0, 1], "numbered in another way"),
        (["Cat", "Dog"], ["Fox", "Hen"], "lacks; pass predict"),
    ],
)
def test_predictions_written_differently_are_refused(y, pred, says):
    y, pred = np.array(y)[Y], np.array(pred)[PRED]
    with pytest.raises(InputError, match=says):
        ntkit.audit(y, pred, texts=TEXTS)
    with pytest.raises(InputError, match=says):
        check_predictions(y, pred, limits={"average": 10})
    values = np.unique(y)[PRED]
    values[:9] = "Elk" if y.dtype.kind == "U" else 7  # a further class is predicted
    ntkit.audit(y, values, texts=TEXTS)
    check_predictions(y, values, limits={"average": 10})


def test_findings_are_printed_under_names_of_their_own():
    """A question of a survey is a long column; two of them differ in their last words only."""
    question = "How satisfied are you with the following aspects of our streaming service? "
    rng = np.random.default_rng(1)
    price, quality = (np.where(rng.random(N) < 0.85, Y, 1 - Y) for _ in range(2))
    pred = np.where(rng.random(N) < 0.5, price, quality)
    long = ntkit.audit(Y, pred, table={f"{question}[price]": price, f"{question}[film]": quality})
    short = ntkit.audit(Y, pred, table={"price": price, question: quality})
    assert len(long.findings) == len(short.findings) == 2
    for shown in (str(long), long.table()):
        assert all(re.search(r"\(\w{8}\)", f.name)[0] in shown for f in long.findings)
    assert re.search(r"column:How satisfied are you with the.{0,12}… ", str(short))  # is cut
    assert "column:price=" in str(short)


def test_embeddings_are_cross_fitted():
    rng = np.random.default_rng(0)
    core = 2 * Y - 1 + 2.0 * rng.normal(size=N)
    shortcut = 3.0 * (2 * FILM - 1) + 0.5 * rng.normal(size=N)
    noise = rng.normal(size=(N, 300))  # learned by heart, training errors would be few
    X = np.column_stack([core, shortcut, noise])
    found = ntkit.audit(Y, embeddings=X, texts=TEXTS)
    assert first(found) == "word:film"
    assert found.as_dict()["accuracy"] < 0.93
    assert "Cross-fitted heads are right" in str(found)
    again = ntkit.audit(Y, embeddings=X, texts=TEXTS)
    assert again.to_json() == found.to_json()


def test_every_kind_of_input_and_a_view_of_ones_own():
    images = (np.full((6, 6), 200 * f + 20, dtype=np.uint8) for f in FILM)
    ids = [f"{i}.txt" for i in range(N)]
    found = ntkit.audit(
        Y,
        PRED,
        texts=TEXTS,
        table={"year": 1990 + FILM * 20},
        metadata={"file_name": ids, "site": np.array(["A", "B"])[FILM]},
        ids=ids,
        images=images,
        arrays={"embedding": FILM[:, None] + 0.01 * RNG.random((N, 1))},
        feature_sets=[words(TEXTS, kind="run")],
    )
    assert set(found.n_looked_at) == {"word", "column", "metadata", "image", "embedding", "run"}
    one = found.findings[0]  # all say the same
    kinds = {name.split(":")[0].split(" ")[0] for name in (one.name, *one.same, *one.opposed)}
    assert kinds == {"word", "column", "metadata", "image", "embedding", "run"}


def test_groups_for_retraining():
    found = ntkit.audit(Y, PRED, texts=TEXTS)
    groups = found.groups("word:movie", "word:odd")
    assert len(np.unique(groups)) == 8
    sides = np.array(["word:movie", "word:film"])[FILM]
    odd = np.array(["word:odd" if "odd" in text else "not word:odd" for text in TEXTS])
    assert (groups == [f"{y} × {s} × {o}" for y, s, o in zip(Y, sides, odd, strict=True)]).all()
    with pytest.raises(InputError, match="did you mean 'word:odd'"):
        found.groups("word:od")
    with pytest.raises(InputError, match="at least one"):
        found.groups()


def test_every_figure_of_the_print_is_in_the_json():
    found = ntkit.audit(Y, PRED, texts=TEXTS)
    facts = json.loads(found.to_json())
    shown = str(found)
    one = facts["findings"][0]
    worst = found.findings[0].worst
    assert f"{100 * facts['accuracy']:.1f} % of {facts['samples']} samples" in shown
    assert f"of {facts['looked_at']['word']} attributes" in shown
    assert f"| {one['score']:.1f} |" in found.summary(markdown=True)
    assert re.findall(r"(?m)^ *(\d+)  \S", shown)[:1] == ["1"]
    low, high = worst.interval
    assert f"{100 * worst.value:.1f} [{100 * low:.1f}, {100 * high:.1f}] of {worst.n}" in shown
    assert "word:film against word:movie" in shown
    assert repr(found) == "Audit(1 finding: word:film)"


def test_nothing_found_is_said_and_why():
    noise = {"noise": RNG.permutation(FILM)}
    assert "None of them is correlated with a class and explains errors" in str(
        ntkit.audit(Y, PRED, table=noise)
    )
    assert "Without errors there are no findings" in str(ntkit.audit(Y, Y, table=noise))
    nothing = (
        "An attribute needs at least 5 samples and 1 % of them with it, and as many without it."
    )
    assert nothing in str(ntkit.audit(Y, PRED, texts=["same"] * N))
    for n_films, few in ((4, True), (5, False)):
        texts = ["film"] * n_films + ["movie"] * (100 - n_films)
        assert (nothing in str(ntkit.audit(Y[:100], PRED[:100], texts=texts))) is few
    assert ntkit.audit(Y, PRED, table=noise).findings == ()


def test_a_name_cannot_break_the_table_or_the_terminal():
    evil = "x|\n\x1b[31m<script>"
    found = ntkit.audit(Y, PRED, table={evil: FILM})
    assert first(found).startswith(f"column:{evil}")
    assert "\x1b" not in str(found)
    page = found.summary(markdown=True)
    assert "\x1b" not in page
    row = next(line for line in page.splitlines() if "<script>" in line)
    assert len(re.split(r"(?<!\\)\|", row)) == 10
    assert row.count("`") == 2  # a page shows mark-up as code, and does not run it
    labels = np.array(["<b>", "`"])
    marked_up = ntkit.audit(labels[Y], labels[PRED], table={"film": FILM})
    assert "\\<b\\>" in marked_up.summary(markdown=True)


def test_a_terminal_shows_names_as_they_are():
    labels = np.array(["<b>_y", "a|b*"])
    found = ntkit.audit(labels[Y], labels[PRED], table={"a|b_c": FILM})
    shown = str(found)
    assert "  column:a|b_c=0 " in shown or "  column:a|b_c=1 " in shown
    assert "<b>_y" in shown
    assert not {"\\", "`"} & {*shown}


def test_rows_in_another_order():
    order = RNG.permutation(N)
    table = {"film": np.array(["no", "yes"])[FILM], "other": OTHERS[:, 0]}
    a = ntkit.audit(Y, PRED, table=table)
    b = ntkit.audit(Y[order], PRED[order], table={k: v[order] for k, v in table.items()})
    plain = [{**s.as_dict(), "examples": None} for s in (*a.findings, *b.findings)]
    assert plain[: len(a.findings)] == plain[len(a.findings) :]


def test_weights():
    doubled = np.repeat(np.arange(N), 1 + FILM)
    weighted = ntkit.audit(Y, PRED, texts=TEXTS, sample_weight=7.0 * (1 + FILM))
    twice = ntkit.audit(Y[doubled], PRED[doubled], texts=[TEXTS[i] for i in doubled])
    assert first(weighted) == first(twice)
    assert weighted.findings[0].share == pytest.approx(twice.findings[0].share)
    assert weighted.findings[0].score < twice.findings[0].score  # as few as there are
    says = "weighted by sample_weight"  # where weights differ, and only there
    assert [any(says in note for note in each.notes) for each in (weighted, twice)] == [True, False]
    alike = ntkit.audit(Y, PRED, texts=TEXTS, sample_weight=np.full(N, 3.0))
    assert not any(says in note for note in alike.notes)


def test_twins_of_an_absent_word_are_absent_too():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 900)
    lacks = rng.random(900) < np.where(y == 2, 0.9, 0.1)
    pred = np.where(lacks & (rng.random(900) < 0.7), 2, y)
    found = ntkit.audit(y, pred, texts=["" if none else "film movie" for none in lacks])
    assert "`not word:film movie (and not word:film, 1 more)`" in found.table()


def test_many_classes():
    values, p = planted(n_classes=5)
    found = ntkit.audit(p.y_index, p.pred_index, table={f"c{j}": v for j, v in enumerate(values.T)})
    assert first(found).startswith("column:c0=")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "Pass one of pred, scores and embeddings. Got none"),
        ({"pred": PRED, "scores": PRED}, "Got pred and scores"),
        ({"pred": PRED.astype(str)}, "labels of one type"),
        ({"pred": PRED + 10}, "which y .* lacks"),
        ({"pred": PRED[:-1]}, "give one per sample"),
        ({"scores": np.zeros((N, 3))}, "3 columns, and there are 2 classes: 0, 1"),
        ({"scores": np.eye(2)[PRED], "classes": [0, 2]}, "y .* has the class 1"),
        ({"scores": np.full(N, np.nan)}, "NaN"),
        ({"scores": PRED.astype(str)}, "scores must be numbers"),
        ({"embeddings": np.full((N, 2), np.nan)}, "NaN"),
        ({"pred": PRED, "alpha": 0}, "alpha"),
        (
            {"pred": PRED, "texts": ["short"]},
            "The feature set 'word' has 1 samples, and y has 1200",
        ),
        ({"pred": PRED, "texts": None}, "no attributes to test"),
        ({"pred": PRED, "sample_weight": Y}, "only one class"),
        ({"y": Y * 0, "pred": Y * 0}, "only one class"),
        ({"y": Y * 0, "embeddings": np.zeros((N, 1))}, "too few samples"),
    ],
)
def test_refused(given, message):
    with pytest.raises(InputError, match=message):
        ntkit.audit(**{"y": Y, "texts": TEXTS, **given})


def test_a_class_of_one_sample():
    y = np.where(np.arange(N) == 0, 2, Y)
    with pytest.raises(InputError, match="Class 2 has too few samples for cross-fitting"):
        ntkit.audit(y, embeddings=np.zeros((N, 2)), texts=TEXTS)
    assert first(ntkit.audit(y, PRED, texts=TEXTS)) == "word:film"


def test_a_finding_called_not_names_the_groups_by_what_it_is_called():
    """Of three classes, one goes without the mark: "with" means with what the row is called."""
    rng = np.random.default_rng(0)
    y = np.array(["cat", "dog", "fox"])[rng.integers(0, 3, 900)]
    mark = np.where(y == "cat", rng.random(900) < 0.05, rng.random(900) < 0.95).astype(int)
    pred = np.where((mark == 0) & (rng.random(900) < 0.7), "cat", y)
    found = ntkit.audit(y, pred, table={"mark": mark})
    (finding,) = (f for f in found.findings if f.goes_with == "cat" and f.name == "column:mark=1")
    assert not finding.present
    worst, rest = finding.worst, finding.beside(finding.worst)
    wrong = pred[(y == worst.name) & (mark == 0)] != worst.name
    assert worst.n == len(wrong) < rest.n
    row = next(line for line in str(found).splitlines() if "not column:mark=1" in line)
    assert f"class {worst.name} with it" in row
    assert f"{100 * (1 - wrong.mean()):.1f}" in row
    assert f"| {worst.name}, with |" in found.table()


@pytest.mark.parametrize("seed", [0, 3])
def test_thresholds_of_one_column_are_not_two_values(seed):
    """Everybody above the higher one is above the lower one as well."""
    rng, n = np.random.default_rng(seed), 1500
    y = rng.integers(0, 3, n)
    dose = np.where(rng.random(n) < 0.8, y * 1.5, rng.choice([0, 1.5, 3.0], n))
    dose += rng.normal(0, 0.8, n)
    pred = np.where(rng.random(n) < 0.5, np.digitize(dose, [0.75, 2.25]), y)
    found = ntkit.audit(y, pred, table={"dose": dose})
    name = first(found)
    assert found.findings[0].values == ((name,),)
    assert not any(each.startswith("column:dose") for each in found.findings[0].opposed)
    assert " against " not in str(found)
    has = dose >= float(name.partition(">=")[2])
    sides = np.where(has, name, f"not {name}")
    assert found.groups(name).tolist() == [
        f"{k} × {side}" for k, side in zip(y, sides, strict=True)
    ]


def test_opposite_categories_are_two_values():
    site = np.array(["A", "B"])[FILM]
    found = ntkit.audit(Y, PRED, table={"site": site})
    assert {*found.findings[0].values} == {("column:site=B",), ("column:site=A",)}
    assert " against column:site=" in str(found)


def test_a_value_of_several_categories_names_all_of_them():
    """Groups of B against A and C are not called B against one of them."""
    rng, n = np.random.default_rng(0), 1500
    y = rng.integers(0, 2, n)
    of_class = np.where(y == 1, "B", rng.choice(["A", "C"], n))
    site = np.where(rng.random(n) < 0.85, of_class, rng.choice(["A", "B", "C"], n))
    pred = np.where(rng.random(n) < 0.6, site == "B", y).astype(int)
    found = ntkit.audit(y, pred, table={"site": site})
    several = {"column:site=A", "column:site=C"}
    (value,) = (each for each in found.findings[0].values if len(each) > 1)
    title, others = " or ".join(value), np.isin(site, ["A", "C"])
    assert {*value} == several
    assert f"column:site=B against {title}" in found.table()
    assert " against " not in str(found)  # too long for a terminal
    groups = found.groups(found.findings[0].name)
    assert {group.partition(" × ")[2] for group in groups[others]} == {title}
    answer = found.answers("column:site=B").answers[0]
    made = Attribute.from_names(answer.values, found.values)
    assert {*made.labels[others]} == {title}
    assert {*made.labels[~others]} == {"column:site=B"}
    assert Attribute.from_names([value], found.values).names == (f"not ({title})", title)


@pytest.mark.parametrize("form", ["index", "id", "file_name"])
def test_a_table_that_names_the_samples_in_another_order_is_refused(rng, form):
    y = rng.integers(0, 2, 200)
    ids, place = [f"s{i:03}" for i in range(200)], rng.permutation(200)
    table = pd.DataFrame({"camera": np.where(y[place], "A", "B")}, index=np.array(ids)[place])
    if form != "index":
        table = table.rename_axis(form).reset_index()
    with pytest.raises(InputError, match="in another order"):
        ntkit.audit(y, np.zeros(200, int), table=table, ids=ids)
    ordered = table.iloc[np.argsort(place)].reset_index(drop=form != "index")
    found = ntkit.audit(y, np.zeros(200, int), table=ordered, ids=ids)
    assert found.as_dict()["accuracy"] == pytest.approx(np.mean(y == 0))
    with pytest.raises(InputError, match="must be a DataFrame or a mapping"):
        ntkit.audit(y, np.zeros(200, int), table=["A"] * 200, ids=ids)


def mapped(of, names):
    """Columns of samples in the order of some names."""
    frame = pd.DataFrame({"id": [f"s{i}" for i in range(N)], **of})
    return frame.set_index("id", drop=False).loc[names].reset_index(drop=True)


def test_metadata_are_in_the_order_of_the_table_or_refused():
    names = [f"s{i}" for i in range(N)]
    shuffled = [names[i] for i in np.random.default_rng(1).permutation(N)]
    person = [f"p{i}" for i in range(N)]
    table = mapped({"age": OTHERS[:, 0], "person": person}, names)
    film = {"film": np.where(FILM, "yes", "no")}
    by_name = ntkit.audit(Y, PRED, table=table, metadata=mapped(film, shuffled))
    aligned = ntkit.audit(Y, PRED, table=table, metadata=mapped(film, names))
    assert first(by_name).startswith("metadata:film=")
    assert by_name.as_dict()["findings"] == aligned.as_dict()["findings"]
    others = mapped(film | {"person": person}, shuffled).drop(columns="id")
    with pytest.raises(InputError, match="in another order, by its column 'person'"):
        ntkit.audit(Y, PRED, table=table, metadata=others)


@pytest.mark.parametrize("option", ["table", "metadata"])
def test_labels_and_predictions_in_a_table_are_not_tested(option):
    frame = pd.DataFrame({"film": np.where(FILM, "yes", "no"), "label": Y, "prediction": PRED})
    found = ntkit.audit(Y, PRED, **{option: frame})
    assert ":film=" in first(found)
    assert not any("prediction" in each.name for each in found.findings)
    assert f"The {option} has 'label', 'prediction' by name" in "".join(found.notes)
    assert not ntkit.audit(Y, PRED, **{option: frame[["film"]]}).notes
    alone = ntkit.audit(Y, PRED, **{option: {"group": np.where(FILM, "yes", "no")}})
    assert ":group=" in first(alone)  # a person who passes nothing else means it


def test_metadata_of_samples_whose_ids_repeat_go_by_row_if_both_agree():
    person = np.arange(N) // 2
    table, film = {"id": person, "age": OTHERS[:, 0]}, np.where(FILM, "yes", "no")
    found = ntkit.audit(Y, PRED, table=table, metadata={"id": person, "film": film})
    assert first(found).startswith("metadata:film=")
    with pytest.raises(InputError, match="in another order, by its column 'id'"):
        ntkit.audit(Y, PRED, table=table, metadata={"id": person[::-1], "film": film[::-1]})


def marked_images(n=1000, noise=0.0, seed=0, side=12, patch=(1, 1, 3), spread=0.0):
    """Grey images with a bright patch in 90 % of a class, and predictions that follow it."""
    row, column, size = patch
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 2
    marked = np.where(rng.random(n) < 0.9, y, 1 - y)
    content = np.kron(rng.uniform(0, spread, (n, 4, 4)), np.ones((side // 4, side // 4)))
    images = rng.uniform(0, 0.2, (n, side, side)) + content
    bright = 0.4 * marked[:, None, None] + noise * rng.normal(size=(n, 1, 1))
    images[:, row : row + size, column : column + size] += bright
    return images, y, marked, np.where(rng.random(n) < 0.9, marked, y)


def test_values_between_two_modes_count_in_no_group_and_are_counted():
    images, y, marked, pred = marked_images(noise=0.06)
    found = ntkit.audit(y, pred, images=images)
    finding = found.findings[0]
    values = found.values(finding.name)
    known = values >= 0
    assert finding.name == "image:top left brightness high"
    assert 0 < finding.n_unknown == np.sum(~known) < len(y) / 3
    assert finding.n_known == known.sum()
    assert [group is not None for group in found.groups(finding.name)] == known.tolist()
    assert np.mean(values[known] == marked[known]) > 0.998
    said = f"Unknown, so in no group: {finding.name} for {counted(finding.n_unknown, 'sample')}."
    assert all(said in found.summary(verbose=verbose) for verbose in (False, True))
    assert f"It is unknown for {counted(finding.n_unknown, 'sample')}." in str(finding)
    apart = ntkit.audit(y, pred, images=marked_images(noise=0.01)[0])
    assert apart.findings[0].n_unknown == 0
    assert "nknown" not in f"{apart.findings[0]} {apart}"


@pytest.mark.parametrize("place", ["border", "patch"])
def test_a_coloured_mark_is_called_by_its_colour(place):
    """An orange border or patch for a blue one: as bright, and called by the colour."""
    images, y, marked, pred = marked_images(side=28)
    rng, colours = np.random.default_rng(1), np.array([(10, 80, 230), (240, 115, 10)]) / 255
    tone = rng.uniform(0.75, 1.05, (len(y), 1, 1, 1)) * colours[marked][:, None, None]
    coloured = np.repeat(images[..., None], 3, axis=3)
    if place == "patch":
        coloured[:, 4:12, 15:23] = tone
    else:
        coloured[:, [0, 1, -2, -1]] = coloured[:, :, [0, 1, -2, -1]] = tone
    found = ntkit.audit(y, pred, images=coloured)
    first, name = found.findings[0], "border orange" if place == "border" else "orange"
    assert first.name in (f"image:{name} high", f"image:{name} above the median")
    assert np.mean(found.values(first.name) == marked) > 0.99
    again = attribute_named(first.name, images=image_statistics(measured(coloured, len(y))[0]))
    assert again.tolist() == found.values(first.name).tolist()
    of_grey = ntkit.audit(y, pred, images=images)
    assert not any(Key.of(each.name).origin in OF_COLOUR for each in of_grey.findings)
    errors = np.where(rng.random(len(y)) < 0.1, 1 - y, y)
    assert not ntkit.audit(y, errors, images=coloured).findings


def test_a_bright_border_is_not_called_by_a_colour():
    """Grey in images of three channels has no name."""
    images, y, marked, pred = marked_images(side=16)
    images[:, [0, -1]] = images[:, :, [0, -1]] = 0.3 + 0.3 * marked[:, None, None]
    found = ntkit.audit(y, pred, images=np.repeat(images[..., None], 3, axis=3))
    assert Key.of(found.findings[0].name).what == "border brightness"


def test_missing_values_are_counted_in_the_finding():
    y = np.arange(400) % 2
    site = np.where(np.arange(400) % 20 == 3, None, np.where(y == 1, "A", "B"))
    site[:40:3] = "A"
    finding = ntkit.audit(y, np.where(site == "A", 1, y * (site != "B")), table={"site": site})
    (first, *_) = finding.findings
    assert first.n_unknown == np.sum(site == None)  # noqa: E711
    assert f"unknown for {first.n_unknown} samples" in str(first)


@pytest.mark.parametrize("place", [(0, 0), (11, 3), (23, 14), (9, 22)])
def test_a_small_patch_is_found_in_its_cell(place):
    """A patch of 4 x 4 pixels hides in the mean of a ninth of 28 x 28, but not of a cell."""
    images, y, marked, pred = marked_images(seed=1, side=28, patch=(*place, 4), spread=0.2)
    found = ntkit.audit(y, pred, images=images)
    first, *others = found.shown
    key = Key.of(first.name)
    assert key.what.startswith("row ")
    assert key.what.endswith(" of 8 brightness")
    row, column = (int(n) for n in re.findall(r"(?:row|column) (\d)", key.what))
    for at, cell in zip(place, (row, column), strict=True):
        assert 28 * (cell - 1) / 8 - 4 < at < 28 * cell / 8  # it holds a part of the patch
    values = found.values(first.name)
    assert abs(np.mean(values[values >= 0] == marked[values >= 0]) - 0.5) > 0.25
    assert not any(name.startswith("image:row ") for f in others for name in (f.name, *f.same))
    mine = {name for name in (*first.same, *first.opposed) if name.startswith("image:row ")}
    assert all(name.startswith(key.origin) for name in mine)  # only the strongest cell


def test_cells_find_nothing_in_balanced_images():
    n_found = 0
    for seed in range(20):
        images, y, _, _ = marked_images(n=400, seed=seed, side=16, patch=(5, 5, 3))
        rng = np.random.default_rng(seed)
        of_no_class = images[rng.permutation(len(y))]
        n_found += len(ntkit.audit(y, rng.permutation(y), images=of_no_class).findings)
    assert n_found <= 1


def test_the_audit_holds_every_finding_that_it_counts():
    """Of neurons a page shows five; the text, the repr and the JSON count all, and hold them."""
    rng = np.random.default_rng(1)
    y = rng.integers(0, 2, 6000)
    has = np.where(rng.random((8, len(y))) < 0.8, y, 1 - y)  # eight that have nothing in common
    led = has[rng.integers(0, 8, len(y)), np.arange(len(y))]
    pred = np.where(rng.random(len(y)) < 0.9, led, y)
    found = ntkit.audit(y, pred, arrays={"embedding": has.T + rng.normal(0, 0.1, has.T.shape)})
    assert (len(found.findings), len(found.shown), len(found.questions)) == (8, 5, 5)
    assert found.findings[:5] == found.shown
    assert repr(found).startswith("Audit(8 findings: ")
    assert "form 8 findings" in str(found)
    assert "First 5 of 8 findings" in str(found)
    facts = found.as_dict()
    assert [each["name"] for each in facts["findings"]] == [f.name for f in found.findings]
    assert "3 more are in `audit.json`" in found.summary(verbose=True)
    last = found.findings[-1]
    assert found.answers(last.name).answers[0].values == last.values
    of_values = {group.partition(" × ")[2] for group in found.groups(last.name)}
    assert of_values == {"other", *(first for first, *_ in last.values)}


def test_metadata_that_the_table_names_are_not_said_to_go_by_position():
    rng = np.random.default_rng(0)
    y, ids = pd.Series(rng.integers(0, 2, 400)), [f"p{i}" for i in range(400)]
    site = np.where(rng.random(400) < 0.9, y, 1 - y)
    pred = np.where(rng.random(400) < 0.4, site, y)
    facts = pd.DataFrame({"site": np.array(["A", "B"])[site]}, index=pd.Index(ids, name="id"))
    table = pd.DataFrame({"id": ids, "x": rng.normal(size=400)})
    for of_samples in (facts, facts[::-1]):
        found = ntkit.audit(y, pred, table=table, metadata=of_samples)
        assert found.findings[0].name in ("metadata:site=A", "metadata:site=B")
        assert not any("by position" in note for note in found.notes)


def test_the_index_of_y_names_samples_next_to_a_column_of_names():
    rng = np.random.default_rng(0)
    y, ids = rng.integers(0, 2, 400), pd.Index([f"p{i}" for i in range(400)], name="id")
    site = np.where(rng.random(400) < 0.9, y, 1 - y)
    pred, named = np.where(rng.random(400) < 0.4, site, y), pd.Series(y, ids)
    facts = pd.DataFrame({"id": ids, "site": np.array(["A", "B"])[site]})
    shuffled = facts.sample(frac=1, random_state=0, ignore_index=True)
    expected = ntkit.audit(y, pred, metadata=facts).findings[0].groups
    assert ntkit.audit(named, pred, metadata=shuffled).findings[0].groups == expected
    with pytest.raises(InputError, match=r"the samples of the index of y in another order \(id\)"):
        ntkit.audit(named, pred, table=shuffled)
    with pytest.raises(InputError, match=r"the samples of ids= in another order \(id\)"):
        ntkit.audit(y, pred, table=shuffled, ids=ids)


def test_a_finding_with_a_third_value_does_not_name_only_two():
    """Accuracies without it are of the third value as well."""
    site = np.array(["A", "B"])[FILM].astype(object)
    third = np.random.default_rng(0).random(N) < 0.2
    site[third] = "C"
    found = ntkit.audit(Y, np.where(third, Y, PRED), table={"site": site})
    finding = next(f for f in found.findings if len(f.values) == 2)
    without = next(g for g in finding.groups if g.name == 0 and not g.which)
    own = site == finding.name.removeprefix("column:site=")
    assert without.n == ((Y == 0) & ~own).sum() > ((Y == 0) & ~own & ~third).sum()
    other = finding.values[1][0]
    assert f"{finding.name} against {other} and others" in str(found)
    assert f"{finding.name} against {other} and others" in found.table()
