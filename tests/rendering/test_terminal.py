"""What names from files may not do to a terminal or to a CI that reads what is printed."""

from __future__ import annotations

import io

import pytest
from rich.text import Text

from nla.rendering.terminal import console, stream


@pytest.mark.parametrize(
    ("name", "printed"),
    [
        ("::error::pwned", r"\x3a:error::pwned"),
        ("  ::warning::x", r"  \x3a:warning::x"),
        ("a\n::error::x", "a\n" + r"\x3a:error::x"),
        ("b ##[error]x ##vso[task.x]y", r"b \x23#[error]x \x23#vso[task.x]y"),
        ("torch::nn::relu # 1 ## 2", "torch::nn::relu # 1 ## 2"),
        (":plain: [x]", ":plain: [x]"),
    ],
)
def test_no_name_is_a_workflow_command(name, printed):
    page = io.StringIO()
    console(page, 100).print(Text(name))
    assert page.getvalue() == f"{printed}\n"


def test_what_programs_read_is_left_as_it_is():
    page = io.StringIO()
    stream(page).write("::error::for the CI\n")
    assert page.getvalue() == "::error::for the CI\n"
