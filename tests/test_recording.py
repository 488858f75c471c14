"""Recordings: what is written is read, shards merge to one pass, and nothing strange is taken for one."""

from __future__ import annotations

import json
import os
from dataclasses import replace

import h5py
import numpy as np
import pytest
from observations import observe

from nla import recording
from nla.activations import Activation
from nla.errors import OutputError, RecordingError
from nla.recording import Recording, SplitStatistics, from_plain, merge, ranges, read, to_plain, write
from nla.recording_file import parse
from nla.site import Consumer, NotUnderstood, Producer, Site
from nla.statistics.liveness import Liveness
from nla.statistics.site import SiteStatistics
from nla.statistics.summary import Thresholds

NAMES = ["cat", "dög"]
NEURONS = (3, 4)
SITES = (
    Site(
        "/fc1/Relu \x1b[31m\u202e",
        "dense",
        Activation.named("Relu"),
        3,
        rank=2,
        pre="z",
        producers=(Producer("fc1", "Gemm", "w", "b", shape=(5, 3)),),
        consumers=(Consumer("fc2", "Gemm", "w2", site="a/../b", shape=(3, 4)),),
        out_norm=np.array([1.0, 2.0, np.nan]),
        groups=np.array([0, -1, 7]),
        kept="the graph output 'y'",
    ),
    Site("a/../b", "conv", Activation.named("Clip", min=0.0, max=6.0), 4, (-3,), upstream=("/fc1/Relu",)),
)


def _data(count=40):
    random = np.random.default_rng(0)
    dense = np.maximum(random.normal(size=(count, 1, 3)), 0)
    maps = np.clip(random.normal(size=(count, 5, 4)), 0, 6)
    return dense, maps, np.arange(count) % 2


def _inputs():
    """What the producer of the first site reads: five channels at two positions."""
    return np.random.default_rng(1).normal(size=(40, 2, 5))


def _everyone(samples):
    return np.ones(len(samples), bool)


def _split(where):
    dense, maps, labels = _data()
    thresholds = Thresholds(nonnegative=True), Thresholds(nonnegative=True, high=6.0)
    sites = [SiteStatistics(n, thresholds=t, labels=2) for n, t in zip(NEURONS, thresholds, strict=True)]
    liveness = Liveness(2)
    for part in np.array_split(where, 3):
        for statistics, a, t in zip(sites, (dense, maps), thresholds, strict=True):
            statistics.update(observe(a[part], part, labels[part], thresholds=t))
        sites[0].update_pre(observe(dense[part] - 1, part, first=_everyone), share=True)
        sites[0].update_inputs(observe(_inputs()[part], part))
        liveness.update(np.stack([(a[part] > 0).any(axis=(1, 2)) for a in (dense, maps)]))
    return SplitStatistics(tuple(sites), liveness, ranges(where))


def _recording(calibration=range(30), held_out=range(30, 40), **changes):
    values = {
        "checkpoint": {"path": "m.onnx", "digest": "c" * 64},
        "data": {"path": "d.npz", "digest": "d" * 64, "samples": len(calibration)},
        "settings": {
            "labels": NAMES,
            "firing_threshold": 1e-3,
            "flat_derivative": 1e-2,
            "effective_rank": "sample",
        },
        "sites": SITES,
        "not_understood": (NotUnderstood("Loop_1", "Loop", "bodies are left alone"),),
        "splits": {
            name: _split(np.array(w, np.int64))
            for name, w in (("calibration", calibration), ("held_out", held_out))
        },
        "replay": {"batch_size": 8, "seconds": 1.5, "kernel": "numpy"},
        "notes": ("a note",),
        "unchanged": (np.array([True, False, True]), None),
    }
    return Recording(**{**values, **changes})


@pytest.fixture(scope="module")
def made():
    return _recording()


@pytest.fixture
def file(made, tmp_path):
    write(made, tmp_path / "run.h5")
    return tmp_path / "run.h5"


def assert_same(got, want, *, floats_exact=True):
    (document, arrays), (expected, expected_arrays) = to_plain(got), to_plain(want)
    assert document == expected
    assert arrays.keys() == expected_arrays.keys()
    for name, array in expected_arrays.items():
        assert arrays[name].dtype == array.dtype
        if floats_exact or array.dtype != np.float64:
            np.testing.assert_array_equal(arrays[name], array, err_msg=name)
        else:
            np.testing.assert_allclose(arrays[name], array, rtol=1e-12, atol=1e-12, err_msg=name)


def test_a_recording_of_a_version_without_groups_and_shapes_is_read(made):
    document, arrays = to_plain(made)
    document["beside"].remove("sites/0000/groups")
    del arrays["sites/0000/groups"]
    for site in document["sites"]:
        del site["kept"]
        for other in (*site["producers"], *site["consumers"]):
            del other["shape"]
    again = from_plain(document, arrays)
    assert again.sites[0].groups is None
    assert again.sites[0].kept is None
    assert again.sites[0].producers == (Producer("fc1", "Gemm", "w", "b"),)


@pytest.mark.parametrize("groups", [[0, -2, 7], [0, 1, 1 << 24]])
def test_groups_that_no_graph_has_are_refused(made, groups):
    document, arrays = to_plain(made)
    arrays["sites/0000/groups"] = np.array(groups)
    with pytest.raises(RecordingError, match="groups"):
        from_plain(document, arrays)


def test_what_is_written_is_read(made, file):
    again = read(file)
    assert_same(again, made)
    assert again.sites == made.sites
    assert again.sites[0].groups.tolist() == [0, -1, 7]
    assert again.sites[1].groups is None
    assert again.not_understood == made.not_understood
    assert again.unchanged[0].tolist() == [1, 0, 1]
    assert again.unchanged[1] is None
    for ours, theirs in zip(
        *(r.splits["calibration"].measure(tuple(NAMES)) for r in (made, again)), strict=True
    ):
        assert ours.labels.samples_per_label.tolist() == theirs.labels.samples_per_label.tolist() == [15, 15]
        assert ours.effective_rank == theirs.effective_rank
        np.testing.assert_array_equal(ours.pre_max, theirs.pre_max)
    (ours, none), (theirs, _) = (r.splits["calibration"].measure() for r in (made, again))
    np.testing.assert_array_equal(np.sort(theirs.pre_rows, axis=0), np.sort(ours.pre_rows, axis=0))
    np.testing.assert_allclose(theirs.input_mean, _inputs()[:30].mean(axis=(0, 1)), rtol=1e-12)
    assert none.pre_rows is None
    assert none.input_mean is None


def test_the_first_recordings_are_read_without_means_of_inputs(made):
    document, arrays = to_plain(made)
    for name, configs in document["splits"].items():
        for config in configs:
            del config["inputs"], config["pre_share"]
        keys = arrays[f"sites/0000/{name}/pre.keys"]  # they did not say whose rows they are
        arrays[f"sites/0000/{name}/pre.keys"] = keys << np.uint64(1)
    arrays = {path: array for path, array in arrays.items() if "/inputs." not in path}
    for site in document["sites"]:
        for producer in site["producers"]:
            del producer["data"], producer["data_axis"], producer["inputs"]
    again = from_plain(document, arrays)
    assert again.sites[0].producers[0].data is None
    ours, theirs = (r.splits["calibration"].measure()[0] for r in (made, again))
    assert theirs.input_mean is None
    np.testing.assert_array_equal(np.sort(theirs.pre_rows, axis=0), np.sort(ours.pre_rows, axis=0))
    assert theirs.pre_histogram.counts.tolist() == ours.pre_histogram.counts.tolist()
    assert_same(from_plain(*to_plain(again)), again)


@pytest.mark.parametrize("change", [{"inputs": -1}, {"inputs": 1 << 27}, {"inputs": True}, {"pre_share": 1}])
def test_strange_accounts_of_what_was_observed_are_refused(made, change):
    document, arrays = to_plain(made)
    document["splits"]["calibration"][0].update(change)
    with pytest.raises(RecordingError, match="not its own"):
        from_plain(document, arrays)


def test_one_account_of_two_is_refused(made):
    document, arrays = to_plain(made)
    del document["splits"]["calibration"][0]["inputs"]
    with pytest.raises(RecordingError, match="not its own"):
        from_plain(document, arrays)


def test_read_then_written_gives_the_same_bytes(file, tmp_path):
    write(read(file), tmp_path / "again.h5")
    assert (tmp_path / "again.h5").read_bytes() == file.read_bytes()


def test_no_time_of_writing_is_stored(file):
    with h5py.File(file) as opened:
        times = []
        opened.visititems(lambda _, item: times.append(h5py.h5o.get_info(item.id).mtime))
        assert set(times) == {0}


def test_names_from_the_model_are_remarks_only(file):
    with h5py.File(file) as opened:
        assert sorted(opened) == ["document", "sites", "splits"]
        assert sorted(opened["sites"]) == ["0000", "0001"]
        assert bytes(opened["sites/0000"].attrs["name"]) == b"/fc1/Relu \\x1b[31m\\u202e"


def test_the_task_of_the_child_gives_what_from_plain_takes(made, file):
    plain = recording.read_plain({"path": os.fspath(file)}, {}, print)
    json.dumps(plain[0], allow_nan=False)
    assert_same(from_plain(*plain), made)


def test_an_unwritable_place_leaves_nothing(made, tmp_path):
    with pytest.raises(OutputError):
        write(made, tmp_path / "nowhere" / "run.h5")
    assert list(tmp_path.iterdir()) == []


def test_measurements_of_a_split_carry_the_living_data(made):
    split = made.splits["calibration"]
    dense, _, _ = _data()
    silent = int((dense[:30] == 0).all(axis=(1, 2)).sum())
    first, second = split.measure(tuple(NAMES))
    assert first.silent_samples == first.killed_samples == silent > 0
    assert second.killed_samples <= second.silent_samples
    assert split.covered == 30


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 2, 0)])
def test_shards_merge_to_one_pass_in_any_order(made, order):
    shards = [
        _recording(range(0, 7), range(30, 31)),
        _recording(range(7, 8), []),
        _recording(range(8, 30), range(31, 40)),
    ]
    merged = merge([shards[k] for k in order])
    whole = replace(made, replay={**made.replay, "seconds": 4.5})
    assert_same(merged, whole, floats_exact=False)
    in_order = merge(shards)
    assert_same(merged, in_order)


def test_interleaved_shards_cover_adjacent_samples(made):
    merged = merge([_recording(range(1, 30, 2)), _recording(range(0, 30, 2), [])])
    assert merged.splits["calibration"].samples.tolist() == [[0, 30]]
    assert_same(merged, replace(made, replay=merged.replay), floats_exact=False)


def test_merging_leaves_the_shards_as_they_were(made):
    shards = [_recording(range(0, 7)), _recording(range(7, 30), [])]
    merge(shards)
    assert_same(shards[0], _recording(range(0, 7)))


def test_one_recording_merges_to_itself(made):
    assert_same(merge([made]), made)


def test_descriptions_that_differ_are_listed_and_counts_added():
    one = _recording(range(0, 7), replay={"seconds": 1.0, "kernel": "numpy", "workers": 2})
    two = _recording(
        range(7, 30), [], replay={"seconds": 2.5, "kernel": "numba", "workers": 2}, notes=("other",)
    )
    merged = merge([two, one])
    assert merged.replay == {"seconds": 3.5, "kernel": ["numpy", "numba"], "workers": 2}
    assert merged.data["samples"] == 30
    assert merged.notes == ("a note", "other")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"checkpoint": {"digest": "e"}}, "different checkpoint.*cccc.* and e"),
        ({"data": {"digest": "e"}}, "different data"),
        (
            {
                "settings": {
                    "labels": NAMES,
                    "firing_threshold": 0.5,
                    "flat_derivative": 1e-2,
                    "effective_rank": "sample",
                }
            },
            "firing_threshold is 0.001 and 0.5",
        ),
        (
            {"settings": {"labels": NAMES, "firing_threshold": 1e-3, "flat_derivative": 1e-2}},
            "effective_rank is sample and None",
        ),
        ({"sites": (SITES[0], replace(SITES[1], name="c"))}, "different sites"),
    ],
)
def test_recordings_of_different_things_do_not_merge(made, change, said):
    with pytest.raises(RecordingError, match=said):
        merge([_recording(range(0, 7), []), _recording(range(7, 9), [], **change)])


@pytest.mark.parametrize("second", [range(29, 35), range(0, 30), range(4, 5)])
def test_shards_that_share_samples_do_not_merge(made, second):
    with pytest.raises(RecordingError, match=r"sample \d+ of the calibration split is in two recordings"):
        merge([made, _recording(second, [])])


def test_nothing_to_merge_is_an_error():
    with pytest.raises(RecordingError, match="at least one"):
        merge([])


def test_ranges_are_compact():
    assert ranges(np.array([], np.int64)).shape == (0, 2)
    assert ranges(np.array([5, 3, 4, 9])).tolist() == [[3, 6], [9, 10]]


# Broken and hostile files


def _refused(path, said):
    with pytest.raises(RecordingError, match=said) as caught:
        read(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_is_no_hdf5_file_is_refused(tmp_path):
    _refused(tmp_path / "none.h5", "no such file")
    _refused(tmp_path, "folder")
    (tmp_path / "text.h5").write_text("not HDF5")
    _refused(tmp_path / "text.h5", "not an HDF5 file")
    (tmp_path / "empty.h5").touch()
    _refused(tmp_path / "empty.h5", "not an HDF5 file")
    os.mkfifo(tmp_path / "pipe.h5")
    _refused(tmp_path / "pipe.h5", "device")


@pytest.mark.parametrize("share", [0.01, 0.3, 0.9, 0.999])
def test_a_truncated_file_is_refused(file, share):
    content = file.read_bytes()
    file.write_bytes(content[: int(len(content) * share)])
    _refused(file, "truncated or damaged")


def test_any_flipped_byte_gives_the_recording_or_a_clear_error(file, made):
    content, refusals = bytearray(file.read_bytes()), []
    for where in np.random.default_rng(3).integers(0, len(content), 60):
        broken = bytearray(content)
        broken[where] ^= 0x55
        file.write_bytes(broken)
        try:
            found = read(file)
        except RecordingError as error:
            refusals.append(str(error))
        else:
            assert_same(found, made)  # the byte was none of a number: padding, a name for people
    assert len(refusals) > 5
    assert all(said.startswith(str(file)) and "\n" not in said for said in refusals)


@pytest.mark.parametrize("value", [b"x", 0, [1, 2], 3.5])
def test_a_strange_checksum_is_refused(file, value):
    with h5py.File(file, "a") as opened:
        opened.attrs["crc32"] = value
    _refused(file, "crc32|damaged")


def test_a_recording_without_checksum_is_read(file, made):
    with h5py.File(file, "a") as opened:
        del opened.attrs["crc32"]
    assert_same(read(file), made)


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        (None, "no attribute schema"),
        (np.bytes_("nla/recording/2"), "use the nla that wrote it"),
        (np.bytes_("somebody/else/1"), "expected nla/recording/1"),
        ("nla/recording/1", "attribute schema is not"),
        (3, "attribute schema is not"),
        (np.bytes_("x" * 100), "attribute schema is not"),
        (np.array([b"nla/recording/1"] * 2), "attribute schema is not"),
    ],
)
def test_other_schemas_are_refused(file, schema, said):
    with h5py.File(file, "a") as opened:
        del opened.attrs["schema"]
        if schema is not None:
            opened.attrs["schema"] = schema
    _refused(file, said)


FIRED = "sites/0000/calibration/firing.fired"


def _soft_link(opened, folder):
    del opened[FIRED]
    opened[FIRED] = h5py.SoftLink("/sites/0000/calibration/firing.positive")


def _external_link(opened, folder):
    with h5py.File(folder / "other.h5", "w") as other:
        other["x"] = np.zeros(3, np.int64)
    del opened[FIRED]
    opened[FIRED] = h5py.ExternalLink(str(folder / "other.h5"), "/x")


def _external_group(opened, folder):
    del opened["sites/0000/calibration"]
    opened["sites/0000/calibration"] = h5py.ExternalLink("other.h5", "/")


def _virtual(opened, folder):
    del opened[FIRED]
    layout = h5py.VirtualLayout((3,), np.int64)
    layout[:] = h5py.VirtualSource("missing.h5", "x", shape=(3,))
    opened.create_virtual_dataset(FIRED, layout)


def _external_storage(opened, folder):
    del opened[FIRED]
    opened.create_dataset(FIRED, (3,), np.int64, external=[("/etc/passwd", 0, 24)])


def _unallocated(opened, folder):
    del opened[FIRED]
    opened.create_dataset(FIRED, (3,), np.int64)


def _unallocated_chunks(opened, folder):
    del opened[FIRED]
    opened.create_dataset(FIRED, (3,), np.int64, chunks=(1,))[0] = 1


def _other_filter(opened, folder):
    del opened[FIRED]
    opened.create_dataset(FIRED, data=np.ones(3, np.int64), chunks=(3,), scaleoffset=0)


def _other_type(opened, folder):
    del opened[FIRED]
    opened[FIRED] = np.zeros(3, np.float64)


def _strings(opened, folder):
    del opened[FIRED]
    opened[FIRED] = ["a", "b", "c"]


def _null(opened, folder):
    del opened[FIRED]
    opened[FIRED] = h5py.Empty("int64")


def _named_type(opened, folder):
    del opened[FIRED]
    opened[FIRED] = np.dtype("int64")


def _group(opened, folder):
    del opened[FIRED]
    opened.create_group(FIRED)


def _missing(opened, folder):
    del opened[FIRED]


def _extra(opened, folder):
    opened["sites/0000/calibration/more"] = np.zeros(3)


def _longer(opened, folder):
    del opened[FIRED]
    opened[FIRED] = np.zeros(4, np.int64)


def _negative(opened, folder):
    opened[FIRED][0] = -1


def _huge(opened, folder):
    del opened["splits/calibration/ranges"]
    opened.create_dataset(
        "splits/calibration/ranges", (1 << 39, 2), np.int64, chunks=(1 << 10, 2), compression="gzip"
    )


def _huge_chunk(opened, folder):
    del opened["splits/calibration/ranges"]
    chunks = (1 << 26, 2)
    opened.create_dataset("splits/calibration/ranges", (2, 2), np.int64, chunks=chunks, maxshape=(None, 2))


def _falling_ranges(opened, folder):
    opened["splits/calibration/ranges"][0] = (5, 5)


def _unsorted_rows(opened, folder):
    keys = opened["sites/0000/calibration/rows.keys"]
    keys[...] = keys[...][::-1]


HOSTILE = {
    _soft_link: "missing, or a link",
    _external_link: "missing, or a link",
    _external_group: "missing, or a link",
    _virtual: "another file",
    _external_storage: "another file",
    _unallocated: "not stored",
    _unallocated_chunks: "not stored",
    _other_filter: "not stored",
    _other_type: "float64",
    _strings: "expected int64|HDF5 cannot read",
    _null: "empty",
    _named_type: "is a Datatype",
    _group: "is a Group",
    _missing: "members, expected|missing",
    _extra: "members, expected",
    _longer: r"\[4\], expected int64 \[3\]",
    _negative: "negative",
    _huge: "not stored",
    _huge_chunk: "not stored",
    _falling_ranges: "increasing ranges",
    _unsorted_rows: "increasing keys",
}


@pytest.mark.parametrize("change", HOSTILE, ids=lambda change: change.__name__.strip("_"))
def test_hostile_files_are_refused_before_they_are_read(file, tmp_path, change):
    with h5py.File(file, "a") as opened:
        del opened.attrs["crc32"]
        change(opened, tmp_path)
    _refused(file, HOSTILE[change])


def _with_document(file, change):
    with h5py.File(file, "a") as opened:
        text = bytes(opened["document"][()]).decode()
        del opened["document"], opened.attrs["crc32"]
        opened["document"] = np.frombuffer(change(text).encode(), np.uint8)


def _edit(*where, value):
    def change(text):
        document = json.loads(text)
        inner = document
        for key in where[:-1]:
            inner = inner[key]
        if value is None:
            del inner[where[-1]]
        else:
            inner[where[-1]] = value
        return json.dumps(document)

    return change


_CONSUMER = {"node": "n", "op_type": "Gemm", "weight": "v"}


@pytest.mark.parametrize(
    "change",
    [
        lambda text: "",
        lambda text: text[:-1],
        lambda text: "[]",
        lambda text: "[" * 100_000,
        lambda text: text.replace('"seconds": 1.5', '"seconds": NaN'),
        lambda text: text.replace('"seconds": 1.5', '"seconds": 1, "seconds": 2'),
        _edit("schema", value="nla/recording/9"),
        _edit("replay", value=None),
        _edit("more", value=1),
        _edit("checkpoint", value=[]),
        _edit("checkpoint", "digest", value=3),
        _edit("sites", 0, "neurons", value=10**30),
        _edit("sites", 0, "neurons", value=True),
        _edit("sites", 0, "neurons", value=4),
        _edit("sites", 0, "name", value=3),
        _edit("sites", 0, "role", value="strange"),
        _edit("sites", 0, "channel_axes", value=[]),
        _edit("sites", 0, "channel_axes", value=["x"]),
        _edit("sites", 0, "more", value=1),
        _edit("sites", 0, "producers", value=None),
        _edit("sites", 0, "producers", 0, "weight", value=7),
        _edit("sites", 0, "consumers", value=[{**_CONSUMER, "places": [0, 1, 2]}]),
        _edit("sites", 0, "consumers", value=[{**_CONSUMER, "places": [0, 1, 2, 1 << 40]}]),
        _edit("sites", 0, "activation", "name", value="Nothing"),
        _edit("sites", 0, "activation", value=3),
        _edit("sites", 0, value=3),
        _edit("not_understood", 0, "reason", value=3),
        _edit("not_understood", value=[3]),
        _edit("notes", value=[3]),
        _edit("beside", value=["/etc/passwd"]),
        _edit("settings", "labels", value=None),
        _edit("settings", "labels", value=["cat"]),
        _edit("settings", "constants", value=["x"]),
        _edit("settings", "constants", value={"x": 3}),
        _edit("settings", "constant_arrays", value=3),
        _edit("splits", "calibration", value=None),
        _edit("splits", "third", value=[]),
        _edit("splits", "calibration", value=[]),
        _edit("splits", "calibration", 0, "labels", value=10**9),
        _edit("splits", "calibration", 0, "labels", value=-1),
        _edit("splits", "calibration", 0, "exact_rank", value=True),
        _edit("splits", "calibration", 0, "low", value="yes"),
        _edit("splits", "calibration", 0, "more", value=1),
        _edit("splits", "calibration", 0, value=3),
    ],
)
def test_strange_documents_are_refused(file, change):
    _with_document(file, change)
    _refused(file, "run.h5")


def test_strict_json_takes_an_object_only():
    assert parse(b'{"a": [1, 2.5, null, "x"]}') == {"a": [1, 2.5, None, "x"]}
    for text in (b"1", b'"x"', b'{"a": Infinity}', b'{"a": 1, "a": 1}', b"\xff", b"9" * 5000):
        with pytest.raises(RecordingError, match="document"):
            parse(text)


@pytest.mark.parametrize("change", ["missing", "more", "shape"])
def test_arrays_that_do_not_belong_are_refused(made, change):
    document, arrays = to_plain(made)
    if change == "missing":
        del arrays[FIRED]
    elif change == "more":
        arrays["x"] = np.zeros(1)
    else:
        arrays[FIRED] = np.zeros(9, np.int64)
    with pytest.raises(RecordingError, match="the array"):
        from_plain(document, arrays)
