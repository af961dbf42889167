"""Ask a person about some samples of a model, batch by batch, in a folder."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from ntkit._disk import StrPath
from ntkit._doc import documented
from ntkit._types import Array
from ntkit.attributes import CONTENT, Group, Labels, answer_in, content_cell
from ntkit.estimators import GroupInference
from ntkit.exceptions import InputError
from ntkit.extraction import (
    Embedded,
    ImagePreprocessing,
    Samples,
    TextPreprocessing,
    embedded_with_layers,
    keep,
    kept_or_computed,
)
from ntkit.jobs.label._files import PAGE, LabelFolder, TakenAnswers, write_questions
from ntkit.jobs.label._progress import (
    THE_MODEL,
    Labelling,
    feature_sets_of,
    is_earlier,
    margins_of,
    next_questions,
    progress,
    standing_of,
)
from ntkit.model import FrozenModel, loaded
from ntkit.pages.label_page import label_html
from ntkit.samples import Inputs, input_paths, read, sample_digests

_KEPT = "embedded.npz"
_COLUMNS = 40  # of a table of cases to fill in
_LONGEST = 2000  # characters of a text there


@documented
def label_samples(
    model: Any,
    data: Any,
    out: StrPath,
    *,
    question: str | None = None,
    values: Sequence[str] | None = None,
    batch: int = 48,
    answers: StrPath | Iterable[StrPath] = (),
    match_names: bool = False,
    preprocessing: ImagePreprocessing | TextPreprocessing | None = None,
    device: str = "auto",
    batch_size: int | str | None = None,
    random_state: int = 0,
    verbose: bool = False,
) -> Labelling:
    """Ask a person about an attribute of samples, those first that tell most about a model.

    The first time, a folder is made with ``label.html``, an offline page that takes one key for
    each sample, and ``questions-1.csv``, the same to fill in. Each time after that, answers are
    taken (``labels.csv`` as the page saves it, tables that were filled in), the attribute is
    inferred for all samples, and the next batch is written. ``answers.json`` keeps all answers, for
    :func:`ntkit.debias`, and ``embedded.npz`` what the model makes of the samples. No sample is
    asked about twice, and nothing that a person filled in is replaced.

    Answers belong to samples by their contents, whatever these are called by now. An answer whose
    sample has changed is left out, and kept in case that sample comes back. A file without
    contents, such as one written by hand, is matched by name.

    Parameters
    ----------
    {job.model, job.data}
        As a rule the training set.
    out : path-like
        The folder of this question.
    question : str, optional
        What is asked about each, as "Is there water in the background?". It is needed the first
        time, and the same from then on.
    values : sequence of str, optional
        What can be answered, two to nine; by default yes and no.
    batch : int, default=48
        How many samples to ask about next.
    answers : path-like, or iterable of path-like, optional
        Files with answers that are not in the folder.
    match_names : bool, default=False
        Match a file's answers by name if none of its contents is one of these samples: these were
        saved again, and are called as before.
    {job.preprocessing, job.device}
    random_state : int, default=0
        Decides folds and draws.
    {verbose}

    Returns
    -------
    Labelling
        ``print`` tells how the answers stand.

    Raises
    ------
    InputError
        If samples, model, answers and folder do not fit together, or another process asks in that
        folder; the message says how to mend it.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from ntkit.datasets import load_marked_digits, marked_digits_model_path
    >>> from ntkit.jobs.label import label_samples
    >>> digits = load_marked_digits()
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     asking = label_samples(
    ...         marked_digits_model_path(),
    ...         (digits.X_train, digits.y_train),
    ...         Path(folder) / "mark",
    ...         question="Is there a bright mark in the corner?",
    ...         device="cpu",
    ...     )
    ...     sorted(file.name for file in asking.path.iterdir())
    ['answers.json', 'embedded.npz', 'label.html', 'questions-1.csv']
    """
    given = [answers] if isinstance(answers, str | os.PathLike) else [*answers]
    if batch < 1:
        raise InputError(f"A batch is at least 1 sample; got {batch!r}.")
    model = loaded(model)
    samples = read(data, model, preprocessing=preprocessing)
    samples.check_made_with(model)
    with LabelFolder.alone(out, [*input_paths(model, samples), *given]) as folder:
        folder.check_page()
        names, digests = samples.unique_names, sample_digests(samples, verbose=verbose)
        contents = [digest.hex() for digest in digests]
        taken = TakenAnswers(names, contents, match_names)
        before = folder.take_kept(_asked(folder, question, values), taken)
        labels = folder.take(before, [*folder.answer_files(), *given], taken)

        embedded, computed = Embedded(samples.X, {}, "store"), False
        if not samples.embedded:

            def run() -> Embedded:
                samples.check_lengths()
                return embedded_with_layers(
                    model, samples.X, device=device, batch_size=batch_size, verbose=verbose
                )

            file = folder.path / _KEPT
            embedded, computed = kept_or_computed(file, model, samples, lambda: digests, run)
        inputs = samples.looks()
        attribute = labels.attribute(names)
        feature_sets = feature_sets_of(
            embedded.Z,
            embedded.layers,
            texts=inputs.texts,
            inputs=None if samples.embedded else samples.X,
        )
        inference, earlier = None, list[GroupInference]()
        if labels.n_answers:
            inference = GroupInference(random_state=random_state)
            inference.fit(feature_sets, samples.y, attribute)
            earlier = [
                GroupInference(random_state=random_state).fit(
                    feature_sets, samples.y, fewer.attribute(names)
                )
                for fewer in earlier_answers(labels, folder.looked_at)
            ]
        margins = margins_of(embedded.Z, samples.y, random_state=random_state)
        rows = _chosen(samples.y, labels, contents, margins, inference, batch, random_state)

        new = [v for n, v in labels.answers.items() if before.answers.get(n, "") != v]
        number = folder.batch + bool(new or folder.labels is None)
        table = f"questions-{number}.csv"
        files = (
            _files(labels, rows, replace(inputs, ids=names), contents, table) if len(rows) else {}
        )
        folder.write(labels, number, files)
        if computed:
            keep(folder.path / _KEPT, embedded)

        right, of_head = _right(model, samples, embedded.Z, margins)
        groups = tuple[Group, ...]()
        if inference is not None:
            groups = standing_of(samples.y, attribute, inference, right, labels.values)
        return Labelling(
            path=folder.path,
            labels=labels,
            n_new=sum(value is not None for value in new),
            asked=tuple(names[i] for i in rows),
            table=table,
            progress=None if inference is None else progress(samples.y, inference, earlier),
            groups=groups,
            feature_set=None if inference is None else inference.feature_set_,
            of_head=of_head,
            notes=samples.notes,
            about_answers=tuple(taken.notes),
        )


def earlier_answers(labels: Labels, looked_at: Sequence[int]) -> list[Labels]:
    """The answers of an earlier run that those of now are compared with, if there is one."""
    before = [
        replace(labels, answers=dict(list(labels.answers.items())[:n]))
        for n in looked_at
        if n < len(labels.answers)
    ]
    return [one for one in before if is_earlier(one.n_answers, labels.n_answers)][-1:]


# -- the steps ------------------------------------------------------------------------------------


def _asked(folder: LabelFolder, question: str | None, values: Sequence[str] | None) -> Labels:
    """The question, and what is answered of it so far."""
    choices = None if values is None else tuple(str(value).strip() for value in values)
    question = None if question is None else " ".join(question.split())
    if folder.labels is None:
        if not question:
            raise InputError(
                'Say what to ask about each sample, as in --question "Is there water in the '
                'background?" (question= in Python).'
            )
        return Labels(question, _checked_values(choices or ("yes", "no")))
    asked = folder.labels
    if question not in (None, asked.question):
        raise InputError(
            f"In {folder.path} it is asked {asked.question!r:.80}; ask another question in another "
            "folder, or leave --question out."
        )
    if choices not in (None, asked.values):
        raise InputError(
            f"In {folder.path} one answers {', '.join(asked.values)}; take other values in another "
            "folder, or leave --values out."
        )
    return asked


def _checked_values(values: tuple[str, ...]) -> tuple[str, ...]:
    """Values that are told from one another, and from no answer, in a table as well."""
    nothing = next((value for value in values if answer_in(value) is None), None)
    if nothing is not None:
        raise InputError(f"{nothing!r} in a table is no answer; call that value otherwise.")
    if len({value.casefold() for value in values}) < len(values):
        raise InputError(f"The values {', '.join(values)} must differ in more than their case.")
    return values


def _chosen(
    y: Array,
    labels: Labels,
    contents: Sequence[str],
    margins: Array,
    inference: GroupInference | None,
    n: int,
    seed: int,
) -> Array:
    """Samples to ask about next: none that was looked at, though nobody could tell."""
    known = {*labels.contents.values()}
    seen = np.array([0 if content in known else -1 for content in contents])
    if (seen >= 0).all():
        return np.zeros(0, dtype=np.intp)
    return next_questions(y, seen, margins=margins, inference=inference, n=n, random_state=seed)


def _files(
    labels: Labels, rows: Array, inputs: Inputs, contents: Sequence[str], table: str
) -> dict[str, bytes]:
    """The page, and the table, both with what tells the samples from others."""
    cells = np.array([content_cell(content) for content in contents], dtype=object)
    page = label_html(
        labels.question,
        rows.tolist(),
        inputs,
        values=labels.values,
        attribute=labels.question,
        csv=table,
        more=(CONTENT, cells[rows].tolist()),
        then="Move it to the folder of this page, and run ntkit label once more.",
    )
    shown = {CONTENT: cells}
    if inputs.texts is not None:
        shown["text"] = np.array([text[:_LONGEST] for text in inputs.texts], dtype=object)
    for name, values in [*(inputs.table or {}).items()][:_COLUMNS]:
        if name not in ("id", "text", CONTENT, labels.question):
            shown[name] = np.asarray(values, dtype=object)
    with TemporaryDirectory(prefix="ntkit-") as folder:
        file = Path(folder) / table
        ids = list(inputs.ids or ())
        write_questions(file, rows, ids=ids, columns=shown, question=labels.question)
        return {PAGE: page.encode(), table: file.read_bytes()}


def _right(model: FrozenModel, samples: Samples, Z: Array, margins: Array) -> tuple[Array, str]:
    """Correct predictions of the model, or of cross-fitted heads if its head has other classes."""
    head = None if model.head is None else samples.fit_to(model).model.head
    if head is None:
        return margins > 0, "cross-fitted heads"
    return head.predict(Z) == samples.y, THE_MODEL
