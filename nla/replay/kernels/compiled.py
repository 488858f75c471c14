"""The two fused passes, compiled by numba: strips of 16 channels over rows, and rows of one channel each.

One pass over the input computes every field of a Summary. Partial sums are float32 over at most `TERMS` terms
a lane, then float64. `signed` and `flat` are None or 1, and numba leaves out what None makes needless: the
specialisations are signatures of one function, so that the cache holds them all (it never finds kernels made
in a closure).

Arguments of both passes, beside the input: bounds [4] float32 (positive, fired, low, high); shift [width]
float32, width a multiple of 16, which the pass chooses; and, flat, with groups * width elements a part, to
which it adds: sums float64 (Σ(a - shift), Σ(a - shift)² and, if `signed`, Σ|a|), counts int32 (positive,
fired and, if `flat`, low, high), extremes float32 (min, max).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
import numpy as np

from nla.replay.kernels.vectors import (
    LANES,
    accumulate,
    add,
    add_square,
    address,
    at_least,
    both,
    count,
    fold_count,
    fold_maximum,
    fold_minimum,
    fold_nearer,
    fold_sum,
    greater,
    last_lanes,
    load,
    load_halves,
    magnitude,
    maximum,
    minimum,
    nearer,
    no_counts,
    prefetch,
    same,
    store,
    subtract,
    where,
    zeros,
)

TERMS = 32
"""Terms of a float32 partial sum: few enough for an error of 1e-6, enough to pay for the step to float64."""
_PROBES = 4
_CHUNK = TERMS * LANES
_SQUARE = LANES * LANES


def cache_allowed() -> bool:
    """Whether compiled code may be kept beside this file, as Python keeps its bytecode.

    nla writes nothing but the outputs asked for, so numba's own fallback, a folder in the user's home, is not
    used: where `__pycache__` here is not writable, or the user told Python to write no bytecode, every
    process compiles anew (about two seconds). NUMBA_CACHE_DIR, if the user set it, is a folder they asked
    for.
    """
    if os.environ.get("NUMBA_CACHE_DIR"):
        return True
    folder = Path(__file__).parent
    cache = folder / "__pycache__"
    return not sys.dont_write_bytecode and os.access(cache if cache.is_dir() else folder, os.W_OK | os.X_OK)


def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function` compiled at its first call; it runs without Python's lock."""
    made: Callable[..., Any] = numba.njit(function, cache=cache_allowed(), nogil=True)
    return made


def _part(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function` as a part of compiled ones: a real call would pass each state through memory."""
    made: Callable[..., Any] = numba.njit(function, forceinline=True)
    return made


@_part
def _splats(bounds: Any) -> Any:
    return same(bounds[0]), same(bounds[1]), same(bounds[2]), same(bounds[3])


@_part
def _nothing(least: Any, most: Any) -> Any:
    """The state before any value: sums, extremes to start from, counts."""
    none = no_counts()
    return zeros(), zeros(), zeros(), least, most, none, none, none, none


@_part
def _observe(state: Any, x: Any, pivot: Any, bounds: Any, signed: Any, flat: Any) -> Any:
    """`state` with 16 more values, one a lane."""
    total, squares, sizes, least, most, positives, fireds, lows, highs = state
    positive, fired, low, high = bounds
    centred = subtract(x, pivot)
    total, squares = add(total, centred), add_square(squares, centred)
    least, most = minimum(x, least), maximum(x, most)
    positives = count(positives, greater(x, positive))
    if signed is None:
        fireds = count(fireds, greater(x, fired))
    else:
        size = magnitude(x)
        sizes = add(sizes, size)
        fireds = count(fireds, greater(size, fired))
    if flat is not None:
        lows = count(lows, at_least(low, x))
        highs = count(highs, at_least(x, high))
    return total, squares, sizes, least, most, positives, fireds, lows, highs


@_part
def _observe_some(state: Any, new: Any, x: Any, pivot: Any, bounds: Any, signed: Any, flat: Any) -> Any:
    """`state` with those of 16 values whose lane is in `new`; the others were seen before."""
    total, squares, sizes, least, most, positives, fireds, lows, highs = state
    positive, fired, low, high = bounds
    centred = where(new, subtract(x, pivot), zeros())
    total, squares = add(total, centred), add_square(squares, centred)
    least, most = minimum(x, least), maximum(x, most)
    positives = count(positives, both(new, greater(x, positive)))
    size = magnitude(x)
    fireds = count(fireds, both(new, greater(size, fired)))
    if signed is not None:
        sizes = add(sizes, where(new, size, zeros()))
    if flat is not None:
        lows = count(lows, both(new, at_least(low, x)))
        highs = count(highs, both(new, at_least(x, high)))
    return total, squares, sizes, least, most, positives, fireds, lows, highs


@_part
def _keep(state: Any, out: int, part: int, outputs: Any, signed: Any, flat: Any) -> None:
    """Add `state` to the outputs at `out`; its extremes include what was there."""
    total, squares, sizes, least, most, positives, fireds, lows, highs = state
    sums, counts, extremes = outputs
    accumulate(sums, out, total)
    accumulate(sums, part + out, squares)
    accumulate(counts, out, positives)
    accumulate(counts, part + out, fireds)
    store(extremes, out, least)
    store(extremes, part + out, most)
    if signed is not None:
        accumulate(sums, 2 * part + out, sizes)
    if flat is not None:
        accumulate(counts, 2 * part + out, lows)
        accumulate(counts, 3 * part + out, highs)


@_part
def _finite(sums: Any) -> Any:
    """Whether no sum overflowed or met a value that is not finite: its sum of squares would tell."""
    wrong = 0
    for k in range(sums.size):
        wrong += sums[k] - sums[k] != 0.0  # NaN for NaN and for infinity
    return wrong == 0


@_part
def _strip(values: Any, index: int, half: Any) -> Any:
    if half is None:
        return load(values, index)
    return load_halves(values, index, index + half)


@_part
def _probe_rows(runs: Any) -> Any:
    """Up to `_PROBES` rows spread over the runs; a channel's shift is its value nearest to zero there."""
    places = np.empty(_PROBES, np.int64)
    found = 0
    for k in range(_PROBES):
        run = k * len(runs) // _PROBES
        if run < len(runs) and runs[run, 1] > runs[run, 0]:
            places[found] = runs[run, 0] + (runs[run, 1] - runs[run, 0]) * k // _PROBES
            found += 1
    return places[:found]


@_compiled
def strips(
    a: Any,
    runs: Any,
    rows_there: int,
    positions: Any,
    row_stride: int,
    strip_stride: int,
    last_strip: int,
    half: Any,
    tile: int,
    ahead: int,
    bounds: Any,
    shift: Any,
    sums: Any,
    counts: Any,
    extremes: Any,
    signed: Any,
    flat: Any,
) -> Any:
    """Add the rows of `runs` to their groups, 16 channels at a time, and their number to `positions`.

    Gives back whether every sum is finite.

    a: flat float32; row r of strip s begins at r * row_stride + min(s * strip_stride, last_strip). Its 16
    values lie side by side, or the last 8 of them lie `half` elements behind the first 8, where `half` is not
    None.
    """
    for k in range(len(runs)):
        first, end, group = runs[k, 0], runs[k, 1], runs[k, 2]
        if first < 0 or end < 0 or end > rows_there or group < 0 or group >= positions.size:
            raise IndexError("a run lies outside the rows or the groups")
        positions[group] += max(end - first, 0)
    width, part = shift.size, extremes.size // 2
    limits = _splats(bounds)
    values, pivots, ranges = address(a), address(shift), address(extremes)
    outputs = (address(sums), address(counts), ranges)
    probes = _probe_rows(runs)
    for channel in range(0, width, LANES):
        start = min(channel // LANES * strip_stride, last_strip)
        for k in range(len(probes)):
            x = _strip(values, probes[k] * row_stride + start, half)
            store(pivots, channel, x if k == 0 else nearer(x, load(pivots, channel)))
    for k in range(len(runs)):
        base = runs[k, 2] * width
        for first in range(runs[k, 0], runs[k, 1], tile):
            last = min(first + tile, runs[k, 1])
            for channel in range(0, width, LANES):
                start = min(channel // LANES * strip_stride, last_strip)
                out = base + channel
                pivot = load(pivots, channel)
                for top in range(first, last, TERMS):
                    state = _nothing(load(ranges, out), load(ranges, part + out))
                    for row in range(top, min(top + TERMS, last)):
                        x = _strip(values, row * row_stride + start, half)
                        prefetch(values, row * row_stride + start + ahead)
                        state = _observe(state, x, pivot, limits, signed, flat)
                    _keep(state, out, part, outputs, signed, flat)
    return _finite(sums)


@_part
def _summed(values: Any, begin: int, end: int, pivot: Any, limits: Any, signed: Any, flat: Any) -> Any:
    """The state after elements begin to end; 16 values at least lie before `end` in the same row."""
    whole = end - (end - begin) % LANES
    last = load(values, end - LANES)
    state = _nothing(last, last)
    for p in range(begin, whole, LANES):
        prefetch(values, p + _CHUNK)
        state = _observe(state, load(values, p), pivot, limits, signed, flat)
    if whole < end:
        state = _observe_some(state, last_lanes(end - whole), last, pivot, limits, signed, flat)
    return state


@_part
def _set_aside(state: Any, lane: int, floats: Any, ints: Any, signed: Any, flat: Any) -> None:
    """Store `state` as one row of each scratch square."""
    total, squares, sizes, least, most, positives, fireds, lows, highs = state
    store(floats, lane, total)
    store(floats, _SQUARE + lane, squares)
    store(floats, 2 * _SQUARE + lane, least)
    store(floats, 3 * _SQUARE + lane, most)
    store(ints, lane, positives)
    store(ints, _SQUARE + lane, fireds)
    if signed is not None:
        store(floats, 4 * _SQUARE + lane, sizes)
    if flat is not None:
        store(ints, 2 * _SQUARE + lane, lows)
        store(ints, 3 * _SQUARE + lane, highs)


@_part
def _folded(floats: Any, ints: Any, least: Any, most: Any, signed: Any, flat: Any) -> Any:
    """The state with one lane a row of the scratch squares, and extremes no narrower than the given ones."""
    sizes, lows, highs = zeros(), no_counts(), no_counts()
    if signed is not None:
        sizes = fold_sum(floats, 4 * _SQUARE)
    if flat is not None:
        lows, highs = fold_count(ints, 2 * _SQUARE), fold_count(ints, 3 * _SQUARE)
    least = minimum(fold_minimum(floats, 2 * _SQUARE), least)
    most = maximum(fold_maximum(floats, 3 * _SQUARE), most)
    total, squares = fold_sum(floats, 0), fold_sum(floats, _SQUARE)
    return total, squares, sizes, least, most, fold_count(ints, 0), fold_count(ints, _SQUARE), lows, highs


@_part
def _probe_maps(values: Any, groups: int, channels: int, positions: int, floats: Any, shift: Any) -> None:
    """Set each channel's shift to the nearest to zero of 16 values amid each of `_PROBES` maps."""
    pivots = address(shift)
    probes = min(groups, _PROBES)
    for channel in range(0, shift.size, LANES):
        first = max(min(channel, channels - LANES), 0)
        for k in range(probes):
            origin = (k * groups // probes * channels + first) * positions + (positions - LANES) // 2
            for row in range(min(LANES, channels)):
                store(floats, row * LANES, load(values, origin + row * positions))
            nearest = fold_nearer(floats, 0)
            store(pivots, channel, nearest if k == 0 else nearer(nearest, load(pivots, channel)))


@_compiled
def rows(
    a: Any,
    groups: int,
    channels: int,
    positions: int,
    bounds: Any,
    shift: Any,
    sums: Any,
    counts: Any,
    extremes: Any,
    signed: Any,
    flat: Any,
) -> Any:
    """Add each row of a flat float32 [groups, channels, positions >= 16] to the sums of its group and
    channel.

    Strip s of the outputs begins at channel min(16 * s, channels - 16). 16 rows are summed lane by lane into
    scratch squares, which are then folded into one lane a channel: without that, the steps across lanes cost
    more than the sums where a map is 7 by 7.
    """
    width, part = shift.size, extremes.size // 2
    limits = _splats(bounds)
    values, ranges = address(a), address(extremes)
    outputs = (address(sums), address(counts), ranges)
    scratch, tallies = np.zeros(5 * _SQUARE, np.float32), np.zeros(4 * _SQUARE, np.int32)
    floats, ints = address(scratch), address(tallies)
    _probe_maps(values, groups, channels, positions, floats, shift)
    for group in range(groups):
        for channel in range(0, width, LANES):
            first = group * channels + max(min(channel, channels - LANES), 0)
            out = group * width + channel
            for begin in range(0, positions, _CHUNK):
                end = min(begin + _CHUNK, positions)
                for row in range(min(LANES, channels)):
                    origin = (first + row) * positions
                    pivot = same(shift[channel + row])
                    state = _summed(values, origin + begin, origin + end, pivot, limits, signed, flat)
                    _set_aside(state, row * LANES, floats, ints, signed, flat)
                state = _folded(floats, ints, load(ranges, out), load(ranges, part + out), signed, flat)
                _keep(state, out, part, outputs, signed, flat)
    # Without a later use numba would free the scratch before its addresses are used.
    scratch[0], tallies[0] = 0.0, 0
    return _finite(sums)


@_compiled
def quiet_rows(a: Any, threshold: Any, quiet: Any) -> None:
    """Set quiet [R] where no value of a float32 [R, C] exceeds the threshold, or is NaN; most rows end early."""
    for row in range(a.shape[0]):
        quiet[row] = True
        for column in range(a.shape[1]):
            if not a[row, column] <= threshold:
                quiet[row] = False
                break
