"""Graphs for safetensors checkpoints: config.json and tensor names in, one ONNX model without weight bytes out.

One file a family; what a family shares is in `builder`, `spec` and `transformer`.
"""
