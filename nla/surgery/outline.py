"""An edit that is not written yet, as a checkpoint whose large weights are missing: enough to count with."""

from __future__ import annotations

from math import prod

from onnx import ModelProto, TensorProto

from nla.checkpoint.editing import ModelEdit
from nla.checkpoint.external import ExternalFile
from nla.checkpoint.onnx_file import OnnxCheckpoint
from nla.checkpoint.skeleton import weight_tensors
from nla.checkpoint.tensors import size_bytes
from nla.checkpoint.values import FIELDS, to_bytes

_ELEMENTS = 4096
"""Smaller weights are there with their values: sizes and indices, which decide shapes."""
_NOWHERE = "outline"


def outline(edit: ModelEdit) -> OnnxCheckpoint:
    """The edited graph with the shapes of all weights and the values of small ones. For counting, not for running."""
    model = ModelProto()
    model.CopyFrom(edit.model)
    for name, tensor in weight_tensors(model.graph).items():
        if edit.is_weight(name):
            _fill(tensor, name, edit)
    source = edit.checkpoint
    missing = ExternalFile(_NOWHERE, source.path, 0, "")
    return OnnxCheckpoint(source.path, model, "", 0, (*source.external_files, missing))


def _fill(tensor: TensorProto, name: str, edit: ModelEdit) -> None:
    shape = edit.shape(name)
    for field in ("dims", "external_data", "data_location", *FIELDS):
        tensor.ClearField(field)
    tensor.dims.extend(shape)
    if prod(shape) <= _ELEMENTS:
        tensor.raw_data = to_bytes(edit.weight(name), tensor.data_type).tobytes()
        return
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", _NOWHERE), ("offset", 0), ("length", size_bytes(tensor))):
        tensor.external_data.add(key=key, value=str(value))
