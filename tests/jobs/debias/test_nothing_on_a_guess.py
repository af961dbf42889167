"""Without an answer no model is written; with one, what was answered is done and nothing else."""

import json
import warnings
from dataclasses import replace

import numpy as np
import pytest
from skl2onnx import to_onnx
from sklearn.neural_network import MLPClassifier

from data_made_up import KINDS, write_samples
from ntkit import FrozenModel, OnnxEmbedder, debias
from ntkit.datasets import marked_digits_model_path
from ntkit.exceptions import InputError
from ntkit.extraction import Samples
from ntkit.jobs.audit import Answer, Answers, write_answers
from ntkit.jobs.debias import undo

TABLES = KINDS["tables"]


def files_of(kind, folder, *, model, data, n=1200):
    """Model, training, validation and test files: shares in which the shortcut agrees."""
    rng = np.random.default_rng(0)
    error_recovery = kind.draw("train", n, [model], rng)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a network that has not converged will do
        kind.train(error_recovery.X, error_recovery.y, 0, folder / "model.onnx")
    parts = [error_recovery if model == data else kind.draw("train", n, [data], rng)]
    parts += [kind.draw("validation", 800, [data], rng), kind.draw("test", 800, [0.5], rng)]
    names = ("train.csv", "val.csv", "test.csv")
    sets = [write_samples(s, folder / name) for s, name in zip(parts, names, strict=True)]
    return folder / "model.onnx", *sets


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    """A model that does not use the shortcut, and data that have it."""
    return files_of(TABLES, tmp_path_factory.mktemp("good"), model=0.5, data=0.92)


@pytest.fixture(scope="module")
def biased(tmp_path_factory):
    """A model that uses the shortcut of its data."""
    return files_of(TABLES, tmp_path_factory.mktemp("biased"), model=0.92, data=0.92)


@pytest.fixture(scope="module")
def found(good):
    return debias(*good[:3], device="cpu")


def yes(audit, name):
    return audit.answers(name).answers[0]


# -- look ------------------------------------------------------------------------------------------


def test_a_good_model_of_biased_data_stays_without_an_answer(good, found):
    """Errors there are those that the shortcut corrects: retraining on them learns the shortcut."""
    assert not found.written
    assert found.model.head == FrozenModel.load(good[0]).matched_to(["low", "high"]).head
    assert found.state == "open"
    n = len(found.open)
    assert str(found).splitlines()[0] == f"No decision yet: {n} questions."


def test_what_retraining_would_newly_rely_on_is_asked_first(found):
    """The model does not rely on the region, and retraining would: the strongest finding of all."""
    own = [name for s in found.audit.findings for name in (s.name, *s.same)]
    new = [name for s in found.audit.retraining.findings for name in (s.name, *s.same)]
    assert not any("region" in name for name in own)
    assert any("region" in name for name in new)
    assert "region" in found.open[0].name
    assert found.as_dict()["questions"][0]["name"] == found.open[0].name


def test_where_nothing_is_found_there_is_nothing_to_ask(good):
    """Labels that are the model's own predictions: without errors nothing depends on anything."""
    frozen = FrozenModel.load(good[0])
    X = np.random.default_rng(0).normal(size=(6000, 9)).astype(np.float32)
    y = frozen.head.predict(OnnxEmbedder(frozen, device="cpu").transform(X))
    result = debias(frozen, (X[:5800], y[:5800]), (X[5800:], y[5800:]), device="cpu")
    assert result.state == "kept"
    assert result.headline().startswith("Kept the original model. No finding on 200")


# -- ask -------------------------------------------------------------------------------------------


def test_answers_are_asked_for_when_everything_is_on_disk_and_kept_one_by_one(good, tmp_path):
    out, seen = tmp_path / "out", []

    def ask(audit, findings):
        seen.extend(sorted(file.name for file in out.iterdir()))
        yield replace(yes(audit, findings[0].name), answer="legitimate", by="Ada", at="now")
        kept = json.loads((out / "answers.json").read_text())
        assert kept["answers"][0]["answer"] == "legitimate"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        debias(*good[:3], out=out, ask=ask, device="cpu")
    assert {"audit.html", "audit.json", "embedded-train.npz", "result.json"} <= {*seen}
    assert json.loads((out / "result.json").read_text())["state"] == "open"
    again = debias(*good[:3], out=out, resume=out, device="cpu")
    answered = json.loads((out / "answers.json").read_text())["answers"][0]["name"]
    assert answered not in [finding.name for finding in again.open]
    assert any("Embeddings read from" in note for note in again.notes)  # nothing was embedded again


def test_only_yes_acts(good, found, tmp_path):
    out = tmp_path / "out"

    def nothing(audit, findings):
        for finding in findings:
            yield replace(yes(audit, finding.name), answer="legitimate")

    result = debias(*good[:3], out=out, ask=nothing, device="cpu")
    assert result.state == "kept"
    assert not result.written
    assert not list(out.glob("*.onnx"))
    assert json.loads((out / "result.json").read_text())["state"] == "kept"
    assert "findings is no" in result.headline()
    unsure = tuple(replace(yes(found.audit, f.name), answer="unsure") for f in found.open)
    assert debias(*good[:3], answers=Answers(unsure), device="cpu").state == "open"


def test_going_on_in_the_folder_repairs_from_what_was_kept(biased, tmp_path):
    model, train, val, test = biased
    out, said = tmp_path / "out", tmp_path / "answers.json"
    first = debias(model, train, val, test=test, out=out, device="cpu")
    (out / "thesis.txt").write_text("years of work")
    region = next(f for f in first.audit.all_findings if "region" in f.name)
    write_answers(said, first.audit.answers(region.name))
    result = debias(model, train, val, test=test, out=out, resume=out, answers=said, device="cpu")
    assert result.state == "written"
    assert f"Embeddings read from {out}." in result.notes
    assert (out / "thesis.txt").read_text() == "years of work"
    assert (out / "audit.html").exists()
    assert result.headline().startswith("Better. Test set, worst group: ")
    assert result.change.worst_after > result.change.worst_before + 0.2
    record = json.loads((out / "result.json").read_text())
    assert record["state"] == "written"
    assert [answer["name"] for answer in record["answers"]] == [region.name]
    metadata = FrozenModel.load(out / "debiased.onnx").metadata
    assert len(metadata["ntkit.answers_sha256"]) == 64
    assert "region" in metadata["ntkit.attributes"]
    # The person takes it back: no model of the earlier run stays.
    no = replace(yes(first.audit, region.name), answer="legitimate")
    write_answers(out / "answers.json", Answers((no,), first.audit.model))
    again = debias(model, train, val, test=test, out=out, resume=out, device="cpu")
    assert again.state == "open"
    assert not (out / "debiased.onnx").exists()
    assert (out / "thesis.txt").exists()


def test_a_file_that_somebody_changed_is_not_replaced(good, tmp_path):
    out = tmp_path / "out"
    debias(*good[:3], out=out, device="cpu")
    (out / "table.md").write_text("my notes")
    with pytest.raises(InputError, match=r"table\.md was changed after ntkit wrote it"):
        debias(*good[:3], out=out, resume=out, method="auto", device="cpu")
    assert (out / "table.md").read_text() == "my notes"


def test_the_unchanged_original_for_a_program_that_needs_a_file(good, tmp_path):
    out = tmp_path / "out"
    result = debias(*good[:3], out=out, keep_original=True, device="cpu")
    assert (out / "debiased.onnx").read_bytes() == good[0].read_bytes()
    assert json.loads((out / "result.json").read_text())["model"] == str(out / "debiased.onnx")
    assert not result.written


# -- what is answered is what is done --------------------------------------------------------------


def test_contradictions_are_refused_with_both_named(good):
    region = Answer("column:region=0", "spurious", (("column:region=0",),))
    other = Answer("column:region=1", "legitimate", (("column:region=1",),))
    both = Answers((region, other))
    with pytest.raises(InputError, match=r"column:region=0.*column:region=1"):
        debias(*good[:3], answers=both, device="cpu")
    with pytest.raises(InputError, match=r"column:region=1.*column:region=0"):
        debias(*good[:3], spurious="column:region=1", answers=Answers((
            replace(region, answer="legitimate"),
        )), device="cpu")  # fmt: skip


def test_two_people_who_disagree_are_both_named(good, tmp_path):
    for name, answer in (("ada", "spurious"), ("bob", "legitimate")):
        said = Answer("column:region=0", answer, (("column:region=0",),))
        write_answers(tmp_path / f"{name}.json", Answers((said,)))
    with pytest.raises(InputError, match=r"ada\.json.*bob\.json"):
        debias(*good[:3], answers=[tmp_path / "ada.json", tmp_path / "bob.json"], device="cpu")


def test_the_class_itself_is_no_shortcut(good):
    with pytest.raises(InputError, match="cannot be distinguished from the class"):
        debias(*good[:3], spurious="column:label", device="cpu")


# -- repair and prove ------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["auto", "class-balanced", "afr"])
def test_an_order_that_would_install_the_shortcut_is_refused_and_says_for_whom(good, method):
    model, train, val, test = good
    result = debias(model, train, val, test=test, method=method, device="cpu")
    assert not result.written
    assert result.state == "kept"
    assert "relies more on column:region" in result.summary(verbose=True)
    assert str(result.check.refused(result.max_cost)).removesuffix(")") in result.headline()
    assert result.check.refused(result.max_cost).surely > result.max_cost
    # The test set agrees: whoever orders it all the same is not told that it is better.
    forced = debias(model, train, val, test=test, method=method, even_if_worse=True, device="cpu")
    assert forced.written
    assert forced.change.worst_after < forced.change.worst_before
    assert not forced.headline().startswith("Better")
    assert "relies more on column:region" in forced.summary(verbose=True)


def test_better_never_stands_above_a_test_set_that_fell(good):
    """Validation samples say better, and the test set says what they cannot."""
    model, train, val, test = good
    result = debias(model, train, val, test=test, spurious="column:device=0", device="cpu")
    assert result.written
    assert result.accuracy_cost.class_gain_low > 0  # by validation samples
    assert result.change.worst_after < result.change.worst_before
    assert "Better" not in result.headline()
    assert "relies more on column:region" in result.headline()
    alone = debias(model, train, val, spurious="column:device=0", device="cpu")
    assert alone.headline().startswith("Accepted at a cost. Validation set, worst group: ")


def test_where_nothing_can_be_read_the_first_lines_say_so(digits, tmp_path):
    model = FrozenModel.load(marked_digits_model_path())
    embedder = OnnxEmbedder(model, device="cpu")
    sets = [
        Samples(embedder.transform(X), y, embedded=True)
        for X, y in ((digits.X_train, digits.y_train), (digits.X_validation, digits.y_validation))
    ]
    result = debias(model, *sets, method="auto", device="cpu")
    assert "could not check any group" in "\n".join(str(result).splitlines()[:5])


def test_what_one_person_said_is_kept_for_the_next(biased, tmp_path):
    """A second file joins the first, and contradicts it by name."""
    model, train, val, _ = biased
    out = tmp_path / "out"
    region = Answer("column:region=0", "spurious", (("column:region=0",),))
    write_answers(tmp_path / "ada.json", Answers((region,)))
    first = debias(model, train, val, answers=tmp_path / "ada.json", out=out, device="cpu")
    assert first.written
    device = Answer("column:device=0", "legitimate", (("column:device=0",),))
    write_answers(tmp_path / "bob.json", Answers((device,)))
    again = debias(
        model, train, val, answers=tmp_path / "bob.json", out=out, resume=out, device="cpu"
    )
    assert again.balanced_over == "column:region=0"
    assert {answer["name"] for answer in again.answers} == {region.name, device.name}
    write_answers(tmp_path / "eve.json", Answers((replace(region, answer="legitimate"),)))
    with pytest.raises(InputError, match=r"answers\.json.*eve\.json|eve\.json.*answers\.json"):
        debias(model, train, val, answers=tmp_path / "eve.json", out=out, resume=out, device="cpu")
    assert (out / "debiased.onnx").exists()


def test_a_new_head_is_the_plain_one_where_nobody_ordered_more(digits):
    sets = (digits.X_train, digits.y_train), (digits.X_validation, digits.y_validation)
    result = debias(marked_digits_model_path(), *sets, new_head=True, device="cpu")
    assert not result.written
    assert "no method was ordered" in result.headline()
    raw = result.candidates[0]
    assert raw.name == "ERM head"


def test_an_answer_about_a_layer_contradicts_nothing_that_cannot_be_read(digits):
    """Rules define directions and clusters; a no on one does not crash."""
    sets = (digits.X_train, digits.y_train), (digits.X_validation, digits.y_validation)

    def ask(audit, findings):
        named = next(f for f in findings if f.feature_set == "image")
        yield yes(audit, named.name)
        for finding in findings:
            if finding.feature_set != "image":
                yield replace(yes(audit, finding.name), answer="legitimate")

    result = debias(marked_digits_model_path(), *sets, ask=ask, device="cpu")
    assert result.balanced_over.startswith("image:")


def test_what_is_cut_at_quantiles_makes_no_groups_of_a_test_set(digits):
    """The median of the test set is another one than that of the training set."""
    sets = (digits.X_train, digits.y_train), (digits.X_validation, digits.y_validation)
    result = debias(
        marked_digits_model_path(), *sets, test=(digits.X_test, digits.y_test), device="cpu",
        spurious="image:top left brightness above the median",
    )  # fmt: skip
    assert result.change.what == "worst class"


def test_a_page_and_a_summary_of_python_name_what_python_can_do(good, tmp_path):
    found = debias(*good[:3], out=tmp_path / "out", device="cpu")
    assert "ntkit debias --from" not in found.summary()
    assert "ntkit debias --from" not in (tmp_path / "out" / "audit.html").read_text()
    assert "resume" in found.summary(verbose=True)


def test_opposite_labels_have_another_hash(biased):
    model, train, val, _ = biased
    rows = np.arange(1200 + 800)
    hashes = set()
    for turned in (0, 1):
        labels = np.where(rows % 7 == 0, (rows // 7 + turned) % 2, -1)
        result = debias(model, train, val, attribute=labels, even_if_worse=True, device="cpu")
        hashes.add(result.model.metadata["ntkit.answers_sha256"])
    assert len(hashes) == 2


def test_the_original_head_can_be_put_back(biased, tmp_path):
    model, train, val, _ = biased
    out = tmp_path / "out"
    result = debias(model, train, val, spurious="column:region", out=out, device="cpu")
    assert result.written
    undo(out, tmp_path / "back.onnx", device="cpu")
    back, first = FrozenModel.load(tmp_path / "back.onnx"), FrozenModel.load(model)
    assert (back.head.coef == first.head.coef).all()
    assert (back.head.intercept == first.head.intercept).all()
    assert back.metadata == first.metadata
    written = (out / "debiased.onnx").read_bytes()
    (out / "debiased.onnx").write_bytes(model.read_bytes())
    with pytest.raises(InputError, match="is not the model that"):
        undo(out, tmp_path / "other.onnx")
    (out / "debiased.onnx").write_bytes(written)
    with pytest.raises(InputError, match="no repair to undo"):
        undo(tmp_path, tmp_path / "other.onnx")


def test_the_original_head_goes_back_into_a_graph_whose_labels_were_given_names(tmp_path):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(400, 6)).astype(np.float32)
    y = (X[:, 0] + 0.8 * rng.normal(size=400) > 0).astype(int)
    fitted = MLPClassifier((8,), max_iter=200, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it has not converged
        model = to_onnx(fitted.fit(X, y), X[:1], options={"zipmap": False})
    (tmp_path / "model.onnx").write_bytes(model.SerializeToString())
    first = FrozenModel.load(tmp_path / "model.onnx", classes=["low", "high"])
    named = np.array(["low", "high"])[y]
    sets = (X[:200], named[:200]), (X[200:], named[200:])
    options = {"method": "class-balanced", "even_if_worse": True, "device": "cpu"}
    assert debias(first, *sets, out=tmp_path / "out", **options).written
    undo(tmp_path / "out", tmp_path / "back.onnx", device="cpu")
    back = FrozenModel.load(tmp_path / "back.onnx", classes=["low", "high"])
    assert back.head == first.head
