"""Texts become the arrays that transformers makes of them, whatever the batch."""

import hashlib
import json
import pickle
import sys
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import tokenizers
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from onnx import TensorProto

from ntkit import FrozenModel, LinearHead, OnnxEmbedder
from ntkit.exceptions import InputError, MissingDependencyError
from ntkit.extraction import TextPreprocessing, Texts, read_samples
from tests.texts import WORDS, text_model, word_pieces, write_json

TEXTS = ["The quick brown fox", "", "a dog, unable.", "runs running unrunable " * 5, "猫 é fox"]


def whole_words():
    """No special tokens at all, and padding at the end of the vocabulary."""
    vocabulary = {token: i for i, token in enumerate(["<unk>", *WORDS, "<pad>"])}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    return tokenizer


@pytest.fixture
def folder(tmp_path):
    """A folder as save_pretrained leaves it, without the model."""
    word_pieces().save(str(tmp_path / "tokenizer.json"))
    settings = {"pad_token": "[PAD]", "unk_token": "[UNK]", "model_max_length": 12,
                "cls_token": "[CLS]", "sep_token": "[SEP]", "mask_token": "[MASK]",
                "tokenizer_class": "PreTrainedTokenizerFast"}  # fmt: skip
    write_json(tmp_path / "tokenizer_config.json", settings)
    return tmp_path


def steps_in(folder, **options):
    return TextPreprocessing(folder / "tokenizer.json", **{"max_length": 12, **options})


# -- what comes out -----------------------------------------------------------------------------


def by_hand(tokenizer, texts, max_length, *, left=False, pad_id=0):
    rows = [tokenizer.encode(text).ids for text in texts]
    rows = [r if len(r) <= max_length else [*r[: max_length - 1], r[-1]] for r in rows]
    width = max(map(len, rows))
    ids, mask = np.full((len(rows), width), pad_id), np.zeros((len(rows), width), int)
    for i, row in enumerate(rows):
        at = slice(width - len(row), None) if left else slice(len(row))
        ids[i, at], mask[i, at] = row, 1
    return ids, mask


@pytest.mark.parametrize("side", ["right", "left"])
def test_token_ids_and_mask(side, folder):
    X = Texts(TEXTS, steps_in(folder, padding=side))[:]
    ids, mask = by_hand(word_pieces(), TEXTS, 12, left=side == "left")
    assert_array_equal(X["input_ids"], ids)
    assert_array_equal(X["attention_mask"], mask)
    assert X.keys() == {"input_ids", "attention_mask"}
    assert X["input_ids"].dtype == X["attention_mask"].dtype == np.int64
    named = steps_in(folder, ids="ids", mask=None, types="segment_ids", dtype="int32")
    few = Texts(TEXTS, named)[:2]
    assert few.keys() == {"ids", "segment_ids"}
    assert {array.dtype for array in few.values()} == {np.dtype(np.int32)}
    tokenizer = word_pieces()  # its own padding and truncation do not count twice
    tokenizer.enable_padding(length=50)
    tokenizer.enable_truncation(3)
    tokenizer.save(str(folder / "tokenizer.json"))
    again = Texts(TEXTS, steps_in(folder, padding=side))[:]
    assert_array_equal(again["input_ids"], ids)


def test_truncation_keeps_the_special_tokens_and_a_fixed_length_is_filled(folder):
    the, quick, fox, jumps = (5 + WORDS.index(w) for w in ("the", "quick", "fox", "jumps"))
    for side, kept in (("right", [the, quick]), ("left", [fox, jumps])):
        steps = steps_in(folder, max_length=4, truncation=side)
        ids = Texts(["the quick brown fox jumps"], steps)[:]["input_ids"]
        assert ids.tolist() == [[2, *kept, 3]]
    X, short = (Texts(TEXTS, steps_in(folder, **o))[:] for o in ({"fixed_length": 20}, {}))
    assert X["input_ids"].shape == (5, 20)
    assert_array_equal(X["input_ids"][:, :12], short["input_ids"])
    assert not X["attention_mask"][:, 12:].any()


def test_the_padding_token_is_the_tokenizers(tmp_path):
    whole_words().save(str(tmp_path / "tokenizer.json"))
    texts, pad_id = ["the dog", "fox"], len(WORDS) + 1
    X = Texts(texts, steps_in(tmp_path, mask=None))[:]
    assert X["input_ids"][1].tolist() == [WORDS.index("fox") + 1, pad_id]
    named = Texts(texts, steps_in(tmp_path, pad_token="the"))[:]
    assert named["input_ids"][1].tolist() == [WORDS.index("fox") + 1, 1]
    empty = Texts(["", " "], steps_in(tmp_path))[:]
    assert empty["input_ids"].tolist() == [[pad_id]] * 2
    assert empty["attention_mask"].tolist() == [[0], [0]]
    assert Texts([], steps_in(tmp_path))[:]["input_ids"].shape == (0, 1)
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel({"a": 0, "b": 1}, unk_token="a"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    tokenizer.save(str(tmp_path / "tokenizer.json"))  # without any: the mask must do
    X = Texts(["b b", "b"], steps_in(tmp_path))[:]
    assert X["input_ids"].tolist() == [[1, 1], [1, 0]]
    with pytest.raises(InputError, match="no padding token, and the model has no attention mask"):
        Texts(["b b", "b"], steps_in(tmp_path, mask=None))[:]


# -- pairs --------------------------------------------------------------------------------------

PAIRS = [("the quick fox", "a dog"), ("fox", ""), ("the quick brown fox jumps over", "a lazy dog")]


@pytest.mark.parametrize("make", [word_pieces, whole_words])
def test_pairs_are_what_the_tokenizer_makes_of_them(make, folder):
    make().save(str(folder / "tokenizer.json"))
    pad = "[PAD]" if make is word_pieces else "<pad>"
    for side, length in product(("right", "left"), (6, 8, 40)):
        steps = steps_in(folder, max_length=length, truncation=side, types="token_type_ids")
        X = Texts((a for a, _ in PAIRS), steps, pairs=(b for _, b in PAIRS))
        tokenizer = make()
        tokenizer.enable_truncation(length, strategy="longest_first", direction=side)
        tokenizer.enable_padding(pad_id=tokenizer.token_to_id(pad), pad_token=pad)
        wanted, batch = tokenizer.encode_batch(PAIRS), X[:]
        assert batch["input_ids"].tolist() == [one.ids for one in wanted]
        assert batch["token_type_ids"].tolist() == [one.type_ids for one in wanted]
        assert batch["attention_mask"].tolist() == [one.attention_mask for one in wanted]
        assert max(map(sum, batch["token_type_ids"].tolist())) > 0
        window = X.window(1, 3).batch([1])
        assert window["input_ids"].tolist() == X[2:]["input_ids"].tolist()


# -- windows ------------------------------------------------------------------------------------

SENTENCES = st.lists(
    st.lists(st.sampled_from([*WORDS, "Fox", "unable", "猫"]), max_size=20).map(" ".join),
    min_size=1,
    max_size=8,
)


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(texts=SENTENCES, data=st.data())
@pytest.mark.parametrize("side", ["right", "left"])
def test_a_batch_is_its_texts_and_nothing_else(side, texts, data, folder):
    X = Texts(texts, steps_in(folder, types="token_type_ids", padding=side))
    start = data.draw(st.integers(0, len(texts) - 1))
    stop = data.draw(st.integers(start + 1, len(texts)))
    rows = data.draw(st.lists(st.integers(0, stop - start - 1), min_size=1))
    window = X.window(start, stop)
    alone = [X[i : i + 1] for i in range(start, stop)]
    assert window.lengths.tolist() == [one["input_ids"].shape[1] for one in alone]
    batch = window.batch(rows)
    assert batch["input_ids"].shape == (len(rows), window.lengths[rows].max())
    for i, row in enumerate(rows):
        there = batch["attention_mask"][i] == 1
        assert_array_equal(batch["input_ids"][i][there], alone[row]["input_ids"][0])
        assert not batch["input_ids"][i][~there].any()
        assert there[0 if side == "right" else -1]


def test_texts_are_a_lazy_sequence(folder):
    X = Texts(TEXTS, steps_in(folder))
    assert len(X) == 5
    assert_array_equal(X[3:]["input_ids"], X.window(3, 5).batch([0, 1])["input_ids"])
    copy = pickle.loads(pickle.dumps(X))
    assert_array_equal(copy[:]["input_ids"], X[:]["input_ids"])
    assert X.sha256() == copy.sha256()
    assert len({Texts(t, X.preprocessing).sha256() for t in (["ab", "c"], ["a", "bc"])}) == 2


# -- found next to a model ----------------------------------------------------------------------


def test_the_tokenizer_beside_the_model_is_found(folder):
    steps = TextPreprocessing.for_model(text_model(folder))
    assert steps == steps_in(folder, pad_token="[PAD]")
    inside = text_model(folder / "onnx")
    assert TextPreprocessing.for_model(inside) == steps
    assert TextPreprocessing.for_model(text_model(folder / "other")) is None
    (folder / "tokenizer.json").rename(folder / "words.json")
    assert TextPreprocessing.for_model(text_model(folder)) is None
    given = TextPreprocessing.for_model(text_model(folder), folder / "words.json")
    assert given.tokenizer == folder / "words.json"
    (folder / "words.json").rename(folder / "tokenizer.json")
    other = text_model(folder / "other")
    assert TextPreprocessing.for_model(other, folder).tokenizer == folder / "tokenizer.json"
    with pytest.raises(InputError, match=r"tokenizer\.json does not exist"):
        TextPreprocessing.for_model(other, folder / "other")


@pytest.mark.parametrize(
    "names",
    [
        ("input_ids", "attention_mask", "token_type_ids"),
        ("input.1", "mask", None),
        ("ids", None, None),
        ("input_word_ids", "input_mask", "input_type_ids"),
        ("input_ids:0", "input_mask:0", "segment_ids:0"),
    ],
)
def test_inputs_are_known_by_their_usual_names(names, folder):
    names = dict(zip(("ids", "mask", "types"), names, strict=True))
    for dtype, name in ((TensorProto.INT64, "int64"), (TensorProto.INT32, "int32")):
        steps = TextPreprocessing.for_model(text_model(folder, dtype=dtype, **names))
        assert {role: getattr(steps, role) for role in names} == names
        assert steps.dtype == name


def test_positions_count_from_the_first_token(folder):
    found = TextPreprocessing.for_model(text_model(folder, others=("position_ids",)))
    assert found.positions == "position_ids"
    for side in ("left", "right"):
        batch = Texts(["a", "a b c"], replace(found, padding=side))[:]
        there = batch["attention_mask"].astype(bool)
        for row, mask in zip(batch["position_ids"], there, strict=True):
            assert row[mask].tolist() == list(range(mask.sum()))


def test_models_that_take_no_texts(folder, model):
    others = (text_model(folder, others=(name,)) for name in ("pixel_values", "decoder_mask"))
    for one in (model, *others):
        assert TextPreprocessing.for_model(one) is None
        with pytest.raises(InputError, match=r"are not those of a text model.*Leave out --token"):
            TextPreprocessing.for_model(one, folder)


@pytest.mark.parametrize(
    ("settings", "config", "wanted"),
    [
        ({}, {}, 512),
        ({"model_max_length": int(1e30)}, {}, 512),
        ({"model_max_length": 1e30}, {"max_position_embeddings": 77}, 77),
        ({"model_max_length": 128}, {"max_position_embeddings": 512}, 128),
        ({"model_max_length": 1024}, {"max_position_embeddings": 512}, 512),
        ({}, {"model_type": "roberta", "max_position_embeddings": 514, "pad_token_id": 1}, 512),
        ({}, {"model_type": "xlm-roberta", "max_position_embeddings": 514}, 512),
        ({}, {"model_type": "bert", "max_position_embeddings": 514, "pad_token_id": 1}, 514),
        ({}, {"model_type": "gpt2", "n_positions": 1024}, 1024),
        ({"model_max_length": None}, {"max_position_embeddings": "many"}, 512),
    ],
)
def test_the_largest_length_is_what_the_files_allow(settings, config, wanted, folder):
    write_json(folder / "tokenizer_config.json", settings)
    write_json(folder / "config.json", config)
    model = text_model(folder)
    assert TextPreprocessing.for_model(model).max_length == wanted
    assert TextPreprocessing.for_model(model, max_length=16).max_length == 16
    fixed = text_model(folder, shape=("batch", 32))
    assert TextPreprocessing.for_model(fixed).max_length == 32
    assert TextPreprocessing.for_model(fixed, max_length=99).max_length == 32
    assert TextPreprocessing.for_model(fixed).fixed_length == 32


def test_the_truncation_that_a_tokenizer_was_saved_with_counts(folder):
    tokenizer, model = word_pieces(), text_model(folder)
    tokenizer.enable_truncation(48)
    tokenizer.save(str(folder / "tokenizer.json"))
    for config, wanted, source in (
        ({}, 48, "as tokenizer.json says"),
        ({"model_max_length": 512}, 48, "as tokenizer.json says"),
        ({"model_max_length": 32}, 32, "as tokenizer_config.json says"),
    ):
        write_json(folder / "tokenizer_config.json", config)
        steps = TextPreprocessing.for_model(model)
        assert steps.max_length == wanted
        said = f"Texts: at most {wanted} tokens, cut off on the right; {source}."
        assert steps.describe() == said
        if wanted == 48:
            as_its_makers_do = [e.ids for e in tokenizer.encode_batch(["the fox " * 40])]
            assert Texts(["the fox " * 40], steps)[:]["input_ids"].tolist() == as_its_makers_do
        assert TextPreprocessing.for_model(model, max_length=99).max_length == 99


TEXTS_OF_MANY_LENGTHS = ["the fox", "a lazy dog jumps over the quick brown fox", "dog", "fox", ""]


def test_a_model_without_a_mask_never_sees_the_texts_beside(folder):
    """It would take the padding for words."""
    model = text_model(folder, mask=None)
    steps = TextPreprocessing.for_model(model)
    texts = Texts([*TEXTS_OF_MANY_LENGTHS, *TEXTS_OF_MANY_LENGTHS], steps)
    assert "never padded" in steps.describe()
    alone = np.concatenate(
        [OnnxEmbedder(model, device="cpu").transform(texts[i : i + 1]) for i in range(len(texts))]
    )
    for size in (1, 3, 64):
        embedder = OnnxEmbedder(model, device="cpu", batch_size=size)
        assert_allclose(embedder.transform(texts), alone, rtol=1e-6)


def test_a_model_without_a_mask_is_filled_up_as_its_tokenizer_says(folder):
    tokenizer = word_pieces()
    tokenizer.enable_padding(length=12)
    tokenizer.enable_truncation(12)
    tokenizer.save(str(folder / "tokenizer.json"))
    steps = TextPreprocessing.for_model(text_model(folder, mask=None))
    ids = [e.ids for e in tokenizer.encode_batch(TEXTS_OF_MANY_LENGTHS)]
    assert Texts(TEXTS_OF_MANY_LENGTHS, steps)[:]["input_ids"].tolist() == ids
    masked = TextPreprocessing.for_model(text_model(folder))
    assert masked.fixed_length is None  # the mask hides it


def test_a_model_that_ntkit_wrote_knows_how_long_its_texts_were(folder):
    model = text_model(folder)
    steps = TextPreprocessing.for_model(model, max_length=7)
    said = {"ntkit.preprocessing": json.dumps(steps.as_dict())}
    written = model.with_provenance(said)
    assert TextPreprocessing.for_model(model).max_length != 7
    found = TextPreprocessing.for_model(written, folder)
    assert (found, found.source) == (steps, "as the model's metadata say")
    assert TextPreprocessing.for_model(written, folder, max_length=9).max_length == 9
    (folder / "tokenizer.json").write_text((folder / "tokenizer.json").read_text() + " ")
    other = TextPreprocessing.for_model(written, folder)
    assert (other.max_length, other.source) == (
        7, "as the model's metadata say, though of another tokenizer"
    )  # fmt: skip
    texts = [
        said["ntkit.preprocessing"].replace('"max_length": 7', f'"max_length": {value}')
        for value in ('""', "7.5", "true", "-1", "null")
    ]
    for damaged in ("[", "[]", '{"max_length": 7}', *texts):
        odd = model.with_provenance({"ntkit.preprocessing": damaged})
        found = TextPreprocessing.for_model(odd, folder)
        assert found.max_length == TextPreprocessing.for_model(model, folder).max_length


def test_sides_and_padding_come_from_the_files(folder):
    tokenizer = word_pieces()
    tokenizer.enable_padding(direction="left", pad_token="[MASK]", pad_id=4)
    tokenizer.enable_truncation(5, direction="left")
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").unlink()
    steps = TextPreprocessing.for_model(text_model(folder))
    assert (steps.padding, steps.truncation, steps.pad_token) == ("left", "left", "[MASK]")
    settings = {"padding_side": "right", "truncation_side": "right",
                "pad_token": {"content": "[PAD]", "special": True}}  # fmt: skip
    write_json(folder / "tokenizer_config.json", settings)
    steps = TextPreprocessing.for_model(text_model(folder))
    assert (steps.padding, steps.truncation, steps.pad_token) == ("right", "right", "[PAD]")


def test_damaged_files_are_named(folder):
    for name in ("config.json", "tokenizer_config.json", "tokenizer.json"):
        for content in (b"", b"[]", b"\xff", b"[" * 100_000):
            (folder / name).write_bytes(content)
            with pytest.raises(InputError, match=rf"{name} is not a (readable JSON f|JSON object)"):
                TextPreprocessing.for_model(text_model(folder))
        (folder / name).write_text("{}")


# -- what cannot be used ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("texts", "options", "words"),
    [
        ((), {"max_length": 0}, "at least 1 token; got 0"),
        ((), {"truncation": "middle"}, "truncation must be 'right' or 'left'; got 'middle'"),
        ((), {"padding": "both"}, "padding must be 'right' or 'left'; got 'both'"),
        ((), {"fixed_length": 8}, "max_length=12 is more than the model's 8 tokens"),
        (["a"], {"max_length": 2}, "max_length=2 is too short .* 2 special tokens"),
        (["a", float("nan")], {}, "Sample 1 is nan, not a text"),
        (["fine", "a \ud800"], {}, r"The text 'a \\ud800' contains half a character"),
        ((["a", "b"], ["c"]), {}, "2 texts, but 1 second texts"),
        ((["a"], [None]), {}, "Sample 0 is None, not a text"),
        ((["a"], ["\ud800"]), {}, "half a character"),
        ((["a"], ["b"]), {"max_length": 3}, "max_length=3 is too short for a pair of texts"),
        (["the", "the dog"], {"pad_token": "<none>"}, "padding token '<none>' is not in"),
    ],
)
def test_texts_and_settings_that_are_refused(texts, options, words, folder):
    first, second = texts if isinstance(texts, tuple) and texts else (texts, None)
    with pytest.raises(InputError, match=words):
        Texts(first, steps_in(folder, **options), pairs=second)[:]


def test_a_tokenizer_that_cannot_be_used(folder, monkeypatch):
    steps, gone = steps_in(folder), TextPreprocessing(folder / "nothing.json")
    digest = hashlib.sha256((folder / "tokenizer.json").read_bytes()).hexdigest()
    assert steps.as_dict()["tokenizer_sha256"] == digest
    assert str(folder) not in json.dumps(steps.as_dict())
    with pytest.raises(InputError, match=r"nothing\.json cannot be read"):
        gone.as_dict()
    with pytest.raises(InputError, match=r"tokenizer .*nothing\.json does not exist"):
        Texts(["a"], gone)[:]
    (folder / "tokenizer.json").write_text('{"model": {"type": "Unheard of"}}')
    with pytest.raises(InputError, match=r"tokenizer\.json is not a usable tokenizer\.json") as e:
        Texts(["a"], steps)[:]
    assert "\n" not in str(e.value)
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(MissingDependencyError, match="pip install tokenizers"):
        Texts(["a"], steps_in(folder))[:]


# -- all of it ----------------------------------------------------------------------------------


def test_from_a_table_of_texts_to_embeddings_of_the_pooled_model(folder, zoo):
    model = text_model(folder)
    lines = [json.dumps({"text": text or ".", "label": i % 2}) for i, text in enumerate(TEXTS * 8)]
    (folder / "t.jsonl").write_text("\n".join(lines))
    samples = read_samples(folder / "t.jsonl", preprocessing=TextPreprocessing.for_model(model))
    Z = OnnxEmbedder(model, device="cpu", batch_size=3).transform(samples.X)
    table = zoo.run(model.body(), samples.X[:])[model.embedding.name]
    assert_allclose(Z, table, rtol=1e-5, atol=1e-6)
    head = LinearHead(np.ones((2, 6)), np.zeros(2), np.arange(2))
    debiased = FrozenModel.load(model.with_head(head).save(folder / "out.onnx"))
    assert TextPreprocessing.for_model(debiased) == TextPreprocessing.for_model(model)
