"""The head that a model's outputs come from, and what becomes of its logits."""

from ntkit.model.head_search._effects import Head, written_out
from ntkit.model.head_search._find_head import candidate_layers, find_head, head_at
