"""Without an answer no model is written; with one, what was answered is done and nothing else."""

import html
import json
import re
import shutil
import warnings
from dataclasses import replace

import numpy as np
import pytest
from skl2onnx import to_onnx
from sklearn.neural_network import MLPClassifier
from typer.testing import CliRunner

import ntkit
from ntkit import DebiasSettings, FrozenModel, OnnxEmbedder, debias
from ntkit.attributes.answers import Answer, write_answers
from ntkit.attributes.image_statistics import statistics_of_image
from ntkit.cli._app import app
from ntkit.exceptions import InputError
from ntkit.extraction import Samples
from ntkit.extraction.embedder import embedded_with_layers
from ntkit.jobs.audit import Answers, read_answers
from ntkit.jobs.audit.files import write_audit
from ntkit.jobs.debias import undo
from ntkit.metrics import worst_group_accuracy
from ntkit.pages.change_cards import KEEPS_THE_CLASS
from ntkit.store import EmbeddingStore
from tests.jobs.debias.conftest import DIGITS, QUICK

REGION = Answer("column:region=0", "spurious", (("column:region=0",),))


def yes(audit, name):
    return audit.answers(name).answers[0]


# -- look ------------------------------------------------------------------------------------------


def test_a_good_model_of_biased_data_stays_without_an_answer(good, found):
    """Errors there are those that the shortcut corrects: retraining on them learns the shortcut."""
    assert (found.written, found.state) == (False, "open")
    assert found.model.head == FrozenModel.load(good[0]).matched_to(["low", "high"]).head
    assert str(found).splitlines()[0] == f"No decision yet: {len(found.open)} questions."
    # The model does not rely on the region, and retraining would: the strongest finding of all.
    own = [name for s in found.audit.findings for name in (s.name, *s.same)]
    new = [name for s in found.audit.retraining.findings for name in (s.name, *s.same)]
    assert not any("region" in name for name in own)
    assert any("region" in name for name in new)
    assert "region" in found.open[0].name
    assert found.as_dict()["questions"][0]["name"] == found.open[0].name
    # In Python the next step is one of Python.
    assert "ntkit debias --from" not in found.summary()
    assert "ntkit debias --from" not in (found.path / "audit.html").read_text()
    place = repr(str(found.path))
    assert (
        f"answers(NAME), out={place}, settings=DebiasSettings(resume={place})) if"
        in found.summary(verbose=True)
    )


def test_where_nothing_is_found_there_is_nothing_to_ask(good):
    """Labels that are the model's own predictions: without errors nothing depends on anything."""
    frozen = FrozenModel.load(good[0])
    X = np.random.default_rng(0).normal(size=(1000, 9)).astype(np.float32)
    y = frozen.head.predict(OnnxEmbedder(frozen, device="cpu").transform(X))
    result = debias(frozen, (X[:800], y[:800]), (X[800:], y[800:]), device="cpu")
    assert result.state == "kept"
    assert result.headline().startswith("Kept the original model. No finding on 200")


# -- ask -------------------------------------------------------------------------------------------


def test_only_yes_acts(good, tmp_path):
    out = tmp_path / "out"

    def nothing(audit, findings):
        for finding in findings:
            yield replace(yes(audit, finding.name), answer="legitimate")

    result = debias(*good[:3], out=out, ask=nothing, device="cpu")
    assert (result.state, result.written) == ("kept", False)
    assert not list(out.glob("*.onnx"))
    assert json.loads((out / "result.json").read_text())["state"] == "kept"
    assert "findings is no" in result.headline()


def typed(monkeypatch, text, folder, *arguments):
    """Run ntkit debias on two sets in a folder as if a person sat there and typed."""
    monkeypatch.setattr("ntkit.cli._debias_run.can_ask", lambda: text is not None)
    sets = "--train", folder / "train.npz", "--validation", folder / "validation.npz"
    command = ["debias", DIGITS, *sets, "--device", "cpu", "--quiet", *arguments]
    return CliRunner().invoke(app, [*map(str, command)], input=text or "")


MARK = "image:top left brightness above the median"


@pytest.mark.parametrize(
    ("text", "answer"),
    [("what\ny\n", "invariant"), ("n\n", "legitimate"), ("\n", None), ("", None), (None, None)],
)
def test_a_property_of_images_on_the_command_line_asks_about_its_change(
    npz, tmp_path, monkeypatch, text, answer
):
    """The same question as after a yes. No copy is made a candidate unseen."""
    out = tmp_path / "out"
    ended = typed(monkeypatch, text, npz, "--spurious", MARK, "-o", out)
    assert ended.exit_code in (0, 1), ended.output
    assert ended.stderr.count(KEEPS_THE_CLASS) == (text is not None) + (text == "what\ny\n")
    assert "Question 1" not in ended.stderr
    kept = json.loads((out / "answers.json").read_text())["answers"]
    assert [each["answer"] for each in kept if each["name"] == MARK] == ["spurious"]
    of_change = [each["answer"] for each in kept if each["name"] == "change image:top left"]
    assert of_change == ([answer] if answer else [])
    record = json.loads((out / "result.json").read_text())
    assert (record["by_change"] is not None) == (answer == "invariant")
    told = any("has the change image:top left" in note for note in record["notes"])
    assert told == (answer is None)
    if text is None:  # without a terminal nothing is added to what was said
        assert not (out / "audit.html").exists()
        return
    assert f"3 copies are on the page: {out / 'audit.html'}" in ended.stderr
    flips = re.search(r"of another image: (\d+) % of (\d+) predictions flip", ended.stderr)
    changes = json.loads((out / "audit.json").read_text())["changes"]
    (change,) = (each for each in changes if each["name"] == "image:top left")
    assert [round(100 * change["flips"]), change["n"]] == [int(each) for each in flips.groups()]
    page = (out / "audit.html").read_text()
    cards = re.findall('<section class="change".*?</section>', page, re.DOTALL)
    (card,) = (each for each in cards if "The top left of the image" in each)
    assert card.count("<img") == 6


@pytest.mark.parametrize(
    ("arguments", "n_validation", "told"),
    [
        (["--spurious", "image:middle centre brightness high"], 200, False),  # the subject
        (["--spurious", MARK, "--method", "auto"], 200, True),  # an order
        (["--spurious", MARK], 5, True),
        (["--spurious", MARK], None, False),  # embeddings
    ],
)
def test_copies_that_nobody_can_look_at_are_not_asked_about(
    few, tmp_path, monkeypatch, arguments, n_validation, told
):
    for part, (X, y, *_) in zip(("train", "validation"), few, strict=False):
        rows = np.arange(len(y))
        if part == "validation" and n_validation == 5:
            rows = np.concatenate([np.flatnonzero(y == k)[: 3 - k] for k in (0, 1)])
        X = OnnxEmbedder(DIGITS, device="cpu").transform(X) if n_validation is None else X[rows]
        np.savez(tmp_path / f"{part}.npz", X=X, y=y[rows])
    ended = typed(monkeypatch, "y\n" * 5, tmp_path, *arguments, "-o", tmp_path / "out")
    assert "[y]es" not in ended.stderr
    assert isinstance(ended.exception, InputError) == (n_validation is None)
    if n_validation is not None:
        record = json.loads((tmp_path / "out" / "result.json").read_text())
        assert any("has the change image:" in note for note in record["notes"]) == told


@pytest.mark.more
def test_a_folder_keeps_answers_one_by_one_and_repairs_from_what_was_kept(biased, tmp_path):
    model, train, val, test = biased
    out, said, seen = tmp_path / "out", tmp_path / "ada.json", []

    def ask(audit, findings):
        seen.extend([audit, findings, *sorted(file.name for file in out.iterdir())])
        first = next(f for f in findings if "region" not in f.name)
        yield replace(yes(audit, first.name), answer="legitimate", by="Ada", at="now")
        (kept,) = json.loads((out / "answers.json").read_text())["answers"]
        assert (kept["name"], kept["answer"]) == (first.name, "legitimate")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        debias(model, train, val, out=out, ask=ask, device="cpu")
    audit, findings, *files = seen
    assert {"audit.html", "audit.json", "embedded-train.npz", "result.json"} <= {*files}
    assert json.loads((out / "result.json").read_text())["state"] == "open"
    there = {"out": out, "settings": DebiasSettings(resume=out)} | QUICK
    unsure = tuple(replace(yes(audit, f.name), answer="unsure") for f in findings)
    write_answers(tmp_path / "nobody.json", Answers(unsure))
    options = there | {
        "answers": tmp_path / "nobody.json",
        "settings": DebiasSettings(otherwise="original", resume=out),
    }
    again = debias(model, train, val, **options)
    (answered,) = (a for a in again.answers.answers if a.answer == "legitimate")
    assert answered.name not in [finding.name for finding in again.open]
    assert (again.state, again.written) == ("open", False)
    assert f"Embeddings read from {out}." in again.notes  # nothing was embedded again
    # The unchanged original is there for a program that needs a file.
    assert (out / "debiased.onnx").read_bytes() == model.read_bytes()
    assert json.loads((out / "result.json").read_text())["model"] == str(out / "debiased.onnx")

    (out / "thesis.txt").write_text("years of work")
    region = next(f for f in findings if "region" in f.name)
    write_answers(said, audit.answers(region.name))
    result = debias(model, train, val, test=test, answers=said, **there)
    assert result.state == "written"
    assert (out / "thesis.txt").read_text() == "years of work"
    assert (out / "audit.html").exists()
    assert result.headline().startswith("Better. Test set: If column:region and the class were ")
    (groups,) = result.outcome.groups
    assert groups.worst.value > groups.worst.before + 0.2
    record = json.loads((out / "result.json").read_text())
    assert record["state"] == "written"
    assert region.name in [answer["name"] for answer in record["answers"]]
    metadata = FrozenModel.load(out / "debiased.onnx").metadata
    assert len(metadata["ntkit.answers_sha256"]) == 64
    assert "region" in metadata["ntkit.attributes"]
    # A second person's file joins the first, and contradicts it by name.
    device = Answer("column:device=0", "legitimate", (("column:device=0",),))
    write_answers(tmp_path / "bob.json", Answers((device,)))
    joined = debias(model, train, val, answers=tmp_path / "bob.json", **there)
    assert joined.balanced_over == result.balanced_over
    assert {region.name, device.name} <= {answer["name"] for answer in joined.answers}
    no = replace(yes(audit, region.name), answer="legitimate")
    write_answers(tmp_path / "eve.json", Answers((no,)))
    with pytest.raises(InputError, match=r"answers\.json.*eve\.json|eve\.json.*answers\.json"):
        debias(model, train, val, answers=tmp_path / "eve.json", **there)
    assert (out / "debiased.onnx").exists()
    # The first takes it back: no model of the earlier run stays.
    write_answers(out / "answers.json", Answers((no,), audit.model))
    assert debias(model, train, val, **there).state == "open"
    assert not (out / "debiased.onnx").exists()
    assert (out / "thesis.txt").exists()
    (out / "table.md").write_text("my notes")
    with pytest.raises(InputError, match=r"table\.md was changed after ntkit wrote it"):
        debias(model, train, val, method="auto", **there)
    assert (out / "table.md").read_text() == "my notes"


# -- what is answered is what is done --------------------------------------------------------------


def test_contradictions_are_refused_with_both_named(good):
    other = Answer("column:region=1", "legitimate", (("column:region=1",),))
    no = Answers((replace(REGION, answer="legitimate"),))
    for options in ({"answers": Answers((REGION, other))}, {"spurious": other.name, "answers": no}):
        with pytest.raises(InputError, match=r"column:region=(0.*column:region=1|1.*region=0)"):
            debias(*good[:3], device="cpu", **options)


# -- repair and prove ------------------------------------------------------------------------------


def test_an_order_that_would_install_the_shortcut_is_refused_and_says_for_whom(good):
    model, train, val, test = good
    options = {"test": test, "method": "auto"} | QUICK
    result = debias(model, train, val, **options)
    assert (result.written, result.state) == (False, "kept")
    assert "relies more on column:region" in result.summary(verbose=True)
    assert result.refused is not None
    assert result.refused.surely > result.max_cost
    # The test set agrees: whoever orders it all the same is not told that it is better.
    forced = debias(model, train, val, settings=DebiasSettings(otherwise="new head"), **options)
    assert forced.written
    assert forced.outcome.word == "worse"
    assert forced.headline().startswith("Written as ordered: auto is worse, because ")
    assert "relies more on column:region" in forced.summary(verbose=True)


@pytest.mark.more
def test_better_never_stands_above_a_test_set_that_fell(good):
    """Validation samples say better; the test set decides."""
    model, train, val, test = good
    result = debias(model, train, val, test=test, spurious="column:device=0", **QUICK)
    assert result.by_change.changes == ("column:device",)  # the model takes it
    assert not result.written
    assert result.accuracy_cost.class_gain_low > 0  # by validation samples
    assert result.outcome.word == "worse"
    assert "Better" not in result.headline()
    assert "relies more on column:region" in result.summary(verbose=True)
    alone = debias(model, train, val, spurious="column:device=0", **QUICK)
    assert alone.outcome.word == "probably better"
    assert not alone.written  # because of the groups of another attribute
    assert "relies more on column:region" in alone.headline()


def test_where_nothing_can_be_read_the_first_lines_say_so(sets):
    model = FrozenModel.load(DIGITS)
    embedder = OnnxEmbedder(model, device="cpu")
    stores = [Samples(embedder.transform(X), y, embedded=True) for X, y in sets[:2]]
    result = debias(model, *stores, method="auto", **QUICK)
    assert "could not check any group" in "\n".join(str(result).splitlines()[:5])


@pytest.mark.more
def test_a_test_set_is_cut_where_the_other_sets_are(few):
    """The median of the test set is another one than that of the training set."""
    name = "image:top left brightness above the median"
    corners = [X[:, 0, :7, :7].mean(axis=(1, 2)) for X, *_ in few]
    X, y = (part[np.argsort(corners[2])[:120]] for part in few[2][:2])  # dark ones
    above = np.sort(corners[2])[:120] > np.median(np.concatenate(corners[:2]))
    assert 4 < above.sum() < 60
    options = {"spurious": name, "settings": DebiasSettings(otherwise="new head")} | QUICK
    result = debias(DIGITS, *few[:2], test=(X, y), **options)
    right = FrozenModel.load(DIGITS).head.predict(OnnxEmbedder(DIGITS).transform(X)) == y
    shares = [right[(y == k) & (above == a)].mean() for k in (0, 1) for a in (False, True)]
    (named,) = result.outcome.groups
    assert (result.outcome.where, named.source) == ("test set", "read")
    assert named.worst.before == pytest.approx(min(shares))
    layer = "layer:relu_3 #42 mean above the median"  # the test set's layers are not read
    result = debias(DIGITS, *few[:2], test=(X, y), **options | {"spurious": layer})
    assert (result.outcome.where, result.outcome.groups[0].source) == ("validation set", "read")


@pytest.mark.more
def test_the_original_head_can_be_put_back(biased, by_region, tmp_path):
    out = shutil.copytree(by_region.path, tmp_path / "out")
    undo(out, tmp_path / "back.onnx", device="cpu")
    back, first = FrozenModel.load(tmp_path / "back.onnx"), FrozenModel.load(biased[0])
    assert (back.head.coef == first.head.coef).all()
    assert (back.head.intercept == first.head.intercept).all()
    assert back.metadata == first.metadata
    shutil.copyfile(biased[0], out / "debiased.onnx")
    with pytest.raises(InputError, match="is not the model that"):
        undo(out, tmp_path / "other.onnx")
    with pytest.raises(InputError, match="no repair to undo"):
        undo(tmp_path, tmp_path / "other.onnx")


def test_the_original_head_goes_back_into_a_graph_whose_labels_were_given_names(tmp_path):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(400, 6)).astype(np.float32)
    y = (X[:, 0] + 0.8 * rng.normal(size=400) > 0).astype(int)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it has not converged
        fitted = MLPClassifier((8,), max_iter=200, random_state=0).fit(X, y)
    model = to_onnx(fitted, X[:1], options={"zipmap": False})
    (tmp_path / "model.onnx").write_bytes(model.SerializeToString())
    first = FrozenModel.load(tmp_path / "model.onnx", classes=["low", "high"])
    named = np.array(["low", "high"])[y]
    sets = (X[:200], named[:200]), (X[200:], named[200:])
    options = {"method": "class-balanced", "settings": DebiasSettings(otherwise="new head")} | QUICK
    assert debias(first, *sets, out=tmp_path / "out", **options).written
    undo(tmp_path / "out", tmp_path / "back.onnx", device="cpu")
    back = FrozenModel.load(tmp_path / "back.onnx", classes=["low", "high"])
    assert back.head == first.head


# -- what the page of an audit saves is what the job reads -----------------------------------------


@pytest.fixture(scope="module")
def audited(digits):
    data = digits.X_validation, digits.y_validation
    options = {"device": "cpu", "changes": 0, "feature_sets": ["layer"]}
    return ntkit.audit_model(DIGITS, data, **options), data


@pytest.fixture(scope="module")
def saved(audited, tmp_path_factory):
    """What the page writes where everything is answered *must not depend on this*."""
    folder = tmp_path_factory.mktemp("audit")
    write_audit(audited[0], folder / "audit")
    page = (folder / "audit" / "audit.html").read_text(encoding="utf-8")
    entries = [json.loads(html.unescape(e)) for e in re.findall(r'data-entry="([^"]*)"', page)]
    (model,) = re.findall(r'data-model="([^"]*)"', page)
    answers = [entry | {"answer": "spurious"} for entry in entries]
    return {"ntkit": "answers", "version": 1, "model": model, "answers": answers}


def written(folder, saved, **other):
    (folder / "answers.json").write_text(json.dumps(saved | other))
    return folder / "answers.json"


def job(digits, data, **options):
    train = digits.X_train[:800], digits.y_train[:800]
    return debias(DIGITS, train, data, **options, **QUICK)


@pytest.mark.more
def test_an_answer_about_a_layer_repairs_by_the_layer(digits, audited, saved, tmp_path):
    """The very attribute, read in the pass that embeds the samples, as the audit cut it."""
    found, data = audited
    first = next(s.name for s in found.findings if s.name.startswith("layer:relu_3 #42"))
    answers = [answer for answer in saved["answers"] if answer["name"] == first]
    result = job(digits, data, answers=written(tmp_path, saved, answers=answers))
    assert result.balanced_over.startswith(first)
    assert "stands for" not in " ".join(result.notes)
    original = FrozenModel.load(DIGITS)
    Z = OnnxEmbedder(original, device="cpu").transform(digits.X_test)
    before, after = (
        worst_group_accuracy(digits.y_test, head.predict(Z), groups=digits.groups_test)
        for head in (original.head, result.head)
    )
    assert after > before + 0.1
    again = found.answers(first)  # without a page
    assert read_answers(written(tmp_path, saved, answers=answers)).spurious == again.spurious


@pytest.mark.more
def test_what_is_saved_reads_on_the_samples_of_the_audit_what_the_audit_did(
    audited, saved, tmp_path
):
    data = audited[1]
    found = ntkit.audit_model(DIGITS, data, device="cpu", changes=0)
    layers = embedded_with_layers(OnnxEmbedder(DIGITS, device="cpu"), data[0]).layers
    read = read_answers(written(tmp_path, saved)).spurious
    rules = {name: rule for answer in read for name, rule in answer.rules.items()}
    of_findings = [n for f in found.findings for n in (f.name, *f.same, *f.opposed)]
    rules |= {name: found.rule(name) for name in of_findings}
    kinds = {re.sub(r"layer:[^ ]+ (#|[a-z]+).*", r"\1", name) for name in rules}
    assert kinds >= {"#", "cluster"}
    layers["image with a shorter side of 20"] = np.stack(
        [statistics_of_image(image[0]) for image in data[0]]
    )
    assert any(name.startswith("image:") for name in rules)
    for name, rule in rules.items():
        assert np.array_equal(rule.values(layers[rule.layer]), found.values(name)), name


@pytest.mark.more
def test_channels_and_neurons_are_read_by_their_names(digits, few):
    embedding = OnnxEmbedder(FrozenModel.load(DIGITS), device="cpu").transform(digits.X_test[:99])
    neuron = f"embedding #{int(np.argmax(embedding.std(axis=0)))} high"
    name = "layer:relu_3 #42 mean above the median"
    result = debias(DIGITS, *few[:2], spurious=[name, neuron], **QUICK)
    assert (name in result.balanced_over, neuron in result.balanced_over) == (True, True)
    (counted,) = [n for n in result.notes if n.startswith("layer:relu_3 #42")]
    assert f"200 on not {name}" in counted


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("layer:relu_3 direction 1 high", "the samples of an audit define directions"),
        ("layer:relu_3 cluster 2", "--answers"),
        ("layer:relu_3 #3", "cannot be read by its name"),
        ("layer:relu_33 #3 mean high", "Did you mean 'relu_3'"),
        ("layer:conv_9 #3 mean high", "relu_1, relu_2, relu_3"),
        ("layer:relu_3 #64 mean high", "has 64 channels"),
    ],
)
def test_layers_that_cannot_be_read_are_refused(few, name, says, monkeypatch):
    if "#64" not in name:  # before the work
        prepared = "ntkit.jobs.debias._debias.prepared"
        monkeypatch.setattr(prepared, lambda *a, **k: pytest.fail("worked"))
    with pytest.raises(InputError, match=re.escape(says)):
        debias(DIGITS, *few[:2], spurious=name, **QUICK)


def test_answers_that_cannot_be_read_here_are_refused(few, audited, saved, tmp_path):
    """About layers of another model, or of a store. A no on one contradicts nothing."""
    with pytest.raises(InputError, match="another model"):
        debias(DIGITS, *few[:2], answers=written(tmp_path, saved, model="0" * 64), **QUICK)
    sets = {}
    for name, (X, y) in zip(("train", "validation"), few[:2], strict=True):
        sets[name] = tmp_path / name
        EmbeddingStore.write(sets[name], OnnxEmbedder(DIGITS, device="cpu"), Samples(X, y))
    layer = next(s.name for s in audited[0].findings if s.feature_set == "layer")
    with pytest.raises(InputError, match="a store of embeddings does not hold the layers"):
        debias(DIGITS, *sets.values(), answers=audited[0].answers(layer))


@pytest.mark.more
def test_a_no_about_a_layer_contradicts_nothing_that_cannot_be_read(asked, few):
    """Rules define directions and clusters; a no on one does not crash."""
    first, *rest = sorted(asked.open, key=lambda finding: finding.feature_set != "image")
    assert any(finding.feature_set == "layer" for finding in rest)
    no = (replace(yes(asked.audit, f.name), answer="legitimate") for f in rest)
    said = Answers((yes(asked.audit, first.name), *no))
    result = debias(DIGITS, *few[:2], answers=said, **QUICK)
    assert result.balanced_over.startswith("image:")
