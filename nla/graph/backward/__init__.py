"""Reverse-mode differentiation as ONNX nodes behind the forward graph: one family of rules a file."""
