"""What a sandboxed child does with a file: the whole way of a model through ntkit."""

import errno
import os
import resource
import signal
import sys
import time
from pathlib import Path

import numpy as np
import onnx

from ntkit import FrozenModel, LinearHead
from ntkit.exceptions import NtkitError

INSIDE = "__ntkit_fuzz"
NEEDED_BY = {
    "compare": ["onnxruntime", "ntkit.verification", "tests.models"],
    "embed": ["ntkit.extraction", "tests.models"],
}
"""Modules that a job imports, too slow to import in every child."""


def exchange(path: str, target: str, extra_classes: int = 0) -> dict:
    """Load, describe, cut, put another head in and save."""
    model = FrozenModel.load(path)
    model.describe()
    repr(model)
    model.body(logits=True).SerializeToString()
    head = other_head(model, extra_classes)
    model.with_head(head).save(target)
    return {"kind": model.describe()["head"]}


def read_back(path: str, saved: str, extra_classes: int = 0) -> dict:
    """Whether a file that was saved holds the head that was put in."""
    wanted = other_head(FrozenModel.load(path), extra_classes)
    found = FrozenModel.load(saved).head
    return {"same_head": found is not None and same_head(found, wanted)}


def exchange_each(files: list) -> dict:
    """Exchange the head of each of these files and read it back; what became of each."""
    outcomes = []
    for path, target in files:
        start = time.process_time()
        try:
            exchange(path, target)
            found = {"status": "done", "result": read_back(path, target)}
        except NtkitError as error:
            found = {"status": "refused", "message": str(error)}
        outcomes.append({**found, "seconds": time.process_time() - start})
    return {"outcomes": outcomes}


def exchange_on_a_full_disk(path: str, target: str) -> dict:
    """The same where no file may grow beyond 100 kB."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # writing raises an OSError instead
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
    return exchange(path, target)


def die_before(step: int, folder: Path) -> None:
    """End the process before the step-th thing that Python does to a file in a folder.

    Steps are what audit events tell: files opened, mapped, locked, renamed, removed, folders made.
    """

    def watch(event, arguments):
        nonlocal step
        paths = [os.fsdecode(a) for a in arguments if isinstance(a, str | bytes | os.PathLike)]
        there = any(str(folder) in path for path in paths)
        if event.startswith(("fcntl.", "mmap.")) or (
            there and event.startswith(("os.", "open", "shutil."))
        ):
            if step == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            step -= 1

    sys.addaudithook(watch)


def save_and_die(path: str, target: str, step: int) -> None:
    """Save over a target, but die before a step in the target's folder."""
    model = FrozenModel.load(path)
    die_before(step, Path(target).parent)
    model.save(target, force=True)


def embed(path: str, out: str, n: int, force: bool = False, step: int | None = None) -> None:
    """Write a store of n rows, or die before a step."""
    from ntkit.extraction import OnnxEmbedder, Samples
    from ntkit.store import EmbeddingStore
    from tests.models import inputs

    embedder = OnnxEmbedder(FrozenModel.load(path), device="cpu", batch_size=2)
    samples = Samples(inputs(n), np.arange(n) % 3, np.arange(n) % 2)
    os.fsync = lambda _: None  # what it is good for shows after a power failure only
    if step is not None:
        die_before(step, Path(out))
    EmbeddingStore.write(out, embedder, samples, checkpoint_rows=4, force=force)


def save_without_names(path: str, target: str, call: int) -> None:
    """Save over a target while the call-th renaming fails."""
    model = FrozenModel.load(path)
    count = 0

    def failing(original):
        def rename(*arguments, **options):
            nonlocal count
            count += 1
            if count == call:
                raise OSError(errno.EIO, "the disk is gone", str(arguments[1]))
            return original(*arguments, **options)

        return rename

    for name in ("replace", "rename", "link"):
        setattr(os, name, failing(getattr(os, name)))
    model.save(target, force=True)


def other_head(model: FrozenModel, extra_classes: int = 0) -> LinearHead:
    """Weights that nothing else in the model holds, of the same size as the model's own."""
    own = model.head
    assert own is not None
    rng = np.random.default_rng(7)
    rows = own.n_logits + extra_classes
    size = max(float(np.abs(own.coef).max()), 1e-3)
    coef = rng.normal(size=(rows, own.n_neurons)) * min(size, 1e3) / 2
    classes = own.classes if not extra_classes else np.arange(max(rows, 2))
    intercept = rng.normal(size=rows) * min(size, 1e3) / 2
    return LinearHead(coef.astype(own.coef.dtype), intercept.astype(own.coef.dtype), classes)


def same_head(found: LinearHead, wanted: LinearHead, tolerance: float = 1e-2) -> bool:
    """Whether two heads say the same, up to the rounding of half precision."""
    if found.classes.tolist() != wanted.classes.tolist() or found.n_neurons != wanted.n_neurons:
        return False
    (W, b), (V, a) = _margins(found), _margins(wanted)
    size = max(np.abs(wanted.coef).max(), np.abs(wanted.intercept).max())
    return bool(np.abs(W - V).max() <= tolerance * size and np.abs(b - a).max() <= tolerance * size)


def _margins(head: LinearHead):
    """One row per logit; two logits are as good as their difference."""
    if head.n_logits == 2:
        return head.coef[1:] - head.coef[:1], head.intercept[1:] - head.intercept[:1]
    return head.coef, head.intercept


def compare(original: str, edited: str, extra_classes: int = 0) -> dict:
    """Whether ONNX Runtime computes from the edited file what it should.

    What it should compute does not come from ntkit's edit: the original's embedding is taken from
    ONNX Runtime, the new logits are computed from it in NumPy, put into the original in place of
    its own, and ONNX Runtime computes the outputs from them. ``comparable`` is False, with a
    reason, where ONNX Runtime does not run the original or its outputs change from run to run.
    """
    from ntkit.verification import random_inputs, verify
    from tests.models import with_outputs

    model = FrozenModel.load(original)
    head = other_head(model, extra_classes)
    try:
        X = random_inputs(model)
        types = {i.name: "float64" if i.dtype == "double" else i.dtype for i in model.inputs}
        feeds = {name: array.astype(types[name]) for name, array in X.items()}
        proto = onnx.load(original, load_external_data=False)
        embedding, logits = model.embedding.name, model.logits.name
        inner = with_outputs(proto, embedding, logits)
        first, second = (_run(inner, original, feeds, [embedding, logits]) for _ in range(2))
        before = _run(proto, original, feeds)
        Z = first[embedding]
        steady = _close(first[embedding], second[embedding], 0)
    except Exception as error:
        return {"comparable": False, "why": f"{type(error).__name__}: {str(error)[:200]}"}
    if not steady:
        return {"comparable": False, "why": "the embedding changes from run to run"}
    finite = all(np.isfinite(a).all() for a in before.values() if a.dtype.kind == "f")
    if not finite or not np.isfinite(Z).all():
        return {"comparable": False, "why": "the original computes NaN or infinite values"}

    rows, bias = (head.coef, head.intercept) if model.head.n_logits > 1 else _margins(head)
    flat = Z.reshape(len(Z), -1).astype(np.float64)
    if flat.shape[1] != rows.shape[1]:
        return {"comparable": False, "why": f"the embedding is {Z.shape}, not one per sample"}
    with np.errstate(all="ignore"):
        wanted = (flat @ rows.T.astype(np.float64) + bias) / model.logit_scale
    wanted = wanted.reshape(len(Z), -1, *[1] * (first[logits].ndim - 2))  # of a convolution
    try:
        inner = _logits_as_input(proto, embedding, logits)
        expected = _run(inner, original, {**feeds, INSIDE: wanted.astype(Z.dtype)})
    except Exception as error:
        return {"comparable": False, "why": f"{type(error).__name__}: {str(error)[:200]}"}
    tolerance = 2e-2 if Z.dtype.itemsize < 4 else 1e-3
    problems = []
    try:
        found = _run(onnx.load(edited, load_external_data=False), edited, feeds)
        for name, array in expected.items():
            if not _close(found[name], array, tolerance):
                problems.append(f"output {name!r} is not what the new head gives")
    except Exception as error:
        problems.append(f"the edited file does not run: {str(error)[:200]}")
    verified = ""
    try:  # ntkit's own check, which is what a user has, must agree
        check = verify(original, edited, X, head=head, device="cpu", tolerance=tolerance)
        if not check.passed:
            problems.append(f"verify() says {check}")
    except NtkitError as error:
        verified = f"{type(error).__name__}: {error}"
    return {"comparable": True, "problems": problems, "verify_refuses": verified}


def _run(proto, path, feeds, names=None) -> dict:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.add_session_config_entry(
        "session.model_external_initializers_file_folder_path", str(Path(path).parent)
    )
    session = ort.InferenceSession(
        proto.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    needed = {i.name for i in session.get_inputs()}
    names = names or [o.name for o in session.get_outputs()]
    outputs = session.run(names, {k: v for k, v in feeds.items() if k in needed})
    for i, rows in enumerate(outputs):
        if isinstance(rows, list):  # a ZipMap's: one dictionary per sample
            outputs[i] = [[row[key] for key in sorted(row)] for row in rows]
    return dict(zip(names, map(np.asarray, outputs), strict=True))


def _logits_as_input(proto, embedding, logits):
    """The original, reading its logits from an input."""
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    values = {v.name: v for v in (*copy.graph.value_info, *copy.graph.output, *copy.graph.input)}
    known = (values.get(name) for name in (logits, embedding, proto.graph.input[0].name))
    dtype = next(v.type.tensor_type.elem_type for v in known if v and v.type.tensor_type.elem_type)
    copy.graph.input.append(onnx.helper.make_tensor_value_info(INSIDE, dtype, None))
    for node in copy.graph.node:
        for index, name in enumerate(node.output):
            if name == logits:
                node.output[index] = f"{INSIDE}_unused"
        for index, name in enumerate(node.input):
            if name == logits:
                node.input[index] = INSIDE
    if logits in {o.name for o in copy.graph.output}:
        copy.graph.node.append(onnx.helper.make_node("Identity", [INSIDE], [logits]))
    del copy.graph.value_info[:]  # the old widths
    return copy


def _close(found, expected, tolerance) -> bool:
    if found.shape != expected.shape:
        return False
    if found.dtype.kind not in "fc" or expected.dtype.kind not in "fc":
        return bool((found == expected).all())
    found, expected = found.astype(np.float64), expected.astype(np.float64)
    if not np.isfinite(expected).all():
        return True  # nothing to compare with
    with np.errstate(all="ignore"):
        difference = np.abs(found - expected).max(initial=0)
    return bool(difference <= tolerance * max(1.0, np.abs(expected).max(initial=0)))
