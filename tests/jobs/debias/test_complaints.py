"""Complaints and traffic: unseen complaints are fixed, other answers stay, or nothing happens."""

import json
import shlex

import numpy as np
import pytest
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from ntkit import DebiasSettings, FrozenModel, OnnxEmbedder, debias, predict
from ntkit.changes import change_from
from ntkit.datasets import marked_digits_model_path
from ntkit.exceptions import InputError
from ntkit.extraction import ImagePreprocessing, RawInputs, Samples, read_samples
from ntkit.jobs.debias import undo
from ntkit.store import EmbeddingStore
from tests.cases import done, ntkit, refused, write_images
from tests.models import parsed, save
from tests.word_models import reviews, save_network_of_words

MODEL = marked_digits_model_path()


def answers_of(X):
    model = FrozenModel.load(MODEL)
    return model.head.predict(OnnxEmbedder(model, device="cpu").transform(X))


@pytest.fixture(scope="module")
def asked(digits):
    """Complaints, samples that the model gets right, and more complaints without labels."""
    # Where the mark does not follow the class, most errors have it as their cause.
    wrong = np.flatnonzero(answers_of(digits.X_test) != digits.y_test)
    wrong = np.random.default_rng(0).permutation(wrong)
    right = answers_of(digits.X_validation) == digits.y_validation
    complaints = digits.X_test[wrong[:40]], digits.y_test[wrong[:40]]
    return complaints, (digits.X_validation[right], digits.y_validation[right]), wrong[40:]


@pytest.fixture(scope="module")
def folder(digits, asked, tmp_path_factory):
    """Files of a user: a model, complaints, unrelated samples with wrong labels, and traffic."""
    folder = tmp_path_factory.mktemp("complaints")
    (X, y), (others, labels), _ = asked
    some = np.random.default_rng(0).permutation(len(others))[:30]
    np.savez(folder / "complaints.npz", X=X, y=y)
    np.savez(folder / "unrelated.npz", X=others[some], y=1 - labels[some])
    np.savez(folder / "traffic.npz", X=digits.X_train)
    return folder


def test_unseen_complaints_are_fixed_and_other_answers_stay(digits, asked, folder, monkeypatch):
    monkeypatch.chdir(folder)
    options = ["complaints.npz", "--keep", "traffic.npz", "-o", "out", "--device", "cpu"]
    lines = done("debias", MODEL, *options)[0].splitlines()
    assert lines[0].startswith("Wrote out/debiased.onnx")
    record = json.loads((folder / "out" / "result.json").read_text())
    chosen = record["by_limit"]["0.02"]
    assert (record["state"], record["n_complaints"]) == ("written", 40)
    assert record["p"] < 0.01
    assert lines[1].startswith(f"Unseen complaints fixed, cross-fitted: {chosen['fixed']} of 40 ")
    assert f"{round(chosen['changed'] * 2700)} of 2700" in lines[4]

    # What it says of unseen complaints and traffic holds for samples that nobody showed it.
    old, new = (FrozenModel.load(path) for path in (MODEL, folder / "out" / "debiased.onnx"))
    unseen = asked[-1]
    Z = OnnxEmbedder(old, device="cpu").transform(
        np.concatenate([digits.X_test[unseen], digits.X_validation])
    )
    before, after = old.head.predict(Z), new.head.predict(Z)
    n = len(unseen)
    fixed = (after[:n] == digits.y_test[unseen]).mean()
    low, high = map(float, lines[1].partition("[")[2].partition("]")[0].split(","))
    assert low <= 100 * fixed <= high
    assert abs(fixed - chosen["fixed"] / 40) < 0.15
    assert (before[n:] != after[n:]).mean() <= 2 * 0.02

    # Nor does the written head change more of the traffic than was allowed.
    T = OnnxEmbedder(old, device="cpu").transform(np.unique(digits.X_train, axis=0))
    assert (old.head.predict(T) != new.head.predict(T)).mean() <= 0.02

    command = shlex.split(lines[5].removeprefix("Next: ntkit "))
    assert "The two models differ on" in done(*command)[0]


def test_the_original_model_comes_back(folder, digits, tmp_path, monkeypatch):
    monkeypatch.chdir(folder)
    options = ["complaints.npz", "--keep", "traffic.npz", "-o", tmp_path / "run", "--device", "cpu"]
    done("debias", MODEL, *options)
    done("export", "--undo", tmp_path / "run", "-o", tmp_path / "original.onnx")
    original, back = FrozenModel.load(MODEL), FrozenModel.load(tmp_path / "original.onnx")
    assert (back.head, back.metadata) == (original.head, original.metadata)
    assert undo(tmp_path / "run" / "debiased.onnx", tmp_path / "again.onnx", device="cpu").passed
    for more in ([], ["--method", "complaints", "-o", tmp_path / "other"]):
        says = ["holds a repair by complaints", "ntkit export --undo"]
        refused("debias", "--from", tmp_path / "run", *more, says=says)


def test_unrelated_errors_are_refused_and_no_model_is_written(folder, monkeypatch):
    monkeypatch.chdir(folder)
    options = ["unrelated.npz", "--keep", "traffic.npz", "-o", "none", "--device", "cpu"]
    code, out, _ = ntkit("debias", MODEL, *options)
    assert code == 1
    assert "found no common direction of these 30 complaints" in out.splitlines()[0]
    assert json.loads((folder / "none" / "result.json").read_text("utf-8"))["state"] == "kept"
    assert "no common direction" in (folder / "none" / "table.md").read_text("utf-8")
    assert not [*(folder / "none").glob("*.onnx")]
    told = ntkit("debias", MODEL, "--from", "none", "--method", "auto", "-o", "other")
    assert told[0] == 2
    assert "has no other candidates. It kept the original model." in " ".join(told[2].split())
    done(*shlex.split(out.splitlines()[-1].split("ntkit ")[-1]))


def test_a_repair_that_keeps_the_original_leaves_no_earlier_one(folder, monkeypatch):
    monkeypatch.chdir(folder)
    options = ["--keep", "traffic.npz", "-o", "again", "--device", "cpu", "--force"]
    assert ntkit("debias", MODEL, "complaints.npz", *options)[0] == 0
    assert (folder / "again" / "debiased.onnx").exists()
    assert ntkit("debias", MODEL, "unrelated.npz", *options)[0] == 1
    assert not (folder / "again" / "debiased.onnx").exists()
    assert json.loads((folder / "again" / "result.json").read_text("utf-8"))["state"] == "kept"


@pytest.fixture(scope="module")
def optimal(tmp_path_factory):
    """A model whose probabilities are those of its labels, so no head is better."""
    coef = np.zeros((10, 2))
    coef[0], coef[5] = (-1.5, 1.5), (1.5, -1.5)
    model = parsed(
        """(float[N, 5] x) => (float[N, 2] logits) {
            negative = Neg(x)
            both = Concat<axis: int = 1>(x, negative)
            z = Relu(both)
            logits = Gemm(z, coef, bias)
        }""",
        coef=coef, bias=np.zeros(2),
    )  # fmt: skip
    return FrozenModel.load(save(model, tmp_path_factory.mktemp("optimal") / "optimal.onnx"))


@pytest.mark.more
def test_random_errors_of_an_optimal_model_are_no_evidence(optimal):
    written = []
    for n, only in ((40, None), (16, None), (40, 0)):
        for seed in range(6):
            rng = np.random.default_rng(seed)
            X = rng.normal(size=(4000, 5)).astype(np.float32)
            y = (rng.random(4000) < 1 / (1 + np.exp(-3 * X[:, 0]))).astype(int)
            answers = (X[:, 0] > 0).astype(int)
            rows = np.flatnonzero((answers != y) & ((answers == only) | (only is None)))[:n]
            traffic = rng.normal(size=(2000, 5)).astype(np.float32)
            given = {"keep": traffic, "device": "cpu"}
            given["settings"] = DebiasSettings(random_state=seed)
            written.append(debias(optimal, (X[rows], y[rows]), **given).written)
    assert sum(written) <= 1  # the level is 1 % of runs


def test_a_cause_without_direction_is_left_out_by_name(digits, asked):
    """Real complaints 1 → 0, next to samples 0 → 1 that are right but for their label."""
    _, (others, labels), _ = asked
    rows = np.flatnonzero((answers_of(digits.X_test) == 1) & (digits.y_test == 0))[:60]
    unrelated = others[labels == 0][:20]
    result = debias(
        MODEL,
        (np.concatenate([digits.X_test[rows], unrelated]), np.repeat([0, 1], [60, 20])),
        keep=digits.X_train,
        device="cpu",
    )
    used = {cause.name: cause.name in result.repair.used for cause in result.repair.causes}
    assert (result.state, used) == ("written", {"1 → 0": True, "0 → 1": False})
    assert "of 20 fixed; left out, because no common direction was found" in result.summary()
    assert "towards 60 complaints" in result.headline()

    html, frame = result._repr_html_(), result.to_frame()
    assert all(words in html for words in ("towards 60 complaints", "answers changed", "<svg"))
    assert html.count("<tr>") == 1 + len(frame) == 1 + len(result.repair.by_limit)
    (chosen,) = frame[frame["chosen"]].to_dict("records")
    fixed = int(result.repair.choice.fixed.sum())
    assert (chosen["limit"], chosen["complaints"], chosen["fixed"]) == (0.02, 60, fixed)
    assert chosen["low"] < fixed / 60 < chosen["high"]
    with_direction = "complaints with a common direction"
    assert repr(result) == f"ComplaintsResult(written: {fixed} of 60 {with_direction} fixed)"
    assert f"Unseen {with_direction} fixed, cross-fitted: {fixed} of 60 " in result.summary()
    record = result.as_dict()
    assert (record["n_used"], record["n_complaints"]) == (60, 80)


@pytest.mark.more
def test_what_is_no_complaint_and_what_is_no_traffic(digits, asked):
    (X, y), (others, labels), rows = asked
    both = (np.concatenate([X, others[:3], X[:1]]), np.concatenate([y, labels[:3], y[:1]]))
    traffic = np.concatenate([digits.X_train, X[:7]])
    result = debias(MODEL, both, keep=traffic, device="cpu")
    assert (result.n_traffic, result.repair.folds.n) == (2700, 40)
    notes = " ".join(result.notes)
    assert "3 complaints left out: the model's answer is right." in notes
    assert "1 complaint left out: the same content is there twice, such as in rows 0 and 43." in (
        notes
    )
    assert "7 samples of the traffic left out" in notes
    plain = debias(MODEL, (X, y), keep=digits.X_train, device="cpu")
    assert plain.headline() == result.headline()

    # Unseen complaints in the traffic change as surely as those of the user.
    more = np.concatenate([digits.X_train, digits.X_test[rows[:200]]])
    more = debias(MODEL, (X, y), keep=more, max_cost=0.1, device="cpu")
    plain = debias(MODEL, (X, y), keep=digits.X_train, max_cost=0.1, device="cpu")
    assert more.repair.choice.n_alike > plain.repair.choice.n_alike
    assert f"{more.repair.choice.n_alike} of them change as surely" in " ".join(
        more.summary().split()
    )


def test_one_content_with_two_labels_is_refused_in_both_orders(digits, asked):
    X, y = asked[0]
    for labels in ([*y, *(1 - y[:9])], [*(1 - y), *y[:9]]):
        both = np.concatenate([X, X[:9]]), np.array(labels)
        with pytest.raises(InputError, match=r"^9 complaints with two labels: rows 0 and 40 have"):
            debias(MODEL, both, keep=digits.X_train, device="cpu")


def test_complaints_in_a_store_of_traffic_are_no_traffic(digits, asked, tmp_path):
    traffic = np.concatenate([digits.X_validation[:300], asked[0][0]])
    embedder = OnnxEmbedder(FrozenModel.load(MODEL), device="cpu")
    EmbeddingStore.write(tmp_path / "store", embedder, Samples(traffic))
    one, other = (
        debias(MODEL, asked[0], keep=keep, device="cpu") for keep in (traffic, tmp_path / "store")
    )
    assert one.n_traffic == other.n_traffic
    for result in (one, other):
        assert "40 samples of the traffic left out: the complaints" in str(result.notes)


def test_complaints_as_files_in_an_array_of_traffic_are_no_traffic(digits, asked, tmp_path):
    folder = write_images(tmp_path / "complaints", *asked[0])
    steps = ImagePreprocessing.for_model(FrozenModel.load(MODEL))
    seen = read_samples(folder, preprocessing=steps).X[:]
    traffic = np.concatenate([digits.X_validation[:300], seen])
    result = debias(MODEL, folder, keep=traffic, device="cpu")
    assert "40 samples of the traffic left out: the complaints" in str(result.notes)


def test_copies_in_the_traffic_count_once(digits, asked):
    once = digits.X_train[:400]
    results = [
        debias(MODEL, asked[0], keep=traffic, device="cpu")
        for traffic in (once, np.concatenate([once, once[::-1], once]))
    ]
    one, often = (str(result).split("Note")[0].strip() for result in results)
    assert one == often
    assert "800 samples of the traffic left out: copies of others." in results[1].notes


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"n": 4}, "4 complaints that the model gets wrong: at least 5"),
        ({"validation": (np.zeros((2, 1, 20, 20)), [0, 1])}, "validation cannot be combined"),
        ({"method": "auto"}, "method cannot be combined with keep"),
        ({"max_cost": 0}, "max_cost must be a share above 0"),
        ({"complaints_only": True}, "no samples besides the complaints"),
        ({"n_traffic": 49}, "49 samples besides the complaints, and at least 50 are needed"),
        ({"n_traffic": 49, "max_cost": 0.01}, "at least 100 are needed"),
    ],
)
def test_refused(digits, asked, options, says):
    X, y = asked[0]
    n, options = options.pop("n", 40), dict(options)
    traffic = digits.X_train[: options.pop("n_traffic", None)]
    traffic = X if options.pop("complaints_only", False) else traffic
    with pytest.raises(InputError, match=says):
        debias(MODEL, (X[:n], y[:n]), keep=traffic, device="cpu", **options)


def test_the_command_names_what_does_not_go_with_keep(folder):
    files = ["debias", MODEL, folder / "complaints.npz", "--keep", folder / "traffic.npz"]
    refused(*files, "-o", folder / "no", "--spurious", "word:film", says="--spurious cannot be")
    refused(*files, says="a folder")


def test_the_head_that_is_written_keeps_the_limit(digits, asked):
    X, y = asked[0]
    old, traffic = FrozenModel.load(MODEL), np.unique(digits.X_train, axis=0)[:500]
    T = OnnxEmbedder(old, device="cpu").transform(traffic)
    for seed, limit in enumerate([0.01, 0.02, 0.05, 0.1, 0.15, 0.2]):
        options = {"keep": traffic, "max_cost": limit, "device": "cpu"}
        options["settings"] = DebiasSettings(random_state=seed)
        new = debias(MODEL, (X[seed:30], y[seed:30]), **options).model
        assert (old.head.predict(T) != new.head.predict(T)).mean() <= limit


def test_traffic_that_comes_often_counts_as_often(digits, asked):
    """A step that changes few contents may change most of what the model is asked."""
    old, once = FrozenModel.load(MODEL), np.unique(digits.X_train, axis=0)[:500]
    T = OnnxEmbedder(old, device="cpu").transform(once)
    options = {"max_cost": 0.1, "device": "cpu"}
    alone = debias(MODEL, asked[0], keep=once, **options)
    changed = old.head.predict(T) != alone.model.head.predict(T)
    assert 0 < changed.mean() <= 0.1
    often = np.where(changed, 20, 1)
    new = debias(MODEL, asked[0], keep=np.repeat(once, often, axis=0), **options)
    moved = old.head.predict(T) != new.head.predict(T)
    assert np.average(moved, weights=often) <= 0.1 < np.average(changed, weights=often)
    assert f"of {often.sum()}, limit 10 %)" in str(new)
    assert ", with copies " not in str(alone)


def test_a_limit_that_is_too_wide_is_told(digits, asked):
    """If any answer may change, complaints are fixed by chance; a smaller limit is named."""
    result = debias(MODEL, asked[0], keep=digits.X_train[:500], max_cost=1.0, device="cpu")
    assert not result.written
    assert result.repair.choice.fixed.mean() > 0.5
    head, _, less = result.headline().partition("Allow less: --max-cost ")
    assert "so many answers change that as many complaints are fixed by chance" in head
    assert debias(MODEL, asked[0], keep=digits.X_train[:500], max_cost=float(less)).written


TYPES, SIZE = 12, 48
"""Kinds of files, each with letters of its own, and bytes that the model reads."""


def files_like(n, kinds, seed):
    """Files as bytes, and their kinds: most bytes are letters of the kind."""
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.resize(kinds, n))
    letters = 2 * y[:, None] + rng.integers(2, size=(n, 80)) + 97
    noise = rng.integers(97, 97 + 2 * TYPES, size=(n, 80))
    data = np.where(rng.random((n, 80)) < 0.6, letters, noise).astype(np.uint8)
    return [row.tobytes() for row in data], y


def first_bytes(data):
    """What the model reads of a file."""
    tokens = np.full(SIZE, 256, np.int32)
    tokens[: len(data)] = np.frombuffer(data[:SIZE], np.uint8)
    return tokens


def headed(data, donor):
    """A file after a comment of half of what the model reads."""
    return b"#" + donor[:23] + data if donor != data else None


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    """A network over bytes that reads the first ones most, and a head for kinds of files."""
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(1)
    table = np.zeros((257, 2 * TYPES), np.float32)
    table[97 : 97 + 2 * TYPES] = np.eye(2 * TYPES)
    place = np.stack([np.arange(SIZE) < 24, np.arange(SIZE) >= 24]).astype(np.float32) / 24
    rows = Samples(RawInputs(*[files_like(2000, range(TYPES), 0)[0], first_bytes])).X[:]
    Z = np.einsum("pl,nle->npe", place, table[rows]).reshape(len(rows), -1)
    Z[:, 2 * TYPES :] *= 0.05  # training read the beginning
    y = files_like(2000, range(TYPES), 0)[1]
    head = LogisticRegression(C=10, max_iter=500).fit(Z, y)
    W = head.coef_.copy()
    W[:, 2 * TYPES :] += rng.normal(size=W[:, 2 * TYPES :].shape) * 0.01
    model = parsed(
        f"(int32[N, {SIZE}] bytes) => (float[N, {TYPES}] p) {{"
        "hidden = Gather(table, bytes) parts = MatMul(place, hidden)"
        "flat = Flatten<axis = 1>(parts) z = Relu(flat)"
        "raw = MatMul(z, W) y = Add(raw, b) p = Softmax(y) }",
        table=table, place=place * np.array([[1], [1]], np.float32), W=W.T, b=head.intercept_,
    )  # fmt: skip
    return FrozenModel.load(save(model, tmp_path_factory.mktemp("bytes") / "reader.onnx"))


def parts_of(model, kinds, seed, n=400):
    """Files that the model gets right, with its answers."""
    files, y = files_like(n, kinds, seed)
    X = RawInputs(files, first_bytes)
    answers = model.head.predict(OnnxEmbedder(model, device="cpu").transform(X))
    right = np.flatnonzero(answers == y)
    return X.take(right), answers[right]


HEADED = change_from(headed, "comment of 23 bytes", donor=True)


def flip_rate(model, X, y, seed=3):
    """Share of answers that a comment flips."""
    copies, at = HEADED.copies(Samples(X, y), seed=seed)
    embedder = OnnxEmbedder(model, device="cpu")
    one, other = (model.head.predict(embedder.transform(each)) for each in (X, copies.X))
    return float((one[at] != other).mean())


def test_copies_get_the_answers_of_their_originals_and_kept_samples_keep_theirs(reader, tmp_path):
    sources, others = range(6), range(6, TYPES - 1)
    X, y = parts_of(reader, sources, 1)
    kept = parts_of(reader, others, 2)[0]
    result = debias(
        reader, (X, y), keep=kept, invariant=HEADED, max_cost=0.03, device="cpu", out=tmp_path / "o"
    )
    assert result.written, str(result)
    unseen, unseen_others = parts_of(reader, sources, 11), parts_of(reader, others, 12)
    before, after = flip_rate(reader, *unseen), flip_rate(result.model, *unseen)
    assert before > 0.2
    assert after < before / 2
    assert "comment of 23 bytes flips" in str(result)
    n = result.repair.folds.n
    assert f"moved towards {n} flips of changed copies" in result.headline()
    assert "complaint" not in str(result) + result.table()  # nobody complained
    ((name, old, new),) = result.repair.flip_rates
    assert name == HEADED.name
    assert abs(old - before) < 0.1
    assert abs(new - after) < 0.1
    for some, answers in (unseen, unseen_others):
        written = predict(tmp_path / "o" / "debiased.onnx", some, device="cpu").labels
        assert (written != answers).mean() < 0.06
    record = json.loads((tmp_path / "o" / "result.json").read_text())
    assert record["flip_rates"] == [{"name": name, "old": old, "new": new}]
    # A class that no sample has hardly moves.
    moved = np.abs(result.head.coef - reader.head.coef).max(axis=1)
    assert moved[-1] < moved[:6].min()


def test_a_model_that_knows_no_capitals_gives_them_the_answers_of_lower_case(tmp_path):
    """Its embedding tells them; from labels, it would learn their bias as well, and is kept."""
    rng = np.random.default_rng(0)

    def shouted(X):
        return np.array([text.upper() for text in X], dtype=object)

    (X, y), validation, (others, right) = (reviews(rng, n) for n in (600, 400, 600))
    embed = make_pipeline(TfidfVectorizer(lowercase=False), TruncatedSVD(24, random_state=0))
    head = LogisticRegression().fit(embed.fit([*X, *shouted(X)]).transform(X), y)
    steps = [step for _, step in embed.steps]
    model = save_network_of_words(tmp_path / "model.onnx", *steps, head)
    change = {"invariant": "case:upper", "device": "cpu"}
    kept = debias(model, (X, y), validation, **change)
    assert not kept.written
    assert "Perhaps it does not know these spellings" in kept.headline()
    assert "--keep" in kept.headline()
    result = debias(model, validation, keep=X, **change)
    assert result.written, str(result)

    def accuracies(model):
        found = (predict(model, part, device="cpu") for part in (others, shouted(others)))
        return [np.mean(each.labels == right) for each in found]

    old, new = accuracies(model), accuracies(result.model)
    assert old[0] > 0.8
    assert old[1] < 0.6
    assert min(new) > old[0] - 0.02


def test_a_change_that_flips_nothing_and_samples_that_cannot_be_changed_are_refused(reader):
    X, y = parts_of(reader, range(6), 1)
    kept = parts_of(reader, range(6, 11), 2)[0]
    ends = change_from(lambda data: data + b"#", "a last byte")
    with pytest.raises(InputError, match=r"flip 0 of .* and at least 5 flipped answers are needed"):
        debias(reader, (X, y), keep=kept, invariant=ends, device="cpu")
    Z = OnnxEmbedder(reader, device="cpu").transform(X)
    with pytest.raises(InputError, match="embeddings cannot be changed"):
        debias(reader, Samples(Z, y, embedded=True), keep=kept, invariant=ends, device="cpu")


def test_a_head_that_no_last_layer_can_make_better_is_kept(reader):
    X, y = parts_of(reader, range(6), 1)
    kept = parts_of(reader, range(6, 11), 2)[0]
    erased = change_from(lambda data, other: other, "another file", donor=True)
    result = debias(reader, (X, y), keep=kept, invariant=erased, device="cpu")
    assert not result.written
    assert result.headline().startswith("Kept the original model")


def test_the_command_changes_samples_and_keeps_traffic(digits, folder, monkeypatch):
    monkeypatch.chdir(folder)
    right = answers_of(digits.X_validation) == digits.y_validation
    np.savez("right.npz", X=digits.X_validation[right], y=digits.y_validation[right])
    options = ["right.npz", "--keep", "traffic.npz", "--invariant", "image:top left"]
    lines = done(
        "debias", MODEL, *options, "-o", "changed", "--device", "cpu", "--max-cost", "0.1"
    )[0]
    assert "image:top left flips" in lines
    assert (folder / "changed" / "debiased.onnx").is_file()
