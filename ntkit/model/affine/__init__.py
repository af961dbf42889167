"""The affine region before some scores: its limits, its weights, and the tensor it reads."""
