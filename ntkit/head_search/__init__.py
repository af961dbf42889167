"""The head that a model's outputs come from, and what becomes of its logits."""

from ntkit.head_search._candidates import candidate_layers
from ntkit.head_search._find_head import find_head, head_at
from ntkit.head_search._head import Head
from ntkit.head_search._written_out import written_out

__all__ = ["Head", "candidate_layers", "find_head", "head_at", "written_out"]
