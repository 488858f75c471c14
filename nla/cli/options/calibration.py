"""Calibration data, and how images and text are made into what a model reads."""

from __future__ import annotations

import click

from nla.cli import parameters
from nla.cli.options.parts import COUNT, DATA, IMAGES, TEXT, assignments, choice, option, seed_option
from nla.cli.parameters import Parsed

data = option(
    "--data",
    section=DATA,
    type=click.Path(),
    help="Calibration data: .npz, .npy, .h5, .safetensors, a folder of images, text, or a folder of ONNX's "
    "test_data_set_* folders.",
)
labels = option(
    "--labels",
    section=DATA,
    metavar="L",
    help="Labels, one for each sample: a file, or the name of an array in the data. By default an array y, "
    "label or target in the data, or the sub-folder names of an image folder; none ignores them.",
)
mask = option(
    "--mask",
    section=DATA,
    metavar="M",
    help="Which positions count: 1, or 0 for padding. A file, or the name of an array or input; by default "
    "an attention_mask; none counts everything.",
)
inputs = assignments(
    "--input",
    "inputs",
    section=DATA,
    metavar="NAME=ARRAY",
    help="Feed the model's input NAME from the array ARRAY of the data. Repeatable.",
)
limit = option("--limit", section=DATA, metavar="N", type=COUNT, help="Use the first so many samples only.")
held_out = option(
    "--held-out",
    section=DATA,
    metavar="SHARE",
    type=Parsed("share", parameters.share),
    default=0.0,
    help="Keep this share of the samples, such as 0.2, for a second split: the dead may fire on it.",
)
shard = option(
    "--shard",
    section=DATA,
    metavar="K/N",
    type=Parsed("shard", parameters.shard),
    help="Replay part K of N only, on any machine; `nla merge` joins the recordings.",
)
synthetic = option(
    "--synthetic",
    section=DATA,
    metavar="N",
    type=COUNT,
    help="Replay N random samples instead of data. The states then say nothing about real inputs, and every "
    "output says so.",
)
seed = seed_option(DATA)
resize = option(
    "--resize",
    section=IMAGES,
    metavar="HxW",
    type=Parsed("size", parameters.height_width),
    help="Resize every image to this height and width in pixels.",
)
resample = choice(
    "--resample",
    section=IMAGES,
    choices=["nearest", "bilinear", "bicubic", "lanczos"],
    help="How --resize computes pixels; bilinear by default.",
)
scale = option(
    "--scale",
    section=IMAGES,
    metavar="X",
    type=Parsed("number", parameters.number),
    help="Multiply pixel values (0 to 255) by this, such as 1/255; --mean and --std apply afterwards.",
)
mean = option(
    "--mean",
    section=IMAGES,
    metavar="X[,X,X]",
    type=Parsed("numbers", parameters.numbers),
    help="Subtract this after scaling: one number, or one for each channel.",
)
std = option(
    "--std",
    section=IMAGES,
    metavar="X[,X,X]",
    type=Parsed("numbers", parameters.numbers),
    help="Divide by this after the mean is subtracted.",
)
layout = choice(
    "--layout",
    section=IMAGES,
    choices=["nchw", "nhwc"],
    help="Where the model wants the channels; found from its input shape where that tells.",
)
channels = choice(
    "--channels",
    section=IMAGES,
    choices=["rgb", "bgr", "gray"],
    help="Order of the channels; found from their number where that tells.",
)
tokenizer = option(
    "--tokenizer",
    section=TEXT,
    type=click.Path(),
    help="The tokenizer.json with which text becomes token ids; that of the checkpoint's folder by default.",
)
max_length = option(
    "--max-length",
    section=TEXT,
    metavar="N",
    type=COUNT,
    help="Longest sequence, in tokens; longer text is cut. By default as the tokenizer or the checkpoint says.",
)
exclude_bos = option(
    "--exclude-bos",
    section=TEXT,
    is_flag=True,
    help="Do not count the first token of a sequence where it is the one that begins sequences.",
)
PREPARATION = (
    *(resize, resample, scale, mean, std, layout, channels),
    *(tokenizer, max_length, exclude_bos),
)
"""How images and text are made into what a model reads."""
processor = option(
    "--processor",
    section=DATA,
    type=click.Path(),
    metavar="FOLDER",
    help="A folder in Hugging Face layout whose tokenizer.json, config.json and preprocessor_config.json say how data "
    "is prepared; the checkpoint's own by default.",
)
