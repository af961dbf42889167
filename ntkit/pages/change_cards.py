"""Changes of the input on a page: in words, with originals next to changed copies."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any

from ntkit._html import brief, cells_of
from ntkit._key import parts_of_change
from ntkit._text import one_line
from ntkit.samples.looks import Inputs, thumbnail_of

_IMAGE_CHANGES = {
    "border": "The border of the image replaced by that of another image",
    "centre": "The centre of the image replaced by that of another image",
    "high frequencies": "The fine detail of the image replaced by that of another image",
    "blur": "The image blurred",
    "jpeg": "The image saved with losses (JPEG)",
    "grey": "The image in grey",
    "brightness": "The image with another brightness",
    "contrast": "The image with another contrast",
    "resize": "The image shrunk and enlarged again",
    "noise": "The image with noise",
}
_TEXT_CHANGES = {
    "markup": "Mark-up removed",
    "markup=both": "Mark-up removed or added",
    "case:lower": "All letters in lower case",
    "case:upper": "All letters in capitals",
    "case:title": "Each word with a capital",
    "space": "The letters of each text apart",
    "punctuation": "The final mark left out or added",
    "punctuation=all": "All punctuation left out",
    "names": "Given names replaced by others",
    "segment:first": "The first sentence replaced by that of another text",
    "segment:last": "The last sentence replaced by that of another text",
}
_TOKENS = re.compile(r"\s+|\w+|[^\w\s]")
_BEFORE, _LONGEST = 80, 260  # characters of a text before the first change, and in all


@dataclass(frozen=True, eq=False)
class ShownChange:
    """Results of a change, and examples before and after it."""

    facts: Mapping[str, Any]
    before: Inputs
    after: Inputs
    told: Sequence[str] = ()  # sentences


def change_in_words(name: str) -> str:
    """A change in plain words, from its text form."""
    first, *others = parts_of_change(name)
    how, what = first.value, f"“{brief(first.what)}”"
    if first.kind == "image":
        default = f"The {first.what} of the image replaced by that of another image"
        return _IMAGE_CHANGES.get(first.what, default) + (f" ({how})" if how else "")
    if name in _TEXT_CHANGES:
        return _TEXT_CHANGES[name]
    if first.kind in ("append", "prepend"):
        of_file = first.what.startswith("@") and not first.what.startswith("@@")
        what = f"A line of {brief(first.what[1:])}" if of_file else what
        return f"{what} put {'before' if first.kind == 'prepend' else 'after'} each text"
    if name.startswith("typos="):
        return f"Typing errors in words of each text ({name.removeprefix('typos=')})"
    if first.kind == "word" and others:
        return f"{' and '.join([what, *(f'“{brief(part.what)}”' for part in others)])} exchanged"
    if first.kind == "word":
        done = {"in": "added", "both": "removed or added"}.get(how, "removed")
        return f"The word {what} {done}"
    if first.kind == "column":
        columns = " and ".join([what, *(f"“{brief(part.what)}”" for part in others)])
        value = f"set to {brief(how.replace('|', ' or '))}" if how else "taken from another sample"
        return f"{columns} {value}"
    return brief(name)


def _control_in_words(name: str) -> str:
    if name.endswith(", elsewhere"):
        return "control: an equal area elsewhere"
    if name.startswith("a word as frequent as "):
        return "control: another word of equal frequency removed"
    if name.startswith("other words, as frequent as "):
        return "control: other words of equal frequency replaced"
    if name.startswith("unknown words "):
        return "control: unknown words in the same places"
    if name.startswith("frequent words of the length of "):
        return "control: frequent words of the same length"
    return "control: a random change of equal size"


KEEPS_THE_CLASS = "Does this change keep the true class of every image?"
"""Question about a change of images, on the page and in the terminal."""
SEEN = 3
"""Number of examples that a person must see to answer whether a change keeps the class."""


def may_confirm(name: str, n_seen: int) -> bool:
    """Whether a person who sees so many copies may say that a change keeps the class."""
    return parts_of_change(name)[0].kind == "image" and n_seen >= SEEN


def change_card(change: ShownChange, *, asks: bool) -> dict[str, Any]:
    """A change in words, with its bars and examples; a change of images can have a question."""
    facts, pairs = change.facts, _pairs(change)
    name, n, flips = facts["name"], facts["n"], round(facts["flips"] * facts["n"])
    more = "significantly" if facts["flips_more"] else "not significantly"
    sentence = f"None of {n} predictions flips."
    if flips:
        sentence = f"{flips} of {n} predictions flip, {more} more than under the control."
    n_seen = sum(all(look["image"] for look in pair["looks"]) for pair in pairs)
    asked = asks and may_confirm(name, n_seen)
    return {
        "name": brief(name),
        "entry": json.dumps({"name": f"change {name}", "values": [[name]]}) if asked else None,
        "title": change_in_words(name),
        "sentence": sentence,
        "bars": [
            bar(
                label,
                facts[kind],
                facts[interval],
                n,
                f"{100 * facts[kind]:.0f}\N{NO-BREAK SPACE}%",
            )
            for label, kind, interval in (
                ("this change", "flips", "flips_interval"),
                (_control_in_words(facts["control"]), "control_flips", "control_interval"),
            )
        ],
        "flips_more": facts["flips_more"],
        "told": " ".join(change.told),
        "pairs": pairs,
        "examples": _examples_in_words([pair["flips"] for pair in pairs]),
        "p_value": f"{facts['p_value']:.1g}",
        "margin": f"{facts['beyond_control']:.2f}",
    }


def _examples_in_words(flips: Sequence[bool]) -> str:
    """What the examples of a change show, by whether each prediction flips."""
    n = sum(flips)
    if n == len(flips):
        return "Random examples of flipped predictions"
    return f"Random examples, {n or 'none'} of {len(flips)} with a flipped prediction"


def bar(label: str, share: float, bounds: Sequence[float], n: int, shown: str) -> dict[str, Any]:
    """A share of n samples with its interval, in percent."""
    low, high = (100 * bound for bound in bounds)
    values = {"accuracy": 100 * share, "low": low, "high": high}
    return {"label": label, "shown": shown, "count": n, **values}


def _pairs(change: ShownChange) -> list[dict[str, Any]]:
    """Originals and their changed copies, and whether their predictions flip."""
    examples = change.facts["examples"]
    images = [
        {row: thumbnail_of(image) for row, image in inputs.images_of(range(len(examples)))}
        for inputs in (change.before, change.after)
    ]
    pairs = []
    for i, example in enumerate(examples):
        texts: Any = ((), ())
        if change.before.texts is not None and change.after.texts is not None:
            texts = differing(str(change.before.texts[i]), str(change.after.texts[i]))
        before, after = change.before.table or {}, change.after.table or {}
        both = [name for name in before if name in after]
        changed = {name: "this" for name in both if str(before[name][i]) != str(after[name][i])}
        looks = [
            {
                "image": images[which].get(i),
                "text": texts[which],
                "cells": cells_of([inputs.table or {}], i, changed, max(3, len(changed)))[0],
                "says": f"“{brief(str(example[key]))}”",
            }
            for which, (inputs, key) in enumerate(
                ((change.before, "predicted"), (change.after, "after"))
            )
        ]
        flips = example["predicted"] != example["after"]
        pairs.append({"name": brief(change.before.title(i)), "looks": looks, "flips": flips})
    return pairs


def differing(text: str, copy: str) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """A text and its copy from the first difference on, in parts with marks on differences.

    >>> differing("a good movie", "a good film")
    ([('a good', ''), (' ', ''), ('movie', 'this')], [('a good', ''), (' ', ''), ('film', 'this')])
    """
    one, two = (_TOKENS.findall(each) for each in (text, copy))
    same = next((i for i, (a, b) in enumerate(zip(one, two, strict=False)) if a != b), None)
    start = min(len(one), len(two)) if same is None else same
    length = 0
    while start and length < _BEFORE:
        start -= 1
        length += len(one[start])
    one, two = (_first(each[start:]) for each in (one, two))
    parts: tuple[list[tuple[str, str]], list[tuple[str, str]]] = ([], [])
    for tag, a, b, c, d in SequenceMatcher(None, one, two, autojunk=False).get_opcodes():
        mark = "" if tag == "equal" else "this"
        for of, tokens in zip(parts, (one[a:b], two[c:d]), strict=True):
            piece = "".join(tokens)
            inner = piece.strip()
            before, _, after = piece.partition(inner) if inner else (piece, "", "")
            # White space is not marked.
            shown = ((_shown(before), ""), (_shown(inner), mark), (_shown(after), ""))
            of += [part for part in shown if part[0]]
    cut = [("… ", "")] if start else []
    return [*cut, *parts[0]], [*cut, *parts[1]]


def _first(tokens: Sequence[str]) -> list[str]:
    """Tokens up to a length, with … at the end if more follow."""
    kept, length = list[str](), 0
    for token in tokens:
        kept.append(token[:_LONGEST])
        length += len(token)
        if length > _LONGEST:
            return [*kept, " …"]
    return kept


def _shown(piece: str) -> str:
    """White space as single spaces."""
    return one_line(piece) or " " * bool(piece)
