"""Models that take strings as they are, such as TF-IDF pipelines, are models of texts."""

import warnings

import numpy as np
import pandas as pd
import pytest
from skl2onnx import to_onnx
from skl2onnx.common.data_types import StringTensorType
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline

from ntkit import DebiasSettings, FrozenModel, audit_model, check, debias, predict
from ntkit.exceptions import InputError, ModelError
from ntkit.extraction import TextPreprocessing, Texts, read_samples
from ntkit.jobs.debias import undo, write_candidate
from ntkit.jobs.verify import check_parity
from ntkit.verification import random_inputs
from tests.cases import done, refused, write_csv

GOOD = ["Great", "lovely", "superb", "moving", "funny", "warm"]
BAD = ["Dull", "awful", "boring", "weak", "flat", "poor"]
FILL = ["the", "plot", "and", "music", "was", "quite", "with", "a", "role"]
OPTIONS = {"spurious": ["word:film|word:movie"], "max_cost": 1.0, "device": "cpu"}


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


SETS = {"train": reviews(300, 0.93, 0), "val": reviews(300, 0.93, 1), "test": reviews(200, 0.5, 2)}


def write_model(pipeline, path, shape=(None, 1)):
    with warnings.catch_warnings(action="ignore"):
        inputs = [("review", StringTensorType(list(shape)))]
        model = to_onnx(pipeline, initial_types=inputs, options={"zipmap": False})
    path.write_bytes(model.SerializeToString())
    return path


@pytest.fixture(scope="module")
def fitted():
    network = MLPClassifier((8,), max_iter=80, learning_rate_init=0.01, random_state=0)
    with warnings.catch_warnings(action="ignore"):
        return make_pipeline(TfidfVectorizer(lowercase=False), network).fit(*SETS["train"])


@pytest.fixture(scope="module")
def folder(fitted, tmp_path_factory):
    """A model of strings in a column, one of strings in a row, and tables."""
    folder = tmp_path_factory.mktemp("strings")
    write_model(fitted, folder / "reviews.onnx")
    write_model(fitted, folder / "row.onnx", (None,))
    for name, (texts, y) in SETS.items():
        site = [f"s{i % 3}" for i in range(len(y))]
        write_csv(folder / f"{name}.csv", {"text": texts, "label": y, "site": site})
    return folder


@pytest.fixture(scope="module")
def repair(folder, tmp_path_factory):
    """What the repair of a person's yes to the word writes, and the folder for the service."""
    out = tmp_path_factory.mktemp("repair")
    paths = {part: folder / f"{part}.csv" for part in ("train", "test")}
    paths["validation"] = folder / "val.csv"
    where = {"out": out / "run", "settings": DebiasSettings(deploy=out / "service")}
    return out, debias(folder / "reviews.onnx", **paths, **OPTIONS, **where)


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


@pytest.mark.parametrize("name", ["reviews.onnx", "row.onnx"])
def test_strings_in_any_form_are_texts(folder, fitted, name):
    assert "Texts: as they are, to the input 'review'." in done("inspect", folder / name)[0]
    texts, y = SETS["test"]
    expected = fitted.predict(texts)
    assert (expected != y).any()
    for form, made in FORMS.items():
        found = predict(folder / name, made(texts), device="cpu").labels
        assert found.tolist() == expected.tolist(), form
    data = (FORMS["DataFrame"](texts), y)
    audit = audit_model(folder / name, data, feature_sets=["word"], changes=0, device="cpu")
    assert audit.as_dict()["accuracy"] == pytest.approx((expected == y).mean())
    assert audit.inputs.texts == texts


def test_tables_and_arrays_hold_what_python_gives(folder, tmp_path):
    texts, y = SETS["test"]
    inputs = FrozenModel.load(folder / "reviews.onnx").inputs
    np.savez(tmp_path / "test.npz", X=np.array(texts), y=y)
    # The name of the input comes before that of texts.
    frame = {"Review": texts, "text": texts[::-1], "label": y}
    pd.DataFrame(frame).to_parquet(tmp_path / "test.parquet")
    for path in (folder / "test.csv", tmp_path / "test.npz", tmp_path / "test.parquet"):
        X = read_samples(path, inputs=inputs).X
        assert isinstance(X, Texts)
        assert X.texts == texts
        assert X[2:5]["review"].tolist() == [[text] for text in texts[2:5]]
    with pytest.raises(InputError, match=r"reads one text of each sample.*--text-pair-column"):
        read_samples(tmp_path / "test.parquet", inputs=inputs, text_pair_column="text")


def test_what_says_nothing_of_strings_is_refused(folder, tmp_path):
    model, says = folder / "reviews.onnx", "leave out --tokenizer and --max-length"
    for option in (("--max-length", "8"), ("--tokenizer", tmp_path)):
        refused("predict", model, folder / "test.csv", "-o", tmp_path / "p.csv", *option, says=says)


def test_a_locale_that_is_not_installed_is_named(fitted, tmp_path, capfd):
    vectoriser = TfidfVectorizer().fit(SETS["train"][0])
    pipeline, locale = make_pipeline(vectoriser, fitted[-1]), {"locale": "xx_XX.UTF-8"}
    with warnings.catch_warnings(action="ignore"):
        inputs = [("review", StringTensorType([None, 1]))]
        model = to_onnx(pipeline, initial_types=inputs, options={id(vectoriser): locale})
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(ModelError, match=r"install the locale .* option locale='C'"):
        predict(tmp_path / "m.onnx", ["a film"], device="cpu")
    capfd.readouterr()  # ONNX Runtime prints as well


@pytest.mark.more
def test_the_repaired_model_and_the_folder_of_the_service(repair, folder):
    out, result = repair
    assert result.state == "written"
    card = (out / "service" / "README.md").read_text()
    assert "texts: input 'review' takes one text per sample, without preprocessing" in card
    assert "pipeline_tag: text-classification" in card
    texts, _ = SETS["test"]
    model, new = folder / "reviews.onnx", out / "run" / "debiased.onnx"
    outcome = check(model, new, folder / "test.csv", slices=["word:film"], device="cpu")
    n_film = sum("film" in text for text in texts)
    assert [row.n for row in outcome.rows if row.name == "word:film"] == [n_film]
    told = predict(out / "service", [*texts[:9], ""], device="cpu").labels.tolist()
    assert told == predict(new, [*texts[:9], ""], device="cpu").labels.tolist()


@pytest.mark.more
def test_strings_in_a_row_undo_and_other_rows(repair, folder, tmp_path):
    """All are verified on words of the model, and each deployed program takes texts."""
    texts = random_inputs(FrozenModel.load(folder / "reviews.onnx"))["review"][:, 0]
    words = {word for text in texts for word in text.split()}
    assert words <= {*GOOD, *BAD, *FILL, "film", "movie"}
    run = repair[0] / "run"
    assert undo(run, tmp_path / "undone.onnx", device="cpu").passed
    assert write_candidate(run, "class-balanced", tmp_path / "other", device="cpu").passed
    ordered = {
        "method": "class-balanced",
        "settings": DebiasSettings(otherwise="new head", deploy=tmp_path / "service"),
        "device": "cpu",
    }
    sets = {"train": SETS["train"], "validation": SETS["val"]}
    assert debias(folder / "row.onnx", **sets, **ordered).state == "written"
    program = (tmp_path / "service" / "predict.py").read_text()
    assert "np.array([text], dtype=object)" in program


@pytest.mark.parametrize("name", ["texts", "X", "review"])
def test_recorded_strings_are_texts(folder, fitted, name):
    texts = SETS["test"][0][:60]
    given = {name: np.array(texts) if name == "texts" else np.array(texts)[:, None]}
    for seen, cause in ((texts, None), ([text.lower() for text in texts], ("lower-casing",))):
        recorded = {"probabilities": fitted.predict_proba(seen), **given}
        found = check_parity(folder / "reviews.onnx", recorded, device="cpu")
        assert found.matched if cause is None else found.cause == cause


def test_texts_without_a_tokenizer_come_sorted_and_go_back_in_order():
    steps = TextPreprocessing(None, ids="review")
    texts = Texts(["a b", "c", "d e f"], steps)
    window = texts.window(1, 3)
    assert window.lengths.tolist() == [1, 5]
    assert window.batch([1, 0])["review"].tolist() == [["d e f"], ["c"]]
    assert steps.as_dict() == {"input": "as it is"}
    with pytest.raises(InputError, match="without a tokenizer"):
        texts.pad_token()
