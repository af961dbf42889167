"""Other settings of a tokenizer, written into the content of its ``tokenizer.json``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Content = dict[str, Any]
_AROUND = (("[CLS]", "[SEP]"), ("<s>", "</s>"))


def has_case_fold(content: Mapping[str, Any]) -> bool:
    """Whether a tokenizer lower-cases texts."""
    return any(_folds(part) for part in _normalizers(content.get("normalizer")))


def case_kept(content: Content, *, accents: bool = False) -> Content:
    """The tokenizer without lower-casing; what it does to accents stays as it was."""
    return {**content, "normalizer": _without_fold(content.get("normalizer"), accents)}


def bare(content: Content) -> Content:
    """The tokenizer without what adds special tokens."""
    return {**content, "post_processor": None}


def wrapped(content: Content) -> Content | None:
    """The tokenizer with special tokens around a text; None if it has none of the usual ones."""
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


def _normalizers(part: Any) -> list[Content]:
    if not isinstance(part, dict):
        return []
    if part.get("type") == "Sequence":
        return [one for inner in part.get("normalizers", []) for one in _normalizers(inner)]
    return [part]


def _folds(part: Content) -> bool:
    return part.get("type") == "Lowercase" or bool(part.get("lowercase"))


def _without_fold(part: Any, accents: bool) -> Any:
    if not isinstance(part, dict):
        return part
    if part.get("type") == "Lowercase":
        return None
    if part.get("type") == "Sequence":
        inner = [_without_fold(one, accents) for one in part.get("normalizers", [])]
        return {**part, "normalizers": [one for one in inner if one is not None]}
    if part.get("lowercase"):  # of BERT: accents go where nothing is said and case is folded
        strip = part.get("strip_accents")
        return {
            **part,
            "lowercase": False,
            "strip_accents": False if accents else (True if strip is None else strip),
        }
    return part
