"""Ask a person to label some samples of a model, in batches, with the files in one folder."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ntkit._disk import StrPath
from ntkit._doc import documented
from ntkit._labels import spreadsheet, without_case
from ntkit._types import Array
from ntkit.attributes.answers import CONTENT, Labels, answer_in, content_cell
from ntkit.attributes.attribute import Attribute, Group
from ntkit.estimators import GroupInference
from ntkit.exceptions import InputError
from ntkit.extraction import ImagePreprocessing, OnnxEmbedder, Samples, TextPreprocessing
from ntkit.extraction.embedder import Embedded, embedded_with_layers
from ntkit.jobs.label._files import ID, PAGE, LabelFolder, TakenAnswers, questions_table
from ntkit.jobs.label._progress import (
    THE_MODEL,
    Labelling,
    feature_sets_of,
    groups_of,
    is_earlier,
    margins_of,
    next_questions,
    progress,
)
from ntkit.metrics.class_order import class_order
from ntkit.model import FrozenModel
from ntkit.model.frozen_model import loaded
from ntkit.pages.label_page import label_html
from ntkit.samples.copies import Identified, without_copies
from ntkit.samples.looks import Inputs
from ntkit.samples.read import read
from ntkit.samples.samples import input_paths
from ntkit.store.kept import keep, kept_or_computed

_KEPT = "embedded.npz"
_WEIGHTS = "weights.csv"
_COLUMNS = 40  # largest number of columns in a table to fill in
_LONGEST = 2000  # characters of a text in the table


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
    label: str | None = None,
    preprocessing: ImagePreprocessing | TextPreprocessing | None = None,
    device: str = "auto",
    batch_size: int | None = None,
    random_state: int = 0,
    verbose: bool = False,
) -> Labelling:
    """Ask a person to label an attribute of the most informative samples, and infer it for all.

    The first call makes a folder with two files for the labels of a batch. ``label.html`` is an
    offline page: one key press per sample. ``questions-1.csv`` is a table of the same samples. Each
    further call reads the new labels: the page's ``labels.csv`` and the tables. It infers the
    attribute for all samples, and writes the next batch. ``answers.json`` holds all labels for
    :func:`ntkit.debias`. ``embedded.npz`` holds the model's embeddings. Once samples of each class
    have a value, ``weights.csv`` has that of every sample and its weight, to train a model of your
    own with. ntkit asks about a sample once, and never replaces a file with a person's labels.

    ntkit matches labels to samples by their contents, even if a file has a new name. Rows that are
    too coarse to tell samples apart need the same id as well. If a sample changes, its label is not
    used, but kept. A table without contents, such as one that you wrote, is matched by name.

    Parameters
    ----------
    {job.model, job.data}
        Usually the training set.
    out : path-like
        The folder of this question.
    question : str, optional
        Question about a sample, such as "Is there water in the background?". The first call needs
        it; later calls must repeat or omit it.
    values : sequence of str, optional
        Two to nine possible labels; by default yes and no.
    batch : int, default=48
        Number of samples in the next batch.
    answers : path-like, or iterable of path-like, optional
        Files with labels outside the folder.
    match_names : bool, default=False
        Match the labels of a file by name if no sample has any of its contents. Use it if the
        samples were saved again under the same names.
    label : str, optional
        One label of a model that gives every sample several; needed for such a model.
    {job.preprocessing, job.device}
    random_state : int, default=0
        Seed of folds and of random choices.
    {verbose}

    Returns
    -------
    Labelling
        The labels so far, and the next batch. Printing it shows both.

    Raises
    ------
    InputError
        If samples, model, labels and folder do not fit together, or if another process uses the
        folder. The message names the fix.

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
    user_files = [answers] if isinstance(answers, str | os.PathLike) else [*answers]
    if batch < 1:
        raise InputError(f"batch must be at least 1. Got {batch!r}.")
    model = of_one_label(model, label)
    given = read(data, model, preprocessing=preprocessing).measured()
    if given.ids is None and (ids := given.shown_names[0]) is not None:
        given = replace(given, ids=np.asarray(ids))
    (once,) = without_copies([given], [model], verbose=verbose)
    samples = once.samples
    samples.check_made_with(model)
    given = replace(given, coarse=samples.coarse)
    with LabelFolder.alone(out, [*input_paths(model, samples), *user_files]) as folder:
        _refuse_check(folder)
        identified, asked = (
            Identified([given], verbose=verbose),
            question_in(folder, question, values),
        )
        before, labels, about = labels_in(
            folder, asked, given, identified, user_files, match_names=match_names
        )
        names, digests = [given.unique_names[i] for i in once.kept], identified.contents[once.kept]
        contents = [digest.hex() for digest in digests.tolist()]
        embedder = OnnxEmbedder(model, device=device, batch_size=batch_size, verbose=verbose)
        embedded, computed = _embedded(embedder, samples, folder.path / _KEPT, digests)
        # Folds and random choices go by content, not by the order of the samples in their file.
        order = np.argsort(digests, kind="stable")
        feature_sets = _feature_sets(samples, embedded, order)
        y, ordered = samples.y[order], [contents[row] for row in order]
        runs = [*_earlier_labels(labels, folder.looked_at), labels]
        *earlier, inference = (
            _inferred(run, feature_sets, y, ordered, random_state) for run in runs
        )
        margins = margins_of(feature_sets["embedding"], y, random_state=random_state)
        seen, options = _not_to_ask(labels, ordered), {"random_state": random_state}
        chosen = next_questions(y, seen, margins=margins, n=batch, inference=inference, **options)
        rows = order[chosen]
        new = [v for n, v in labels.answers.items() if before.answers.get(n, "") != v]
        number = folder.batch + bool(new or folder.labels is None)
        table = f"questions-{number}.csv"
        shown = replace(samples.looks(), ids=names)
        files = files_of(labels, rows, shown, contents, table) if len(rows) else {}
        files |= _weights(labels, inference, y, [names[row] for row in order.tolist()])
        folder.write(labels, number, files)
        if computed:
            keep(folder.path / _KEPT, embedded)
        right, of_head, notes = _right(model, samples, feature_sets["embedding"], y, margins)
        groups, reached, attribute = tuple[Group, ...](), None, labels.of_contents(ordered)
        if inference is not None:
            groups = groups_of(y, attribute, inference, right, labels.values)
            reached = progress(y, inference, [each for each in earlier if each])
        return Labelling(
            path=folder.path,
            labels=labels,
            n_new=sum(value is not None for value in new),
            asked=tuple(names[i] for i in rows),
            table=table,
            progress=reached,
            groups=groups,
            feature_set=None if inference is None else inference.feature_set_,
            of_head=of_head,
            notes=(*samples.notes, *notes),
            about_answers=tuple(about),
        )


def _refuse_check(folder: LabelFolder) -> None:
    """Raise an error if the folder checks a table of answers."""
    if folder.check is not None:
        raise InputError(
            f"{folder.path} checks a table of answers. Repeat --check, or use another folder."
        )


def _inferred(
    labels: Labels, feature_sets: dict[str, Any], y: Array, contents: Sequence[str], seed: int
) -> GroupInference | None:
    """The attribute of all samples, inferred from labels; None without labels."""
    if not labels.n_answers:
        return None
    inference = GroupInference(random_state=seed)
    inference.fit(feature_sets, y, labels.of_contents(contents))
    return inference


def _weights(
    labels: Labels, inference: GroupInference | None, y: Array, names: Sequence[str]
) -> dict[str, bytes]:
    """A table with the value and the weight of each sample, if each class has known values."""
    if inference is None:
        return {}
    inferred = Attribute.of_inference(labels.question, inference)
    try:
        weights = inferred.weights(y)
    except InputError:  # unknown for a whole class
        return {}
    values = [value or "" for value in inferred.labels.tolist()]
    rows = zip(names, [f"{each:.6g}" for each in weights.tolist()], values, strict=True)
    table = [["id", "sample_weight", labels.question], *sorted(rows)]
    return {_WEIGHTS: spreadsheet(table).encode()}


def labels_in(
    folder: LabelFolder,
    asked: Labels,
    samples: Samples,
    identified: Identified,
    files: Sequence[StrPath],
    *,
    match_names: bool,
) -> tuple[Labels, Labels, list[str]]:
    """Labels that a folder keeps, these with the labels of new files, and notes."""
    names = samples.unique_names
    by_row = samples.named_by == "row" or {*names}.isdisjoint(samples.names)
    taken = TakenAnswers(names, identified, match_names, by_row=by_row)
    before = folder.take_kept(asked, taken)
    labels = folder.take(before, [*folder.answer_files(), *files], taken)
    return before, labels, taken.notes


def _feature_sets(samples: Samples, embedded: Embedded, order: Array) -> dict[str, Any]:
    """Feature sets to infer groups from, with the samples in some order."""
    feature_sets = feature_sets_of(
        embedded.Z,
        embedded.layers,
        texts=samples.looks().texts,
        inputs=None if samples.embedded else samples.X,
    )
    return {name: values[order] for name, values in feature_sets.items()}


def _not_to_ask(labels: Labels, contents: Sequence[str]) -> Array:
    """0 for samples whose content has a label, or is that of an earlier sample; else −1; (N,)."""
    known, seen = {*labels.contents.values()}, list[int]()
    for content in contents:
        seen.append(0 if content in known else -1)
        known.add(content)  # one question for each content
    return np.array(seen)


def _right(
    model: FrozenModel, samples: Samples, Z: Array, y: Array, margins: Array
) -> tuple[Array, str, list[str]]:
    """Which samples the model or cross-fitted heads predict right, which of these, and notes."""
    if model.head is None:
        return margins > 0, "cross-fitted heads", []
    match = samples.fit_to(model)
    assert match.model.head is not None  # the same model
    predicted = match.model.head.predict(Z)
    order = class_order(y, predicted, match.classes)
    return predicted == y, THE_MODEL, [*match.notes, *([] if order is None else [order.sentence()])]


def of_one_label(model: Any, label: str | None = None) -> FrozenModel:
    """The model of a label; an error if a model with several is left as it is."""
    one: FrozenModel = loaded(model, label=label)
    if one.label is None and one.label_names:
        raise InputError(str(one.not_single_label))
    return one


def _embedded(
    embedder: OnnxEmbedder, samples: Samples, file: Path, digests: Array
) -> tuple[Embedded, bool]:
    """Embeddings and layers, and whether the model ran; else they are those of an earlier run."""
    if samples.embedded:
        return Embedded(samples.X, {}), False

    def run() -> Embedded:
        samples.check_lengths()
        return embedded_with_layers(embedder, samples.X)

    return kept_or_computed(file, embedder.frozen_model, samples, lambda: digests, run)


def question_in(folder: LabelFolder, question: str | None, values: Sequence[str] | None) -> Labels:
    """The question and its labels so far."""
    choices = None if values is None else tuple(str(value).strip() for value in values)
    question = None if question is None else " ".join(question.split())
    if folder.labels is None:
        if not question:
            raise InputError(
                "There is no question yet. Set one with question= or "
                '--question "Is there water in the background?"'
            )
        choices = choices or ("yes", "no")
        missing = next((value for value in choices if answer_in(value) is None), None)
        if missing is not None:
            raise InputError(f"{missing!r} stands for a missing label. Choose another value.")
        if len({*map(without_case, choices)}) < len(choices):
            raise InputError(
                f"Two of the values {', '.join(choices)} differ only in case. Choose different "
                "values."
            )
        return Labels(question, choices)
    asked = folder.labels
    if question not in (None, asked.question):
        raise InputError(
            f"The question of {folder.path} is {asked.question!r:.80}. Use another folder for "
            "another question, or omit --question."
        )
    if choices not in (None, asked.values):
        raise InputError(
            f"The values of {folder.path} are {', '.join(asked.values)}. Use another folder for "
            "other values, or omit --values."
        )
    return asked


def files_of(
    labels: Labels, rows: Array, inputs: Inputs, contents: Sequence[str], table: str
) -> dict[str, bytes]:
    """The page and the table of a batch, both with the digests of the samples."""
    cells = [*map(content_cell, contents)]
    page = label_html(
        labels.question,
        rows.tolist(),
        inputs,
        values=labels.values,
        attribute=labels.question,
        csv=table,
        more=(CONTENT, [cells[row] for row in rows]),
        then="Move it to the folder of this page, and run the same ntkit label command again.",
    )
    shown: dict[str, Any] = {ID: inputs.ids or (), CONTENT: cells}
    if inputs.texts is not None:
        shown["text"] = [text[:_LONGEST] for text in inputs.texts]
    for name, values in [*(inputs.table or {}).items()][:_COLUMNS]:
        if name not in (ID, "text", CONTENT, labels.question):
            shown[name] = np.asarray(values, dtype=object)
    questions = questions_table(rows.tolist(), shown, labels.question)
    return {PAGE: page.encode(), table: questions}


def _earlier_labels(labels: Labels, looked_at: Sequence[int]) -> list[Labels]:
    """The labels of an earlier run for the comparison with the present ones; at most one run."""
    before = [
        replace(labels, answers=dict(list(labels.answers.items())[:n]))
        for n in looked_at
        if n < len(labels.answers)
    ]
    return [one for one in before if is_earlier(one.n_answers, labels.n_answers)][-1:]
