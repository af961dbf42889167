"""Shared entries of public docstrings: a line ``{C, tol}`` stands for two of them."""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Mapping
from functools import partial
from re import Match
from typing import Any, TypeVar

T = TypeVar("T")

# "?" stands for the default, which is read from the signature. A section is written whole.
_ENTRIES = """
X : array-like of shape (N, D)
    Embeddings; float32 stays float32. Sparse arrays are refused: pass ``X.toarray()``.
y : array-like of shape (N,)
    Class labels.
sample_weight : array-like of shape (N,), optional
    Weights; a sample of weight 0 counts as absent.
X_changed : array-like of shape (N, D) or (N, R, D), optional
    Embedding of each sample after a change that must not alter the right answer, or of R such
    copies. A row of NaN means that the sample has no copy. NeuronTune uses it only with
    ``statistic="change"``. Copies can be samples as well:
    ``fit(np.vstack([X, X_changed]), np.append(y, y), X_changed=np.vstack([X_changed, X]))``.
    Scikit-learn's metadata routing splits
    it into folds together with ``X``. A Pipeline with ``transform_input=["X_changed"]`` scales it
    like ``X``, if it has two dimensions.
X_val : array-like of shape (M, D), optional
    Embeddings of a validation set: samples that the network was not trained on. A Pipeline scales
    them like ``X`` only with metadata routing and ``transform_input=["X_val"]``. Scikit-learn's
    cross-validation splits them like ``X`` if there are as many rows, and a warning tells so (see
    the page "Use the estimators on your arrays").
y_val : array-like of shape (M,), optional
    Their class labels.
sample_weight_val : array-like of shape (M,), optional
    Their weights.
groups : array-like of shape (N,)
    Group of each sample, of any type: usually one label for every pair of class and spurious
    attribute. ``groups=y`` uses the classes alone. Columns of a DataFrame are combined. An unknown
    group is -1, None, NaN or a text such as ``unknown``. Unknown groups are inferred, and a sample
    then counts with the probability of its group.
attribute : array-like of shape (N,), optional
    Spurious attribute, used instead of ``groups``; unknown values as there. The groups are
    then class × attribute. Inferring an attribute needs fewer labels than inferring groups, because
    it is the same in all classes.
feature_sets : array-like or sparse matrix of shape (N, ·), or dict or list of several, optional
    Features that unknown groups are inferred from; None uses ``X``.
y_true : array-like of shape (N,)
    True classes.
y_pred : array-like of shape (N,)
    Predicted classes.
evaluated.groups : array-like of shape (N,), or of bool (or 0 and 1) and shape (N, G)
    Group labels, for evaluation. If groups overlap, as in CivilComments, a table of which samples
    are in which group. An unknown group is -1, None, NaN or a text such as ``unknown``, and such
    samples are left out. The columns of a DataFrame name the groups; if they hold other values than
    yes and no, such as sex and site, the groups are their combinations.
confidence : float, default=?
    Coverage of the intervals.
head : LinearHead or fitted linear classifier, default=?
    The original head, such as ``FrozenModel.head``. None fits an ERM head to the training set.
identification : int, splitter, float or "train", default=?
    How the original head's errors are computed if ``fit`` gets no ``X_val``. An integer or a
    splitter cross-fits predictions on the training samples. Each sample must be in exactly one
    test fold. A float holds out that share, stratified, from fitting and retraining. "train" uses
    in-sample predictions, which are useless if the head memorises. An original ``head`` that you
    pass predicts the training samples directly. Classes with fewer than two samples fall back to
    "train".
group_inference : GroupInference, default=?
    Estimator that infers unknown groups; it is cloned. If no feature set predicts them, the unknown
    samples of each class form one more group. With fewer than 3 known samples of some group, only
    the classes are balanced.
C : float, default=?
    Inverse strength of the L2 penalty, as in scikit-learn's ``LogisticRegression``.
erm.C : float, default=?
    Inverse strength of the ERM head's L2 penalty, as in scikit-learn's ``LogisticRegression``.
class_weight : "balanced", dict or None, default=?
    As in scikit-learn's ``LogisticRegression``; an ERM head is fitted without it.
tol : float, default=?
    Tolerance of the head solver.
max_iter : int, default=?
    Most iterations of the head solver.
device : {"cpu", "cuda", "auto", "ray"}, default=?
    Device that fits heads. "cuda" needs the extra ``torch`` and fails without a GPU. "ray" spreads
    the rows over a Ray cluster (extra ``ray``).
fit.InputError
    If labels do not match the head's classes, a class has no sample of positive weight, or
    parameters do not fit each other or the samples.
DeviceError
    If ``device="cuda"`` and there is no GPU.
ax : matplotlib Axes, optional
    Axes to draw on; None makes a new figure.
ax_ : matplotlib Axes
    The axes of the plot.
figure_ : matplotlib Figure
    The figure of ``ax_``.
folder : path-like
    Folder of the unpacked data set; nothing is downloaded.
split : {"train", "val", "test"}
    The official split.
images.preprocessing : ImagePreprocessing
    How an image becomes a model input, such as ``ImagePreprocessing.for_model(model)``.
texts.preprocessing : TextPreprocessing
    How a text is tokenised, such as ``TextPreprocessing.for_model(model)``.
check : bool, default=?
    Warn if the numbers of samples differ from the published ones.
n_jobs : int, default=?
    Threads for the folds.
random_state : int, RandomState instance or None, default=?
    Seed or generator of all random choices: folds and splits.
marked : section
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> y = rng.integers(0, 2, 400)
    >>> mark = np.where(rng.random(400) < 0.9, y, 1 - y)  # a spurious mark, 90 % correlated
    >>> X = np.column_stack([y + rng.normal(0, 1, 400), 2 * mark, rng.normal(0, 1, 400)])
fitted : section
    Returns
    -------
    object
        The fitted estimator.
job.model : FrozenModel or path-like
    ONNX classifier.
job.data : path-like, Samples or tuple (X, y)
    Labelled samples, as :func:`ntkit.debias` takes them.
job.preprocessing : ImagePreprocessing or TextPreprocessing, optional
    As in :func:`ntkit.debias`; for all models.
job.device, batch_size : optional
    As in :class:`ntkit.OnnxEmbedder`.
arrays : mapping of str to array-like of shape (N, D), optional
    More feature sets by name, such as the embedding of another encoder.
verbose : bool, default=?
    Show progress bars.
run.device : {"auto", "cpu", "cuda"}
    Device of ONNX Runtime.
force : bool, default=?
    Replace a folder that ntkit wrote.
replace.force : bool, default=?
    Replace existing files.
notes : tuple of str
    Assumptions and omissions, one sentence each.
attribute.InputError
    If no attribute has this name.
job.InputError
    If samples, labels and model do not fit together; the message says what to do.
head.VerificationError
    If the model does not compute with the head that ntkit read from it.
checker.ModelError
    If the model does not pass ONNX's checker.
run.DeviceError
    If ``device="cuda"`` and ONNX Runtime cannot use a GPU.
run.ModelError
    If a model cannot be read or run.
feature_set.returned : section
    Returns
    -------
    FeatureSet
        Feature set whose blocks are computed when they are used.
drawn : section
    Returns
    -------
    Display
        The display, with its plot drawn.

    Raises
    ------
    InputError
        If the samples, labels and options do not fit each other, the estimator or the plot.
    NotFittedError
        If an estimator is not fitted.
    MissingDependencyError
        If matplotlib is not installed.
accuracy : section
    Returns
    -------
    float
        In [0, 1].

    Raises
    ------
    InputError
        If lengths or types of labels differ, labels are missing, no sample is in any group, or a
        parameter is out of range.
benchmark.problems : section
    Raises
    ------
    InputError
        If the folder or a file in it is missing, damaged or of another kind.

    Warns
    -----
    IncompleteDataWarning
        If the numbers of samples differ from the published ones.
classes_ : ndarray of shape (C,)
    Class labels.
coef_ : ndarray of shape (1, D) or (C, D)
    Weights, one row for two classes.
intercept_ : ndarray of shape (1,) or (C,)
    Bias.
head_ : LinearHead
    Weights and bias together.
erm_head_ : LinearHead
    The original head, in the order of ``classes_``.
spuriousness_scores_ : ndarray of shape (C, D)
    Scores; NaN rows for classes that could not be scored.
suppressed_ : ndarray of bool, shape (D,)
    Neurons that the rule suppresses for every class.
n_errors_ : ndarray of shape (C,)
    Misclassified samples of each class, by the original head.
groups_ : ndarray of shape (G,)
    Group labels.
group_inference_ : GroupInference or None
    Fitted estimator that inferred the groups; None if all were known.
n_iter_ : ndarray of shape (1,)
    Iterations of the last head fit.
n_features_in_ : int
    Number of columns of ``X``, D.
feature_names_in_ : ndarray of shape (D,)
    Names of the neurons, if ``X`` has column names.
"""


# A name or several, the first of them is the key. A type may follow, then indented lines.
_ENTRY = re.compile(
    r"(?m)^( *)(\w+(?:\.\w+)*)(?:, [\w, ]+)?(?: : .+)?\n(?:\1    .*(?:\n|\Z)|\n(?=\1    ))+"
)
_PLACE = re.compile(r"(?m)^( *)\{([A-Za-z][\w.]*(?:, [A-Za-z][\w.]*)*)\}$")


def documented(thing: T) -> T:
    """Fill shared entries into the docstrings of a function, or of a class and its methods."""
    # An entry is defined above, in the docstring of the class, or in another of its methods.
    functions: list[Any] = [thing]
    if isinstance(thing, type):
        members = [getattr(member, "__func__", member) for member in vars(thing).values()]
        functions += filter(inspect.isfunction, members)
    entries: dict[str, str] = {}
    for text in (*(each.__doc__ or "" for each in functions), _ENTRIES):
        for entry in _ENTRY.finditer(text):
            entries.setdefault(entry[2], textwrap.dedent(entry[0]))
    for each in functions:
        if each.__doc__ and _PLACE.search(each.__doc__):  # python -OO removes docstrings
            write = partial(_written, entries, inspect.signature(each).parameters)
            each.__doc__ = _PLACE.sub(write, each.__doc__)
    return thing


def _written(entries: Mapping[str, str], parameters: Mapping[str, Any], place: Match[str]) -> str:
    lines = list[str]()
    for key in place[2].split(", "):
        header, *body = entries[key].splitlines()
        if header.endswith(" : section"):
            lines += [(place[1] + line[4:]).rstrip() for line in body]
            continue
        name = key.rpartition(".")[2]  # a prefix distinguishes entries of one name
        header = header.replace(key, name, 1)
        if header.endswith("default=?"):
            header = header[:-1] + _literal(parameters[name].default)
        lines += [place[1] + line for line in (header, *body)]
    return "\n".join(lines)


def _literal(default: object) -> str:
    if isinstance(default, str):
        return f'"{default}"'
    return re.sub(r"e-0(?=\d)", "e-", repr(default))
