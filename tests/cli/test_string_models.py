"""Models that take strings as they are, such as TF-IDF pipelines, are models of texts."""

import csv
import json
import subprocess
import sys
import warnings

import numpy as np
import pandas as pd
import pytest
from skl2onnx import to_onnx
from skl2onnx.common.data_types import StringTensorType
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline

from ntkit import FrozenModel, audit_model, check, debias, predict
from ntkit.cli import main
from ntkit.exceptions import InputError, ModelError
from ntkit.extraction import TextPreprocessing, Texts, read_samples
from ntkit.jobs.debias import undo, write_candidate
from ntkit.jobs.label import label_samples
from ntkit.jobs.verify import check_parity
from ntkit.verification import random_inputs

GOOD = ["Great", "lovely", "superb", "moving", "funny", "warm"]
BAD = ["Dull", "awful", "boring", "weak", "flat", "poor"]
FILL = ["the", "plot", "and", "music", "was", "quite", "with", "a", "role"]
SPURIOUS = "word:film|word:movie"


def reviews(n, share, seed):
    """Reviews whose words err in one of four; 'film' or 'movie' goes with the class."""
    rng = np.random.default_rng(seed)
    y = rng.integers(2, size=n)
    film = np.where(rng.random(n) < share, y, 1 - y)
    texts = []
    for label, side in zip(y, film, strict=True):
        opinions = [rng.choice(GOOD if label == (rng.random() < 0.75) else BAD) for _ in range(2)]
        words = [*rng.choice(FILL, 6), *opinions, ["movie", "film"][side]]
        texts.append(" ".join(rng.permutation(words)))
    return texts, np.array(["bad", "good"])[y]


SETS = {"train": reviews(500, 0.93, 0), "val": reviews(500, 0.93, 1), "test": reviews(300, 0.5, 2)}


def write_table(path, texts, y, name="text"):
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = (
            (text, label, f"s{i % 3}") for i, (text, label) in enumerate(zip(texts, y, strict=True))
        )
        csv.writer(file).writerows([(name, "label", "site"), *rows])
    return path


@pytest.fixture(scope="module")
def fitted():
    network = MLPClassifier((8,), max_iter=80, learning_rate_init=0.01, random_state=0)
    with warnings.catch_warnings(action="ignore"):
        return make_pipeline(TfidfVectorizer(lowercase=False), network).fit(*SETS["train"])


@pytest.fixture(scope="module", params=[(None, 1), (None,)], ids=["column", "row"])
def any_model(request, fitted, tmp_path_factory):
    return write_model(fitted, tmp_path_factory.mktemp("any") / "reviews.onnx", request.param)


def write_model(fitted, path, shape=(None, 1)):
    with warnings.catch_warnings(action="ignore"):
        inputs = [("review", StringTensorType(list(shape)))]
        path.write_bytes(
            to_onnx(fitted, initial_types=inputs, options={"zipmap": False}).SerializeToString()
        )
    return path


@pytest.fixture(scope="module")
def folder(fitted, tmp_path_factory):
    """A model and tables; tests write nothing next to them."""
    folder = tmp_path_factory.mktemp("strings")
    write_model(fitted, folder / "reviews.onnx")
    for name, (texts, y) in SETS.items():
        write_table(folder / f"{name}.csv", texts, y)
    return folder


@pytest.fixture
def ntkit(capsys):
    """Run a command; its exit code, output and error output."""

    def run(*arguments):
        code = 0
        try:
            main([str(a) for a in arguments])
        except SystemExit as end:
            code = end.code or 0
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return run


def repaired(folder, out, **options):
    """The repair of a person's yes to the word."""
    paths = {"train": folder / "train.csv", "validation": folder / "val.csv"}
    options = {"spurious": [SPURIOUS], "max_cost": 1.0, "n_random": 1, "device": "cpu"} | options
    return debias(folder / "reviews.onnx", **(paths | options), out=out)


@pytest.fixture(scope="module")
def repair(folder, tmp_path_factory):
    """What a repair writes, and the folder for the service."""
    out = tmp_path_factory.mktemp("repair")
    result = repaired(folder, out / "run", test=folder / "test.csv", deploy=out / "service")
    return out, result


# -- what the model takes -------------------------------------------------------------------------


def test_inspect_says_that_texts_go_in_as_they_are(folder, ntkit):
    code, out, _ = ntkit("inspect", folder / "reviews.onnx")
    assert code == 0
    assert "Texts: as they are, to the input 'review'." in out
    assert "tables with a text column and a label column" in out


FORMS = {
    "list": list,
    "str (N,)": np.array,
    "str (N, 1)": lambda texts: np.array(texts)[:, None],
    "object (N,)": lambda texts: np.array(texts, dtype=object),
    "object (N, 1)": lambda texts: np.array(texts, dtype=object)[:, None],
    "by name": lambda texts: {"review": np.array(texts, dtype=object)},
    "Series": pd.Series,
    "DataFrame": lambda texts: pd.DataFrame({"review": texts}),
}


@pytest.mark.parametrize("form", FORMS)
def test_strings_in_any_form_are_texts(any_model, fitted, form):
    texts, y = SETS["test"]
    X = FORMS[form](texts)
    expected = fitted.predict(texts)
    assert (expected != y).any()
    assert predict(any_model, X, device="cpu").labels.tolist() == expected.tolist()
    audit = audit_model(any_model, (X, y), feature_sets=["word"], device="cpu")
    assert audit.as_dict()["accuracy"] == pytest.approx((expected == y).mean())
    assert audit.inputs.texts == texts


def test_tables_and_arrays_hold_what_python_gives(folder, tmp_path):
    texts, y = SETS["test"]
    inputs = FrozenModel.load(folder / "reviews.onnx").inputs
    np.savez(tmp_path / "test.npz", X=np.array(texts), y=y)
    frame = {"text": texts, "other": texts[::-1], "label": y}
    pd.DataFrame(frame).to_parquet(tmp_path / "test.parquet")
    for path in (folder / "test.csv", tmp_path / "test.npz", tmp_path / "test.parquet"):
        samples = read_samples(path, inputs=inputs)
        assert isinstance(samples.X, Texts)
        assert samples.X.texts == texts
        batch = samples.X[2:5]
        assert batch["review"].tolist() == [[text] for text in texts[2:5]]


def test_the_column_of_texts(folder, tmp_path):
    inputs = FrozenModel.load(folder / "reviews.onnx").inputs

    def read(columns, **options):
        pd.DataFrame({**columns, "label": ["bad", "good"]}).to_csv(tmp_path / "t.csv", index=False)
        return read_samples(tmp_path / "t.csv", inputs=inputs, **options).X.texts

    some, others = ["so good", "7"], ["c d", "e f"]
    assert read({"text": others, "Review": some}) == some  # the name of the input comes first
    assert read({"title": others, "text": some}) == some
    assert read({"said": some, "age": [3, 4]}) == some
    assert read({"title": others, "text": some}, text_column="title") == others
    with pytest.raises(InputError, match=r"several text columns.*--text-column"):
        read({"title": others, "said": ["x y", "z"]})
    with pytest.raises(InputError, match=r"reads one text of each sample.*--text-pair-column"):
        read({"title": others, "text": some}, text_pair_column="title")


def test_what_says_nothing_of_strings_is_refused(folder, ntkit, tmp_path):
    data = folder / "test.csv"
    for option in (("--max-length", "8"), ("--tokenizer", tmp_path)):
        code, _, err = ntkit(
            "predict", folder / "reviews.onnx", data, "-o", tmp_path / "p.csv", *option
        )
        assert code == 2
        assert "reads texts directly; leave out --tokenizer and --max-length" in err
    with pytest.raises(InputError, match="half a character"):
        predict(folder / "reviews.onnx", ["a \ud83d film"], device="cpu")
    with pytest.raises(InputError, match="Sample 1 is None, not a text"):
        predict(folder / "reviews.onnx", ["a film", None], device="cpu")


def test_a_locale_that_is_not_installed_is_named(fitted, tmp_path, capfd):
    vectoriser = TfidfVectorizer().fit(SETS["train"][0])
    with warnings.catch_warnings(action="ignore"):
        converted = to_onnx(
            make_pipeline(vectoriser, fitted[-1]),
            initial_types=[("review", StringTensorType([None, 1]))],
            options={id(vectoriser): {"locale": "xx_XX.UTF-8"}},
        )
    (tmp_path / "m.onnx").write_bytes(converted.SerializeToString())
    with pytest.raises(ModelError, match=r"install the locale .* option locale='C'"):
        predict(tmp_path / "m.onnx", ["a film"], device="cpu")
    capfd.readouterr()  # ONNX Runtime prints as well


# -- look, ask, repair ----------------------------------------------------------------------------


def test_an_audit_shows_words_and_texts(folder, ntkit, tmp_path):
    command = ["audit", folder / "reviews.onnx", folder / "val.csv", "-o", tmp_path / "out"]
    code, out, err = ntkit(*command, "--device", "cpu", "--quiet")
    assert code == 0
    found = json.loads((tmp_path / "out" / "audit.json").read_text())
    assert err == f"Note: {found['notes'][0]}\n"
    assert "ntkit tried 2 changes" in err  # film for movie, and left out
    assert found["findings"][0]["name"] in ("word:film", "word:movie")
    assert found["changes"][0]["is_finding"]
    assert "attributes (p ≤ 0.05" in out
    page = (tmp_path / "out" / "audit.html").read_text()
    assert "of 500 texts" in page
    shown = [text for text in SETS["val"][0] if text.replace("film", "<mark>film</mark>") in page]
    assert shown


def test_the_repaired_model_and_its_program(repair, folder):
    out, result = repair
    assert result.state == "written"
    texts, _ = SETS["test"]
    done = subprocess.run(
        [sys.executable, "-W", "error", out / "service" / "predict.py", *texts[:9], ""],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    told = predict(out / "service", [*texts[:9], ""], device="cpu").labels.tolist()
    assert done.stdout.splitlines() == told
    card = (out / "service" / "README.md").read_text()
    assert "texts: input 'review' takes one text per sample, without preprocessing" in card
    assert "pipeline_tag: text-classification" in card
    outcome = check(
        folder / "reviews.onnx", out / "run" / "debiased.onnx", folder / "test.csv",
        slices=["word:film"], device="cpu",
    )  # fmt: skip
    assert [row.n for row in outcome.rows if row.name == "word:film"] == [
        sum("film" in text for text in texts)
    ]


def test_a_program_for_strings_in_a_row_and_for_arrays(fitted, tmp_path):
    write_model(fitted, tmp_path / "reviews.onnx", (None,))
    result = debias(
        tmp_path / "reviews.onnx", train=SETS["train"], validation=SETS["val"], spurious=[SPURIOUS],
        max_cost=1.0, n_random=1, device="cpu", out=tmp_path / "run", deploy=tmp_path / "service",
    )  # fmt: skip
    assert result.state == "written"
    assert "np.array([text], dtype=object)" in (tmp_path / "service" / "predict.py").read_text()


def test_stores_undo_and_other_rows_are_verified_on_words_of_the_model(
    repair, folder, ntkit, tmp_path
):
    model = folder / "reviews.onnx"
    texts = random_inputs(FrozenModel.load(model))["review"][:, 0]
    assert {word for text in texts for word in text.split()} <= {
        *GOOD,
        *BAD,
        *FILL,
        "film",
        "movie",
    }
    undone = undo(repair[0] / "run", tmp_path / "undone.onnx", device="cpu")
    assert undone.passed
    assert write_candidate(
        repair[0] / "run", "class-balanced", tmp_path / "other", device="cpu"
    ).passed
    for name in ("train", "val"):
        code, _, err = ntkit(
            "embed", model, folder / f"{name}.csv", "-o", tmp_path / name, "--device", "cpu"
        )
        assert code == 0, err
    result = debias(
        model, train=tmp_path / "train", validation=tmp_path / "val", method="class-balanced",
        even_if_worse=True, n_random=1, device="cpu", out=tmp_path / "run",
        deploy=tmp_path / "service",
    )  # fmt: skip
    assert result.state == "written"
    assert "for text in sys.argv[1:]" in (tmp_path / "service" / "predict.py").read_text()


def test_labels_are_matched_by_the_texts_however_they_are_given(folder, tmp_path):
    texts, y = SETS["val"]
    options = {"question": "Is it a film?", "batch": 16, "device": "cpu"}
    first = label_samples(folder / "reviews.onnx", folder / "val.csv", tmp_path, **options)
    assert texts[int(first.asked[0])] in (tmp_path / "label.html").read_text()
    asked = pd.read_csv(tmp_path / "questions-1.csv")
    asked[options["question"]] = ["yes" if "film" in text else "no" for text in asked["text"]]
    asked.to_csv(tmp_path / "questions-1.csv", index=False)
    again = label_samples(folder / "reviews.onnx", (texts[::-1], y[::-1]), tmp_path, **options)
    assert again.labels.n_answers == 16
    assert not {texts[int(n)] for n in first.asked} & {texts[::-1][int(n)] for n in again.asked}


# -- what a service computes ----------------------------------------------------------------------


def recorded(fitted, seen, **given):
    return {"probabilities": fitted.predict_proba(seen), **given}


@pytest.mark.parametrize("name", ["texts", "X", "review"])
def test_recorded_strings_are_texts(folder, fitted, name):
    texts = SETS["test"][0][:60]
    model = folder / "reviews.onnx"
    given = np.array(texts) if name == "texts" else np.array(texts)[:, None]
    assert check_parity(model, recorded(fitted, texts, **{name: given}), device="cpu").matched
    lower = recorded(fitted, [text.lower() for text in texts], **{name: given})
    assert check_parity(model, lower, device="cpu").cause == ("lower-casing",)


def test_recorded_rows_of_a_table(folder, fitted, ntkit, tmp_path):
    texts = SETS["test"][0]
    rows = np.arange(20, 60)
    np.savez(tmp_path / "r.npz", **recorded(fitted, [texts[i] for i in rows], rows=rows))
    code, out, _ = ntkit(
        "parity", folder / "reviews.onnx", tmp_path / "r.npz",
        "--data", folder / "test.csv", "--device", "cpu",
    )  # fmt: skip
    assert (code, "agree on all 40 samples" in out) == (0, True)


def test_texts_without_a_tokenizer_come_sorted_and_go_back_in_order():
    steps = TextPreprocessing(None, ids="review")
    texts = Texts(["a b", "c", "d e f"], steps)
    window = texts.window(1, 3)
    assert window.lengths.tolist() == [1, 5]
    assert window.batch([1, 0])["review"].tolist() == [["d e f"], ["c"]]
    assert steps.as_dict() == {"input": "as it is"}
    with pytest.raises(InputError, match="without a tokenizer"):
        texts.pad_token()
