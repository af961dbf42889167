"""Make model inputs from texts, by ntkit's preprocessing and with differences of services."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial, reduce
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from ntkit._types import Array
from ntkit.inputs import TextPreprocessing, Texts
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
    tokenizers = dict[tuple[Edit, ...], Path | None]()

    def content() -> dict[str, Any]:
        return json.loads(steps.tokenizer_path.read_text(encoding="utf-8"))  # type: ignore[no-any-return]

    def tokenizer(edits: tuple[Edit, ...]) -> Path | None:
        if edits not in tokenizers:
            edited = reduce(lambda part, edit: part and edit(part), edits, content())
            file = folder / f"tokenizer{len(tokenizers)}.json" if edited else None
            if file is not None:
                file.write_text(json.dumps(edited), encoding="utf-8")
            tokenizers[edits] = file
        return tokenizers[edits]

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
        if steps.tokenizer is None:
            return [*_cases({}), *_others(steps, paired=False)]
        return [
            *_cases(content()),
            *_specials(content()),
            *_paddings(steps),
            *_lengths(steps),
            *_others(steps, pairs is not None),
        ]

    def pipelines() -> list[tuple[Cause, ...]]:
        if steps.tokenizer is None:
            return []
        return list(product(_paddings(steps), [*_cases(content()), *_specials(content())]))

    return Subject(len(texts), inputs, TextSettings(steps), changes, pipelines)


# -- differences of services ----------------------------------------------------------------------


def _cases(content: Mapping[str, Any]) -> list[Cause]:
    parts = _normalizers(content.get("normalizer"))
    if not any(part.get("type") == "Lowercase" or part.get("lowercase") for part in parts):
        words = "lower-cases texts first; ntkit does not"
        return [Cause("lower-casing", words, {"before": str.lower})]
    words = "keeps upper and lower case; ntkit's tokenizer lower-cases"
    return [
        Cause("lower-casing", words, {"edits": _case_kept}),
        Cause("lower-casing", f"{words}, and keeps accents",
              {"edits": partial(_case_kept, accents=True)}, usual=1),
    ]  # fmt: skip


def _specials(content: Mapping[str, Any]) -> list[Cause]:
    words, edit = "adds special tokens; ntkit's tokenizer does not", _wrapped
    if content.get("post_processor") is not None:
        words, edit = "adds no special tokens; ntkit's tokenizer does", _without_special_tokens
    return [Cause("special tokens", words, {"edits": edit})]


def _paddings(steps: TextPreprocessing) -> list[Cause]:
    other = "left" if steps.padding == "right" else "right"
    side, batch = "padding side", "but ntkit pads to the longest text of a batch"
    fills = "pads every text to the largest length"
    table: list[tuple[str, str, dict[str, Any], int]] = [
        (side, f"pads on the {other}, not on the {steps.padding}", {"padding": other}, 0)
    ]
    if steps.fixed_length is None:
        table += [
            (side, f"{fills}, on the {other}", {"padding": other, "filled": True}, 1),
            ("padding", f"{fills}, {batch}", {"filled": True}, 1),
            ("padding", f"runs each text by itself, {batch}", {"batch_size": 1}, 1),
        ]
    if steps.mask is not None:
        words = "has an attention mask of ones, also for the padding"
        ones = partial(_filled_with, name=steps.mask, value=1)
        table.append(("attention mask", words, {"after": ones}, 1))
    return [
        Cause(what, words, values, usual=usual, group="padding")
        for what, words, values, usual in table
    ]


def _lengths(steps: TextPreprocessing) -> list[Cause]:
    most = steps.fixed_length or max(_LENGTHS)
    other = "left" if steps.truncation == "right" else "right"
    words = f"truncates long texts on the {other}, not on the {steps.truncation}"
    return [
        *(
            Cause("truncation length", f"keeps at most {n} tokens, ntkit {steps.max_length}",
                  {"max_length": n}, f"--max-length {n}")
            for n in _LENGTHS
            if n <= most and n != steps.max_length
        ),
        Cause("truncation side", words, {"truncation": other}),
    ]  # fmt: skip


def _others(steps: TextPreprocessing, paired: bool) -> list[Cause]:
    changes = [
        Cause("white space", "replaces every run of white space by one space",
              {"before": lambda text: " ".join(text.split())}, usual=1),
        Cause("white space", "removes white space at both ends", {"before": str.strip}, usual=1),
    ]  # fmt: skip
    if steps.types is not None:
        zeros = partial(_filled_with, name=steps.types, value=0)
        changes.append(Cause("token types", "sets all token types to zero", {"after": zeros}))
    if paired:
        words = "feeds the second text of each pair first"
        changes.append(Cause("order of the pair", words, {"swapped": True}))
    return changes


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
