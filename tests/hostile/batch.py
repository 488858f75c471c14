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

from nla.architectures.opening import open_checkpoint
from nla.errors import NlaError
from nla.graph.find import find_sites
from nla.graph.prepare import prepare

EVERY_ROLE = frozenset({"linear", "mlp_pre"})


def survey(path: Path) -> str:
    """Opens a model and finds its sites, as `nla sites` does in its own child."""
    sites, not_understood = find_sites(prepare(open_checkpoint(path), {}).model, EVERY_ROLE)
    return f"{len(sites)} sites, {len(not_understood)} not understood"


def recording(path: Path) -> str:
    """Reads a recording and prints it in every form."""
    import contextlib
    import io

    from nla import api
    from nla.lifecycle.document import document
    from nla.rendering import table
    from nla.rendering.strict_json import json_text
    from nla.rendering.text import print_inspection

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


def apply(path: Path) -> str:
    """Carries a manifest out on the model beside it, on paper and then in a file."""
    from nla import api

    model, made = path.parent / "model.onnx", path.parent / "made.onnx"
    made.unlink(missing_ok=True)
    planned = api.apply(path, model, dry_run=True, in_process=True)
    done = api.apply(path, model, made, in_process=True)
    assert [action.done for action in planned.actions] == [action.done for action in done.actions]
    api.verify(
        model, made, path.parent / "data.npz", manifest=path, in_process=True, threads=1, kernel="numpy"
    )
    return "; ".join(
        f"{a.kind} {list(a.done)} {[(list(r.units), r.reason) for r in a.refused]}" for a in done.actions
    )


def plan(path: Path) -> str:
    """Plans a recording by every policy that takes no parameter, and one that does."""
    from contextlib import suppress

    from nla import api
    from nla.manifest.document import loads
    from nla.manifest.policies import NAMES

    planned = 0
    for policy in NAMES:
        with suppress(NlaError):
            made = api.plan(path, policy, to="gelu" if policy == "swap" else None, in_process=True)
            assert loads(made.dumps()) == made
            planned += 1
    return f"{planned} manifests"


def verify(path: Path) -> str:
    """Compares the model beside it with a spoilt one."""
    from nla import api

    folder = path.parent
    seen = api.verify(
        folder / "model.onnx", path, folder / "data.npz", in_process=True, threads=1, kernel="numpy"
    )
    return f"holds: {seen.holds}"


def spoilt_apply(path: Path) -> str:
    """Carries the honest manifest out on a spoilt model, whatever its digest."""
    from nla import api

    api.apply(path.parent / "manifest.json", path, path.parent / "made.onnx", force=True, in_process=True)
    return ""


def masks(path: Path) -> str:
    """Writes the masks of a manifest."""
    from nla import api

    made = api.masks(path, path.parent / "made.safetensors")
    return f"{ {name: mask.shape for name, mask in made.masks.items()} }"


def undo(path: Path) -> str:
    """Undoes the edit of the model beside the undo file."""
    from nla import api

    folder = path.parent
    done = api.undo(path, folder / "edited.onnx", folder / "made.onnx", in_process=True)
    same = (folder / "made.onnx").read_bytes() == (folder / "model.onnx").read_bytes()
    return f"identical: {done.identical and same}"


TASKS = {
    "apply": apply,
    "masks": masks,
    "plan": plan,
    "verify": verify,
    "spoilt_apply": spoilt_apply,
    "undo": undo,
    "replay": replay,
    "survey": survey,
    "recording": recording,
}


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
