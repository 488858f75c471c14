"""Short names of sites."""

from __future__ import annotations

import pytest

from nla.figures.names import LONGEST, short_names


@pytest.mark.parametrize(
    ("names", "shown"),
    [
        (["relu"], ["relu"]),
        (["/a/Relu_output_0"], ["a/Relu"]),
        (["net.0.act", "net.2.act"], ["net.0", "net.2"]),
        (["/stem/Relu", "/block/relu1/Relu"], ["stem", "block/relu1"]),
        (["x", "x/y"], ["x", "x/y"]),
        (["", "\x1b"], ["(no name)", "\\x1b"]),
        (["247", "250"], ["247", "250"]),
        ([], []),
    ],
)
def test_what_all_names_share_is_left_out(names, shown):
    assert short_names(names) == shown


def test_short_names_are_short_and_never_two_alike():
    names = [f"model/{'very' * 10}{k}{'long' * 10}" for k in range(40)]
    shown = short_names(names)
    assert len(set(shown)) == 40
    assert max(map(len, shown)) <= LONGEST + 5
