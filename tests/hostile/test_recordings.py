"""Hostile recordings: `nla neurons` and `nla merge` read what a stranger made."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from typing import Any

import h5py
import numpy as np
import pytest
from hostile.verdicts import verdicts

import nla
from nla import recording
from nla.recording_file import to_bytes

Document = dict[str, Any]


@pytest.fixture(scope="module")
def honest(tmp_path_factory, sample):
    """A recording, and its document and arrays."""
    path = tmp_path_factory.mktemp("honest") / "run.h5"
    nla.inspect(sample / "model.onnx", sample / "data.npz", limit=20, held_out=0.2, output=path)
    return path, *recording.to_plain(recording.read(path))


def put(*keys: str | int, value: Any) -> Callable[[Document, dict[str, Any]], None]:
    def change(document: Document, arrays: dict[str, Any]) -> None:
        *path, last = keys
        for key in path:
            document = document[key]
        document[last] = value  # type: ignore[index]

    return change


def drop(*keys: str | int) -> Callable[[Document, dict[str, Any]], None]:
    def change(document: Document, arrays: dict[str, Any]) -> None:
        *path, last = keys
        for key in path:
            document = document[key]
        del document[last]  # type: ignore[arg-type]

    return change


def array(name: str, make: Callable[[Any], Any]) -> Callable[[Document, dict[str, Any]], None]:
    def change(document: Document, arrays: dict[str, Any]) -> None:
        arrays[name] = make(arrays[name])

    return change


def proved(document: Document, arrays: dict[str, Any]) -> None:
    """Proofs with texts and verdicts that nla does not write."""
    neurons = document["sites"][0]["neurons"]
    digest = document["checkpoint"]["digest"]
    document["certificates"] = {"checkpoint": digest, "text": "\x1b[31m", "methods": ["\n"]}
    names = ["sites/0000/certificate", "sites/0000/certificate_bound"]
    arrays[names[0]], arrays[names[1]] = np.full(neurons, 200, np.uint8), np.full(neurons, np.nan)
    document["beside"] = sorted([*document["beside"], *names])


def nested(depth: int) -> Any:
    value: Any = 0
    for _ in range(depth):
        value = [value]
    return value


FIRED = "sites/0000/calibration/firing.fired"
WEIGHTS = "sites/0000/weights"
REFUSED = {
    "no firing threshold": (drop("settings", "firing_threshold"), "no firing_threshold"),
    "no flat derivative": (drop("settings", "flat_derivative"), "no flat_derivative"),
    "a firing threshold that is text": (put("settings", "firing_threshold", value="0.1"), "firing_threshold"),
    "a firing threshold below zero": (put("settings", "firing_threshold", value=-1), "firing_threshold"),
    "a firing threshold beyond its range": (
        put("settings", "firing_threshold", value=1e300),
        "firing_threshold",
    ),
    "no settings": (drop("settings"), "the document of no recording"),
    "another schema": (put("schema", value="nla/recording/2"), "no recording|schema"),
    "labels that are a number": (put("settings", "labels", value=3), "labels"),
    "a path that is a mapping": (put("checkpoint", "path", value={"a": 1}), "strange path"),
    "bytes that are text": (put("checkpoint", "bytes", value="many"), "strange bytes"),
    "parameters of 400 digits": (put("checkpoint", "parameters", value=10**400), "too large"),
    "seconds that are a list": (put("replay", "seconds", value=[1]), "strange seconds"),
    "workers that are text": (put("replay", "workers", value="all"), "strange workers"),
    "samples that are a list": (put("data", "samples", value=[1]), "strange samples"),
    "labels without names": (put("data", "labels", value={"from": "y"}), "strange labels"),
    "account that is a number": (put("data", "account", value=1), "strange account"),
    "no digest": (drop("checkpoint", "digest"), "no digest"),
    "a list 500 deep": (put("replay", "odd", value=nested(500)), "deeper than"),
    "a list 30 deep": (put("replay", "odd", value=nested(30)), "deeper than"),
    "two sites of one name": (
        lambda document, _: document["sites"][1].update(name=document["sites"][0]["name"]),
        "one name",
    ),
    "an unknown activation": (put("sites", 0, "activation", "name", value="\x1b[31m"), r"unknown"),
    "an unknown role": (put("sites", 0, "role", value="x"), "not a recording that nla wrote"),
    "2^26 neurons": (put("sites", 0, "neurons", value=1 << 26), "not its own"),
    "a number of neurons below zero": (put("sites", 0, "neurons", value=-64), "not those of a recording"),
    "an axis that is text": (put("sites", 0, "channel_axes", value=["x"]), "not a recording that nla wrote"),
    "counts below zero": (array(FIRED, lambda fired: fired - 1000), "negative"),
    "counts that are floats": (array(FIRED, lambda fired: fired.astype(float)), "expected int64"),
    "counts of fewer neurons": (array(FIRED, lambda fired: fired[:-1]), "expected int64"),
    "digests that are floats": (array(WEIGHTS, lambda weights: weights.astype(float)), "expected uint64"),
    "digests of fewer neurons": (array(WEIGHTS, lambda weights: weights[:-1]), "expected uint64"),
    "digests that are not there": (lambda _, arrays: arrays.pop(WEIGHTS), "missing|members"),
    "certificates that are a number": (put("certificates", value=3), "strange certificates|no recording"),
    "certificates of numbers": (put("certificates", value={"text": 3}), "strange certificates"),
    "certificates of another checkpoint": (
        put("certificates", value={"checkpoint": "0" * 64, "text": "any input"}),
        "of another checkpoint",
    ),
    "samples twice": (
        array("splits/calibration/ranges", lambda ranges: np.concatenate([ranges, ranges])),
        "increasing ranges",
    ),
    "no counts": (lambda _, arrays: arrays.pop(FIRED), "missing|members"),
    "an array of nobody's": (lambda _, arrays: arrays.update({"sites/0000/odd": np.zeros(3)}), "members"),
}
READ = {
    "counts near the end of int64": array(FIRED, lambda fired: fired + 2**62),
    "moments that are nan": array("sites/0000/calibration/moments.mean", lambda mean: mean * np.nan),
    "no samples": array("sites/0000/calibration/firing.samples", lambda samples: samples * 0),
    "strange proofs": proved,
    "strange notes": put("notes", value=["\x1b[31m\n" * 100]),
    "paths as merged recordings have them": put("checkpoint", "path", value=["a.onnx", "b.onnx"]),
}


@pytest.fixture(scope="module")
def seen(honest, tmp_path_factory):
    """What came of every changed recording."""
    folder = tmp_path_factory.mktemp("recordings")
    paths = {}
    for number, (name, change) in enumerate({**{k: c for k, (c, _) in REFUSED.items()}, **READ}.items()):
        document, arrays = copy.deepcopy(honest[1]), dict(honest[2])
        change(document, arrays)
        paths[name] = folder / f"{number}.h5"
        paths[name].write_bytes(to_bytes(recording.SCHEMA, document, arrays, {}))
    return verdicts("recording", paths, folder)


@pytest.mark.parametrize("name", REFUSED)
def test_what_no_recording_holds_is_refused(seen, name):
    verdict = seen[name]
    assert verdict.kind == "refused", verdict
    assert re.search(REFUSED[name][1], verdict.text), verdict.text
    assert re.search(r"\d+\.h5: ", verdict.text), f"names no file: {verdict.text}"
    assert "\n" not in verdict.text


@pytest.mark.parametrize("name", READ)
def test_what_is_strange_and_well_formed_is_read(seen, name):
    assert seen[name].kind == "done", seen[name]


def test_numbers_that_json_has_not_are_refused(honest, tmp_path):
    text = re.sub(rb'"seconds": [0-9.e-]+', b'"seconds": 1e999', bytes(h5py.File(honest[0])["document"][()]))
    path = tmp_path / "run.h5"
    path.write_bytes(honest[0].read_bytes())
    with h5py.File(path, "a") as file:
        del file["document"], file.attrs["crc32"]
        file["document"] = np.frombuffer(text, np.uint8)
    with pytest.raises(nla.RecordingError, match="infinite"):
        nla.load(path)


def hostile_file(kind: str, honest: tuple[Any, ...], folder: Any) -> Any:
    """A file that HDF5 itself may stumble over."""
    path = folder / "run.h5"
    path.write_bytes(honest[0].read_bytes())
    if kind == "cut short":
        path.write_bytes(path.read_bytes()[:-1000])
        return path
    with h5py.File(path, "a") as file:
        if kind == "a virtual dataset on itself":
            del file[FIRED]
            layout = h5py.VirtualLayout((64,), np.int64)
            layout[:] = h5py.VirtualSource(".", FIRED, shape=(64,))
            file.create_virtual_dataset(FIRED, layout)
        elif kind == "a huge attribute":
            file.attrs["schema"] = np.bytes_(b"x" * 60_000)
        elif kind == "a document of /dev/zero":
            del file["document"]
            file.create_dataset("document", (1 << 27,), np.uint8, external=[("/dev/zero", 0, 1 << 27)])
        elif kind == "groups 3,000 deep":
            group = file["sites"].id
            for _ in range(3000):
                group = h5py.h5g.create(group, b"g")
    return path


@pytest.mark.parametrize(
    "kind",
    [
        "cut short",
        "a virtual dataset on itself",
        "a huge attribute",
        "a document of /dev/zero",
        "groups 3,000 deep",
    ],
)
def test_hostile_hdf5_ends_in_one_line(machine, honest, tmp_path, kind):
    path = hostile_file(kind, honest, tmp_path)
    machine.run("neurons", path).refused(str(path))


def test_merging_with_a_hostile_recording_writes_nothing(machine, honest, tmp_path):
    path = hostile_file("cut short", honest, tmp_path)
    machine.run("merge", honest[0], path, "-o", "merged.h5", "--json", "merged.json").refused(str(path))


def test_a_recording_is_not_merged_with_itself(machine, honest):
    machine.run("merge", honest[0], honest[0], "-o", "merged.h5").refused("in two recordings")


def test_shards_of_machines_that_differ_merge_and_print(machine, sample):
    model, data = sample / "model.onnx", sample / "data.npz"
    for shard, options in (("1/2", ("--threads", "1")), ("2/2", ("--threads", "2", "--batch-size", "7"))):
        machine.run(
            "inspect", model, "--data", data, "--shard", shard, "-o", f"{shard[0]}.h5", *options, "-q"
        ).check()
    ended = machine.run("merge", "1.h5", "2.h5", "-o", "merged.h5").check()
    assert ended.code == 0
    assert re.search("1 or 2 workers|2 or 1 workers", ended.out)
    assert "2 shards" in ended.out
    assert machine.run("neurons", "merged.h5").check().code == 0
