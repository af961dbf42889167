"""The affine region before some scores: its limits, its weights, and the tensor it reads."""

from ntkit.model.affine._embedding import EMBEDDING, Nodes, found_by_the_model, side_by_side
from ntkit.model.affine._linear_classifier import reads_a_network, taken_apart
from ntkit.model.affine._operators import PRODUCTS, NotAffine, called, carriers
from ntkit.model.affine._plain import (
    NO_OPS,
    Plain,
    Region,
    SeveralPositions,
    constant_factor,
    scaled,
)
from ntkit.model.affine._run import Runner
from ntkit.model.affine._weights import read_region
