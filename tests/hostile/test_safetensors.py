"""Hostile safetensors checkpoints: what the library refuses is refused, and more, in one line that names the fault."""

from __future__ import annotations

import re
import time
from collections import Counter

import pytest
from hostile.headers import GOOD, REFUSED, spoilt
from safetensors import SafetensorError, deserialize, safe_open

from nla.checkpoint.safetensors_file import read_header
from nla.errors import ModelError


@pytest.mark.parametrize("fault", REFUSED)
def test_a_spoilt_header_is_refused_in_one_line(fault, tmp_path):
    content, words = REFUSED[fault]
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    begin = time.monotonic()
    with pytest.raises(ModelError) as caught:
        read_header(path)
    said = str(caught.value)
    assert re.search(words, said), said
    assert said.isprintable()
    assert len(said) < 600
    assert time.monotonic() - begin < 5


def by_library(path):
    """What the library reads: metadata, and by name the dtype, shape and bytes."""
    with safe_open(path, framework="numpy") as found:
        metadata = found.metadata() or {}
    tensors = dict(deserialize(path.read_bytes()))
    return metadata, {name: (t["dtype"], tuple(t["shape"]), bytes(t["data"])) for name, t in tensors.items()}


def by_nla(path):
    """The same as nla reads it, or the words of its refusal."""
    try:
        tensors, metadata = read_header(path)
    except ModelError as error:
        return str(error)
    return metadata, {name: (found.dtype, found.shape, found.read()) for name, found in tensors.items()}


def test_what_is_read_of_a_spoilt_file_is_what_the_library_reads(tmp_path):
    path = tmp_path / "model.safetensors"
    counts = Counter()
    for content in spoilt(2500, seed=4):
        path.write_bytes(content)
        try:
            theirs = by_library(path)
        except (SafetensorError, OSError, ValueError, OverflowError):
            theirs = None
        ours = by_nla(path)
        if isinstance(ours, str):
            assert ours.isprintable()
            counts["refused" if theirs is None else "refused by nla alone"] += 1
        else:
            assert ours == theirs, content
            counts["read"] += 1
    assert min(counts["read"], counts["refused"]) > 200, counts
    assert counts["refused by nla alone"] < 40, counts


def test_the_honest_file_is_read(tmp_path):
    path = tmp_path / "model.safetensors"
    path.write_bytes(GOOD)
    tensors, metadata = read_header(path)
    assert metadata == {"format": "pt", "note": "x"}
    assert {name: stored.shape for name, stored in tensors.items()} == {
        **{"a.weight": (3, 4), "b": (5,), "größe": (0, 3), "scalar": (), "mask": (3,)}
    }
