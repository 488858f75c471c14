"""Runs in a child of the tests: surveys many files in one process, one line of JSON for each, and stops on a crash.

Usage: python batch.py TASK FILE...; TASK names one of TASKS.
"""

from __future__ import annotations

import json
import resource
import sys
import time
import traceback
from pathlib import Path

from nla.checkpoint.onnx_file import open_onnx
from nla.errors import NlaError
from nla.graph.find import find_sites
from nla.graph.prepare import prepare

EVERY_ROLE = frozenset({"linear", "mlp_pre"})


def survey(path: Path) -> str:
    """Opens a model and finds its sites, as `nla sites` does in its own child."""
    sites, not_understood = find_sites(prepare(open_onnx(path), {}).model, EVERY_ROLE)
    return f"{len(sites)} sites, {len(not_understood)} not understood"


def recording(path: Path) -> str:
    """Reads a recording and prints it in every form."""
    import contextlib
    import io

    from nla import api
    from nla.lifecycle.document import document
    from nla.report import table
    from nla.report.strict_json import json_text
    from nla.report.text import print_inspection

    seen = api.load(path, in_process=True)
    rows = api.neurons(path, in_process=True)
    with contextlib.redirect_stdout(io.StringIO()) as out:
        print_inspection(seen)
        table.print_table(rows)
        table.print_csv(rows)
        table.print_json(rows)
    json_text(document(seen, neurons=True))
    api.merge([path], in_process=True)
    return f"{len(seen.sites)} sites, {len(out.getvalue())} characters"


def replay(path: Path) -> str:
    """Inspects the model in the data's folder with the data."""
    from nla import api

    model = path if path.suffix == ".onnx" else path.parent / "model.onnx"
    seen = api.inspect(model, path, in_process=True, threads=1, kernel="numpy")
    return f"{len(seen.sites)} sites, {seen.data['samples']} samples"


TASKS = {"replay": replay, "survey": survey, "recording": recording}


def main() -> None:
    """One line for each file: what came of it, and in how many seconds."""
    resource.setrlimit(resource.RLIMIT_DATA, (4 << 30, 4 << 30))
    task = TASKS[sys.argv[1]]
    for name in sys.argv[2:]:
        begin = time.monotonic()
        try:
            result = {"kind": "done", "text": task(Path(name))}
        except NlaError as error:
            result = {"kind": "refused", "text": str(error)}
        except BaseException:
            result = {"kind": "defect", "text": traceback.format_exc()}
        print(json.dumps({**result, "name": name, "seconds": time.monotonic() - begin}), flush=True)


if __name__ == "__main__":
    main()
