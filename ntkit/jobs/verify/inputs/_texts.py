"""Texts, and the ways in which a service may turn them into inputs."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from ntkit._types import Array
from ntkit.inputs import TextPreprocessing, Texts
from ntkit.jobs.verify._change import BATCH_SIZE, Change
from ntkit.jobs.verify.inputs._tokenizer_edits import bare, case_kept, has_case_fold, wrapped

Edit = Callable[[Any], Any]
_LENGTHS = (8, 16, 20, 24, 32, 40, 48, 50, 64, 80, 96, 100, 120, 128, 150, 160, 192, 200, 250,
            256, 300, 320, 384, 400, 448, 500, 510, 512, 768, 1000, 1024, 2048, 4096)  # fmt: skip


@dataclass(frozen=True)
class TextSettings:
    """Steps from a text to inputs."""

    steps: TextPreprocessing
    before: tuple[Callable[[str], str], ...] = ()
    tokenizer: tuple[Edit, ...] = ()
    after: tuple[Callable[[TextPreprocessing, dict[str, Array]], dict[str, Array]], ...] = ()
    swapped: bool = False
    filled: bool = False
    apart: bool = False


class TextSamples:
    """Texts, or pairs of them, and how they may go into the model."""

    def __init__(
        self,
        texts: Sequence[str],
        steps: TextPreprocessing,
        pairs: Sequence[str] | None,
        folder: Path,
    ) -> None:
        self.texts, self.pairs = list(texts), None if pairs is None else list(pairs)
        self.settings = TextSettings(steps)
        self._folder = folder
        self._tokenizers = dict[tuple[Edit, ...], Path | None]()

    def __len__(self) -> int:
        return len(self.texts)

    def changes(self) -> list[Change]:
        """What a service may do otherwise with texts."""
        steps = self.settings.steps
        if steps.tokenizer is None:
            return [*_cases({}), *_others(steps, paired=False)]
        return [
            *_cases(self._content()),
            *_specials(self._content()),
            *_paddings(steps),
            *_lengths(steps),
            *_others(steps, self.pairs is not None),
        ]

    def pipelines(self) -> list[tuple[Change, ...]]:
        """How texts are filled up, together with what is done to all of them."""
        if self.settings.steps.tokenizer is None:
            return []
        content = self._content()
        common = [*_cases(content), *_specials(content)]
        return list(product(_paddings(self.settings.steps), common))

    def inputs(self, settings: TextSettings, rows: Sequence[int]) -> Any:
        """Inputs of the model for some of the texts; None where a change does not apply."""
        steps = settings.steps
        if steps.tokenizer is not None:
            file = self._tokenizer(settings.tokenizer)
            if file is None:
                return None
            steps = replace(steps, tokenizer=file)
        first, second = self.texts, self.pairs
        if settings.swapped and second is not None:
            first, second = second, first
        parts = [
            None if part is None else [_done(settings.before, part[row]) for row in rows]
            for part in (first, second)
        ]
        if settings.filled and steps.fixed_length is None:
            steps = replace(steps, fixed_length=steps.max_length)
        texts = Texts(parts[0] or [], steps, pairs=parts[1])
        return texts if settings == TextSettings(settings.steps) else _Encoded(texts, settings)

    def batch_size(self, settings: TextSettings) -> int:
        """Texts that run together."""
        return 1 if settings.apart else BATCH_SIZE

    def _content(self) -> Any:
        return json.loads(self.settings.steps.tokenizer_path.read_text(encoding="utf-8"))

    def _tokenizer(self, edits: tuple[Edit, ...]) -> Path | None:
        """The tokenizer's file, or one with these edits."""
        if not edits:
            return self.settings.steps.tokenizer_path
        if edits not in self._tokenizers:
            content = self._content()
            for edit in edits:
                content = None if content is None else edit(content)
            file = None
            if content is not None:
                file = self._folder / f"tokenizer{len(self._tokenizers)}.json"
                file.write_text(json.dumps(content), encoding="utf-8")
            self._tokenizers[edits] = file
        return self._tokenizers[edits]


class _Encoded:
    """A lazy sequence of inputs."""

    def __init__(self, texts: Texts, settings: TextSettings) -> None:
        self._texts, self._settings = texts, settings

    def __len__(self) -> int:
        return len(self._texts)

    def __getitem__(self, index: slice) -> dict[str, Array]:
        batch = self._texts[index]
        for step in self._settings.after:
            batch = step(self._settings.steps, batch)
        return batch


def _done(steps: Sequence[Callable[[str], str]], text: str) -> str:
    for step in steps:
        text = step(text)
    return text


# -- what services do otherwise -----------------------------------------------------------------


def _settings(**values: Any) -> Callable[[TextSettings], TextSettings]:
    def apply(settings: TextSettings) -> TextSettings:
        added: dict[str, Any] = {
            name: (*getattr(settings, name), value)
            if name in ("before", "tokenizer", "after")
            else value
            for name, value in values.items()
        }
        return replace(settings, **added)

    return apply


def _steps(**values: Any) -> Callable[[TextSettings], TextSettings]:
    def apply(settings: TextSettings) -> TextSettings:
        return replace(settings, steps=replace(settings.steps, **values))

    return apply


def _cases(content: Mapping[str, Any]) -> list[Change]:
    if has_case_fold(content):
        words = "keeps upper and lower case, where ntkit's tokenizer lower-cases"
        return [
            Change("lower-casing", words, _settings(tokenizer=case_kept)),
            Change(
                "lower-casing",
                f"{words}, and keeps accents",
                _settings(tokenizer=_case_and_accents_kept),
                usual=1,
            ),
        ]
    words = "lower-cases texts first, which ntkit does not"
    return [Change("lower-casing", words, _settings(before=str.lower))]


def _case_and_accents_kept(content: Any) -> Any:
    return case_kept(content, accents=True)


def _specials(content: Mapping[str, Any]) -> list[Change]:
    if content.get("post_processor") is not None:
        words = "adds no special tokens, where ntkit's tokenizer adds them"
        return [Change("special tokens", words, _settings(tokenizer=bare))]
    words = "puts special tokens around texts, which ntkit's tokenizer does not"
    return [Change("special tokens", words, _settings(tokenizer=wrapped))]


def _paddings(steps: TextPreprocessing) -> list[Change]:
    other: Any = "left" if steps.padding == "right" else "right"
    side = f"fills up on the {other}, not on the {steps.padding}"
    found = [Change("padding side", side, _steps(padding=other))]
    if steps.fixed_length is None:
        fills = "fills every text up to the largest length"
        batch = "where ntkit fills a batch up to its longest text"

        def both(settings: TextSettings) -> TextSettings:
            return replace(settings, steps=replace(settings.steps, padding=other), filled=True)

        found += [
            Change("padding side", f"{fills}, on the {other}", both, usual=1),
            Change("padding", f"{fills}, {batch}", _settings(filled=True), usual=1),
            Change("padding", f"runs each text by itself, {batch}", _settings(apart=True), usual=1),
        ]
    if steps.mask is not None:
        words = "gives an attention mask of ones only, over the padding as well"
        found.append(Change("attention mask", words, _settings(after=_all_ones), usual=1))
    return [replace(change, group="padding") for change in found]


def _lengths(steps: TextPreprocessing) -> list[Change]:
    most = steps.fixed_length or max(_LENGTHS)
    found = [
        Change("truncation length", f"keeps at most {n} tokens, ntkit {steps.max_length}",
               _cut_at(n), f"--max-length {n}")
        for n in _LENGTHS
        if n <= most and n != steps.max_length
    ]  # fmt: skip
    other = "left" if steps.truncation == "right" else "right"
    words = f"cuts long texts off on the {other}, not on the {steps.truncation}"
    return [*found, Change("truncation side", words, _steps(truncation=other))]


def _cut_at(n: int) -> Callable[[TextSettings], TextSettings]:
    def apply(settings: TextSettings) -> TextSettings:
        steps = settings.steps
        fixed = steps.fixed_length
        return replace(
            settings,
            steps=replace(
                steps, max_length=n, fixed_length=None if fixed is None else max(fixed, n)
            ),
        )

    return apply


def _others(steps: TextPreprocessing, paired: bool) -> list[Change]:
    found = [
        Change("white space", "makes one blank of every run of white space",
               _settings(before=_one_blank), usual=1),
        Change("white space", "strips white space at both ends", _settings(before=str.strip),
               usual=1),
    ]  # fmt: skip
    if steps.types is not None:
        words = "gives token types of zeros only"
        found.append(Change("token types", words, _settings(after=_no_types)))
    if paired:
        words = "gives the second text of each pair first"
        found.append(Change("order of the pair", words, _settings(swapped=True)))
    return found


def _one_blank(text: str) -> str:
    return " ".join(text.split())


def _all_ones(steps: TextPreprocessing, batch: dict[str, Array]) -> dict[str, Array]:
    if steps.mask is None:
        return batch
    return batch | {steps.mask: np.ones_like(batch[steps.mask])}


def _no_types(steps: TextPreprocessing, batch: dict[str, Array]) -> dict[str, Array]:
    return batch | ({steps.types: np.zeros_like(batch[steps.types])} if steps.types else {})
