"""The page of an audit: one HTML file on which a person answers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from shlex import quote
from typing import Any

from numpy.typing import NDArray

from ntkit.report._inputs import Inputs
from ntkit.report._looks import thumbnail_of
from ntkit.report._offline import offline_page
from ntkit.report.audit._cards import Card, card_of, percent
from ntkit.report.audit._look import look_of
from ntkit.report.audit._unlabelled import Unlabelled
from ntkit.suspicions import Predictions, Suspicion

__all__ = ["SHOWN", "AuditPage", "audit_html"]

Array = NDArray[Any]
SHOWN = 12
"""Suspicions on a page, the first ones: what a person answers in five minutes."""
_LARGEST_ENTRY = 1_000_000  # characters of the names and rules of a family
_ROOM = 6_000_000  # characters of pictures; more make a page slow to open and to send


@dataclass(frozen=True, eq=False)
class AuditPage:
    """What the page of an audit shows.

    Parameters
    ----------
    title : str
        What was looked at, such as the model's file name, which goes into the command to run.
    digest : str
        Tells audits apart, so that the answers of one are not taken for another's.
    facts : mapping
        As :meth:`ntkit.Audit.as_dict` has them.
    suspicions : sequence of Suspicion
        The first ones first; SHOWN of them are shown.
    entries : sequence of mapping
        For each that is shown, what ``answers.json`` says of it but for the answer: its name, the
        attributes of each side of its family, and perhaps how they are read.
    values : sequence of ndarray of int8, shape (N,)
        For each that is shown, the attribute of every sample.
    predictions : Predictions
        Of the samples.
    inputs : Inputs
        How they look.
    seed : int
        Decides which examples are drawn.
    model : str or None
        SHA-256 of the model, for ``answers.json``.
    unlabelled : Unlabelled or None
        Other samples, and what they have of what is shown.
    go_on : str or None
        Command that acts on the answers; by default ``ntkit debias`` of the model.
    retraining : AuditPage or None
        What class-balanced retraining would newly rely on: a second list on the same page.
    """

    title: str
    digest: str
    facts: Mapping[str, Any]
    suspicions: Sequence[Suspicion]
    entries: Sequence[Mapping[str, Any]]
    values: Sequence[Array]
    predictions: Predictions
    inputs: Inputs = field(default_factory=Inputs)
    seed: int = 0
    model: str | None = None
    unlabelled: Unlabelled | None = None
    go_on: str | None = None
    retraining: AuditPage | None = None

    @property
    def lists(self) -> tuple[AuditPage, ...]:
        """Findings of the model, then those that only retraining has, if there are any."""
        new = self.retraining
        return (self, new) if new is not None and new.suspicions else (self,)


def audit_html(page: AuditPage) -> str:
    """Write the page of an audit.

    It opens offline, loads nothing and sends nothing. Answers are kept in the browser, and saved
    as ``answers.json`` by a button.

    Parameters
    ----------
    page : AuditPage
        What to show.

    Returns
    -------
    str
        HTML.

    Raises
    ------
    InputError
        If there are more or fewer inputs than samples.
    """
    page.inputs.check(len(page.predictions.y_index))
    cards = _with_unlabelled(page, _cards(page))
    facts, model = page.facts, quote(page.title) if page.title.endswith(".onnx") else "model.onnx"
    data = "--train DATA --heldout DATA -o debiased/"
    return offline_page(
        "audit/audit",
        page=page,
        go_on=page.go_on or f"ntkit debias {model} {data} --answers answers.json",
        facts=facts,
        accuracy=percent(facts["accuracy"]),
        cards=cards,
        retrained=percent(page.lists[1].facts["accuracy"]) if len(page.lists) > 1 else "",
        n_left_out=sum(len(each.suspicions) for each in page.lists) - len(cards),
        n_families=len(page.suspicions) + sum(facts["left_out"].values()),
        samples=page.inputs.samples,
        looked_at=", ".join(f"{count} of {kind}" for kind, count in facts["looked_at"].items()),
        without_pictures=page.inputs.images is not None
        and any(look.picture is None for card in cards for g in card.groups for look in g.looks),
    )


def _with_unlabelled(page: AuditPage, cards: Sequence[tuple[Suspicion, Card]]) -> list[Card]:
    """Cards that say how often what they are about occurs among samples without labels."""
    other = page.unlabelled
    if other is None:
        return [card for _, card in cards]
    counts = [other.counts(suspicion.name) for suspicion, _ in cards]
    rows = [
        other.examples(suspicion.name, page.seed) if count is not None else []
        for (suspicion, _), count in zip(cards, counts, strict=True)
    ]
    pictures = _thumbnails(other.inputs, [row for drawn in rows for row in drawn])
    return [
        card
        if count is None
        else replace(
            card,
            elsewhere=_elsewhere(*count, card, other.inputs.samples),
            looks_elsewhere=tuple(
                look_of(row, suspicion, None, other.inputs, pictures.get(row)) for row in drawn
            ),
        )
        for (suspicion, card), count, drawn in zip(cards, counts, rows, strict=True)
    ]


def _elsewhere(having: int, known: int, card: Card, samples: str) -> str:
    if not known:
        return ""
    return (
        f"Of {known} {samples} without labels, {having} ({percent(having / known)}) are ones "
        f"{card.words.having}."
    )


def _cards(page: AuditPage) -> list[tuple[Suspicion, Card]]:
    """The suspicions to show, with examples."""
    found = [
        (
            suspicion,
            card_of(
                suspicion,
                entry,
                values,
                each.predictions,
                page.inputs,
                page.seed,
                page.facts["layers"],
                retrained=each is not page,
            ),
        )
        for each in page.lists
        for suspicion, entry, values in zip(
            each.suspicions[:SHOWN], each.entries, each.values, strict=False
        )
    ]
    found = [(suspicion, card) for suspicion, card in found if len(card.entry) <= _LARGEST_ENTRY]
    found = _told_apart(found)
    pictures = _thumbnails(page.inputs, [row for _, card in found for row in card.rows])
    return [
        (
            suspicion,
            replace(
                card,
                groups=tuple(
                    replace(
                        group,
                        looks=tuple(
                            look_of(
                                row,
                                suspicion,
                                page.lists[card.retrained].predictions,
                                page.inputs,
                                pictures.get(row),
                            )
                            for row in group.examples
                        ),
                    )
                    for group in card.groups
                ),
            ),
        )
        for suspicion, card in found
    ]


def _told_apart(found: Sequence[tuple[Suspicion, Card]]) -> list[tuple[Suspicion, Card]]:
    """Cards whose titles differ: what has no name of its own is numbered."""
    titles, seen = Counter(card.words.title for _, card in found), Counter[str]()
    renamed = list[tuple[Suspicion, Card]]()
    for suspicion, card in found:
        title = card.words.title
        seen[title] += 1
        if titles[title] > 1:
            title = f"{title} ({seen[title]})"
        renamed.append((suspicion, replace(card, words=replace(card.words, title=title))))
    return renamed


def _thumbnails(inputs: Inputs, rows: Sequence[int]) -> dict[int, str | None]:
    """Small pictures of rows, the first ones first, as far as there is room."""
    left, found = _ROOM, dict[int, str | None]()
    for row, image in inputs.pictures(rows):
        found[row] = thumbnail_of(image)
        left -= len(found[row] or "")
        if left <= 0:
            break
    return found
