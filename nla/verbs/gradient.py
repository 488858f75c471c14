"""The verb of gradient flow."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from nla.calibration.options import CalibrationOptions
from nla.errors import UsageError
from nla.isolation import Limits
from nla.theory.gradient_flow import GradientFlow
from nla.verbs.construction import Construction
from nla.verbs.parcel import Array, Constant, Parcel, Progress, StrPath


def gradient(
    model: StrPath,
    data: StrPath | Array | Mapping[str, Array] | None = None,
    *,
    labels: StrPath | Array | None = None,
    loss: str = "cross-entropy",
    loss_of: str | None = None,
    limit: int | None = None,
    synthetic: int | None = None,
    seed: int = 0,
    constants: Mapping[str, Constant] | None = None,
    inputs: Mapping[str, str] | None = None,
    image: Mapping[str, Any] | None = None,
    tokenizer: StrPath | None = None,
    max_length: int | None = None,
    processor: StrPath | None = None,
    include: Sequence[str] = (),
    graph: StrPath | None = None,
    layers: str | Sequence[str] | None = None,
    activation: str | None = None,
    providers: Sequence[str] = ("CPUExecutionProvider",),
    threads: int | None = None,
    memory_limit: int | None = None,
    time_limit: float | None = None,
    in_process: bool = False,
    progress: Progress | None = None,
    verbose: bool = False,
) -> GradientFlow:
    """How large the gradient of a loss is at each layer, measured over data, beside the bound of eq. 4.

    The backward pass is an ONNX graph that onnxruntime runs; no framework is needed. δ is the gradient of the loss of
    one sample at a layer's pre-activations; its norms are averaged over samples. Gradients of weights and biases are
    those of the mean loss. ReLU′(0) = 0, and of equal values in a window the first is the largest, as in PyTorch.

    Args:
        model: an ONNX file, or a safetensors checkpoint.
        data: calibration data, as `inspect` takes it.
        labels: the class of each sample, for cross-entropy: numbers of outputs, or names.
        loss: 'cross-entropy' of the logits with the labels, 'mean-square' of the output, or its 'sum'; of a sample.
        loss_of: the output that the loss is of; the first with floating-point numbers by default.
        limit: use the first so many samples only.
        synthetic: so many random samples in place of data.
        seed: of synthetic data.
        constants: values of inputs that are not data.
        inputs: array name by model input, where they differ.
        image: how a folder of images is prepared.
        tokenizer: a tokenizer.json for text.
        max_length: tokens of a text at most.
        processor: a folder in Hugging Face layout, whose files say how data is prepared.
        include: 'linear' adds layers without an activation.
        graph: an ONNX file with the graph of a safetensors checkpoint of no known architecture.
        layers: the layers of a plain network in a safetensors file, in their order.
        activation: what stands between these layers.
        providers: onnxruntime's, in the order of preference.
        threads: runs at once; the cores of this machine where None. The result does not depend on it.
        memory_limit: bytes that the child process may take.
        time_limit: seconds that it may take.
        in_process: work in this process, without limits.
        progress: called with {'phase': str, 'done': int, 'total': int}.
        verbose: let onnxruntime's own messages through.

    Raises:
        ModelError: the model cannot be used, or an operator on the way has no rule; the message names it.
        DataError, UsageError: data or labels do not fit.
        LimitError: a limit was reached.
    """
    if data is None and synthetic is None:
        raise UsageError("gradients are measured over data: give --data, or --synthetic N for random samples")
    parcel = Parcel()
    parcel.arguments.update(
        model=os.fspath(model),
        loss=loss,
        output=loss_of,
        include=list(include),
        providers=list(providers),
        threads=threads,
        construction=Construction.of(graph, layers, activation).given(),
    )
    parcel.put_data(data)
    parcel.put_options(
        CalibrationOptions(
            labels=labels,
            mask="none",
            limit=limit,
            synthetic=synthetic,
            seed=seed,
            constants=tuple(constants or ()),
            rename=dict(inputs or {}),
            tokenizer=tokenizer,
            max_length=max_length,
            processor=processor,
            **dict(image or {}),
        )
    )
    parcel.put_constants(constants)
    limits = Limits(memory_limit, time_limit)
    return GradientFlow.from_plain(
        *parcel.run("nla.gradients.tasks:gradient", limits, progress, in_process, verbose)
    )
