"""The head that computes a model's outputs, and the operators after its logits."""

from ntkit.model.head_search._effects import Head, written_out
from ntkit.model.head_search._find_head import candidate_layers, find_head, head_at
