"""`nla inspect`: the main job, from a model and data to a verdict on every neuron."""

from __future__ import annotations

from typing import Any

from nla.cli import outputs, progress, replaying
from nla.cli.command import command
from nla.cli.options import calibration, certifying, checkpoint, judging, measuring, writing

_OPTIONS = (
    checkpoint.model,
    calibration.data,
    calibration.labels,
    calibration.mask,
    calibration.inputs,
    calibration.limit,
    calibration.held_out,
    calibration.shard,
    calibration.synthetic,
    calibration.seed,
    calibration.processor,
    writing.output,
    writing.json_file,
    writing.neurons,
    writing.quiet,
    writing.verbose,
    judging.criteria,
    judging.criterion,
    checkpoint.constants,
    checkpoint.include,
    checkpoint.initial,
    *checkpoint.CONSTRUCTION,
    *calibration.PREPARATION,
    *certifying.PROOFS,
    measuring.effective_rank,
    measuring.histogram,
    measuring.pre_activations,
    measuring.batch_size,
    measuring.providers,
    measuring.threads,
    measuring.kernel,
    measuring.memory_limit,
    measuring.time_limit,
    measuring.in_process,
)
_FILES = ("model", "initial", "ranges", *replaying.FILES)


@command(
    "inspect",
    _OPTIONS,
    examples=(
        "nla inspect model.onnx --data calibration.npz",
        "nla inspect model.onnx --data calibration.npz --held-out 0.2 -o run.h5 --json run.json",
        "nla inspect model.onnx --data photos/ --resize 224x224 --scale 1/255",
        "nla inspect checkpoint/ --data sentences.txt",
        "nla inspect model.onnx --data calibration.npz --certify --box 0:1",
        "nla inspect model.onnx",
    ),
)
def inspect(json_file: str | None, neurons: bool, quiet: bool, **given: Any) -> None:
    """Say which lifecycle state every neuron of MODEL is in.

    Replays calibration data through the checkpoint MODEL in one pass, and prints a line for each site (a
    layer of neurons), the totals, the evidence that they rest on, and the findings that matter most. MODEL is an
    ONNX file, or a safetensors checkpoint: its folder, a .safetensors file, or the index of its shards.

    Without --data nothing is replayed: what the weights alone tell is printed, and that no activation was seen.
    """
    replays = given["data"] is not None or given["synthetic"] is not None
    if replays:
        replaying.check_data(given)
    outputs.check_neurons(neurons, json_file, replays=replays)
    outputs.check_recording(given["output"])
    outputs.check([given["output"], json_file], [given[name] for name in _FILES])
    replaying.gather(given)

    from nla import api

    with progress.shown(quiet) as report:
        found = api.inspect(**given, progress=report)
    if given["output"]:
        outputs.wrote(given["output"])
    outputs.show(found, json_file, quiet, neurons)
