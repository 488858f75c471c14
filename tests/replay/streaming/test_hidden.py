"""Hidden states on disk: what was written for a sample is read for it, beside whichever others."""

from __future__ import annotations

import os
import tempfile

import numpy as np
import pytest

from nla.errors import OutputError
from nla.replay.streaming.hidden import Hidden, Table, check_room


@pytest.fixture
def hidden():
    with tempfile.TemporaryFile() as file:
        yield lambda samples, by_row=True: Hidden(file, "here", Table.empty(samples), by_row)


def rows(*which: int):
    return np.array(which, np.int64)


def test_samples_are_read_in_any_order(hidden):
    values = np.random.default_rng(0).standard_normal((6, 3, 4)).astype(np.float32)
    store = hidden(6)
    for which in (rows(4, 5), rows(0, 2), rows(3, 1)):
        store.write(which, values[which], ())
    for which in (rows(0, 1, 2, 3, 4, 5), rows(5), rows(4, 5), rows(2, 0, 2)):
        np.testing.assert_array_equal(store.read(which, ()), values[which])


def test_a_run_of_one_sample_may_be_kept_whole(hidden):
    values = np.arange(10, dtype=np.float64).reshape(2, 5)
    store = hidden(1, by_row=False)
    store.write(rows(0), values, ())
    read = store.read(rows(0), ())
    assert read.dtype == np.float64
    np.testing.assert_array_equal(read, values)


def test_lengths_that_vary_are_cut_and_padded(hidden):
    generator = np.random.default_rng(0)
    short, long = (generator.standard_normal((2, n + 1, 4)).astype(np.float32) for n in (3, 5))
    store = hidden(4)
    store.write(rows(0, 1), short, (3,))  # one position more than the input is long: a class token
    store.write(rows(2, 3), long, (5,))
    read = store.read(rows(1, 2), (5,))
    np.testing.assert_array_equal(read[0, :4], short[1])
    assert not read[0, 4:].any()
    np.testing.assert_array_equal(read[1], long[0])
    np.testing.assert_array_equal(store.read(rows(2), (2,)), long[:1, :3])


def test_a_sample_that_was_left_out_is_zero(hidden):
    store = hidden(3)
    store.write(rows(0, 2), np.ones((2, 4), np.float32), ())
    assert store.read(rows(0, 1, 2), ()).tolist() == [[1.0] * 4, [0.0] * 4, [1.0] * 4]
    assert store.read(rows(1), ()).shape == (1, 4)


def test_a_table_survives_its_arrays(hidden):
    store = hidden(3)
    store.write(rows(0, 2), np.ones((2, 4), np.float32), (7,))
    again = Hidden(store.file, "here", Table.of(store.table.arrays()), True)
    np.testing.assert_array_equal(again.read(rows(2, 0), (7,)), np.ones((2, 4)))


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
def test_a_full_disk_is_one_line():
    with open("/dev/full", "wb", buffering=0) as file:
        store = Hidden(file, "work", Table.empty(2), True)
        with pytest.raises(OutputError, match="cannot keep hidden states in work: the disk is full"):
            store.write(rows(0), np.ones((1, 4), np.float32), ())


def test_states_that_were_cut_short_are_told(hidden):
    store = hidden(2)
    store.write(rows(0, 1), np.ones((2, 4), np.float32), ())
    store.file.truncate(20)
    with pytest.raises(OutputError, match="ended early"):
        store.read(rows(1), ())


def test_room_is_asked_for_before(tmp_path):
    check_room(str(tmp_path), 1000)
    with pytest.raises(OutputError, match=r"9,000,000,000,000,000 bytes are needed, [0-9,]+ are free"):
        check_room(str(tmp_path), 9 * 10**15)
