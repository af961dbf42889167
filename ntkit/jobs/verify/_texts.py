"""Make model inputs from texts, by ntkit's preprocessing and with differences of services."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial, reduce
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from ntkit._types import Array
from ntkit.inputs.text_preprocessing import TextPreprocessing
from ntkit.inputs.texts import Texts
from ntkit.jobs.verify._cause import Cause, LazyBatches, Settings, Subject, done

Edit = Callable[[Any], Any]
_AROUND = (("[CLS]", "[SEP]"), ("<s>", "</s>"))
_LENGTHS = (8, 16, 20, 24, 32, 40, 48, 50, 64, 80, 96, 100, 120, 128, 150, 160, 192, 200, 250,
            256, 300, 320, 384, 400, 448, 500, 510, 512, 768, 1000, 1024, 2048, 4096)  # fmt: skip


@dataclass(frozen=True)
class TextSettings(Settings):
    """Steps from a text to inputs, with steps of services that ntkit does not use."""

    before: tuple[Callable[[str], str], ...] = ()  # functions of a text
    edits: tuple[Edit, ...] = ()  # functions of tokenizer.json; None if one does not apply
    swapped: bool = False  # the two texts of a pair are swapped
    filled: bool = False  # every text is padded to the largest length


def text_subject(
    texts: Sequence[str], steps: TextPreprocessing, pairs: Sequence[str] | None, folder: Path
) -> Subject:
    """Texts or pairs of texts; changed tokenizers are written to a folder for the trials."""

    @cache
    def content() -> dict[str, Any]:
        if steps.tokenizer is None:
            return {}
        return json.loads(steps.tokenizer_path.read_text(encoding="utf-8"))  # type: ignore[no-any-return]

    @cache
    def tokenizer(edits: tuple[Edit, ...]) -> Path | None:
        edited = reduce(lambda part, edit: part and edit(part), edits, content())
        file = folder / f"tokenizer{len([*folder.iterdir()])}.json"
        if edited:
            file.write_text(json.dumps(edited), encoding="utf-8")
        return file if edited else None

    def inputs(settings: TextSettings, rows: Sequence[int]) -> Any:
        changed = settings.steps
        if settings.edits:
            file = tokenizer(settings.edits)
            if file is None:
                return None
            changed = replace(changed, tokenizer=file)
        if settings.filled and changed.fixed_length is None:
            changed = replace(changed, fixed_length=changed.max_length)
        first, second = (
            None if part is None else [done(settings.before, part[row]) for row in rows]
            for part in (texts, pairs)
        )
        if settings.swapped:
            first, second = second, first
        samples = Texts(first or [], changed, pairs=second)
        if settings == TextSettings(settings.steps):
            return samples
        return LazyBatches(len(rows), lambda index: done(settings.after, samples[index]))

    def changes() -> list[Cause]:
        return _changes(steps, content(), pairs is not None)

    def pipelines() -> list[tuple[Cause, ...]]:
        known = [] if steps.tokenizer is None else changes()
        paddings = [change for change in known if change.place == "padding"]
        inner = [each for each in known if each.what in ("lower-casing", "special tokens")]
        return list(product(paddings, inner))

    return Subject(len(texts), inputs, TextSettings(steps), changes, pipelines)


# -- differences of services ----------------------------------------------------------------------


def _changes(steps: TextPreprocessing, content: Mapping[str, Any], paired: bool) -> list[Cause]:
    """Single differences of a service from these preprocessing steps."""
    parts = _normalizers(content.get("normalizer"))
    kept = "keeps upper and lower case; ntkit's tokenizer lower-cases"
    table: list[tuple[str, str, dict[str, Any], int]] = [
        ("lower-casing", kept, {"edits": _case_kept}, 0),
        ("lower-casing", f"{kept}, and keeps accents",
         {"edits": partial(_case_kept, accents=True)}, 1),
    ]  # fmt: skip
    if not any(part.get("type") == "Lowercase" or part.get("lowercase") for part in parts):
        words = "lower-cases texts first; ntkit does not"
        table = [("lower-casing", words, {"before": str.lower}, 0)]
    if steps.tokenizer is not None:
        table += _of_tokens(steps, content)
    table += [
        ("white space", "replaces every run of white space by one space",
         {"before": lambda text: " ".join(text.split())}, 1),
        ("white space", "removes white space at both ends", {"before": str.strip}, 1),
    ]  # fmt: skip
    if steps.types is not None:
        zeros = partial(_filled_with, name=steps.types, value=0)
        table.append(("token types", "sets all token types to zero", {"after": zeros}, 0))
    if paired:
        words = "feeds the second text of each pair first"
        table.append(("order of the pair", words, {"swapped": True}, 0))
    paddings = ("padding side", "padding", "attention mask")
    return [
        Cause(what, words, values,
              f"max_length={values['max_length']}" if "max_length" in values else "",
              usual, "padding" if what in paddings else "")
        for what, words, values, usual in table
    ]  # fmt: skip


def _of_tokens(
    steps: TextPreprocessing, content: Mapping[str, Any]
) -> list[tuple[str, str, dict[str, Any], int]]:
    """Differences of special tokens, padding and truncation."""
    words, edit = "adds special tokens; ntkit's tokenizer does not", _wrapped
    if content.get("post_processor") is not None:
        words, edit = "adds no special tokens; ntkit's tokenizer does", _without_special_tokens
    other, cut = (
        "left" if side == "right" else "right" for side in (steps.padding, steps.truncation)
    )
    pads, batch = f"pads on the {other}", "but ntkit pads to the longest text of a batch"
    fills = "pads every text to the largest length"
    table: list[tuple[str, str, dict[str, Any], int]] = [
        ("special tokens", words, {"edits": edit}, 0),
        ("padding side", f"{pads}, not on the {steps.padding}", {"padding": other}, 0),
    ]
    if steps.fixed_length is None:
        both = {"padding": other, "filled": True}
        table += [
            ("padding side", f"{fills}, on the {other}", both, 1),
            ("padding", f"{fills}, {batch}", {"filled": True}, 1),
            ("padding", f"runs each text by itself, {batch}", {"batch_size": 1}, 1),
        ]
    if steps.mask is not None:
        words = "has an attention mask of ones, also for the padding"
        ones = partial(_filled_with, name=steps.mask, value=1)
        table.append(("attention mask", words, {"after": ones}, 1))
    most = steps.fixed_length or max(_LENGTHS)
    return [
        *table,
        *(
            ("truncation length", f"keeps at most {n} tokens, ntkit {steps.max_length}",
             {"max_length": n}, 0)
            for n in _LENGTHS
            if n <= most and n != steps.max_length
        ),
        ("truncation side",
         f"truncates long texts on the {cut}, not on the {steps.truncation}",
         {"truncation": cut}, 0),
    ]  # fmt: skip


def _filled_with(batch: dict[str, Array], name: str, value: int) -> dict[str, Array]:
    return batch | {name: np.full_like(batch[name], value)}


# -- other settings of a tokenizer --------------------------------------------------------------


def _case_kept(content: dict[str, Any], *, accents: bool = False) -> dict[str, Any]:
    """The tokenizer without lower-casing, with the same treatment of accents."""
    return {**content, "normalizer": _without_fold(content.get("normalizer"), accents)}


def _without_special_tokens(content: dict[str, Any]) -> dict[str, Any]:
    return {**content, "post_processor": None}


def _wrapped(content: dict[str, Any]) -> dict[str, Any] | None:
    """The tokenizer with special tokens around a text; None if the vocabulary lacks them."""
    vocabulary = content.get("model", {}).get("vocab", {})
    added = {token["content"]: token["id"] for token in content.get("added_tokens", [])}
    ids = {**(vocabulary if isinstance(vocabulary, dict) else {}), **added}
    pair = next((pair for pair in _AROUND if all(token in ids for token in pair)), None)
    if pair is None:
        return None
    first, last = ({"SpecialToken": {"id": token, "type_id": 0}} for token in pair)
    one, two = ({"Sequence": {"id": name, "type_id": i}} for i, name in enumerate("AB"))
    end = {"SpecialToken": {"id": pair[1], "type_id": 1}}
    return {
        **content,
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [first, one, last],
            "pair": [first, one, last, two, end],
            "special_tokens": {
                token: {"id": token, "ids": [ids[token]], "tokens": [token]} for token in pair
            },
        },
    }


def _normalizers(part: Any) -> list[dict[str, Any]]:
    if not isinstance(part, dict):
        return []
    if part.get("type") == "Sequence":
        return [one for inner in part.get("normalizers", []) for one in _normalizers(inner)]
    return [part]


def _without_fold(part: Any, accents: bool) -> Any:
    if not isinstance(part, dict):
        return part
    if part.get("type") == "Lowercase":
        return None
    if part.get("type") == "Sequence":
        inner = [_without_fold(one, accents) for one in part.get("normalizers", [])]
        return {**part, "normalizers": [one for one in inner if one is not None]}
    if part.get("lowercase"):  # BERT's tokenizer strips accents by default if it lower-cases
        strip = part.get("strip_accents")
        return {
            **part,
            "lowercase": False,
            "strip_accents": False if accents else (True if strip is None else strip),
        }
    return part
