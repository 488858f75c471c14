"""The algebra of channels does to neurons' numbers what numpy does to data."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from nla.graph.channels import Channels, concatenated, fresh, inserted, removed, reshaped, taken, transposed

SIZES = st.sampled_from([1, 2, 3, 4, 6])


def laid_out(fact: Channels, shape: tuple[int, ...]) -> np.ndarray:
    """The neuron at every element of a tensor of the shape, as the fact has it."""
    index = np.zeros(shape, np.int64)
    view = fact.index.astype(np.int64)
    places = [axis + len(shape) for axis in fact.axes]
    expanded = [view.shape[places.index(axis)] if axis in places else 1 for axis in range(len(shape))]
    return index + view.reshape(expanded)


@st.composite
def tensors(draw: st.DrawFn) -> tuple[Channels, tuple[int, ...]]:
    """A fact of a tensor with channels on one axis or two, and the tensor's shape."""
    shape = tuple(draw(st.lists(SIZES, min_size=1, max_size=5)))
    count = draw(st.integers(1, min(2, len(shape))))
    axes = sorted(draw(st.permutations([-1 - i for i in range(len(shape))]))[:count])
    return fresh(0, [shape[axis] for axis in axes], axes, len(shape)), shape


@given(tensors(), st.randoms())
def test_transposed_moves_numbers_as_numpy_does(tensor: tuple[Channels, tuple[int, ...]], random) -> None:  # type: ignore[no-untyped-def]
    fact, shape = tensor
    perm = list(range(len(shape)))
    random.shuffle(perm)
    moved = transposed(fact, perm)
    assert moved is not None
    expected = laid_out(fact, shape).transpose(perm)
    np.testing.assert_array_equal(laid_out(moved, expected.shape), expected)


@given(tensors(), st.data())
def test_reshaped_moves_numbers_as_numpy_does_or_gives_up(
    tensor: tuple[Channels, tuple[int, ...]], data: st.DataObject
) -> None:
    fact, shape = tensor
    factors = [f for size in shape for f in {4: (2, 2), 6: (2, 3)}.get(size, (size,))]
    cuts = sorted(data.draw(st.sets(st.integers(0, len(factors)), max_size=4)) | {0, len(factors)})
    target = tuple(int(np.prod(factors[a:b])) for a, b in pairwise(cuts))
    known = data.draw(
        st.sampled_from([shape, None, ("batch", *shape[1:]) if fact.axes[0] > -len(shape) else shape])
    )
    moved = reshaped(fact, known, target)
    if moved is not None:
        expected = laid_out(fact, shape).reshape(target)
        np.testing.assert_array_equal(laid_out(moved, target), expected)
    elif known is shape:
        assert fact.size == 1  # one neuron has no axis to be followed on


@given(tensors(), st.data())
def test_inserted_and_removed_are_inverse(
    tensor: tuple[Channels, tuple[int, ...]], data: st.DataObject
) -> None:
    fact, shape = tensor
    assume(fact.size > 1)
    rank = len(shape) + 2
    axes = data.draw(st.permutations([-1 - i for i in range(rank)]))[:2]
    wider = inserted(fact, axes, rank)
    full = np.expand_dims(laid_out(fact, shape), axes)
    np.testing.assert_array_equal(laid_out(wider, full.shape), full)
    back = removed(wider, axes)
    assert back is not None
    assert (back.axes, back.rank) == (fact.axes, len(shape))


def test_taken_and_concatenated_put_parts_together_again() -> None:
    fact = fresh(7, (6,), (-3,), 4)
    parts = [taken(fact, -3, slice(0, 2)), taken(fact, -3, slice(2, 6))]
    whole = concatenated([(part, None) for part in parts], -3)
    assert whole is not None
    assert whole.index.tolist() == list(range(6))
    assert whole.single == 7


def test_concatenated_marks_what_is_no_neuron() -> None:
    whole = concatenated([(fresh(7, (2,), (-1,)), None), (None, 3)], -1)
    assert whole is not None
    assert not whole.distinct()
    assert whole.sources() == (7,)
    assert whole.size == 5


def test_numbers_that_would_not_fit_in_memory_are_given_up() -> None:
    fact = fresh(0, (1000,), (-3,), 4)
    assert reshaped(fact, (1, 1000, 1000, 1000), (1, 1000 * 1000 * 1000)) is None


@pytest.mark.parametrize("perm", [(0, 0), (1,), (0, 2)])
def test_a_transpose_that_is_no_permutation_is_given_up(perm: tuple[int, ...]) -> None:
    assert transposed(fresh(0, (3,), (-2,), 2), perm) is None
