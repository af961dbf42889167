"""ONNX graphs and their files: read and written, searched, rewritten, constants evaluated.

No session runs here, and only ``write_model`` writes.
"""
