"""onnx's shape inference on a model of any size: its weights stay out of the call."""

from __future__ import annotations

import logging

import onnx_ir as ir
from onnx_ir.passes.common import ShapeInferencePass

from nla.errors import one_line

_LOGGER = "onnx_ir.passes.common.shape_inference"


def infer_shapes(model: ir.Model) -> str | None:
    """Fill in the shapes and types that onnx can infer; a note where it gave up, for nothing depends on it.

    onnx_ir's pass keeps tensors above 1 kB out of the call to onnx (whose limit is 2 GB) and logs a failure
    where this says it. onnx's C++ has been seen to take all memory on small models: call it in the
    supervised child.
    """
    # What a file declares of inner tensors may be wrong (a batch that was fixed, a graph that was edited),
    # and one wrong shape poisons all that follow: it counts only where nothing can be inferred, behind
    # foreign operators.
    declared = {v: v.shape for node in model.graph for v in node.outputs if v.shape is not None}
    for value in declared:
        value.shape = None
    error = _infer(model)
    unknown = [value for value in declared if value.shape is None]
    for value in unknown:
        value.shape = declared[value]
    if unknown and error is None:
        _infer(model)
    return None if error is None else f"shapes could not be inferred: {one_line(error, 200)}"


def _infer(model: ir.Model) -> BaseException | None:
    caught = _Caught()
    logger = logging.getLogger(_LOGGER)
    logger.addHandler(caught)
    propagate, logger.propagate = logger.propagate, False
    try:
        ShapeInferencePass(check_type=False, strict_mode=False, data_prop=True)(model)
    finally:
        logger.removeHandler(caught)
        logger.propagate = propagate
    if isinstance(caught.error, MemoryError):
        raise caught.error
    return caught.error


class _Caught(logging.Handler):
    """Keeps the exception that the pass swallowed."""

    error: BaseException | None = None

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info and not isinstance(record.exc_info, bool):
            self.error = record.exc_info[1]
