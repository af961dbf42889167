"""Names of attributes in the words of somebody who never saw one."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from ntkit.report._looks import shortened
from ntkit.suspicions import NAMELESS, Suspicion

__all__ = ["Wording", "class_name", "column_of", "question_of", "quoted", "wording"]

_LONGEST = 60  # characters of a column that names of attributes show
_MOST_NOUNS = 4  # of a side that a question names
_OF_A_TABLE = ("column", "metadata", "file")
_HEIGHT = {
    "high": ("a high", "the highest quarter", "is lower"),
    "low": ("a low", "the lowest quarter", "is higher"),
    "above the median": ("an above-median", "the upper half", "is below the median"),
}
_CLUSTER = re.compile(r" cluster \d+$")
_INFERRED = (
    "This was measured by a program, and nobody wrote it down. What it stands for is for you to "
    "see in the examples: what do those on one side have in common?"
)
_SEEN = (
    "The model noticed this by itself, and nobody gave it a name. Compare the two sides below: "
    "what do those on one side have in common, and not those on the other? If you cannot tell, say "
    "that you are not sure."
)
_SHOWING = {
    "high": ("with much of it", "with less of it"),
    "low": ("with little of it", "with more of it"),
    "above the median": ("with more of it", "with less of it"),
}


@dataclass(frozen=True)
class Wording:
    """An attribute in words.

    Attributes
    ----------
    title : str
        What it is.
    noun : str
        The same within a sentence: "the word …".
    having, lacking : str
        Samples that have it, and samples that have it not: "with the word …", "without …".
    hint : str
        What else a reader should know of such attributes; may be empty.
    """

    title: str
    noun: str
    having: str
    lacking: str
    hint: str = ""


def wording(
    name: str, kind: str, columns: Iterable[str] = (), layers: Sequence[str] = ()
) -> Wording:
    """Put an attribute in words.

    Parameters
    ----------
    name : str
        As ``word:film``.
    kind : str
        Of the view that it is from, as ``word``.
    columns : iterable of str
        Names of the columns of the tables at hand.
    layers : sequence of str
        Layers of the model that were looked at, the first one first.

    Returns
    -------
    Wording

    Examples
    --------
    >>> from ntkit.report.audit._plain_words import wording
    >>> wording("word:film", "word").title
    'The word “film”'
    >>> wording("column:age>=37", "column").having
    'where “age” is 37 or more'
    >>> wording("picture:brightness high", "picture").title
    'Brightness of the picture: high'
    >>> wording("layer:relu_2 #3 mean high", "layer", layers=["relu_1", "relu_2"]).title
    'Something that the model notices'
    """
    rest = name[len(kind) + 1 :] if name.startswith((f"{kind}:", f"{kind} ")) else name
    if kind == "word":
        return _of_a_word(rest)
    if kind in _OF_A_TABLE:
        return _of_a_column(name, kind, rest, columns)
    if kind in ("layer", "embedding"):
        return _of_a_layer(name, kind, rest, layers)
    height = next((h for h in _HEIGHT if rest.endswith(f" {h}")), None)
    if height is not None:
        return _of_a_number(rest.removesuffix(f" {height}"), kind, height)
    what = f"{kind} {quoted(rest)}" if rest != name else quoted(rest)
    return Wording(_capital(what), what, f"with {what}", f"without {what}")


def question_of(suspicion: Suspicion, columns: Iterable[str] = ()) -> str:
    """Ask whether a finding is a shortcut, naming all that a *yes* would act on.

    The page of an audit and the terminal ask in these words.

    Parameters
    ----------
    suspicion : Suspicion
        The finding.
    columns : iterable of str
        Names of the columns of the tables at hand.

    Returns
    -------
    str

    Examples
    --------
    >>> import ntkit
    >>> from ntkit.report.audit import question_of
    >>> y, film = [0, 1] * 50, [0, 1, 0, 1, 0, 1, 0, 1, 1, 0] * 10
    >>> found = ntkit.audit(y, film, texts=[f"a {'film' if f else 'movie'}" for f in film])
    >>> print(question_of(found.suspicions[0]))
    Is the word "film" (against "movie") a shortcut that the model should ignore?
    """
    columns = list(columns)
    own, *others = suspicion.sides
    if suspicion.view in NAMELESS:  # a number that differs says nothing to a person
        own, others = (suspicion.name,), []
    first, rest = (
        [wording(name, suspicion.view, columns).noun for name in names]
        for names in (own, [name for side in others for name in side])
    )
    if suspicion.view == "picture":  # one measurement, cut twice
        same = f" {first[0].split(' ', 2)[-1]}"
        rest = [noun.replace(same, " one") for noun in rest]
    against = f" (against {_listed(rest, shown=0)})" if rest else ""
    sentence = f"Is {_listed(first, shown=1)}{against} a shortcut that the model should ignore?"
    plain = sentence.replace("“", '"').replace("”", '"')  # as a terminal writes them
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in plain)


def _listed(nouns: Sequence[str], shown: int) -> str:
    """Some nouns as one; of several words, those after the first ones shown are just quoted."""
    said = [
        noun.removeprefix("the word ") if i >= shown else noun
        for i, noun in enumerate(nouns[:_MOST_NOUNS])
    ]
    more = len(nouns) - len(said)
    said += [f"{more} more"] if more else []
    return " or ".join([", ".join(said[:-1]), said[-1]] if said[1:] else said)


def _of_a_word(word: str) -> Wording:
    kind = "tag" if word.startswith("<") else "words" if " " in word else "word"
    what = f"the {kind} {quoted(word)}"
    return Wording(_capital(what), what, f"with {what}", f"without {what}")


def _of_a_column(name: str, kind: str, rest: str, columns: Iterable[str]) -> Wording:
    column, condition = column_of(name, kind, columns) or _parts(rest)
    what = quoted(column)
    if condition == " missing":
        return Wording(
            f"{what} is missing",
            f"a missing {what}",
            f"where {what} is missing",
            f"where {what} is known",
        )
    if condition.startswith(">="):
        limit = condition[2:]
        return Wording(
            f"{what} is {limit} or more",
            f"{what} of {limit} or more",
            f"where {what} is {limit} or more",
            f"where {what} is less than {limit}",
        )
    if condition.startswith("="):
        value = quoted(condition[1:])
        return Wording(
            f"{what} is {value}",
            f"the value {value} of {what}",
            f"where {what} is {value}",
            f"where {what} is something else",
        )
    return Wording(what, what, f"with {what}", f"without {what}")


def column_of(attribute: str, kind: str, names: Iterable[str]) -> tuple[str, str] | None:
    """The column that an attribute is read from, and what it says of it; None if it is none.

    Examples
    --------
    >>> from ntkit.report.audit._plain_words import column_of
    >>> column_of("column:age>=37", "column", ["sex", "age"])
    ('age', '>=37')
    """
    found = [
        (name, attribute.removeprefix(start))
        for name, start in ((name, f"{kind}:{_as_in_names(name)}") for name in names)
        if attribute.startswith((f"{start}=", f"{start}>=")) or attribute == f"{start} missing"
    ]
    return max(found, key=lambda one: len(one[0]), default=None)


def _as_in_names(column: str) -> str:
    """A column as names of attributes have it, which cut long ones."""
    return column if len(column) <= _LONGEST else f"{column[: _LONGEST - 1]}…"


def _parts(rest: str) -> tuple[str, str]:
    """A column and what is said of it, where no column is at hand."""
    parts = re.fullmatch(r"(?s)(.+?)(>=.*|=.*| missing)", rest)
    return (parts[1], parts[2]) if parts else (rest, "")


def _of_a_number(what: str, kind: str, height: str) -> Wording:
    adjective, which, otherwise = _HEIGHT[height]
    noun, hint = f"{adjective} {what} of the image", ""
    title = f"{_capital(what)} of the picture: {height}"
    if kind != "picture":
        what = f"{kind} {quoted(what)}"
        noun, hint = f"{adjective} value of {what}", _INFERRED
        title = f"{_capital(what)}: {height}"
    having, lacking = f"whose {what} is {height} ({which})", f"whose {what} {otherwise}"
    return Wording(title, noun, having, lacking, hint)


def _of_a_layer(name: str, kind: str, rest: str, layers: Sequence[str]) -> Wording:
    """What a neuron, a direction or a cluster sees: which, only examples can say."""
    layer = rest.partition(" ")[0]
    where = "the last layer" if kind == "embedding" else "a layer on the way to its answer"
    if layer in layers:
        where = f"layer {layers.index(layer) + 1} of the {len(layers)} that were looked at"
    hint = f"{_SEEN} It is what {where} makes of them; in the files: {shortened(name)}."
    if _CLUSTER.search(rest):
        title, noun = "A kind that the model tells apart", "this kind that the model tells apart"
        return Wording(title, noun, "of this kind", "of other kinds", hint)
    height = next((h for h in _SHOWING if rest.endswith(f" {h}")), "high")
    noun = "this thing that the model notices"
    return Wording("Something that the model notices", noun, *_SHOWING[height], hint)


def quoted(text: str) -> str:
    """A text in quotation marks, cut where it is long."""
    return f"“{shortened(text)}”"


def class_name(label: Any) -> str:
    """A class in quotation marks."""
    return quoted(str(label.item() if hasattr(label, "item") else label))


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
