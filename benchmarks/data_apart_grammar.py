"""Sentences drawn from templates of Home Assistant: ``turn on [the] (light|lamp) in <area>``."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

TOKEN = re.compile(r"[()\[\]|;]|<[^<>]+>|\{[^{}]+\}|[^()\[\]|;<{]+")
SLOTS = {
    "en": {
        "name": ("ceiling lamp", "desk lamp", "heater", "coffee machine", "radio", "fountain",
                 "garage light", "fan", "printer", "night light", "projector", "string lights"),
        "area": ("kitchen", "bedroom", "living room", "bathroom", "garage", "hallway", "cellar",
                 "garden", "study", "attic"),
        "floor": ("ground floor", "first floor", "basement", "upper floor"),
    },
    "de": {
        "name": ("Deckenlampe", "Schreibtischlampe", "Heizung", "Kaffeemaschine", "Radio",
                 "Brunnen", "Garagenlicht", "Ventilator", "Drucker", "Nachtlicht", "Beamer",
                 "Lichterkette"),
        "area": ("Küche", "Schlafzimmer", "Wohnzimmer", "Bad", "Garage", "Flur", "Keller",
                 "Garten", "Arbeitszimmer", "Dachboden"),
        "floor": ("Erdgeschoss", "erster Stock", "Untergeschoss", "Obergeschoss"),
    },
}  # fmt: skip


class Unknown(Exception):
    """A template has a slot without values."""


def sentences(data: dict[str, Any], intent: str, language: str, *, n: int, seed: int) -> list[str]:
    """Up to n different sentences of an intent, in small letters."""
    rng = np.random.default_rng(seed)
    templates = [t for group in data["intents"][intent]["data"] for t in group["sentences"]]
    found = dict[str, None]()
    for _ in range(40 * n):
        if len(found) == n:
            break
        try:
            text = filled(templates[rng.integers(len(templates))], data, language, rng)
        except Unknown:
            continue
        text = " ".join(text.lower().split())
        if len(text.split()) > 2:
            found[text] = None
    return [*found]


def filled(template: str, data: dict[str, Any], language: str, rng: np.random.Generator) -> str:
    """One sentence of a template."""
    tokens = TOKEN.findall(template)
    text, rest = _choice(tokens, data, language, rng)
    if rest:
        raise Unknown(template)
    return text


def _choice(
    tokens: list[str], data: dict[str, Any], language: str, rng: np.random.Generator
) -> tuple[str, list[str]]:
    """One of several alternatives, or all of a permutation in random order, and what follows."""
    options, permuted = [""], False
    while tokens:
        token, tokens = tokens[0], tokens[1:]
        if token in ")]":
            tokens = [token, *tokens]
            break
        if token in "|;":
            options.append("")
            permuted = token == ";"
        elif token in "([":
            text, tokens = _choice(tokens, data, language, rng)
            if not tokens:
                raise Unknown(token)
            tokens = tokens[1:]
            options[-1] += text * (token == "(" or rng.random() < 0.5)
        elif token[0] == "<":
            rule = data["expansion_rules"].get(token[1:-1].split(":")[0])
            if rule is None:
                raise Unknown(token)
            options[-1] += filled(rule, data, language, rng)
        elif token[0] == "{":
            options[-1] += _value(token[1:-1].split(":")[0], data, language, rng)
        else:
            options[-1] += token
    if permuted:
        return " ".join(options[i] for i in rng.permutation(len(options))), tokens
    return options[rng.integers(len(options))], tokens


def _value(slot: str, data: dict[str, Any], language: str, rng: np.random.Generator) -> str:
    """One value of a slot."""
    values = SLOTS[language].get(slot)
    if values is None:
        known = data["lists"].get(slot, {}).get("values", ())
        values = [str(each["in"] if isinstance(each, dict) else each) for each in known]
    if not values:
        raise Unknown(slot)
    value = values[rng.integers(len(values))]
    return filled(value, data, language, rng) if re.search(r"[(\[<{|]", value) else value
