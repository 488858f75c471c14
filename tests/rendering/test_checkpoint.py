"""What is said of a checkpoint before anything else."""

from __future__ import annotations

import pytest

from nla.rendering.checkpoint import checkpoint_facts

BUILT = {"format": "safetensors", "architecture": "llama", "dtype": "bfloat16", "bytes": 2_200_000_000}


@pytest.mark.parametrize(
    ("checkpoint", "parameters", "facts"),
    [
        ({"format": "onnx", "bytes": 171_000}, 42_634, ["42,634 parameters", "171 kB"]),
        ({"format": "onnx"}, 0, ["0 parameters"]),
        ({"parameters": 7}, None, ["7 parameters"]),
        ({}, None, []),
        (
            {**BUILT, "tensors": 219, "shards": 3, "parameters": 1_100_048_384},
            None,
            [
                "safetensors",
                "llama",
                "bfloat16",
                "219 tensors in 3 files",
                "1,100,048,384 parameters",
                "2.2 GB",
            ],
        ),
        (
            {**BUILT, "tensors": 1, "shards": 1},
            None,
            ["safetensors", "llama", "bfloat16", "1 tensor in 1 file", "2.2 GB"],
        ),
        # A recording from elsewhere may say anything.
        ({"format": "safetensors", "tensors": "many"}, None, ["safetensors"]),
    ],
)
def test_format_architecture_and_type_come_before_the_sizes(checkpoint, parameters, facts):
    assert checkpoint_facts(checkpoint, parameters) == facts
