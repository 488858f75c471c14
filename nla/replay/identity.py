"""What a replay would be of, without replaying: for those who have a recording and ask whether it is that of this."""

from __future__ import annotations

from typing import Any

from nla.calibration import open_calibration
from nla.graph.prepare import prepare
from nla.replay.blame import names_files
from nla.replay.tasks import (
    Arguments,
    Array,
    Arrays,
    Report,
    agreed,
    checkpoint_given,
    data_given,
    options_given,
    settings_given,
)


@names_files
def identity(arguments: Arguments, arrays: Arrays, report: Report) -> tuple[dict[str, Any], dict[str, Array]]:
    """The digests of the checkpoint and the data, and the settings, as a recording of their replay would hold them.

    Raises:
        ModelError, DataError, UsageError: what was given cannot be used.
    """
    settings = settings_given(arguments)
    checkpoint, constants = checkpoint_given(arguments, arrays, report)
    prepared = prepare(checkpoint, constants)
    report({"phase": "reading the data"})
    options = options_given(arguments, arrays, checkpoint)
    data = open_calibration(data_given(arguments, arrays), prepared.inputs, options)
    return {
        "checkpoint": checkpoint.describe()["digest"],
        "data": data.digest,
        "settings": agreed(data, settings, arguments),
    }, {}
