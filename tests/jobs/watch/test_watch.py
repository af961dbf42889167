"""A stream of batches: alarms, what counts once, and what no accident can change."""

import csv
import errno
import json
from pathlib import Path

import numpy as np
import pytest

import ntkit
from ntkit import _output
from ntkit._disk import alone_in
from ntkit.datasets import load_marked_digits, marked_digits_model_path
from ntkit.exceptions import InputError

LIMITS = """worst_class = 80
average = 85
max_drop = 10
[slices]
"column:border" = { accuracy = 70 }
"""
HEADER = ("id", "prediction", "label", "border")
HERE = ("id", "prediction", "border")


def rows_of(name, n, *, border=0.2, right=0.92, seed):
    """Names, predictions, labels and borders of made-up samples."""
    rng = np.random.default_rng(seed)
    y = rng.choice(["cat", "dog"], n)
    other = np.where(y == "cat", "dog", "cat")
    predicted = np.where(rng.random(n) < right, y, other)
    has = np.where(rng.random(n) < border, "yes", "no")
    return [(f"{name}-{i}", *each) for i, each in enumerate(zip(predicted, y, has, strict=True))]


def save(path, rows, header=HEADER):
    """Write rows as a table."""
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])
    return path


@pytest.fixture
def begun(tmp_path):
    """A folder of tables, with a stream that has begun."""
    save(tmp_path / "reference.csv", rows_of("reference", 1500, seed=0))
    (tmp_path / "limits.toml").write_text(LIMITS, encoding="utf-8")
    ntkit.watch(
        tmp_path / "state", start=tmp_path / "reference.csv", limits=tmp_path / "limits.toml"
    )
    return tmp_path


def add(folder, rows, labels=(), **options):
    """Add a batch, with some of its labels."""
    day = save(
        folder / "day.csv", [row[:2] + row[3:] for row in rows], ("id", "prediction", "border")
    )
    few = save(folder / "few.csv", [(row[0], row[2]) for row in labels], ("id", "label"))
    return ntkit.watch(folder / "state", day, labels=few if len(labels) else None, **options)


def numbers(result):
    """All counts and values of a result, without times."""
    keys = ("title", "samples", "value", "interval", "evidence")
    return [[row[key] for key in keys] for row in result.as_dict()["rows"]]


def row_named(result, title):
    """The row with a title."""
    return next(row for row in result.rows if row.title == title)


@pytest.mark.parametrize(
    ("limit", "why"),
    [
        ("max_recall_drop = { dog = 5 }", "max_recall_drop (compares two models)"),
        ("max_new_errors = 5", "max_new_errors (compares two models)"),
        ("[groups]\nmax_precision_drop = { dog = 5 }", "max_precision_drop (compares two models)"),
        ("[slices]\n'column:border' = { max_drop = 3 }", "max_drop (needs labels in {})"),
        ("max_drop = 3", "max_drop (needs labels in {})"),
        ("max_flip_rate = 3", "max_flip_rate (needs a change)"),
    ],
)
def test_a_limit_that_is_not_watched_is_said_and_not_kept(tmp_path, limit, why):
    reference = save(tmp_path / "r.csv", [(*r[:2], r[3]) for r in rows_of("r", 300, seed=0)], HERE)
    (tmp_path / "limits.toml").write_text(limit, encoding="utf-8")
    result = ntkit.watch(tmp_path / "s", start=reference, limits=tmp_path / "limits.toml")
    (note,) = result.notes
    assert note == f"Not watched, so left out of limits.toml: {why.format(reference)}."
    kept = (tmp_path / "s" / "limits.toml").read_text(encoding="utf-8")
    assert why.split()[0] not in kept


def test_limits_that_are_watched_are_kept_without_a_word(begun):
    kept = ntkit.watch(begun / "again", start=begun / "reference.csv", limits=begun / "limits.toml")
    assert not kept.notes
    assert "max_drop = 10" in (begun / "again" / "limits.toml").read_text(encoding="utf-8")


def test_a_change_without_a_limit_is_refused(begun):
    with pytest.raises(InputError, match="'word:film' has no limit"):
        ntkit.watch(
            begun / "new", start=begun / "reference.csv", limits={"changes": {"word:film": {}}}
        )


# -- alarms ----------------------------------------------------------------------------------------


def test_traffic_like_the_reference_raises_no_alarm(begun):
    for day in range(6):
        rows = rows_of(f"d{day}", 200, seed=day + 1)
        result = add(begun, rows, rows[:20])
    assert (result.exit_code, result.alarms) == (0, ())
    assert (result.n_samples, result.n_labels, len(result.batches)) == (1200, 120, 6)
    first, *_, noticed, page = result.summary().splitlines()
    assert first == "Nothing yet: 14 shares, 6 batches with 1200 samples and 120 labels."
    # A limit that a person set holds next to a drop from the reference, also where one is stricter.
    limits = {row.stream.limit for row in result.rows if row.title == "accuracy of class cat"}
    assert limits >= {"max_drop", "accuracy"}
    assert noticed.startswith("Would have been noticed by now, with 80 %: ")
    assert page == f"Page: {begun / 'state' / 'watch.html'}"


def test_a_group_that_grows_is_noticed_without_labels(begun):
    for day in range(8):
        result = add(begun, rows_of(f"d{day}", 200, border=0.2 if day < 4 else 0.5, seed=day + 1))
    (alarm,) = result.alarms
    assert (alarm.title, result.exit_code) == ("share of column:border=yes", 1)
    assert (alarm.since, alarm.alarm) == (5, 5)
    assert alarm.n == 800  # those of the value, which is that since batch 5
    assert alarm.interval[0] < 0.5 < alarm.interval[1]
    assert alarm.interval[0] > 0.25
    assert "since batch 5, " in result.summary()


def test_an_accuracy_below_its_limit_is_noticed_with_few_labels(begun):
    for day in range(14):
        rows = rows_of(f"d{day}", 300, right=0.9 if day < 5 else 0.5, seed=day + 1)
        result = add(begun, rows, rows[:25])
    titles = {alarm.title for alarm in result.alarms}
    assert "average accuracy" in titles
    alarm = row_named(result, "average accuracy")
    assert alarm.requirement == "at least 85.0 %"
    assert alarm.interval[0] < 0.5 < alarm.interval[1] < 0.85
    assert alarm.since in (5, 6, 7)
    assert result.next_of(alarm).startswith("ntkit audit --predictions ")


def test_an_alarm_stays_until_the_model_changes(begun, tmp_path):
    for day in range(3):
        result = add(begun, rows_of(f"a{day}", 300, border=0.9, seed=day))
    assert result.alarms
    for day in range(20):
        result = add(begun, rows_of(f"b{day}", 300, border=0.2, seed=day + 50))
    assert result.alarms


def test_flips_by_a_change_need_no_labels(tmp_path):
    data, model = load_marked_digits(), marked_digits_model_path()
    predicted = ntkit.predict(model, data.X_test, device="cpu").labels

    def table(name, at):
        np.save(tmp_path / f"{name}.npy", data.X_test[at])
        return save(tmp_path / f"{name}.csv", [(p,) for p in predicted[at]], ("prediction",))

    limits = {"changes": {"image:top left": 5, "image:jpeg=75": 10}}
    state = tmp_path / "state"
    ntkit.watch(state, start=table("reference", slice(0, 500)), limits=limits, model=model)
    result = ntkit.watch(
        state,
        table("day", slice(500, 900)),
        inputs=tmp_path / "day.npy",
        model=model,
        copies=150,
        device="cpu",
    )
    (alarm,) = result.alarms
    assert (alarm.title, alarm.n) == ("flips by image:top left", 150)
    assert "--invariant 'image:top left'" in result.next_of(alarm)
    assert row_named(result, "flips by image:jpeg=75").n == 150


def test_numbers_are_cut_as_in_the_reference(tmp_path):
    rng = np.random.default_rng(0)

    def batch(name, brighter):
        np.save(tmp_path / f"{name}.npy", rng.random((120, 3, 16, 16), np.float32) * brighter)
        return save(tmp_path / f"{name}.csv", [(i % 2,) for i in range(120)], ("prediction",))

    limits = {"slices": {"image:brightness high": {}}}
    start, state = batch("reference", 0.8), tmp_path / "state"
    ntkit.watch(state, start=start, inputs=tmp_path / "reference.npy", limits=limits)
    same = ntkit.watch(state, batch("same", 0.8), inputs=tmp_path / "same.npy")
    assert not same.alarms
    result = ntkit.watch(state, batch("bright", 1), inputs=tmp_path / "bright.npy")
    assert "share of image:brightness high" in {alarm.title for alarm in result.alarms}


def test_the_level_is_shared_and_stated(begun):
    rows = add(begun, rows_of("a", 50, seed=1)).rows
    assert sum(1 / row.needed for row in rows) == pytest.approx(0.05)


# -- questions -------------------------------------------------------------------------------------


def filled(folder, rows):
    """The questions of a batch, with their true labels."""
    truth = {row[0]: row[2] for row in rows}
    with open(folder / "state" / "ask.csv", newline="", encoding="utf-8") as file:
        asked = [{**line, "label": truth[line["id"]]} for line in csv.DictReader(file)]
    save(folder / "asked.csv", [tuple(line.values()) for line in asked], tuple(asked[0]))
    return {line["id"] for line in asked}


def test_questions_are_of_rare_groups_as_often_and_their_labels_count(begun):
    rows = rows_of("a", 1000, border=0.05, seed=1)
    result = add(begun, rows, ask=100)
    assert any("to label: fill in" in note for note in result.notes)
    asked = filled(begun, rows)
    assert 70 < len(asked) < 130
    rare = {row[0] for row in rows if row[3] == "yes"}
    assert len(asked & rare) > 15
    assert add(begun, rows, ask=100).n_labels == 0
    assert filled(begun, rows) == asked
    labelled = ntkit.watch(begun / "state", begun / "day.csv", labels=begun / "asked.csv")
    assert (labelled.n_labels, labelled.n_samples) == (len(asked), 1000)
    assert row_named(labelled, "accuracy of column:border=yes").n == len(asked & rare)
    assert ntkit.watch(
        begun / "state", begun / "day.csv", labels=begun / "asked.csv"
    ).n_labels == len(asked)


@pytest.mark.more
def test_labels_weigh_by_the_chance_of_being_asked(begun):
    rng, rows = np.random.default_rng(0), []
    for day in range(12):
        good = rows_of(f"g{day}", 380, border=0, right=0.95, seed=2 * day)
        bad = rows_of(f"b{day}", 20, border=1, right=0.4, seed=2 * day + 1)
        batch = [(good + bad)[i] for i in rng.permutation(400)]
        rows += batch
        add(begun, batch, ask=60)
        filled(begun, batch)
        result = ntkit.watch(begun / "state", begun / "day.csv", labels=begun / "asked.csv")
    right = np.mean([row[1] == row[2] for row in rows])
    average = row_named(result, "average accuracy")
    assert average.interval[0] < right < average.interval[1]
    assert average.value == pytest.approx(right, abs=0.03)
    titles = {alarm.title for alarm in result.alarms if alarm.kind == "accuracy"}
    assert titles == {"accuracy of column:border=yes"}


def test_only_what_was_asked_for_counts_then(begun):
    rows = rows_of("a", 300, seed=1)
    add(begun, rows, ask=30)
    asked = filled(begun, rows)
    others = [row for row in rows if row[0] not in asked][:10]
    result = add(begun, rows, others)
    assert result.n_labels == 0
    assert any("left out 10 labels of samples that nobody asked for" in n for n in result.notes)
    with pytest.raises(InputError, match="was counted before, and asked about 30 samples"):
        add(begun, rows, ask=20)
    save(begun / "day.csv", [row[1::2] for row in rows_of("b", 90, seed=2)], HERE[1:])
    with pytest.raises(InputError, match="Questions need names of the samples"):
        ntkit.watch(begun / "state", begun / "day.csv", ask=10)
    assert add(begun, rows_of("c", 50, seed=3)).n_samples == 350


# -- what counts once ------------------------------------------------------------------------------


def test_a_batch_counts_once_in_any_order_and_under_other_names_of_columns(begun):
    rows = rows_of("a", 120, seed=1)
    first = numbers(add(begun, rows, rows[:10]))
    again = add(begun, rows, rows[:10])
    assert numbers(again) == first
    assert any("was counted before, so it counts no more" in note for note in again.notes)
    assert numbers(add(begun, rows[::-1])) == first
    turned = [(row[3], row[0], row[1]) for row in rows[::-1]]
    save(begun / "turned.csv", turned, ("border", "id", "pred"))
    assert numbers(ntkit.watch(begun / "state", begun / "turned.csv")) == first


def test_samples_of_two_batches_count_once(begun, tmp_path):
    rows = rows_of("a", 120, seed=1)
    whole = add(begun, rows)
    other = tmp_path / "other"
    other.mkdir()
    save(other / "reference.csv", rows_of("reference", 1500, seed=0))
    (other / "limits.toml").write_text(LIMITS, encoding="utf-8")
    ntkit.watch(other / "state", start=other / "reference.csv", limits=other / "limits.toml")
    add(other, rows[:80])
    result = add(other, rows[40:])
    assert result.n_samples == whole.n_samples == 120
    assert any("left out 40 of 80 samples, counted before" in note for note in result.notes)
    counted = {row.title: row.n for row in result.rows}
    assert counted == {row.title: row.n for row in whole.rows}


def test_labels_may_come_late_and_count_once(begun):
    rows = rows_of("a", 120, seed=1)
    add(begun, rows)
    late = add(begun, rows, rows[:30])
    assert (late.n_samples, late.n_labels, len(late.batches)) == (120, 30, 1)
    more = add(begun, rows, rows[20:50])
    assert more.n_labels == 50
    assert any("left out 10 of 30 labels, counted before" in note for note in more.notes)
    average = row_named(more, "average accuracy")
    right = sum(row[1] == row[2] for row in rows[:50])
    assert (average.n, average.value) == (50, pytest.approx(right / 50))


def test_late_labels_are_of_their_batch(begun):
    good = [rows_of(f"g{day}", 100, seed=day) for day in range(3)]
    bad = rows_of("bad", 100, right=0.1, seed=9)
    for rows in (*good, bad, rows_of("last", 100, seed=10)):
        add(begun, rows)
    for rows in good:
        add(begun, rows, rows[:20])
    result = add(begun, bad, bad[:60])
    alarm = row_named(result, "average accuracy")
    assert len(result.batches) == 5
    assert (alarm.since, alarm.alarm) == (4, 5)  # raised when there were five


def test_rows_without_names_that_repeat_are_told_apart_by_batches_alone(begun):
    rows = [row[1::2] for row in rows_of("a", 300, seed=1)]
    save(begun / "day.csv", rows, ("prediction", "border"))
    result = ntkit.watch(begun / "state", begun / "day.csv")
    assert result.n_samples == 300
    assert any("Add a column id" in note for note in result.notes)
    save(begun / "day.csv", rows[::-1], ("prediction", "border"))
    assert ntkit.watch(begun / "state", begun / "day.csv").n_samples == 300
    save(begun / "day.csv", rows[1:], ("prediction", "border"))
    assert ntkit.watch(begun / "state", begun / "day.csv").n_samples == 599


def test_row_numbers_do_not_name_samples(begun):
    for day in range(2):
        rows = rows_of(f"d{day}", 90, seed=day)
        numbered = [(i, *row[1:2], row[3], f"x{day}{i}") for i, row in enumerate(rows)]
        save(begun / "day.csv", numbered, ("row", "prediction", "border", "text"))
        result = ntkit.watch(begun / "state", begun / "day.csv")
    assert result.n_samples == 180


def test_another_model_begins_anew_and_says_so(begun):
    one, two = begun / "one.onnx", begun / "two.onnx"
    one.write_bytes(Path(marked_digits_model_path()).read_bytes())
    model = ntkit.FrozenModel.load(one)
    model.with_head(model.head.scaled([0.5] * 64)).save(two)
    rows = rows_of("a", 200, border=0.9, seed=1)
    assert add(begun, rows, model=one).alarms
    result = add(begun, rows, model=two)
    assert (result.n_models, len(result.batches), result.n_samples) == (2, 1, 200)
    assert "The model has changed, so all streams begin anew." in result.notes
    again = add(begun, rows_of("b", 100, seed=2))
    assert (len(again.batches), again.n_models) == (2, 2)
    assert "2 batches with 300 samples and 0 labels since the model changed" in again.summary()


# -- hostile ---------------------------------------------------------------------------------------


class Killed(BaseException):
    """The process ends here."""


def test_a_run_that_is_killed_at_any_step_can_be_repeated(begun, monkeypatch):
    rows = rows_of("a", 120, seed=1)
    for step in range(10):
        state = begun / "state"
        kept = {p.relative_to(state): p.read_bytes() for p in state.rglob("*") if p.is_file()}
        calls, real = [], _output.give_name

        def killed(made, path, calls=calls, step=step, real=real):
            calls.append(path)
            if len(calls) == step + 1:
                raise Killed
            real(made, path)

        monkeypatch.setattr(_output, "give_name", killed)
        try:
            add(begun, rows, rows[:15])
        except Killed:
            monkeypatch.undo()
            done = add(begun, rows, rows[:15])
        else:
            monkeypatch.undo()
            assert step == len(calls) > 3
            return
        assert (done.n_samples, done.n_labels, len(done.batches)) == (120, 15, 1)
        for path in state.rglob("*"):
            if path.is_file() and path.relative_to(state) not in kept:
                path.unlink()
        for path, content in kept.items():
            (state / path).write_bytes(content)
    pytest.fail("a run has fewer steps")


def test_a_full_disk_loses_nothing(begun, monkeypatch):
    rows = rows_of("a", 120, seed=1)
    before = {p.name: p.read_bytes() for p in (begun / "state").iterdir() if p.is_file()}

    def full(made, path):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(_output, "give_name", full)
    with pytest.raises(InputError, match="not enough disk space"):
        add(begun, rows)
    monkeypatch.undo()
    assert (
        before.items()
        <= {p.name: p.read_bytes() for p in (begun / "state").iterdir() if p.is_file()}.items()
    )
    assert add(begun, rows).n_samples == 120


def test_two_runs_at_once_do_not_mix(begun):
    rows = rows_of("a", 120, seed=1)
    with alone_in(begun / "state"), pytest.raises(InputError, match="Another process is writing"):
        add(begun, rows)
    assert add(begun, rows).n_samples == 120


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda s: (s / "batches.jsonl").write_bytes(b"{}\n"), "line 1 is damaged"),
        (lambda s: drop_line(s / "batches.jsonl", 0), "line 1 does not follow"),
        (lambda s: drop_line(s / "batches.jsonl", 1), "line 2 does not follow line 1"),
        (lambda s: replace_in(s / "batches.jsonl", b'"n":50', b'"n":40'), "line 2 does not follow"),
        (lambda s: replace_in(s / "limits.toml", b"80", b"10"), "limits.toml was changed"),
        (lambda s: (s / "start.json").unlink(), "holds no stream. Begin one"),
        (lambda s: (s / "start.json").write_text("[]"), "start.json is damaged"),
        (lambda s: (s / "start.json").write_text("{"), "is not JSON"),
    ],
)
def test_a_stream_that_somebody_changed_is_one_sentence(begun, damage, said):
    for day in range(3):
        add(begun, rows_of(f"d{day}", 50, seed=day))
    damage(begun / "state")
    with pytest.raises(InputError, match=said):
        add(begun, rows_of("x", 50, seed=9))


def drop_line(path, number):
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:number] + lines[number + 1 :]))


def replace_in(path, old, new):
    path.write_bytes(path.read_bytes().replace(old, new, 1))


@pytest.mark.parametrize(
    ("header", "rows", "said"),
    [
        (HERE, [("x", "Cat", "no")], "predicts 'Cat', and the reference has 'cat'"),
        (HERE, [("x", "bird", "no")], "the reference has the classes 'cat', 'dog'"),
        (("id", "border"), [("x", "no")], "no column of predictions"),
        (("id", "prediction"), [("x", "cat")], "border"),
        (HERE, [("x", "cat", "no"), ("x", "dog", "no")], "names 'x' twice"),
        (HERE, [("x", "", "no")], "no prediction"),
    ],
)  # fmt: skip
def test_a_batch_that_does_not_fit_is_one_sentence_and_counts_nothing(begun, header, rows, said):
    save(begun / "day.csv", rows, header)
    with pytest.raises(InputError, match=said):
        ntkit.watch(begun / "state", begun / "day.csv")
    assert not (begun / "state" / "batches.jsonl").exists()


@pytest.mark.parametrize("content", ["", "id,prediction,border\n"])
def test_an_empty_batch_counts_nothing(begun, content):
    (begun / "day.csv").write_text(content, encoding="utf-8")
    result = ntkit.watch(begun / "state", begun / "day.csv")
    assert (result.n_samples, result.batches, result.exit_code) == (0, (), 0)
    assert any("has no rows, so it counts nothing" in note for note in result.notes)
    assert add(begun, rows_of("a", 50, seed=1)).n_samples == 50


def test_a_class_that_the_reference_never_had_is_noted(begun):
    rows = rows_of("a", 60, seed=1)
    rows[3] = (rows[3][0], "bird", *rows[3][2:])
    result = add(begun, rows)
    assert any("'bird', which the reference never had" in note for note in result.notes)
    assert result.n_samples == 60


@pytest.mark.parametrize("some", [0, 21])
def test_samples_of_unknown_value_are_told(begun, some):
    rows = [row if i < some else (*row[:3], "") for i, row in enumerate(rows_of("a", 60, seed=1))]
    result = add(begun, rows, rows)
    said = f"the value of column:border is not known for {60 - some} of 60 samples"
    assert sum(said in note for note in result.notes) == 1
    assert row_named(result, "share of column:border=yes").n == some
    for name in ("watch.html", "watch.md", "watch.json"):
        assert said in (begun / "state" / name).read_text(encoding="utf-8")
    assert not any("not known" in note for note in add(begun, rows_of("b", 60, seed=2)).notes)


def test_shares_of_groups_are_of_the_samples_whose_group_is_known(tmp_path):
    """Also of a group that a batch has not; a group that nobody knows is none."""
    rows = [(f"r{i}", "ab"[i % 2], "xyz?"[i % 4]) for i in range(200)]
    save(tmp_path / "reference.csv", rows, ("id", "prediction", "group"))
    started = ntkit.watch(
        tmp_path / "state", start=tmp_path / "reference.csv", limits={"average": 70}
    )
    assert not any("group ?" in row.title for row in started.rows)
    assert row_named(started, "share of group x").requirement == "33.3 % of 150 reference samples"
    rows = [(f"d{i}", "ab"[i % 2], "yz??"[i % 4]) for i in range(40)]
    save(tmp_path / "day.csv", rows, ("id", "prediction", "group"))
    result = ntkit.watch(tmp_path / "state", tmp_path / "day.csv")
    shares = {title: row_named(result, f"share of group {title}") for title in "xyz"}
    assert {t: (row.n, row.value) for t, row in shares.items()} == {
        "x": (20, 0), "y": (20, 0.5), "z": (20, 0.5),
    }  # fmt: skip
    assert any("the group is not known for 20 of 40 samples" in note for note in result.notes)


def test_a_batch_without_the_groups_of_the_stream_is_told(tmp_path):
    rows = [(f"r{i}", "ab"[i % 2], "xy"[i % 3 > 0]) for i in range(90)]
    save(tmp_path / "reference.csv", rows, ("id", "prediction", "group"))
    ntkit.watch(tmp_path / "state", start=tmp_path / "reference.csv", limits={"average": 70})
    save(tmp_path / "day.csv", [(f"d{i}", "a") for i in range(9)], ("id", "prediction"))
    result = ntkit.watch(tmp_path / "state", tmp_path / "day.csv")
    assert any("day.csv has no groups, so it counts in none" in note for note in result.notes)


def test_a_drop_that_would_have_been_noticed_is_from_the_reference(begun):
    rows = rows_of("a", 400, seed=1)
    result = add(begun, rows, rows)
    drop = next(row for row in result.rows if row.stream.limit == "max_drop" and row.missed)
    k, n = drop.stream.reference
    points = 100 * (1 - k / n - drop.noticed)
    assert points > 10
    assert f" {points:.0f} points below the reference" in drop.missed


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"labels": "few.csv"}, "belongs to predictions"),
        ({"limits": {}}, "Limits are for the start of a stream"),
        ({"start": "reference.csv"}, "needs limits"),
        ({"start": "reference.csv", "limits": {"average": 80}}, "holds a stream already"),
    ],
)
def test_options_that_do_not_go_together_are_one_sentence(begun, options, said, monkeypatch):
    monkeypatch.chdir(begun)
    save("few.csv", [("a", "cat")], ("id", "label"))
    with pytest.raises(InputError, match=said):
        ntkit.watch("state", **options)


def test_labels_of_other_samples_or_classes_are_one_sentence(begun):
    rows = rows_of("a", 50, seed=1)
    with pytest.raises(InputError, match="no label of any of the samples"):
        add(begun, rows, rows_of("other", 5, seed=2))
    with pytest.raises(InputError, match="'bird', which the stream has not"):
        add(begun, rows, [(rows[0][0], "", "bird", "")])
    assert add(begun, rows, [(rows[0][0], "", "CAT", "")]).n_labels == 1


# -- files -----------------------------------------------------------------------------------------


def test_the_files_say_the_same_as_the_result(begun):
    result = add(begun, rows_of("a", 300, border=0.9, seed=1))
    state = begun / "state"
    assert json.loads((state / "watch.json").read_text(encoding="utf-8")) == json.loads(
        result.to_json()
    )
    page = (state / "watch.html").read_text(encoding="utf-8")
    text = (state / "watch.md").read_text(encoding="utf-8")
    for row in result.rows:
        assert row.title in page
        assert f"{row.n} samples" in page
    assert result.next_of(result.alarms[0]) in page
    assert "| batch 1 |" in text
    assert "default-src &#39;none&#39;" in page
    frame = result.to_frame()
    assert list(frame["title"]) == [row.title for row in result.rows]
    assert frame["alarm"].notna().sum() == len(result.alarms)


def test_names_of_values_cannot_add_to_the_page(tmp_path):
    evil = "<script>alert(1)</script>"
    rows = [(f"r{i}", "a" if i % 3 else "b", evil if i % 2 else "x") for i in range(60)]
    save(tmp_path / "reference.csv", rows, ("id", "prediction", "site"))
    limits = {"slices": {"column:site": {}}}
    ntkit.watch(tmp_path / "state", start=tmp_path / "reference.csv", limits=limits)
    page = (tmp_path / "state" / "watch.html").read_text(encoding="utf-8")
    assert evil not in page
    assert "&lt;script&gt;" in page


def test_a_year_of_batches_stays_small(begun):
    state = begun / "state"
    rows = rows_of("a", 400, seed=1)
    add(begun, rows, rows[:20])
    line = (state / "batches.jsonl").stat().st_size
    marks = sum(path.stat().st_size for path in (state / "counted").iterdir())
    assert 365 * line + 5 * 2**20 < 10e6
    assert marks == 8 * 400
