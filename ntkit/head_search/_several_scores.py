"""Which of several scores are a head's, and which outputs come from them."""

from __future__ import annotations

import re
from collections.abc import Iterable

import onnx_ir as ir

from ntkit.exceptions import HeadNotFoundError
from ntkit.graph import ancestors
from ntkit.head_search._head import Head
from ntkit.head_search._walk_back import Blocked

__all__ = ["candidates", "distinct", "refuse_leaks"]

# What reads a hidden layer, and no scores; and how outputs that are embeddings are called.
_ACTIVATIONS = frozenset(
    ["Relu", "LeakyRelu", "PRelu", "Elu", "Selu", "Gelu", "Tanh", "HardSwish", "Mish", "Softplus"]
)
_EMBEDDING = re.compile(
    "emb|feat|proj|hidden|pool|repr|state|latent|vector|bottleneck|penultimate|encod|token", re.I
)


def distinct(found: Iterable[Head | Blocked]) -> list[Head]:
    return list({f.identity: f for f in found if isinstance(f, Head)}.values())


def candidates(found: list[Head | Blocked], outputs: list[str]) -> list[Head]:
    """Heads that the outputs come from, without embeddings that another head is computed from.

    Scores that another head is computed from are candidates too: a confidence from the logits, or
    coarse classes from the probabilities of fine ones.
    """
    heads = distinct(found)
    seen = _upstream([value for head in heads for value in head.reads])

    def is_embedding(head: Head) -> bool:
        same = [
            (f, name)
            for f, name in zip(found, outputs, strict=True)
            if isinstance(f, Head) and f.identity == head.identity
        ]
        names = [name for _, name in same] + [head.output.name or ""]
        bent = any(use.node.op_type in _ACTIVATIONS for use in head.output.uses())
        raw = not any(f.after.post_processing for f, _ in same)
        return raw and (bent or any(map(_EMBEDDING.search, names)))

    earlier = [head for head in heads if id(head.output.producer()) in seen]
    return [h for h in heads if all(h is not e for e in earlier) or not is_embedding(h)]


def refuse_leaks(graph: ir.Graph, head: Head) -> None:
    """Refuse a region of which another output shows an inner tensor, which would stay as it was."""
    region = head.region
    if region.plain is not None:
        return
    before = _upstream(head.reads)
    inner = {id(v): v for n in region.nodes if id(n) not in before for v in n.outputs}
    inner.pop(id(region.end), None)
    stops = {id(region.end), *inner}
    for output in graph.outputs:
        found = (inner[id(v)] for v in ancestors([output], stops) if id(v) in inner)
        shown = next(found, None)
        if shown is not None:
            raise HeadNotFoundError(
                f"The output {output.name!r} comes from {shown.name!r}, which is inside the head "
                f"that ends in {region.end.name!r} and would stay as it is; choose the scores to "
                f"exchange with --logits {shown.name} or --logits {region.end.name} (logits= in "
                "Python)."
            )


def _upstream(values: list[ir.Value]) -> set[int]:
    """Identities of the operators that some tensors are computed by."""
    return {id(value.producer()) for value in ancestors(values)}
