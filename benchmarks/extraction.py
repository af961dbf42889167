"""Rows per second of OnnxEmbedder against bare ONNX Runtime, and the memory it takes.

    python benchmarks/extraction.py [--image-model FILE] [--text-model FILE --tokenizer FILE
        --embedding NAME] [--texts FILE] [--memory] [--rounds N] [--json FILE]

Every contender is run in turn, round after round, on the same samples in one process. A figure is
the median over rounds of the ratio OnnxEmbedder / contender, with the quartiles. Contenders:

  one by one       session.run per sample, ONNX Runtime's default options
  plain loop       batches of 64 in the order given, default options
  crowded …        both with --host-cores threads: what the default is in a container that may use
                   fewer cores than its host has
  best bare        session.run alone, inputs prepared beforehand, at the fastest of
                   batch 1 … 256 × threads {1, half, all} × spinning {off, on}, found here first;
                   "ntkit same" is OnnxEmbedder at that batch size
  sentence-transformers   its ONNX back end, where it is installed (--text-model only)

Targets: 3; 1.3 (crowded loop); 0.95; 1. Restricting the process with taskset does not show what a
crowded loop costs: by default ONNX Runtime pins its threads to the host's cores regardless.
With --memory a small model embeds 200 000 samples; printed is the growth of resident memory since
the session was made.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from joblib import cpu_count

from ntkit import FrozenModel, OnnxEmbedder
from ntkit.datasets import marked_digits_model_path
from ntkit.extraction import ImageFiles, ImagePreprocessing, TextPreprocessing, Texts
from runner import command_line, save

Feed = dict[str, np.ndarray]
SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
PLAIN = 64


def session_of(model: FrozenModel, threads: int = 0, spinning: bool = True) -> Any:
    """A bare session over the model's body; 0 threads are ONNX Runtime's default."""
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", str(int(spinning)))
    body = model.body().SerializeToString()
    return ort.InferenceSession(body, options, providers=["CPUExecutionProvider"])


def best_bare(model: FrozenModel, feeds_of: Callable[[int], list[Feed]], rows: int) -> Any:
    """The fastest of all settings: the session, its prepared batches, and how it is set."""
    cpus = cpu_count()
    threads = sorted({1, max(1, cpus // 2), cpus})
    sessions = {(n, spin): session_of(model, n, spin) for n in threads for spin in (False, True)}
    settings = list(itertools.product([s for s in SIZES if s <= rows], sessions))
    taken: dict[Any, list[float]] = {setting: [] for setting in settings}
    for _ in range(3):
        for size, key in settings:
            feed = middle(feeds_of(size))
            sessions[key].run(None, feed)
            begin = time.perf_counter()
            sessions[key].run(None, feed)
            n_values = sum(array.size for array in feed.values())
            taken[size, key].append((time.perf_counter() - begin) / n_values)
    size, key = min(taken, key=lambda setting: float(np.median(taken[setting])))
    note = f"batch {size}, threads {key[0]}, spinning {key[1]}"
    return sessions[key], feeds_of(size), note, {"batch_size": size}


def middle(feeds: list[Feed]) -> Feed:
    """A batch of middling length."""
    return feeds[len(feeds) // 2]


def run_all(session: Any, feeds: Iterator[Feed] | list[Feed]) -> None:
    """Run and keep the outputs, as an embedder must."""
    np.concatenate([session.run(None, feed)[0] for feed in feeds])


def rates(contenders: dict[str, tuple[Callable[[], None], int]], rounds: int) -> dict[str, list]:
    """Rows per second of each contender, in turn; the order is reversed every other round."""
    found: dict[str, list[float]] = {name: [] for name in contenders}
    for done in range(rounds + 1):
        for name in list(contenders)[:: -1 if done % 2 else 1]:
            work, rows = contenders[name]
            begin = time.perf_counter()
            work()
            if done:  # the first round warms up
                found[name].append(rows / (time.perf_counter() - begin))
    return found


def report(title: str, found: dict[str, list[float]], notes: dict[str, str]) -> dict[str, Any]:
    """Print rows per second and the ratios OnnxEmbedder / contender."""
    print(f"\n{title}")
    result: dict[str, Any] = {"title": title, "notes": notes}
    for ours in [name for name in found if name.startswith("ntkit")]:
        print(f"  {ours:<34}{np.median(found[ours]):>9.1f} rows/s   {notes.get(ours, '')}")
    for name in [name for name in found if not name.startswith("ntkit")]:
        print(f"  {name:<34}{np.median(found[name]):>9.1f} rows/s   {notes.get(name, '')}")
        for ours in [o for o in found if o.startswith("ntkit")]:
            low, ratio, high = np.quantile(np.divide(found[ours], found[name]), [0.25, 0.5, 0.75])
            print(f"      {ours} / {name}: {ratio:.3f} ({low:.3f} … {high:.3f})", flush=True)
            result[f"{ours} / {name}"] = {"ratio": ratio, "quartiles": [low, high]}
    return result


def embedders(
    model: FrozenModel, X: Any, rows: int, notes: dict[str, str], same: dict[str, Any]
) -> dict[str, tuple[Callable[[], None], int]]:
    """OnnxEmbedder as it is by default, and at the best bare setting."""
    chosen: dict[str, tuple[Callable[[], None], int]] = {}
    for name, options in (("default", {}), ("same", same)):
        name = f"ntkit {name}"
        embedder = OnnxEmbedder(model, device="cpu", **options)
        notes[name] = f"{embedder.settings(X)}"
        chosen[name] = (lambda e=embedder: e.transform(X), rows)  # type: ignore[misc]
    return chosen


def images(path: Path, rows: int, rounds: int, host_cores: int) -> list[dict[str, Any]]:
    """Arrays in memory, then JPEG files decoded on the way."""
    model = FrozenModel.load(path)
    name = model.inputs[0].name
    X = np.random.default_rng(0).normal(size=(rows, *model.inputs[0].shape[1:])).astype("float32")

    def feeds(size: int) -> list[Feed]:
        return [{name: X[i : i + size]} for i in range(0, rows, size)]

    notes: dict[str, str] = {}
    best, best_feeds, notes["best bare"], same = best_bare(model, feeds, rows)
    default, few = session_of(model), feeds(1)[: rows // 4]
    crowded = session_of(model, host_cores)
    contenders = {
        **embedders(model, X, rows, notes, same),
        "one by one": (lambda: run_all(default, few), len(few)),
        "crowded one by one": (lambda: run_all(crowded, few), len(few)),
        "plain loop": (lambda: run_all(default, feeds(PLAIN)), rows),
        "crowded loop": (lambda: run_all(crowded, feeds(PLAIN)), rows),
        "best bare": (lambda: run_all(best, best_feeds), rows),
    }
    results = [report(f"{path.name}, {rows} images in memory", rates(contenders, rounds), notes)]
    with tempfile.TemporaryDirectory() as folder:
        files = ImageFiles(jpegs(Path(folder), rows), ImagePreprocessing.for_model(model))
        size = len(next(iter(best_feeds[0].values())))
        at_once = {}

        def sequential(session: Any, size: int) -> None:
            run_all(session, ({name: files[i : i + size]} for i in range(0, rows, size)))

        def decoded() -> None:
            for i in range(0, rows, size):
                at_once[i] = files[i : i + size]

        notes = {}
        contenders = {
            **embedders(model, files, rows, notes, same),
            "plain loop": (lambda: sequential(default, PLAIN), rows),
            "decode, then best bare, one thread": (lambda: sequential(best, size), rows),
            "decoding alone, one thread": (decoded, rows),
            "best bare, decoded beforehand": (lambda: run_all(best, best_feeds), rows),
        }
        title = f"{path.name}, {rows} JPEG files of 320 x 240"
        results.append(report(title, rates(contenders, rounds), notes))
    return results


def jpegs(folder: Path, rows: int) -> list[Path]:
    """Write images that take as long to decode as photographs."""
    from PIL import Image

    rng, paths = np.random.default_rng(0), []
    for i in range(rows):
        coarse = Image.fromarray(rng.integers(0, 256, (24, 32, 3), dtype=np.uint8))
        paths.append(folder / f"{i:05d}.jpg")
        coarse.resize((320, 240), Image.Resampling.BICUBIC).save(paths[-1], quality=90)
    return paths


def texts_of(path: Path | None, tokenizer: Path, rows: int) -> list[str]:
    """Lines of a file, or words at random in lengths like those of reviews."""
    if path is not None:
        return path.read_text(encoding="utf-8").splitlines()[:rows]
    from tokenizers import Tokenizer

    rng = np.random.default_rng(0)
    vocabulary = Tokenizer.from_file(str(tokenizer)).get_vocab()
    words = sorted(word for word in vocabulary if word.isalpha() and len(word) > 2)
    lengths = np.clip(rng.lognormal(3.2, 0.6, rows).astype(int), 3, 120)
    return [" ".join(rng.choice(words, n)) for n in lengths]


def texts(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Texts, tokenised and padded on the way."""
    model = FrozenModel.load(arguments.text_model, embedding=arguments.embedding, pooling="mean")
    sentences = texts_of(arguments.texts, arguments.tokenizer, arguments.rows * 8)
    rows = len(sentences)
    steps = TextPreprocessing.for_model(model, arguments.tokenizer, max_length=128)
    if steps is None:
        raise SystemExit(f"{arguments.text_model} does not take texts.")
    X = Texts(sentences, steps)
    whole = X.window(0, rows)
    by_length = np.argsort(whole.lengths, kind="stable")

    def feeds(size: int) -> list[Feed]:
        return [whole.batch(by_length[i : i + size]) for i in range(0, rows, size)]

    def plain(session: Any, size: int, n: int) -> None:
        run_all(session, (X[i : min(i + size, n)] for i in range(0, n, size)))

    notes: dict[str, str] = {}
    best, best_feeds, notes["best bare"], same = best_bare(model, feeds, rows)
    default, crowded = session_of(model), session_of(model, arguments.host_cores)
    contenders = {
        **embedders(model, X, rows, notes, same),
        "one by one": (lambda: plain(default, 1, rows // 8), rows // 8),
        "crowded one by one": (lambda: plain(crowded, 1, rows // 16), rows // 16),
        "plain loop": (lambda: plain(default, PLAIN, rows), rows),
        "crowded loop": (lambda: plain(crowded, PLAIN, rows), rows),
        "best bare": (lambda: run_all(best, best_feeds), rows),
    }
    with tempfile.TemporaryDirectory() as folder:
        peer = sentence_transformers(arguments, Path(folder))
        if peer is not None:
            contenders["sentence-transformers"] = (
                lambda: peer.encode(sentences, batch_size=PLAIN, show_progress_bar=False),
                rows,
            )
        title = f"{arguments.text_model.name}, {rows} texts"
        return [report(title, rates(contenders, arguments.rounds), notes)]


def sentence_transformers(arguments: argparse.Namespace, folder: Path) -> Any:
    """The same model in sentence-transformers' ONNX back end; None where that does not run."""
    try:
        import onnx
        from onnx import helper
        from optimum.onnxruntime import ORTModelForFeatureExtraction  # noqa: F401
        from sentence_transformers import SentenceTransformer
    except ImportError as error:
        print(f"skipped: sentence-transformers ({error})")
        return None
    model = onnx.load(arguments.text_model)
    model.graph.node.append(
        helper.make_node("Identity", [arguments.embedding], ["last_hidden_state"])
    )
    del model.graph.output[:]
    shape = ["batch", "length", arguments.width]
    model.graph.output.append(helper.make_tensor_value_info("last_hidden_state", 1, shape))
    (folder / "onnx").mkdir()
    (folder / "1_Pooling").mkdir()
    onnx.save(model, folder / "onnx/model.onnx")
    module = "sentence_transformers.models"
    files = {
        "config.json": {"model_type": "bert", "hidden_size": arguments.width,
                        "num_hidden_layers": 3, "num_attention_heads": 12,
                        "intermediate_size": 1536, "architectures": ["BertModel"]},
        "tokenizer_config.json": {"tokenizer_class": "BertTokenizerFast", "model_max_length": 128,
                                  "pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]",
                                  "sep_token": "[SEP]", "mask_token": "[MASK]",
                                  "model_input_names": ["input_ids", "attention_mask"]},
        "sentence_bert_config.json": {"max_seq_length": 128, "do_lower_case": False},
        "modules.json": [{"idx": 0, "name": "0", "path": "", "type": f"{module}.Transformer"},
                         {"idx": 1, "name": "1", "path": "1_Pooling", "type": f"{module}.Pooling"}],
        "1_Pooling/config.json": {"word_embedding_dimension": arguments.width,
                                  "pooling_mode_mean_tokens": True},
    }  # fmt: skip
    for name, content in files.items():
        (folder / name).write_text(json.dumps(content), encoding="utf-8")
    (folder / "tokenizer.json").write_bytes(arguments.tokenizer.read_bytes())
    return SentenceTransformer(
        str(folder), backend="onnx", device="cpu",
        model_kwargs={"provider": "CPUExecutionProvider", "file_name": "onnx/model.onnx"},
    )  # fmt: skip


class Digits:
    """Samples made when they are asked for: the input itself takes no memory."""

    def __init__(self, n_samples: int) -> None:
        self.n_samples = n_samples

    def __len__(self) -> int:
        return self.n_samples

    def __getitem__(self, rows: slice) -> np.ndarray:
        begin, end, _ = rows.indices(self.n_samples)
        return np.random.default_rng(begin).random((end - begin, 1, 20, 20), dtype=np.float32)


def memory(n_samples: int) -> None:
    """Print the growth of resident memory at every tenth, then with all embeddings kept."""
    embedder = OnnxEmbedder(marked_digits_model_path(), device="cpu")
    X = Digits(n_samples)
    embedder.device_  # noqa: B018 makes the session
    before, growth, done = resident(), [], 0
    for batch in embedder.iter_batches(X):
        done += len(batch)
        if done * 10 // n_samples > len(growth):
            growth.append(resident() - before)
    embeddings = embedder.transform(X)
    kept = resident() - before
    size = embeddings.nbytes / 1e6
    print(json.dumps({"growth_mb": growth, "transform_mb": kept, "embeddings_mb": size}))


def resident() -> float:
    """Resident memory of this process in MB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return round(pages * os.sysconf("SC_PAGE_SIZE") / 1e6, 1)


def main() -> None:
    """Run what was asked for."""
    parser = command_line(__doc__, "--json")
    parser.add_argument("--image-model", type=Path, help="ONNX classifier of float images")
    parser.add_argument("--text-model", type=Path, help="ONNX text encoder")
    parser.add_argument("--tokenizer", type=Path, help="its tokenizer.json")
    parser.add_argument("--embedding", help="its tensor of one vector per token")
    parser.add_argument("--width", type=int, default=384, help="neurons of the text encoder")
    parser.add_argument("--texts", type=Path, help="file of one text per line")
    parser.add_argument("--memory", action="store_true", help="measure memory, in a new process")
    parser.add_argument("--memory-of", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--rows", type=int, default=256, help="images; texts are 8 times as many")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--host-cores", type=int, default=8, help="threads of the crowded loop")
    arguments = parser.parse_args()
    if arguments.memory_of:
        return memory(arguments.memory_of)
    print(f"{cpu_count()} cores usable, the host has {os.cpu_count()}")
    results = list[dict[str, Any]]()
    if arguments.image_model:
        results += images(
            arguments.image_model, arguments.rows, arguments.rounds, arguments.host_cores
        )
    if arguments.text_model:
        results += texts(arguments)
    if arguments.memory:
        command = [sys.executable, __file__, "--memory-of", "200000"]
        found = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
        print("\n200000 samples of the embedded demo: growth of resident memory in MB")
        print(f"  at every tenth      {found['growth_mb']}")
        kept, size = found["transform_mb"], found["embeddings_mb"]
        print(f"  all kept            {kept}, of which {size:.0f} are the embeddings")
        results.append({"title": "memory", **found})
    save(results, arguments.json)


if __name__ == "__main__":
    main()
