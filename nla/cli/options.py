"""Every option and argument, declared once, so that it means the same in every command.

An option bears the name of the parameter of the Python verb that it sets.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import click

from nla.cli import parameters
from nla.cli.command import Option
from nla.cli.parameters import Parsed

Decorator = Callable[[Any], Any]

_DATA = "Calibration data"
_OUTPUT = "Output"
_JUDGE = "Judgement"
_MODEL = "Model"
_IMAGES = "Image folders"
_TEXT = "Text"
_MEASURE = "Measurements"
_REPLAY = "Replay"
_LIMITS = "Limits"
_ROWS = "Rows"
_POLICY = "What to do"
_WHICH = "Which units"
_SURGERY = "Surgery"
_VERIFY = "Verification"

# nla.lifecycle.results.STATES and FLAGS, written out once more: importing numpy would make `--help` slow.
# A test holds them together.
STATES = ("dead", "constant", "saturated", "dormant", "born", "specialised", "active", "unknown")
FLAGS = ("linear", "near_dead", "starved", "polysemantic", "nonfinite")

POLICIES = (
    "prune",
    "repair",
    "mask",
    "remove",
    "fold",
    "merge",
    "strip",
    "strip-contribution",
    "reset",
    "shift",
    "flip",
    "swap",
)
"""nla.manifest.policies.NAMES, likewise."""

_COUNT = Parsed("number", parameters.positive)


def _option(*names: str, section: str, help: str, **settings: Any) -> Decorator:
    return click.option(*names, cls=Option, section=section, help=help, **settings)


def _assignments(*names: str, section: str, metavar: str, help: str) -> Decorator:
    kind = Parsed(metavar, parameters.assignment)
    return _option(*names, section=section, metavar=metavar, multiple=True, type=kind, help=help)


def _seed(section: str) -> Decorator:
    kind = Parsed("number", parameters.natural)
    about = "Seed of what is drawn at random: synthetic samples, fresh weights."
    return _option(
        "--seed", section=section, metavar="N", type=kind, default=0, show_default=True, help=about
    )


def _site(section: str) -> Decorator:
    about = "This site only, by its full name. Repeatable."
    return _option("--site", section=section, multiple=True, metavar="S", help=about)


def _state(section: str) -> Decorator:
    about = f"Neurons in this state only: {', '.join(STATES)}. Repeatable."
    return _choice("--state", section=section, metavar="STATE", multiple=True, choices=STATES, help=about)


def _choice(*names: str, section: str, help: str, choices: Sequence[str], **settings: Any) -> Decorator:
    """An option whose help names its choices where it does not list them."""
    metavar = settings.pop("metavar", "|".join(choices))
    kind = click.Choice(choices, case_sensitive=False)
    return _option(*names, section=section, help=help, type=kind, metavar=metavar, **settings)


model = click.argument("model", type=click.Path())
run = click.argument("run", type=click.Path())
runs = click.argument("runs", type=click.Path(), nargs=-1, required=True, metavar="RUN...")

data = _option(
    "--data",
    section=_DATA,
    type=click.Path(),
    help="Calibration data: .npz, .npy, .h5, .safetensors, a folder of images, text, or a folder of ONNX's "
    "test_data_set_* folders.",
)
labels = _option(
    "--labels",
    section=_DATA,
    metavar="L",
    help="Labels, one for each sample: a file, or the name of an array in the data. By default an array y, "
    "label or target in the data, or the sub-folder names of an image folder; none ignores them.",
)
mask = _option(
    "--mask",
    section=_DATA,
    metavar="M",
    help="Which positions count: 1, or 0 for padding. A file, or the name of an array or input; by default "
    "an attention_mask; none counts everything.",
)
inputs = _assignments(
    "--input",
    "inputs",
    section=_DATA,
    metavar="NAME=ARRAY",
    help="Feed the model's input NAME from the array ARRAY of the data. Repeatable.",
)
limit = _option(
    "--limit", section=_DATA, metavar="N", type=_COUNT, help="Use the first so many samples only."
)
held_out = _option(
    "--held-out",
    section=_DATA,
    metavar="SHARE",
    type=Parsed("share", parameters.share),
    default=0.0,
    help="Keep this share of the samples, such as 0.2, for a second split: the dead may fire on it.",
)
shard = _option(
    "--shard",
    section=_DATA,
    metavar="K/N",
    type=Parsed("shard", parameters.shard),
    help="Replay part K of N only, on any machine; `nla merge` joins the recordings.",
)
synthetic = _option(
    "--synthetic",
    section=_DATA,
    metavar="N",
    type=_COUNT,
    help="Replay N random samples instead of data. The states then say nothing about real inputs, and every "
    "output says so.",
)
seed = _seed(_DATA)

resize = _option(
    "--resize",
    section=_IMAGES,
    metavar="HxW",
    type=Parsed("size", parameters.height_width),
    help="Resize every image to this height and width in pixels.",
)
resample = _choice(
    "--resample",
    section=_IMAGES,
    choices=["nearest", "bilinear", "bicubic", "lanczos"],
    help="How --resize computes pixels; bilinear by default.",
)
scale = _option(
    "--scale",
    section=_IMAGES,
    metavar="X",
    type=Parsed("number", parameters.number),
    help="Multiply pixel values (0 to 255) by this, such as 1/255; --mean and --std apply afterwards.",
)
mean = _option(
    "--mean",
    section=_IMAGES,
    metavar="X[,X,X]",
    type=Parsed("numbers", parameters.numbers),
    help="Subtract this after scaling: one number, or one for each channel.",
)
std = _option(
    "--std",
    section=_IMAGES,
    metavar="X[,X,X]",
    type=Parsed("numbers", parameters.numbers),
    help="Divide by this after the mean is subtracted.",
)
layout = _choice(
    "--layout",
    section=_IMAGES,
    choices=["nchw", "nhwc"],
    help="Where the model wants the channels; found from its input shape where that tells.",
)
channels = _choice(
    "--channels",
    section=_IMAGES,
    choices=["rgb", "bgr", "gray"],
    help="Order of the channels; found from their number where that tells.",
)

tokenizer = _option(
    "--tokenizer",
    section=_TEXT,
    type=click.Path(),
    help="The tokenizer.json with which text becomes token ids; that of the checkpoint's folder by default.",
)
max_length = _option(
    "--max-length",
    section=_TEXT,
    metavar="N",
    type=_COUNT,
    help="Longest sequence, in tokens; longer text is cut. By default as the tokenizer or the checkpoint says.",
)
exclude_bos = _option(
    "--exclude-bos",
    section=_TEXT,
    is_flag=True,
    help="Do not count the first token of a sequence where it is the one that begins sequences.",
)
PREPARATION = (
    *(resize, resample, scale, mean, std, layout, channels),
    *(tokenizer, max_length, exclude_bos),
)
"""How images and text are made into what a model reads."""
processor = _option(
    "--processor",
    section=_DATA,
    type=click.Path(),
    metavar="FOLDER",
    help="A folder in Hugging Face layout whose tokenizer.json, config.json and preprocessor_config.json say how data "
    "is prepared; the checkpoint's own by default.",
)

constants = _assignments(
    "--set",
    "constants",
    section=_MODEL,
    metavar="NAME=VALUE",
    help="Give the model's input NAME a constant, such as state=0 or sr=16000, and resolve the branches that "
    "it decides. Repeatable.",
)
include = _choice(
    "--include",
    section=_MODEL,
    metavar="ROLE",
    multiple=True,
    choices=["linear", "mlp_pre"],
    help="Look at sites of this role too: linear, weighted outputs without an activation; mlp_pre, the "
    "pre-activations of MLPs. Repeatable.",
)
graph = _option(
    "--graph",
    section=_MODEL,
    type=click.Path(),
    metavar="GRAPH.onnx",
    help="The graph of a safetensors checkpoint of no known architecture; its weights are matched by name.",
)
layers = _option(
    "--layers",
    section=_MODEL,
    metavar="A,B,C",
    help="The layers of a plain network in a safetensors file, in their order: fc1,fc2,out.",
)
activation = _option(
    "--activation",
    section=_MODEL,
    metavar="NAME",
    help="What stands between these layers, such as relu; one for all, or one for each with commas between.",
)
CONSTRUCTION = (graph, layers, activation)
"""How the graph of a safetensors checkpoint is made where its config.json does not say."""
initial = _option(
    "--initial",
    section=_MODEL,
    type=click.Path(),
    help="The checkpoint before training: neurons whose weights did not change since are `born`.",
)

batch_size = _option(
    "--batch-size",
    section=_REPLAY,
    metavar="N|auto",
    type=Parsed("size", parameters.batch_size),
    default="auto",
    show_default=True,
    help="Samples in a batch.",
)
providers = _option(
    "--providers",
    section=_REPLAY,
    metavar="NAME[,NAME]",
    type=Parsed("names", parameters.names),
    default="CPUExecutionProvider",
    show_default=True,
    help="Execution providers of onnxruntime, in order of preference.",
)
threads = _option(
    "--threads",
    section=_REPLAY,
    metavar="N",
    type=_COUNT,
    help="Worker threads; one for each core by default.",
)
kernel = _choice(
    "--kernel",
    section=_REPLAY,
    choices=["auto", "numba", "numpy"],
    default="auto",
    show_default=True,
    help="What computes the statistics; numba is the accelerated one (the extra `fast`).",
)

effective_rank = _choice(
    "--effective-rank",
    section=_MEASURE,
    choices=["sample", "exact"],
    default="sample",
    show_default=True,
    help="Effective rank from a sample of rows, whose size is stated, or from all of them.",
)
histogram = _choice(
    "--histogram",
    section=_MEASURE,
    choices=["sample", "exact"],
    default="sample",
    show_default=True,
    help="Activation histograms from a sample of rows, or from every value.",
)
pre_activations = _option(
    "--pre-activations",
    section=_MEASURE,
    is_flag=True,
    help="Observe z at every site; by default only where the verdict needs it, which is much faster.",
)

criteria = _option(
    "--criteria",
    section=_JUDGE,
    type=click.Path(),
    help="A TOML file of criteria: the thresholds of the states, which are written into every document. "
    "`nla criteria` prints one to start from.",
)
criterion = _assignments(
    "--criterion",
    "criterion",
    section=_JUDGE,
    metavar="NAME=VALUE",
    help="Change one criterion, such as dormancy_threshold=0.1; `nla criteria` lists them. Repeatable.",
)

output = _option(
    "-o",
    "--output",
    section=_OUTPUT,
    type=click.Path(),
    metavar="RUN.h5",
    help="Write the recording, from which `nla neurons` and `nla merge` work.",
)
json_file = _option(
    "--json",
    "json_file",
    section=_OUTPUT,
    type=click.Path(),
    metavar="FILE",
    help="Write the whole document as JSON; - writes it to standard output, in place of the table.",
)
quiet = _option(
    "-q", "--quiet", section=_OUTPUT, is_flag=True, help="Print no table and no progress, only errors."
)
verbose = _option(
    "-v",
    "--verbose",
    section=_OUTPUT,
    is_flag=True,
    help="Let onnxruntime's own messages through, on stderr.",
)

memory_limit = _option(
    "--memory-limit",
    section=_LIMITS,
    metavar="SIZE",
    type=Parsed("size", parameters.size_bytes),
    help="Stop, with one clear line, when the files ask for more memory than this, such as 4GB.",
)
time_limit = _option(
    "--time-limit",
    section=_LIMITS,
    metavar="TIME",
    type=Parsed("time", parameters.duration_seconds),
    help="Stop, with one clear line, when the run takes longer than this, such as 10m.",
)
in_process = _option(
    "--in-process",
    section=_LIMITS,
    is_flag=True,
    help="Run in this process, without limits: for debugging, and only with files that you trust.",
)

site = _site(_ROWS)
state = _state(_ROWS)
flag = _choice(
    "--flag",
    metavar="FLAG",
    section=_ROWS,
    multiple=True,
    choices=FLAGS,
    help=f"Rows with this flag only: {', '.join(FLAGS)}. Repeatable.",
)
row_format = _choice(
    "--format",
    "row_format",
    section=_OUTPUT,
    choices=["table", "csv", "json"],
    default="table",
    show_default=True,
    help="A table for people, or every column with all digits for programs.",
)

policy = _option(
    "--policy",
    section=_POLICY,
    metavar="P[,P]",
    type=Parsed("names", parameters.names),
    required=True,
    help=f"What to plan, with commas between: {', '.join(POLICIES)}. prune is remove, fold and merge; repair is "
    "what suits each state.",
)
fraction = _option(
    "--fraction",
    section=_POLICY,
    metavar="SHARE",
    type=Parsed("share", parameters.positive_share),
    help="For strip (0.2 by default) and strip-contribution (0.05): share of a unit's incoming weights to zero.",
)
target_rate = _option(
    "--target-rate",
    section=_POLICY,
    metavar="SHARE",
    type=Parsed("share", parameters.positive_share),
    default=0.01,
    show_default=True,
    help="For shift, and for strip in rounds: share of positions on which a unit is to fire.",
)
zero_outgoing = _option(
    "--zero-outgoing",
    section=_POLICY,
    is_flag=True,
    help="For shift: outgoing weights become zero, so that the output stays.",
)
swap_to = _choice(
    "--to",
    section=_POLICY,
    choices=["gelu", "silu", "elu", "leakyrelu"],
    help="For swap: the activation to take.",
)
reset_seed = _seed(_POLICY)
planned_site = _site(_WHICH)
planned_state = _state(_WHICH)
require = _choice(
    "--require",
    section=_WHICH,
    multiple=True,
    choices=["held-out"],
    help="Units only that do not fire on the held-out data either (a constant one keeps its value).",
)
min_margin = _option(
    "--min-margin",
    section=_WHICH,
    metavar="X",
    type=Parsed("number", parameters.number),
    help="Units only that are at least so many standard deviations of z from waking.",
)
max_rate_bound = _option(
    "--max-rate-bound",
    section=_WHICH,
    metavar="SHARE",
    type=Parsed("share", parameters.positive_share),
    help="Units only of which the data show, with the confidence of the criteria, that they fire on no larger "
    "share of samples.",
)
manifest_output = _option(
    "-o",
    "--output",
    section=_OUTPUT,
    type=click.Path(),
    metavar="MANIFEST.json",
    help="Write the manifest, which nla apply carries out; - writes it to standard output.",
)
manifest = click.argument("manifest", type=click.Path())
original = click.argument("original", type=click.Path())
edited = click.argument("edited", type=click.Path())
undo_file = click.argument("undo", type=click.Path())

model_output = _option(
    "-o",
    "--output",
    section=_OUTPUT,
    type=click.Path(),
    metavar="OUT",
    help="Write the resulting model: an ONNX file or, for a safetensors checkpoint, a new folder in its layout, unless "
    "the name ends with .onnx; the one that was read is never written over.",
)
copy_weights = _option(
    "--copy/--reference",
    "copy",
    section=_OUTPUT,
    default=True,
    show_default=True,
    help="Copy the weights (into the file; beside it where they are over 100 MB), or refer to the safetensors files, "
    "in whose folder the result then lies.",
)
masks_output = _option(
    "-o",
    "--output",
    section=_OUTPUT,
    type=click.Path(),
    required=True,
    metavar="MASKS.safetensors",
    help="Write the masks.",
)
record_undo = _option(
    "--record-undo",
    section=_OUTPUT,
    type=click.Path(),
    metavar="FILE",
    help="Keep what the edit overwrites, from which `nla undo` brings the original back.",
)
manifest_file = _option(
    "--manifest",
    section=_OUTPUT,
    type=click.Path(),
    metavar="FILE",
    help="The manifest: where it is written as it was carried out; for `nla verify`, the one that was applied, "
    "whose promises are judged.",
)
force = _option(
    "--force", section=_SURGERY, is_flag=True, help="Edit a checkpoint of another digest than the manifest's."
)
dry_run = _option(
    "--dry-run", section=_SURGERY, is_flag=True, help="Print what would change, and write nothing."
)
round_to = _option(
    "--round-to",
    section=_SURGERY,
    metavar="N",
    type=_COUNT,
    default=1,
    help="Keep units so that every width that changes is a multiple of this, such as 8, which hardware likes.",
)
tolerance = _option(
    "--tolerance",
    section=_VERIFY,
    metavar="X",
    type=Parsed("number", parameters.tolerance),
    help="How far an output may move, times max(1, its largest value), and count as unchanged: 1e-5, or more for "
    "models in float16.",
)
rounds = _option(
    "--rounds",
    section=_POLICY,
    metavar="N",
    type=_COUNT,
    default=1,
    show_default=True,
    help="At most so many rounds, measured anew after each: strip up to --target-rate, flip layer by layer.",
)
candidates = _option(
    "--candidates",
    section=_POLICY,
    metavar="A[,A]",
    type=Parsed("names", parameters.names),
    default="gelu,silu,elu,leakyrelu",
    show_default=True,
    help="Activations to try.",
)
