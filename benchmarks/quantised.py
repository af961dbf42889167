"""What int8 costs a classifier, and what of it a head refitted on the quantised body gives back.

    OPENBLAS_NUM_THREADS=1 python benchmarks/quantised.py OUT [--only NAME …] [--seeds 3]
        [--data BENCH_DATA] [--waterbirds FOLDER] [--markdown FILE]

For every classifier of ``quantised_models.py``, seed and way to quantise (ONNX Runtime's own, with
its defaults: 8-bit weights and activations, ranges from 128 training samples) heads are fitted on
the float and on the quantised embeddings of the same training and validation samples, and judged on
the test samples. Each result is a line of ``OUT/quantised.jsonl``; a run goes on where it stopped.
"""

from __future__ import annotations

import argparse
import json
import logging
import tempfile
import time
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.version_converter
from numpy.typing import NDArray
from onnxruntime import quantization
from onnxruntime.quantization.shape_inference import quant_pre_process
from scipy.special import softmax
from sklearn.preprocessing import StandardScaler

import ntkit
from ntkit import FrozenModel, LinearHead, OnnxEmbedder
from ntkit.estimators import BalancedClassifier, head_of, match_head, retrain_head
from ntkit.jobs.debias._candidates import CANDIDATES
from ntkit.jobs.debias._comparison import Comparison
from ntkit.metrics import worst_class_accuracy, worst_group_accuracy
from ntkit.study import Rows
from ntkit.verification import save_verified
from packages import default_cache
from quantised_models import CLASSIFIERS, Classifier, Part, Places
from written import written

Array = NDArray[Any]
CALIBRATION = 128
SETTINGS = {
    "ERM": (BalancedClassifier(class_weight=None), "both"),
    "class-balanced": CANDIDATES["class-balanced-both"],
}
FLOAT = "float"


# -- quantising ---------------------------------------------------------------------------------


class Reader(quantization.CalibrationDataReader):  # type: ignore[misc]
    """Calibration samples, eight at a time."""

    def __init__(self, model: Path, X: Any) -> None:
        self.name = FrozenModel.load(model).inputs[0].name
        self.slices = (X[i : i + 8] for i in range(0, CALIBRATION, 8))

    def get_next(self) -> dict[str, Array] | None:
        """Return the next inputs; None at the end."""
        values = next(self.slices, None)
        if values is None or isinstance(values, dict):
            return values
        return {self.name: np.asarray(values, dtype=np.float32)}


def quantise(source: Path, scheme: str, X: Any, target: Path) -> None:
    """Write the quantised model."""
    logging.getLogger().setLevel(logging.ERROR)  # it advises on what it was told to do
    graph = onnx.load(source)
    # What scikit-learn's converter puts after the logits is left as it is: the quantiser stumbles
    # over a Softmax there, and over the types of ai.onnx.ml.
    by_skl2onnx = any(opset.domain == "ai.onnx.ml" for opset in graph.opset_import)
    only = ["MatMul", "Gemm", "Add", "Relu"] if by_skl2onnx else None
    with tempfile.TemporaryDirectory() as folder:
        prepared = str(Path(folder) / "prepared.onnx")
        quant_pre_process(str(source), prepared, skip_symbolic_shape=True)
        if scheme == "dynamic":
            untyped = {"DefaultTensorType": onnx.TensorProto.FLOAT} if by_skl2onnx else {}
            del graph.graph.value_info[:]  # PyTorch's names weights that the quantiser transposes
            onnx.save(graph, prepared)
            quantization.quantize_dynamic(prepared, str(target), extra_options=untyped)
        else:
            options: dict[str, Any] = {"per_channel": scheme != "per tensor"}
            if scheme == "4-bit weights":
                options["weight_type"] = quantization.QuantType.QInt4
                newer = onnx.version_converter.convert_version(onnx.load(prepared), 21)
                onnx.save(newer, prepared)
            reader = Reader(source, X)
            quantization.quantize_static(
                prepared, str(target), reader, op_types_to_quantize=only, **options
            )


# -- heads --------------------------------------------------------------------------------------


def columns(head: LinearHead, Z: Array) -> Array:
    """Logits (N, K)."""
    return head.decision_function(Z).reshape(len(Z), -1)


def bias_corrected(head: LinearHead, Z: Array, wanted: Array) -> LinearHead:
    """The head, its mean logits those that are wanted (Nagel et al. 2019, section 4.2)."""
    return replace(head, intercept=head.intercept + (wanted - columns(head, Z)).mean(axis=0))


def soft(head: LinearHead, Z: Array, wanted: LinearHead, Z_float: Array, C: float) -> LinearHead:
    """A head fitted on the float model's probabilities in the place of labels."""
    scaler, n_classes = StandardScaler().fit(Z), len(head.classes)
    proba = softmax(wanted.logits(Z_float), axis=1)
    fitted = retrain_head(
        np.repeat(scaler.transform(Z), n_classes, axis=0),
        np.tile(head.classes, len(Z)),
        sample_weight=proba.ravel(),
        class_weight=None,
        C=C,
    )
    return fitted.scaled(1 / scaler.scale_, scaler.mean_)


# -- one classifier -----------------------------------------------------------------------------


class Body:
    """A model's embeddings of the three parts, and what is retrained on them."""

    def __init__(
        self, path: Path, classifier: Classifier, seed: int, C: float | None = None
    ) -> None:
        self.model = FrozenModel.load(path)
        embedder = OnnxEmbedder(self.model, device="cpu", threads=1)
        parts = (classifier.train, classifier.validation, classifier.test)
        self.train, self.validation, self.test = (
            Rows.of(embedder.transform(p.X), p.y, p.groups) for p in parts
        )
        assert self.model.head is not None
        self.head: LinearHead = self.model.head
        self.both = np.concatenate([self.train.X, self.validation.X])
        self.comparison = Comparison(
            self.train, self.validation, self.test, head=self.head, C=C, seed=seed
        )

    def retrained(self) -> dict[str, LinearHead]:
        """Heads retrained with labels, on raw embeddings."""
        return {
            name: self.comparison.on_raw_embeddings(head_of(self.comparison.fit(*setting)[0]))
            for name, setting in SETTINGS.items()
        }

    def debiased(self) -> dict[str, LinearHead]:
        """The head of ``auto``, and the one that ``--method auto`` would write."""
        compared = self.comparison
        clf, _ = compared.fit(*CANDIDATES["auto"])
        head = written(compared, "auto", clf)
        self.written = head is not compared.original
        debiased = compared.on_raw_embeddings(head) if self.written else self.head
        return {"auto": compared.on_raw_embeddings(head_of(clf)), "debias": debiased}

    @property
    def C(self) -> float:
        """The penalty of class-balanced retraining."""
        return self.comparison._C("both")


def judged(part: Rows | Part, labels: Array, before: Array) -> dict[str, float]:
    """Accuracies in percent, and how many samples get the class that the float model gave."""
    worst = {"worst_class": worst_class_accuracy(part.y, labels)}
    if part.groups is not None:
        worst["worst_group"] = worst_group_accuracy(part.y, labels, groups=part.groups)
    rates = {"average": np.mean(labels == part.y), "same": np.mean(labels == before), **worst}
    return {name: round(100 * float(value), 3) for name, value in rates.items()}


def results(
    name: str, seed: int, places: Places, done: set[tuple[str, int, str]]
) -> Iterator[dict[str, Any]]:
    """A record for the float model and for each way to quantise it that is not done."""
    build = CLASSIFIERS[name]
    classifier = build(places, seed)
    missing = [s for s in (FLOAT, *classifier.schemes) if (name, seed, s) not in done]
    if not missing:
        return
    start = time.perf_counter()
    plain = Body(classifier.model, classifier, seed)
    own = plain.retrained() | (plain.debiased() if classifier.debias else {})
    labels = plain.head.predict(plain.test.X)
    about = {"classifier": name, "seed": seed, "neurons": plain.head.n_neurons}
    if FLOAT in missing:
        heads = {"as it is": plain.head, **own}
        yield about | {
            "scheme": FLOAT,
            "written": getattr(plain, "written", None),
            "rows": [len(p.y) for p in (plain.train, plain.validation, plain.test)],
            "seconds": round(time.perf_counter() - start, 1),
            "heads": {
                key: judged(plain.test, head.predict(plain.test.X), labels)
                for key, head in heads.items()
            },
        }
    for scheme in missing:
        if scheme != FLOAT:
            yield about | {"scheme": scheme} | quantised(classifier, scheme, plain, own, seed)


def quantised(
    classifier: Classifier, scheme: str, plain: Body, own: dict[str, LinearHead], seed: int
) -> dict[str, Any]:
    """Every head on a quantised body."""
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "int8.onnx"
        quantise(classifier.model, scheme, classifier.train.X, path)
        body = Body(path, classifier, seed, C=plain.C)  # one CV for all bodies
        wanted = columns(plain.head, plain.both)
        heads = {
            "old head": plain.head,
            "bias correction": bias_corrected(plain.head, body.both, wanted),
            "matched": match_head(plain.head, body.both, plain.both),
            "soft labels": soft(plain.head, body.both, plain.head, plain.both, body.C),
            **body.retrained(),
        }
        if "debias" in own:
            debiased = own["debias"]
            heads |= {
                **(body.debiased() if scheme == "per tensor" else {}),
                "debiased head": debiased,
                "debiased head, matched": match_head(debiased, body.both, plain.both),
            }
        test = body.test
        labels = plain.head.predict(plain.test.X)
        alone = ntkit.predict(body.model, classifier.test.X, device="cpu").labels
        found = {"as it is": judged(test, np.asarray(alone).astype(test.y.dtype), labels)}
        found |= {key: judged(test, head.predict(test.X), labels) for key, head in heads.items()}
        check = save_verified(
            body.model.with_head(heads["matched"]),
            Path(folder) / "written.onnx",
            original=body.model,
            X=classifier.test.X[:64],
            head=heads["matched"],
            device="cpu",
        )
        sizes = [p.stat().st_size for p in (classifier.model, path, Path(folder) / "written.onnx")]
    return {
        "written": getattr(body, "written", None),
        "verified": check.passed,
        "logit_difference": check.logit_difference,
        "bytes": sizes,
        "seconds": round(time.perf_counter() - start, 1),
        "heads": found,
    }


def main() -> None:
    """Run what is missing, write the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path)
    parser.add_argument("--only", nargs="+", choices=list(CLASSIFIERS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--data", type=Path, default=Path("benchmarks/out/data"))
    parser.add_argument("--waterbirds", type=Path)
    parser.add_argument("--cache", type=Path, default=default_cache(), help="unpacked packages")
    parser.add_argument("--markdown", type=Path)
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    out = given.out.absolute()
    out.mkdir(parents=True, exist_ok=True)
    places = Places(given.cache.absolute(), out, given.data, given.waterbirds)
    lines = out / "quantised.jsonl"
    records = read(lines)
    done = {(r["classifier"], r["seed"], r["scheme"]) for r in records}
    own = [n for n in CLASSIFIERS if given.waterbirds or not n.startswith("Waterbirds")]
    for seed in range(given.seeds):
        for name in given.only or own:
            for record in results(name, seed, places, done):
                with lines.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(record) + "\n")
                print(name, seed, record["scheme"], record["seconds"], flush=True)
    if given.markdown is not None:
        from quantised_tables import markdown

        given.markdown.write_text(markdown(read(lines)), encoding="utf-8")


def read(path: Path) -> list[dict[str, Any]]:
    """The records of former runs."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text("utf-8").splitlines() if line]


if __name__ == "__main__":
    main()
