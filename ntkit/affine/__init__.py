"""The affine region before some scores: where it is cut, what it amounts to, what reads it."""

from ntkit.affine._embedding import EMBEDDING, Nodes, found_by_the_model, side_by_side
from ntkit.affine._linear_classifier import taken_apart
from ntkit.affine._linear_layer import NO_OPS, Ambiguous, Final, LinearLayer, as_layer, read_layer
from ntkit.affine._operators import NotAffine, called, carriers
from ntkit.affine._read_region import read_region
from ntkit.affine._region import Region, SeveralPositions, Source
from ntkit.affine._run import Runner

__all__ = [
    "EMBEDDING",
    "NO_OPS",
    "Ambiguous",
    "Final",
    "LinearLayer",
    "Nodes",
    "NotAffine",
    "Region",
    "Runner",
    "SeveralPositions",
    "Source",
    "as_layer",
    "called",
    "carriers",
    "found_by_the_model",
    "read_layer",
    "read_region",
    "side_by_side",
    "taken_apart",
]
