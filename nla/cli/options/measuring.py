"""How a replay is run, what it measures, and what it may take."""

from __future__ import annotations

from nla.cli import parameters
from nla.cli.options.parts import COUNT, LIMITS, MEASURE, REPLAY, choice, option
from nla.cli.parameters import Parsed

batch_size = option(
    "--batch-size",
    section=REPLAY,
    metavar="N|auto",
    type=Parsed("size", parameters.batch_size),
    default="auto",
    show_default=True,
    help="Samples in a batch.",
)
providers = option(
    "--providers",
    section=REPLAY,
    metavar="NAME[,NAME]",
    type=Parsed("names", parameters.names),
    default="CPUExecutionProvider",
    show_default=True,
    help="Execution providers of onnxruntime, in order of preference.",
)
threads = option(
    "--threads",
    section=REPLAY,
    metavar="N",
    type=COUNT,
    help="Worker threads; one for each core by default.",
)
kernel = choice(
    "--kernel",
    section=REPLAY,
    choices=["auto", "numba", "numpy"],
    default="auto",
    show_default=True,
    help="What computes the statistics; numba is the accelerated one (the extra `fast`).",
)
effective_rank = choice(
    "--effective-rank",
    section=MEASURE,
    choices=["sample", "exact"],
    default="sample",
    show_default=True,
    help="Effective rank from a sample of rows, whose size is stated, or from all of them.",
)
histogram = choice(
    "--histogram",
    section=MEASURE,
    choices=["sample", "exact"],
    default="sample",
    show_default=True,
    help="Activation histograms from a sample of rows, or from every value.",
)
pre_activations = option(
    "--pre-activations",
    section=MEASURE,
    is_flag=True,
    help="Observe z at every site; by default only where the verdict needs it, which is much faster.",
)
memory_limit = option(
    "--memory-limit",
    section=LIMITS,
    metavar="SIZE",
    type=Parsed("size", parameters.size_bytes),
    help="Stop, with one clear line, when the files ask for more memory than this, such as 4GB.",
)
time_limit = option(
    "--time-limit",
    section=LIMITS,
    metavar="TIME",
    type=Parsed("time", parameters.duration_seconds),
    help="Stop, with one clear line, when the run takes longer than this, such as 10m.",
)
in_process = option(
    "--in-process",
    section=LIMITS,
    is_flag=True,
    help="Run in this process, without limits: for debugging, and only with files that you trust.",
)
