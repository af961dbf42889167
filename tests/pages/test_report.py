"""The report and the card: one page, nothing from outside, and its numbers are true."""

import json
import os
import re
import shlex
import shutil
from dataclasses import replace
from html import unescape
from pathlib import Path

import numpy as np
import pytest
from markdown_it import MarkdownIt
from sklearn.metrics import accuracy_score, recall_score

from ntkit import (
    DebiasSettings,
    FrozenModel,
    LinearHead,
    NeuronTuneClassifier,
    debias,
    write_report,
)
from ntkit.datasets import marked_digits_model_path
from ntkit.exceptions import InputError
from ntkit.extraction import Samples, TextPreprocessing, Texts
from ntkit.jobs.command_line import started_by
from ntkit.jobs.debias._lost_groups import LostGroup
from ntkit.metrics import Row, group_report
from ntkit.pages.report_page import (
    Conclusion,
    Groups,
    Moved,
    Neurons,
    Report,
    Shown,
    model_card,
    neuron_cards,
    outcome,
    report_html,
)
from ntkit.pages.usage import Usage
from tests.cases import ntkit
from tests.pages.parsed import Page


def example(
    n=300, width=12, n_classes=3, seed=0, groups=True, suppressed=2, samples=None, names=None
):
    rng = np.random.default_rng(seed)
    names = np.array(names or [f"class {c}" for c in range(n_classes)])
    y = names[rng.integers(0, n_classes, n)]
    before, after = (np.where(rng.random(n) < p, y, rng.choice(names, n)) for p in (0.6, 0.8))
    shown = Shown(y, before, after, rng.integers(0, 4, n) if groups else None, samples)
    scores = rng.normal(size=(n_classes, width))
    return Report(
        title="model.onnx",
        sentences=["A <b>sentence</b> & more."],
        options={"train set": "10 samples"},
        candidates=[],
        evaluated_on="test set",
        candidates_on="test set",
        shown=shown,
        neurons=Neurons(
            Z=rng.normal(size=(n, width)),
            on=shown,
            scores=scores,
            scores_of="Scores are in standard deviations.",
            classes=names,
            suppressed=np.arange(width) < suppressed,
            threshold=0.5,
        ),
        facts={"versions": "none"},
        commands=["ntkit debias 'a b.onnx'"],
    )


def test_a_page_is_self_contained_and_its_figures_are_those_of_scikit_learn():
    report = example()
    html = report_html(report)
    page = Page(html)
    assert not re.search(r"https?://|@import|url\(", html)
    assert all(link.startswith("data:") for link in page.links)
    assert not page.tags & {"script", "link", "iframe", "object"}
    assert "A <b>sentence</b> & more." in page.text
    shown = report.shown
    for pred in (shown.before, shown.after):
        assert f"{100 * accuracy_score(shown.y, pred):.1f}\u00a0%" in html
        for recall in recall_score(shown.y, pred, average=None):
            assert f"{100 * recall:.1f}\u00a0%" in html
    lost = ((shown.before == shown.y) & (shown.after != shown.y)).sum()
    won = ((shown.before != shown.y) & (shown.after == shown.y)).sum()
    assert f"{lost} new errors" in page.text
    assert f"{won} errors fixed" in page.text


ROWS = [
    Row("group", "cat × bright", 40, 30, lost=8, gained=2).with_intervals(),
    Row("group", "cat × dark", 20, 12, lost=1, gained=9).with_intervals(),
    Row("group", "dog × dark", 0, 0, lost=0, gained=0).with_intervals(),
]


def answered(**more):
    tags = {"cat × bright": "the shortcut helped"}
    parts = {
        "question": "Does the repair help if bright must not matter?",
        "verdict": "Probably better.",
        "results": ["Test set: 60.0 → 70.0 %."],
        "groups": [Groups("Class × bright, test set", ROWS, tags)],
        "cost": "What it cost: cat × bright 90.0 → 75.0 %.",
        "steps": [("Keep it", "Replace it.", "cp a b"), ("Go back", "Undo.", "ntkit export")],
    }
    return replace(example(**more), answer=Conclusion(**parts))


def test_the_page_begins_with_the_question_and_its_answer():
    html = report_html(answered(suppressed=0))
    page = Page(html)
    first, details = page.text.partition("ntkit report")[2].split(" Details ", 1)
    answer = answered().answer
    told = ["question", "verdict"], [*answer.results, answer.groups[0].title]
    said = [*(getattr(answer, name) for name in told[0]), *told[1]]
    # The worst group comes first, and a group without samples last.
    said += ["cat × dark 20.0 → 60.0 %"]
    said += ["cat × bright · the shortcut helped 90.0 → 75.0 %", "dog × dark no samples"]
    said += [answer.cost, "errors fixed", "new errors", "Keep it", "cp a b", "Go back"]
    places = [first.replace("\u00a0", " ").index(part) for part in said]
    assert places == sorted(places)
    assert "Groups labelled in the data" in details  # a second table
    assert "−15.0" in details
    assert html.index('data-rows="named"') < html.index('data-rows="group"')
    assert "Groups labelled" not in Page(report_html(answered(groups=False))).text


def test_samples_are_drawn_with_the_seed_among_those_that_changed():
    report = answered()
    shown, drawn = report.shown, set()
    for seed in range(12):
        first = report_html(replace(report, seed=seed)).split('id="details"')[0]
        assert first == report_html(replace(report, seed=seed)).split('id="details"')[0]
        of = [int(i) for i in re.findall(r'<div class="none">row (\d+)', first)]
        assert len(of) == 6
        assert all(shown.before[i] != shown.y[i] == shown.after[i] for i in of[:3])
        assert all(shown.before[i] == shown.y[i] != shown.after[i] for i in of[3:])
        drawn.update(of)
    assert len(drawn) > 40  # not always the same
    same = replace(report, shown=replace(shown, after=shown.before))
    first = report_html(same).split('id="details"')[0]
    assert "0 errors fixed" in first
    assert "0 new errors" in first
    assert "<figure" not in first


def test_neurons_are_shown_only_if_some_are_suppressed():
    assert "<article" in report_html(answered())
    page = report_html(answered(suppressed=0))
    assert "<article" not in page
    assert "Scores are in" not in page


def test_a_suppressed_neuron_shows_originals_and_changed_copies():
    report, of = answered(), np.arange(30)
    shown, Z = report.shown, report.neurons.Z[of].copy()
    Z[7, 0] += 50
    copies = Shown(*(each[of] for each in (shown.y, shown.before, shown.after)))
    neurons = replace(report.neurons, moved=Moved("image:top left", Z, of, shown, copies))
    page = report_html(replace(report, neurons=neurons))
    pairs = page.split("Originals and changed copies with the largest change of activation:")[1:]
    (of_0,) = (each for each in pairs if f"→ <b>{Z[7, 0]:.2f}</b>" in each)
    assert "row 7" in of_0.split("</figure>")[0]
    assert "largest change of activation" not in report_html(report)


def test_the_interpolation_shows_the_named_groups_at_each_step():
    steps = [
        {"t": t, "n_fixed": 1, "n_new_errors": 2, "average": 0.9 - t / 9, "worst_class": 0.8,
         "worst_group": None, "named": 0.5 + t / 4, "chosen": t == 1,
         "named_is": "mark unrelated to the class"}
        for t in (0.0, 0.5, 1.0)
    ]  # fmt: skip
    page = report_html(replace(answered(), accuracy_costs=steps))
    table = page.split('data-rows="steps"')[1].split("</table>")[0]
    assert "<th>mark unrelated to the class</th>" in table
    for step in steps:
        assert f"{100 * step['named']:.1f}\u00a0%" in table
    assert "so the named groups decide" in page
    unnamed = [step | {"named": None} for step in steps]
    page = report_html(replace(answered(), accuracy_costs=unnamed))
    assert "unrelated to the class</th>" not in page


@pytest.mark.parametrize(
    ("before", "after", "says"),
    [
        ([0, 0, 0, 1, 1, 1], [0, 0, 0, 1, 1, 0], "0.0 % of 1 to 66.7 % of 3 samples"),
        ([0, 0, 1, 0, 1, 0], [0, 0, 1, 1, 1, 1], "50.0 % of 2 to 0.0 % of 1 sample."),
        ([0, 0, 0, 1, 1, 0], [0, 0, 0, 1, 1, 0], "66.7 % to 66.7 % of 3 samples"),
    ],
)
def test_the_worst_group_is_told_with_its_size(before, after, says):
    y, groups = np.array([0, 0, 1, 1, 1, 0]), [*"aaabbc"]
    sentence = outcome(group_report(y, after, groups=groups, y_pred_before=before))
    assert says in sentence.replace("\u00a0", " ")


def test_the_first_sentence_says_what_became_of_the_worst():
    for groups, worst in ((True, "Worst-group"), (False, "Worst-class")):
        report = example(groups=groups)
        sentence = outcome(report.shown.accuracies())
        assert sentence.startswith(worst)
        assert " ".join(sentence.split()) in Page(report_html(report)).text
    same = Shown(report.shown.y, report.shown.after, report.shown.after)
    assert "does not change significantly" in outcome(same.accuracies())
    back = Shown(report.shown.y, report.shown.y, report.shown.before)
    assert "falls" in outcome(back.accuracies())


def test_many_neurons_and_classes_and_long_texts_make_a_page_of_reasonable_size():
    html = report_html(example(n=2000, width=1000, n_classes=100, suppressed=900))
    page = Page(html)
    assert len(html) < 2_000_000
    assert "The other 88 classes" in page.text
    assert "900" in page.text
    assert html.count("<article") == 24
    texts = [f"<script>alert({i})</script> {'long ' * 80}" for i in range(50)]
    X = Texts(texts, TextPreprocessing(Path("tokenizer.json")))
    page = Page(report_html(example(n=50, samples=Samples(X, np.zeros(50)))))
    assert "<script>alert(" in page.text
    assert "…" in page.text


def test_neuron_cards_show_the_strongest_samples_of_the_suppressed_neurons():
    rng = np.random.default_rng(0)
    Z, y = rng.normal(size=(200, 6)), rng.integers(0, 2, 200)
    before = np.where(rng.random(200) < 0.7, y, 1 - y)
    scores = np.array([[0.1, 0.9, np.nan, 0.3, 0.2, 0.8], [0.5, 0.2, np.nan, 0.4, 0.1, 0.7]])
    suppressed = np.array([True, False, False, True, False, True])
    neurons = Neurons(Z, Shown(y, before, y), scores, "", np.array([0, 1]), suppressed)
    cards = neuron_cards(neurons, 9, 3)
    assert [card["neuron"] for card in cards] == [5, 0, 3]
    assert [card["of_class"] for card in cards] == [0, 1, 1]
    for card in cards:
        strongest = np.argsort(-Z[:, card["neuron"]])
        assert [s["name"] for s in card["samples"]] == [f"row {i}" for i in strongest[:3]]
        assert card["share_wrong"] == (before != y)[strongest[:50]].mean()
        assert max(*card["right"], *card["wrong"]) == 1
    assert not neuron_cards(replace(neurons, suppressed=suppressed & False), 2, 1)
    assert not neuron_cards(replace(neurons, scores=np.full((2, 6), np.nan)), 2, 1)


def look(samples, row):
    y = np.zeros(len(samples))
    (card,) = Shown(y, y, y, samples=samples).cards(np.array([row]))
    return card


def test_a_card_has_front_matter_and_the_same_figures():
    report = example(n_classes=100, n=3000)
    card = model_card(report, Usage({"inputs": "image (batch, 3)"}, "print()"))
    assert card.startswith("---\nlibrary_name: onnx\n")
    assert " ".join(outcome(report.shown.accuracies()).split()) in card
    assert "classes with smaller losses are left out" in card
    assert len(card.splitlines()) < 120


def test_a_card_begins_with_the_answer():
    report = answered()
    answer, card = report.answer, model_card(report, Usage({}, "print()"))
    _, title, verdict, blank, head, line, worst, *others = card[card.index("# model") :].split("\n")
    assert (title, blank, line) == ("", "", "| :-- | --: | --: | --: | --: | --: |")
    assert verdict == f"**{answer.verdict}** {answer.results[0]} {answer.cost}"
    assert head.startswith(f"| {answer.groups[0].title} | samples | before | after | change |")
    assert worst.startswith("| cat × dark | 20 | 20.0\u00a0% | 60.0\u00a0% | +40.0 |")
    assert others[0].startswith("| cat × bright (the shortcut helped) | 40 | 90.0\u00a0% |")
    assert others[1].startswith("| dog × dark | 0 | – |")
    tokens = MarkdownIt("commonmark").enable("table").parse(card)
    assert len([token for token in tokens if token.type == "table_open"]) == 2


@pytest.mark.parametrize("lost", [True, False])
def test_the_limits_of_a_card_know_the_named_groups(lost):
    """A named group of the first table that surely loses is listed under *Limits*."""
    row = Row("group", "cat × not bright", 100, 70, lost=30 * lost, gained=0).with_intervals()
    report = answered(groups=False, n=60)
    answer = replace(report.answer, groups=[Groups("Class × bright", [row])])
    shown = replace(report.shown, after=report.shown.before)
    card = model_card(replace(report, answer=answer, shown=shown), Usage({}, "print()"))
    limits = card.partition("## Limits")[2].splitlines()[2]
    said = "Significantly worse than the original: group cat × not bright (-30.0 points)."
    none = "No class or group is significantly worse than with the original."
    assert limits.startswith(said if lost else none)


EVIL = ["<script>alert(1)</script>", "a|b `c` [x](https://evil.example) *d*{}# e ``` &lt; _f_ $g$"]


@pytest.mark.more
@pytest.mark.parametrize("space", [" ", "\n"])
def test_a_card_shows_hostile_class_names_and_obeys_none(space, tmp_path, digits):
    names = [name.format(space) for name in EVIL]
    sets = [
        (digits[f"X_{part}"][:150], np.array(names, dtype=object)[digits[f"y_{part}"][:150]])
        for part in ("train", "validation", "test")
    ]
    file = tmp_path / "_b_ [c](d).onnx"
    shutil.copy(marked_digits_model_path(), file)
    model = FrozenModel.load(file, classes=names)
    method = {
        "method": "class-balanced",
        "settings": DebiasSettings(otherwise="new head"),
        "device": "cpu",
    }
    folders = [tmp_path / "out"]
    if space == " ":  # the program that is deployed prints a class in a line
        folders.append(tmp_path / "deploy")
        method["settings"] = replace(method["settings"], deploy=folders[1])
    with started_by("ntkit debias '```\n<b>'"):
        debias(model, *sets[:2], test=sets[2], out=folders[0], **method)
    for folder in folders:
        text = (folder / "README.md").read_text(encoding="utf-8")
        tokens = MarkdownIt("commonmark").enable("table").parse(text.partition("\n---\n")[2])
        inline = [part for token in tokens for part in token.children or ()]
        assert not [t for t in (*tokens, *inline) if t.type.startswith(("html", "em", "image"))]
        assert not {t.type for t in inline} & {"link_open", "code_inline"}
        assert [t.info for t in tokens if t.type == "fence"] == ["python", ""]
        cells = (token.children for token in tokens if token.type == "inline")
        shown = ["".join(part.content for part in cell) for cell in cells]
        assert {"class " + " ".join(name.split()) for name in names} <= {*shown}
        assert "_b_ [c](d).onnx, debiased" in shown
        (classes,) = [line for line in shown if line.startswith("classes: ")]
        assert all(repr(name) in classes for name in names)


# -- the run and the command -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def job(tmp_path_factory, digits):
    out = tmp_path_factory.mktemp("job") / "out"
    rows = slice(0, 300)
    sets = {
        name: (digits[f"X_{name}"][rows], digits[f"y_{name}"][rows], digits[f"groups_{name}"][rows])
        for name in ("train", "validation", "test")
    }
    with started_by("ntkit debias …"):
        result = debias(
            marked_digits_model_path(), sets["train"], sets["validation"],
            test=sets["test"], out=out,
            method="neurontune-half", settings=DebiasSettings(otherwise="new head"), device="cpu",
        )  # fmt: skip
    return out, result, sets


@pytest.mark.more
def test_debias_writes_a_report_and_a_card(job):
    out, result, _ = job
    page = Page((out / "report.html").read_text(encoding="utf-8"))
    worst = result.chosen.worst_group
    assert f"{100 * worst:.1f}\u00a0%" in (out / "report.html").read_text(encoding="utf-8")
    assert result.verdict() in page.text
    assert "ntkit debias …" in page.text
    assert all(candidate.name in page.text for candidate in result.candidates)
    assert f"Neuron {result.suppressed[0]} " in page.text or len(result.suppressed) > 24
    card = (out / "README.md").read_text(encoding="utf-8")
    assert f"{len(result.suppressed)} of 64 neurons" in card


@pytest.mark.more
def test_the_unit_of_scores_is_said_and_groups_that_overlap_are_shown(job, digits, tmp_path):
    out, _, sets = job
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "Scores are for the validation set, in standard deviations" in page
    X, y, groups = sets["test"]
    members = np.stack([groups == 0, groups > 0, groups == 3], axis=1)
    result = debias(
        marked_digits_model_path(), out=tmp_path / "out",
        train=(digits.X_train[:900], digits.y_train[:900]),
        validation=(digits.X_validation[:600], digits.y_validation[:600]),
        method=NeuronTuneClassifier(statistic="contribution", max_cost=None),
        test=(X, y, members), device="cpu", settings=DebiasSettings(otherwise="new head"),
    )  # fmt: skip
    assert result.chosen.worst_group is not None
    text = Page((tmp_path / "out" / "report.html").read_text(encoding="utf-8")).text
    assert "in standard deviations of its contribution." in text
    assert "3 groups" in text
    assert "worst group" in text.lower()


@pytest.mark.more
def test_a_report_answers_what_was_asked_of_the_run(asked):
    out, result, _ = asked
    html, card = ((out / name).read_text("utf-8") for name in ("report.html", "README.md"))
    first = Page(html).text.split(" Details ", 1)[0]
    (groups,) = result.outcome.groups
    assert f"Does the repair help if {groups.name} must not matter?" in first
    for line in (result.decision(), *result.lines()):
        assert line in first
        assert line in card.replace("\\", "")
    worst = min(groups.rows, key=lambda row: row.value)
    told = f"{100 * worst.before:.1f} → {100 * worst.value:.1f} %"
    assert first.replace("\u00a0", " ").split("before after")[1].index(told) < 120
    assert len(groups.helped) == 2
    assert first.count("· the shortcut helped") == 2
    # The groups of named attributes stand there once, although the candidates have them too.
    assert result.chosen.worst_group is not None
    assert "Groups labelled in the data" not in Page(html).text
    steps = [each.named for each in result.accuracy_costs]
    assert steps[-1] > steps[0] + 0.02
    assert all(f"<td>{100 * step:.1f}\u00a0%</td>" in html for step in steps)
    assert "Description of the candidates" in html
    assert "<article" not in html  # no neuron is suppressed


def test_what_a_repair_cost_is_said_and_not_said_where_it_cost_nothing(asked):
    result = asked[1]
    (groups,), name = result.outcome.groups, result.outcome.groups[0].rows[0].name

    def cost(helped, lost_samples, others=(), *, readable=True, written=True):
        first = Row("group", name, 100, 100 - lost_samples, lost=lost_samples, gained=0)
        rows = (first, *(replace(row, lost=0, gained=0) for row in groups.rows[1:]))
        of = replace(groups, rows=rows, helped=frozenset({name} if helped else ()))
        check = replace(result.check, lost=tuple(others), readable=readable)
        outcome = replace(result.outcome, groups=(of,))
        changed = replace(result, outcome=outcome, check=check, written=written)
        return changed.cost_in_words([groups.name])

    gave = f"{name} 100.0 → 98.0 %"
    assert cost(True, 2) == f"What it cost: {gave} (where the shortcut helped)."
    assert cost(True, 2, written=False).startswith(f"What it would cost: {gave} (")
    assert cost(False, 20) == f"What it cost: {name} 100.0 → 80.0 % (where its help is unsure)."
    no = "No group that the shortcut helped"
    assert cost(True, 0) == f"{no} loses, and no other group surely does."
    # Where no group is known to be helped, the sentence does not speak of such groups.
    assert cost(False, 1) == "No group surely loses."
    assert cost(False, 1, written=False) == "No group surely would lose."
    would = "would lose, and no other group surely would."
    assert cost(True, 0, written=False) == f"{no} {would}"
    assert cost(True, 0, readable=False).endswith("loses, and other groups could not be checked.")
    row = Row("group", "class 0 with it", 200, 150, lost=40, gained=0)
    other = LostGroup(row, "word:film", "class 0 with word:film", 0.1, True)
    in_full = f"surely {other.in_full}"
    assert cost(True, 0, [other]) == f"What it cost: {in_full}."
    also = in_full.replace("surely", "surely also")
    assert cost(True, 2, [other]).endswith(f"(where the shortcut helped); {also}.")
    assert cost(True, 0, [other] * 3) == f"What it cost: {in_full}, and 2 more groups."
    # Losses of groups of the named attribute, and of classes because of it, are said once.
    own = replace(other, attribute=groups.name)
    assert cost(True, 0, [own, replace(other, attribute="")]) == cost(True, 0)


def test_the_commands_of_a_report_replace_the_model_and_put_it_back(asked):
    out, _, original = asked
    keep, back = re.findall(r"<pre>(.*?)</pre>", (out / "report.html").read_text("utf-8"))[:2]
    program, new, old = shlex.split(unescape(keep))
    assert program == ("copy" if os.name == "nt" else "cp")
    content = original.read_bytes()
    assert (Path(new), Path(old)) == (out / "debiased.onnx", original)
    shutil.copy(new, old)
    assert original.read_bytes() != content
    program, *words = shlex.split(unescape(back))
    assert (program, ntkit(*words)[0]) == ("ntkit", 0)
    assert original.read_bytes() == content


@pytest.mark.more
def test_a_report_of_a_kept_original_says_what_writes_the_head_anyway(digits, tmp_path):
    model, out = shutil.copy(marked_digits_model_path(), tmp_path), tmp_path / "out"
    words = ["debias", model, "--method", "neurontune", "-o", out, "--device", "cpu", "--quiet"]
    for name in ("train", "validation"):
        np.savez(tmp_path / name, X=digits[f"X_{name}"][:300], y=digits[f"y_{name}"][:300])
        words += [f"--{name}", tmp_path / f"{name}.npz"]
    assert ntkit(*words)[0] == 1
    page = (out / "report.html").read_text("utf-8")
    text = Page(page).text
    assert "Is the new head (neurontune) better than the original one?" in text
    assert "The original model is unchanged" in text
    assert "What it would cost" in text or "It would cost no group" in text
    (again,) = re.findall(r"<pre>(.*?)</pre>", page.split('id="details"')[0])
    program, *words = shlex.split(unescape(again))
    assert (program, words[0]) == ("ntkit", "debias")
    assert ntkit(*words, "--quiet")[0] == 0
    page = (out / "report.html").read_text("utf-8")
    assert "Written as ordered" in page
    assert "Go back" in page


def test_rows_of_a_table_are_shown_by_their_most_unusual_values():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(50, 6)).astype(np.float32)
    X[7, [1, 4]] = 40, -30
    samples = Samples(X, columns=("age", "scan", "a", "b", "mark", "c"))
    text = look(samples, 7)["text"]
    assert text.startswith("scan = 40, mark = -30, ")
    assert text.count("=") == 3
    assert look(Samples(np.ones((3, 2)), columns=("a", "b")), 0)["text"] == "a = 1, b = 1"


def test_what_the_strongest_rows_of_a_table_have_in_common_is_said():
    report = example(n=400, width=5)
    X = np.random.default_rng(1).normal(size=(400, 8))
    activation = report.neurons.Z[:, 2]
    X[:, 6] += 3 * (activation - activation.mean()) / activation.std()
    on = replace(report.shown, samples=Samples(X, columns=tuple("abcdefgh")))
    neurons = replace(report.neurons, on=on, suppressed=np.arange(5) == 2)
    page = report_html(replace(report, neurons=neurons))
    assert re.search(r"They differ most from all samples in <b>g \(\+[12]\.\d sd\)", page)


def test_the_written_head_stands_beside_its_controls():
    report = example()
    row = {"worst_group": 0.5, "worst_class": 0.6, "average": 0.7, "score": 1.0, "n_suppressed": 0}
    spread = {"spread": {"score": None, "average": None, "worst_class": None, "worst_group": None}}
    row |= {"chosen": False} | spread
    candidates = [
        row | {"name": "class-balanced"},
        row | {"name": "class-balanced-both", "worst_group": 0.55},
        row | {"name": "random mask of 3", "worst_group": 0.25},
        row | {"name": "auto", "worst_group": 0.75, "chosen": True},
    ]
    text = Page(report_html(replace(report, candidates=candidates))).text.replace("\u00a0", " ")
    assert (
        "Worst-group accuracy and controls. The chosen head (auto): 75.0 %; the best "
        "class-balanced head (class-balanced-both): 55.0 %; random mask of 3: 25.0 %." in text
    )


def test_scores_from_few_errors_are_called_so():
    report = example(n=60)
    alike = replace(report.shown, before=report.shown.y.copy())
    alike.before[0] = next(c for c in np.unique(alike.y) if c != alike.y[0])
    neurons = replace(report.neurons, on=alike)
    text = Page(report_html(replace(report, neurons=neurons))).text
    assert re.search(r", [01] wrong: too few for a reliable score", text)
    assert "too few" not in Page(report_html(example(n=900))).text


def test_a_report_on_two_models_finds_what_was_suppressed(job, tmp_path):
    out, result, sets = job
    inputs = (marked_digits_model_path(), out / "debiased.onnx", sets["test"])
    page = write_report(*inputs, tmp_path / "r.html", device="cpu")
    text = Page(page.read_text(encoding="utf-8")).text
    assert "Suppressed neurons" in text
    assert result.verdict() in text  # from result.json in the model's folder
    with pytest.raises(InputError, match="exists"):
        write_report(*inputs, page)
    with pytest.raises(InputError, match="does not exist; create it first"):
        write_report(*inputs, tmp_path / "no" / "r.html", device="cpu")


@pytest.mark.more
def test_a_damaged_record_is_left_out(job, tmp_path):
    out, _, sets = job
    file = shutil.copytree(out, tmp_path / "out") / "result.json"
    some = tuple(array[:60] for array in sets["test"])
    record = json.loads(file.read_text(encoding="utf-8"))
    first, second, *_ = record["candidates"]
    less = {key: value for key, value in first.items() if key != "chosen"}
    rows = (
        3,
        [None],
        [less, second],
        *([first, second | {key: None}] for key in ("score", "name")),
    )
    wrong = [{"model": "other.onnx"}, {"notes": "text"}, *({"candidates": each} for each in rows)]
    for harmed in ("{", "[]", *(json.dumps(record | each) for each in wrong)):
        file.write_text(harmed, encoding="utf-8")
        page = write_report(
            marked_digits_model_path(), file.with_name("debiased.onnx"), some,
            tmp_path / "r.html", device="cpu", force=True,
        )  # fmt: skip
        assert "Description of the candidates" not in page.read_text(encoding="utf-8"), harmed


def test_embeddings_and_unlike_labels(tmp_path):
    model = FrozenModel.load(marked_digits_model_path())
    rng = np.random.default_rng(0)
    other = model.with_head(LinearHead(rng.normal(size=(2, 64)), np.zeros(2), model.head.classes))
    data = Samples(rng.normal(size=(60, 64)), rng.integers(0, 2, 60), embedded=True)
    page = write_report(model, other, data, tmp_path / "r.html")
    alone = page.read_text(encoding="utf-8")
    assert "you passed embeddings" in alone
    twice = data.take([*range(60), *range(9)])
    page = write_report(model, other, twice, tmp_path / "twice.html")
    assert (
        "9 of 69 samples are copies of others" in page.read_text(encoding="utf-8"),
        "copies of" in alone,
    ) == (True, False)
    odd = Samples(rng.normal(size=(9, 64)), rng.integers(5, 8, 9), embedded=True)
    with pytest.raises(InputError):
        write_report(model, other, odd, tmp_path / "s.html")
    assert not (tmp_path / "s.html").exists()


def test_a_table_of_labels_is_not_called_one_of_samples():
    """A group that a few labels tell has their number next to it, not that of its samples."""
    report = answered()
    groups = [replace(each, counts="labels") for each in report.answer.groups]
    of_labels = replace(report, answer=replace(report.answer, groups=groups))
    heads = [report_html(each).count("<th>labels</th>") for each in (report, of_labels)]
    assert heads == [0, len(groups)]
    assert "| labels |" in model_card(of_labels, Usage({}, "print()"))
    assert "| labels |" not in model_card(report, Usage({}, "print()"))


def test_samples_of_unknown_group_are_told():
    report = example(groups=False)
    groups = np.where(np.arange(300) < 40, None, "a").astype(object)
    page = Page(report_html(replace(report, shown=replace(report.shown, groups=groups))))
    assert "The group of 40 of 300 samples is unknown" in page.text
    assert "unknown" not in Page(report_html(example())).text
