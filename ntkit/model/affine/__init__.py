"""The affine region before some scores: its limits, its weights, and the tensor it reads."""

from ntkit.model.affine._linear_classifier import reads_a_network, taken_apart
from ntkit.model.affine._operators import PRODUCTS, NotAffine, called, carriers
from ntkit.model.affine._region import (
    EMBEDDING,
    NO_OPS,
    EmbeddingNodes,
    Plain,
    Region,
    SeveralPositions,
    constant_factor,
    found_by_the_model,
    read_region,
    scaled,
    side_by_side,
)
from ntkit.model.affine._run import Runner
