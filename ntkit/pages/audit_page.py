"""Page of an audit: findings in plain words, examples, and questions."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from shlex import quote
from typing import Any
from urllib.parse import quote as quoted_address

import numpy as np

from ntkit._html import brief, cells_of, offline_page
from ntkit._key import OF_A_LAYER, OF_A_TABLE, Key, shown
from ntkit._text import one_line
from ntkit._types import Array
from ntkit.attributes.activations import layer_of
from ntkit.attributes.findings import (
    NAMELESS,
    SHOWN,
    AuditedPredictions,
    Finding,
)
from ntkit.attributes.image_statistics import OF_COLOUR
from ntkit.attributes.word_lists import places_of
from ntkit.metrics import Row
from ntkit.pages.change_cards import KEEPS_THE_CLASS, ShownChange, bar, change_card, change_in_words
from ntkit.samples.looks import Inputs, Unlabelled, thumbnail_of

_AROUND = 130  # characters before and after a word
_MOST_NOUNS = 4  # attributes of a value that a question names
_HEIGHT = {
    " high": ("a high", "the highest part", "is lower"),
    " low": ("a low", "the lowest part", "is higher"),
    " above the median": ("an above-median", "the upper half", "is below the median"),
}
_BRIGHT = {  # of a part of an image: adjective, which samples, and the opposite
    " high": ("a bright", "the highest part", "a darker"),
    " low": ("a dark", "the lowest part", "a brighter"),
    " above the median": ("a fairly bright", "the upper half", "a darker"),
}
_MUCH = {  # of a colour: how much, which samples, and the opposite
    " high": ("much {}", "the highest part", "less {}"),
    " low": ("little {}", "the lowest part", "more {}"),
    " above the median": ("more {} than usual", "the upper half", "less {}"),
}
_CONDITIONS = {  # of a column: the title, what has it, and what lacks it
    " missing": ("{} is missing", "a missing {}", "a known {}"),
    ">=": ("{} is {} or more", "{} of {} or more", "{} of less than {}"),
    "=": ("{} is {}", "the value {1} of {0}", "another value of {}"),
}
_CLUSTER = re.compile(r" cluster \d+$")
_WHICH = re.compile(r" \(the (?:highest part|lowest part|upper half)\)")
_INFERRED = (
    "A program measured this, and it has no name. Look at the examples: what do those on one side "
    "have in common?"
)
_SEEN = (
    "This is a feature that the model has learned, and it has no name. Compare the two sides: what "
    "do the examples of one side have in common? If you cannot tell, answer that you are not "
    "sure."
)
_SHOWING = {
    " high": ("with much of it", "with less of it"),
    " low": ("with little of it", "with more of it"),
    " above the median": ("with more of it", "with less of it"),
}


@dataclass(frozen=True)
class Wording:
    """An attribute in words."""

    title: str
    noun: str
    having: str
    lacking: str
    hint: str = ""


def wording(
    name: str,
    kind: str,
    columns: Collection[str] = (),
    layers: Sequence[str] = (),
    conditions: Sequence[str] = (),
) -> Wording:
    """An attribute in words, or the two conditions of a conjunction."""
    if conditions:
        return _of_two(conditions, columns, layers)
    key = Key.of(name, columns)
    if key.kind != kind:  # a name of the user's own
        return _of_a_thing(in_quotes(name))
    if kind == "word":
        thing = "tag" if key.what.startswith("<") else "words" if " " in key.what else "word"
        return _of_a_thing(f"the {thing} {in_quotes(key.what)}")
    if kind in OF_A_LAYER:
        return _of_a_layer(key, layers)
    if key.condition in _HEIGHT:
        return _of_a_number(key)
    if key.condition:
        return _of_a_column(key)
    return _of_a_thing(
        in_quotes(key.what) if kind in OF_A_TABLE else f"{kind} {in_quotes(key.what)}"
    )


def _of_two(pair: Sequence[str], columns: Collection[str], layers: Sequence[str]) -> Wording:
    """Two conditions in words."""
    columns = [*columns]
    one, other = (wording(part, Key.of(part).kind, columns, layers) for part in pair)
    nouns = f"{one.noun} together with {other.noun}"
    title = f"{one.title}, and {other.title[:1].lower()}{other.title[1:]}"
    having = f"{one.having} and {other.having}"
    return Wording(title, nouns, having, "with at most one of the two")


def question_of(finding: Finding, columns: Collection[str] = ()) -> str:
    """The question whether a finding is a shortcut, with all attributes that a *yes* applies to."""
    # The page of an audit and the terminal ask the same question.
    columns = list(columns)
    names, *others = finding.values
    if finding.feature_set in NAMELESS:  # further numbers do not help a person
        names, others = (finding.name,), []
    first, rest = (
        [wording(name, finding.feature_set, columns, (), finding.conditions).noun for name in some]
        for some in (names, [name for value in others for name in value])
    )
    if finding.feature_set == "image" and first[0].startswith("a"):  # of the same statistic
        same = f" {first[0].split(' ', 2)[-1]}"
        rest = [noun.replace(same, " one") for noun in rest]
    against = f" (against {_listed(rest, shown=0)})" if rest else ""
    sentence = f"Is {_listed(first, shown=1)}{against} a shortcut that the model should ignore?"
    plain = sentence.replace("“", '"').replace("”", '"')  # for a terminal
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in plain)


def _listed(nouns: Sequence[str], shown: int) -> str:
    """A list of nouns; words after the first ones are only quoted."""
    named = [
        noun.removeprefix("the word ") if i >= shown else noun
        for i, noun in enumerate(nouns[:_MOST_NOUNS])
    ]
    more = len(nouns) - len(named)
    *most, last = [*named, f"{more} more"] if more else named
    return f"{', '.join(most)} or {last}" if most else last


def _of_a_thing(what: str) -> Wording:
    """An attribute that a sample has or lacks."""
    return Wording(_capital(what), what, f"with {what}", f"without {what}")


def _of_a_column(key: Key) -> Wording:
    what = in_quotes(key.what)
    value = in_quotes(key.value) if key.sign == "=" else key.value
    title, noun, lacking = (form.format(what, value) for form in _CONDITIONS[key.sign])
    return Wording(title, noun, f"with {noun}", f"with {lacking}")


def _of_a_number(key: Key) -> Wording:
    what, height = key.what, key.condition.strip()
    if key.kind == "image" and what.endswith(" brightness"):
        part = what.removesuffix(" brightness")
        if part.startswith("row "):
            part = f"cell in {part.replace(' column', ', column')}"
        elif part != "border":
            part = f"{part} part"
        adjective, which, opposite = _BRIGHT[key.condition]
        noun = f"{adjective} {part}"
        return Wording(_capital(noun), noun, f"with {noun} ({which})", f"with {opposite} {part}")
    if key.origin in OF_COLOUR:
        *border, colour = what.split()
        much, which, less = (of.format(colour) for of in _MUCH[key.condition])
        where = f"in the {'border' if border else 'image'}"
        noun = f"{much} {where}"
        return Wording(_capital(noun), noun, f"with {noun} ({which})", f"with {less} {where}")
    adjective, which, opposite = _HEIGHT[key.condition]
    noun, hint = f"{adjective} {what} of the image", ""
    title = f"{_capital(what)} of the image: {height}"
    if key.kind != "image":
        what = f"{key.kind} {in_quotes(what)}"
        noun, hint = f"{adjective} value of {what}", _INFERRED
        title = f"{_capital(what)}: {height}"
    having, lacking = f"whose {what} is {height} ({which})", f"whose {what} {opposite}"
    return Wording(title, noun, having, lacking, hint)


def _of_a_layer(key: Key, layers: Sequence[str]) -> Wording:
    """A neuron, a direction or a cluster, which only examples can explain."""
    place = "the last layer" if key.kind == "embedding" else "an earlier layer"
    layer = layer_of(key) or ""
    if layer in layers:
        place = f"layer {layers.index(layer) + 1} of the {len(layers)} tested layers"
    hint = f"{_SEEN} It comes from {place}; in the files: {brief(str(key))}."
    if _CLUSTER.search(key.what):
        title = "A kind of sample that the model distinguishes"
        noun = "this kind of sample"
        return Wording(title, noun, "of this kind", "of other kinds", hint)
    noun = "this learned feature"
    return Wording("A learned feature", noun, *_SHOWING[key.condition or " high"], hint)


def in_quotes(text: str) -> str:
    """A text in quotation marks; a long text is cut."""
    return f"“{brief(text)}”"


def class_name(label: Any) -> str:
    """A class in quotation marks."""
    return in_quotes(str(label.item() if hasattr(label, "item") else label))


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


_MOST_NAMES = 3
_MOST_CLASSES = 12
_LONGEST_NAME = 100
_IMAGES, _OTHERS = 6, 4  # examples of a group, of images and of other samples


_AS_IT_IS = ("The model seems", "it is right", "The model takes", "The model relies on")
_AFTER_RETRAINING = (
    "After class-balanced retraining, the model would seem",
    "it would be right",
    "After retraining, the model would take",
    "After retraining, the model would rely on",
)


def _card(
    page: AuditPage, of: AuditPage, finding: Finding, entry: Mapping[str, Any], values: Array
) -> dict[str, Any]:
    """A finding in words, with the rows of its examples; the caller adds the examples' content."""
    inputs, predictions, retrained = page.inputs, of.predictions, of is not page
    columns, samples = [name for table in inputs.tables for name in table], inputs.samples
    about = page.facts["layers"], finding.conditions
    words = wording(finding.name, finding.feature_set, columns, *about)
    worst = finding.worst
    two = [group for group in (worst, finding.beside(worst)) if group.n]
    most = _IMAGES if inputs.images is not None else _OTHERS
    groups = []
    for group in two:
        wrong, label = predictions.wrong, predictions.classes.tolist().index(group.name)
        of_class = (predictions.y_index == label) & (predictions.weight > 0)
        members = of_class & (values == group.which)
        examples = examples_of(members, wrong, wrong_first=group is worst, most=most)
        groups.append({"bar": _bar(group, words), "examples": examples})
    agreeing = words.having if finding.present else words.lacking
    model, is_right, takes, relies = _AFTER_RETRAINING if retrained else _AS_IT_IS
    often, alone = "too often ", " Neither of the two alone explains this."
    if not finding.conditions:
        often = alone = ""
    label, goes_with = class_name(worst.name), class_name(finding.goes_with)
    what = f"{samples} {_WHICH.sub('', agreeing)} {often}for {goes_with}"
    if words.hint:  # only examples can say what it is
        what = f"{words.title[:1].lower()}{words.title[1:]}"
    labels = list(dict.fromkeys(group.name for group in finding.groups))
    shares = [share_in_words(s) for s in (finding.share, finding.share_elsewhere)]
    unknown = f" It is unknown for {finding.n_unknown} of all {samples}." * bool(finding.n_unknown)
    return {
        "finding": finding,
        "predictions": predictions,
        "changed": "" if retrained else _flips_in_words(page, finding.name),
        "entry": json.dumps(dict(entry), separators=(",", ":")),
        "name": brief(finding.name, _LONGEST_NAME),
        "title": words.title,
        "claim": f"{relies if words.hint else takes} {what}",
        "having": words.having,
        "hint": words.hint,
        "question": question_of(finding, columns),
        "retrained": retrained,
        "seems": f"{model} to predict {goes_with} {often}for {samples} {agreeing}.{alone}",
        "verdict": _verdict([group["bar"] for group in groups], label, samples, is_right),
        "severity": _severity(finding, words, samples, retrained=retrained),
        "really": label,
        "common": f"Of the {samples} of class {goes_with}, {shares[0]} are {samples} "
        f"{words.having}. Of the other {samples}, {shares[1]} are.{unknown}",
        "groups": groups,
        "classes": [
            (
                class_name(label),
                [_bar(c, words) for c in finding.groups if c.name == label and c.n],
            )
            for label in labels[:_MOST_CLASSES]
        ],
        "n_more_classes": max(0, len(labels) - _MOST_CLASSES),
        "same": _names(finding.same, columns),
        "opposed": _names(finding.opposed, columns),
        "score": f"{finding.score:.1f}",
        "p_value": f"{finding.p_value:.0e}" if finding.p_value > 0 else "< 1e-300",
    }


def _flips_in_words(page: AuditPage, name: str) -> str:
    """How many predictions flip under the change that removes an attribute; empty without one."""
    if name not in page.flipped:
        return ""
    change, flips, n = page.flipped[name]
    counts = f"{flips} of {n} predictions flip" if flips else f"none of {n} predictions flips"
    what = change_in_words(change)
    return f"After this change, {counts}: {what[:1].lower()}{what[1:]}."


def _bar(group: Row, words: Wording) -> dict[str, Any]:
    """Accuracy of a group with its interval, in percent."""
    label, shown = words.having if group.which else words.lacking, share_in_words(group.value)
    return bar(label, group.value, group.wilson(), group.n, shown)


def _verdict(bars: Sequence[Mapping[str, Any]], label: str, samples: str, is_right: str) -> str:
    first, *others = bars
    shares = f"{first['shown']} of those {first['label']}"
    for other in others:
        joined = "but" if first["accuracy"] < other["accuracy"] else "and"
        shares += f", {joined} on {other['shown']} of the others"
    return f"Among the {samples} of class {label}, {is_right} on {shares}."


_SEVERE, _MODERATE = 0.1, 0.03  # accuracy that is lost without the correlation


def _severity(finding: Finding, words: Wording, samples: str, *, retrained: bool) -> str:
    """How much of the accuracy needs the correlation: a word, and the number of a repair."""
    first = finding.unrelated
    if first is None:
        group = next(group for group in finding.groups if not group.n)
        having = words.having if group.which else words.lacking
        return (
            f"How severe this is cannot be told: of class {class_name(group.name)} there are no "
            f"{samples} {having}."
        )
    now = sum(g.n * g.value for g in finding.groups) / sum(g.n for g in finding.groups)
    lost, (low, high) = now - first.value, first.interval or (0.0, 1.0)
    word = "Severe" if lost >= _SEVERE else "Moderate" if lost >= _MODERATE else "Slight"
    said = "would be right on" if retrained else "is right on"
    where = "where this is known" if finding.n_unknown else "here"
    return (
        f"{word}: the model {said} {share_in_words(now)} {where}. If {words.noun} and the class "
        f"were unrelated, on data otherwise like this, it would be right on "
        f"{share_in_words(first.value)} ({100 * low:.0f}–{100 * high:.0f} %)."
    )


def share_in_words(share: float) -> str:
    """A share in whole percent, with a decimal if it would be rounded to 0 or 100 %."""
    whole = round(100 * share)
    exact = share in (0, 1) or whole not in (0, 100)
    return f"{whole if exact else f'{100 * share:.1f}'}\N{NO-BREAK SPACE}%"


def _names(names: Sequence[str], columns: Sequence[str]) -> list[str]:
    """The first attributes with a meaningful name, in words, and the number of others."""
    words = [wording(name, Key.of(name).kind, columns) for name in names]
    shown = [each.title for each in words if not each.hint][:_MOST_NAMES]
    more = len(names) - len(shown)
    return [*shown, *([f"and {more} more"] if more and shown else ())]


def examples_of(
    group: Array, wrong: Array, *, wrong_first: bool, most: int = 6, seed: int = 0
) -> dict[str, Any]:
    """Random samples of a group: rows with wrong and right predictions, and their numbers."""
    # With `wrong_first`, up to two thirds of the examples are wrong predictions, else right ones.
    # The other kind fills the rest. "rows" lists both in the order of the page.
    rng = np.random.default_rng(seed)
    kinds = [np.flatnonzero(group & wrong), np.flatnonzero(group & ~wrong)]
    first, second = kinds if wrong_first else kinds[::-1]
    n_first = min(len(first), max(-(-2 * most // 3), most - len(second)))
    n_second = min(len(second), most - n_first)
    drawn = [
        np.sort(rng.choice(rows, n, replace=False)).tolist() if n else []
        for rows, n in ((first, n_first), (second, n_second))
    ]
    wrongs, rights = drawn if wrong_first else drawn[::-1]
    return {
        "rows": [*drawn[0], *drawn[1]],
        "wrong": wrongs,
        "right": rights,
        "n_wrong": len(kinds[0]),
        "n_right": len(kinds[1]),
    }


def look_of(
    row: int,
    finding: Finding,
    predictions: AuditedPredictions | None,
    inputs: Inputs,
    image: str | None,
) -> dict[str, Any]:
    """A sample as an example of a finding; "right" is None without a label."""
    tables = inputs.tables
    columns = [column for table in tables for column in table]
    marks = dict[str, str]()  # marks the columns of the finding's attributes
    named = finding.conditions or (finding.name,)
    for name in (*named, *finding.same, *finding.opposed):
        key = Key.of(name, columns)
        if key.kind in ("column", "metadata") and key.condition:
            for column in columns:
                if shown(column) == key.what:
                    marks.setdefault(column, "this" if name in named else "other")
    if inputs.samples == "cases":
        cells, n_more = cells_of(tables, row, marks)
    else:
        of_this = sum(mark == "this" for mark in marks.values())
        cells, n_more = cells_of(tables, row, marks, of_this)[0], 0
    text = str(inputs.texts[row]) if inputs.texts is not None else ""
    right, predicted = None, ""
    if predictions is not None:
        right = bool(predictions.y_index[row] == predictions.pred_index[row])
        predicted = class_name(predictions.classes[predictions.pred_index[row]])
    this = _words_of((*named, *finding.same))
    return {
        "name": brief(inputs.title(row)),
        "right": right,
        "predicted": predicted,
        "image": image,
        "text": snippet_of(text, this, _words_of(finding.opposed)) if text else (),
        "cells": cells,
        "n_more": n_more,
    }


def snippet_of(text: str, this: Iterable[str], other: Iterable[str] = ()) -> list[tuple[str, str]]:
    """A piece of a text around the first of some words, as parts with marks."""
    # The mark is "", "this" (the attribute) or "other" (an opposite one); … marks a cut.
    marks = dict.fromkeys(this, "this")
    marks = {**marks, **{word: "other" for word in other if word not in marks}}
    places = [*places_of(text, marks)]
    first = [begin for begin, _, word in places if marks[word] == "this"]
    start = next(iter(first or [begin for begin, *_ in places]), 0)
    low, high = _between_words(text, max(0, start - _AROUND), start + _AROUND)
    parts, at = [("… ", "")] if low else [], low
    for begin, end, word in places:
        if max(low, at) <= begin and end <= high:
            parts += [(_spaced(text[at:begin]), ""), (_spaced(text[begin:end]), marks[word])]
            at = end
    parts.append((_spaced(text[at:high]) + (" …" if high < len(text) else ""), ""))
    return [part for part in parts if part[0]]


def _between_words(text: str, low: int, high: int) -> tuple[int, int]:
    """Limits of a piece, moved to the nearest space, so that no word is cut."""
    if low:
        low += max(0, text[low : low + 20].find(" ") + 1)
    space = text.rfind(" ", high - 20, high)
    return low, (high if high >= len(text) or space < 0 else space)


def _spaced(text: str) -> str:
    """White space as single spaces, also at both ends."""
    line = one_line(text)
    before = " " if text[:1].isspace() and line else ""
    return before + line + (" " if text[-1:].isspace() else "")


def _words_of(names: Sequence[str]) -> list[str]:
    """Words to mark in a text, from names of attributes."""
    return [key.what for key in map(Key.of, names) if key.kind == "word"]


_LARGEST_ENTRY = 1_000_000  # characters of the names and rules of a finding
_SPACE = 6_000_000  # characters of images; more make a page slow to open and to send


@dataclass(frozen=True, eq=False)
class AuditPage:
    """Content of the page of an audit."""

    title: str
    digest: str
    facts: Mapping[str, Any]
    findings: Sequence[Finding]
    entries: Sequence[Mapping[str, Any]]
    values: Sequence[Array]
    predictions: AuditedPredictions
    inputs: Inputs = field(default_factory=Inputs)
    unlabelled: Unlabelled | None = None
    go_on: str | None = None
    retraining: AuditPage | None = None
    changes: Sequence[ShownChange] | None = None
    tried: str = ""
    flipped: Mapping[str, tuple[str, int, int]] = field(default_factory=dict)
    repairable: bool = True  # whether the model has a last layer to retrain

    @property
    def lists(self) -> tuple[AuditPage, ...]:
        """Findings of the model, then those that only the retrained head has, if there are any."""
        new = self.retraining
        return (self, new) if new is not None and new.findings else (self,)


def audit_html(page: AuditPage) -> str:
    """The HTML page of an audit."""
    # The page works offline: it loads nothing and sends nothing. The browser keeps the answers, and
    # a button saves them as `answers.json`.
    page.inputs.check(len(page.predictions.y_index))
    cards = _cards(page)
    looks, facts = _add_looks(page.inputs, cards), page.facts
    _add_unlabelled(page, cards)
    return offline_page(
        "audit",
        page=page,
        go_on=page.go_on or _next_command(page),
        facts=facts,
        accuracy=share_in_words(facts["accuracy"]) if facts["labelled"] else "",
        changes=[change_card(each, asks=bool(cards)) for each in page.changes or ()],
        cards=cards,
        keeps_the_class=KEEPS_THE_CLASS,
        retrained=share_in_words(page.lists[1].facts["accuracy"]) if len(page.lists) > 1 else "",
        n_left_out=sum(len(each.findings) for each in page.lists) - len(cards),
        n_findings=len(page.findings),
        headline=_headline(page, cards),
        samples=page.inputs.samples,
        tested=", ".join(f"{count} of {kind}" for kind, count in facts["looked_at"].items()),
        without_images=page.inputs.images is not None
        and any(look["image"] is None for look in looks),
    )


def _add_looks(inputs: Inputs, cards: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Add to each group of the cards what its examples look like; return all of these."""
    groups = [(card, group) for card in cards for group in card["groups"]]
    images = _thumbnails(inputs, [row for _, group in groups for row in group["examples"]["rows"]])
    for card, group in groups:
        group["looks"] = [
            look_of(row, card["finding"], card["predictions"], inputs, images.get(row))
            for row in group["examples"]["rows"]
        ]
    return [look for _, group in groups for look in group["looks"]]


def _next_command(page: AuditPage) -> str:
    """The command that uses the answers of the page."""
    model = quote(page.title) if page.title.endswith(".onnx") else "model.onnx"
    if not page.repairable:
        return f"ntkit check {model} NEW.onnx DATA --answers answers.json"
    label = page.facts["label"]
    data = "--train DATA --validation DATA -o debiased/"
    data += "" if label is None else f" --label {quote(label)}"
    return f"ntkit debias {model} {data} --answers answers.json"


def _headline(page: AuditPage, cards: Sequence[Mapping[str, Any]]) -> str:
    """Title of the page: what the model does by the first finding, or the number of findings."""
    if not page.facts["labelled"]:
        flipping = [each for each in page.changes or () if each.facts["flips_more"]]
        if not flipping:
            return "No change flips significantly more predictions than its control"
        first, n = change_in_words(flipping[0].facts["name"]), len(flipping)
        flip = f"change{'s flip' if n > 1 else ' flips'} significantly more predictions"
        return f"{n} {flip} than the control: {first}"
    if cards:
        return str(cards[0]["claim"])
    n = sum(len(each.findings) for each in page.lists)
    return f"{n} finding{'' if n == 1 else 's'}" if n else "No findings"


def _cards(page: AuditPage) -> list[dict[str, Any]]:
    """The cards of the findings; equal titles get numbers."""
    cards = [
        _card(page, each, *one)
        for each in page.lists
        for one in zip(each.findings[:SHOWN], each.entries, each.values, strict=False)
    ]
    cards = [card for card in cards if len(card["entry"]) <= _LARGEST_ENTRY]
    titles, seen = Counter(card["title"] for card in cards), Counter[str]()
    for card in cards:
        title = card["title"]
        seen[title] += 1
        if titles[title] > 1:
            card["title"] = f"{title} ({seen[title]})"
    return cards


def _add_unlabelled(page: AuditPage, cards: Sequence[dict[str, Any]]) -> None:
    """Add to the cards how often their attributes occur among samples without labels."""
    other = page.unlabelled
    if other is None:
        return
    shown = list[tuple[dict[str, Any], list[int]]]()
    for card in cards:
        counts = other.counts(card["finding"].name)
        if counts is None:
            continue
        having, known = counts
        shown.append((card, other.examples(card["finding"].name)))
        if known:
            card["elsewhere"] = (
                f"Of {known} {other.inputs.samples} without labels, {having} "
                f"({share_in_words(having / known)}) are {other.inputs.samples} {card['having']}."
            )
    images = _thumbnails(other.inputs, [row for _, rows in shown for row in rows])
    for card, rows in shown:
        card["looks_elsewhere"] = [
            look_of(row, card["finding"], None, other.inputs, images.get(row)) for row in rows
        ]


def _thumbnails(inputs: Inputs, rows: Sequence[int]) -> dict[int, str | None]:
    """Thumbnails of rows, until the space of the page is used up."""
    left, thumbnails = _SPACE, dict[int, str | None]()
    for row, image in inputs.images_of(rows):
        thumbnails[row] = thumbnail_of(image)
        left -= len(thumbnails[row] or "")
        if left <= 0:
            break
    return thumbnails


def labels_html(
    title: str,
    header: Sequence[str],
    rows: Sequence[tuple[Sequence[str], str | None]],
    sentences: Sequence[str],
    notes: Sequence[str],
) -> str:
    """A table of labels, each with the folder of its audit or None; it works offline."""
    linked = [(cells, folder and f"{quoted_address(folder)}/audit.html") for cells, folder in rows]
    return offline_page(
        "labels", title=title, header=header, rows=linked, sentences=sentences, notes=notes
    )
