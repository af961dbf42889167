"""The optimiser: weighted logistic regression from memory, from disk, on a GPU, on Ray."""
