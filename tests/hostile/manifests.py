"""Manifests edited into nonsense: each case changes an honest one, and says what must be in the refusal."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Plain = dict[str, Any]
Change = Callable[[Plain], object]


def first(**fields: Any) -> Change:
    """Other values in the first action."""
    return lambda plain: plain["actions"][0].update(fields)


def more(kind: str, units: list[int], **parameters: Any) -> Change:
    """One more action at the site."""
    return lambda plain: plain["actions"].append(
        {"kind": kind, "site": "h", "units": units, "parameters": parameters}
    )


def only(kind: str, units: list[int], **parameters: Any) -> Change:
    """This action and no other."""

    def change(plain: Plain) -> None:
        plain["actions"] = []
        more(kind, units, **parameters)(plain)

    return change


def weight(**fields: Any) -> Change:
    """The first action says this of where its units lie."""
    return first(weights=[{"name": "W", "shape": [4, 4], "axis": 1, "incoming": True, **fields}])


def field(table: str, **fields: Any) -> Change:
    """Other values in a table of the manifest."""
    return lambda plain: plain[table].update(fields)


def nested(levels: int) -> list[Any]:
    """Lists in lists."""
    value: list[Any] = []
    for _ in range(levels):
        value = [value]
    return value


STRANGE = "h\x1b[31m\0\u202e\n"

REFUSED: dict[str, tuple[Change, str]] = {
    "for another checkpoint": (field("checkpoint", digest="0" * 64), "its digest is .*plan again.*--force"),
    "a digest that is none": (field("checkpoint", digest=5), "expected the sha256"),
    "no object": (lambda plain: plain.update(checkpoint=[]), "checkpoint is a list"),
    "a later schema": (lambda plain: plain.update(schema="nla/manifest/2"), "later version"),
    "a schema of another kind": (lambda plain: plain.update(schema=["nla/manifest/1"]), "not a manifest"),
    "an unknown field": (lambda plain: plain.update(acts=[]), "no field 'acts'"),
    "an unknown field of 3 MB": (lambda plain: plain.update({"f" * 3_000_000: 1}), "no field 'fff"),
    "an unknown kind": (first(kind="explode"), "kind is 'explode'"),
    "a kind that is a table": (first(kind={}), "kind is {}"),
    "a site that is not there": (first(site="nowhere"), "no site 'nowhere'"),
    "a site of 3 MB": (first(site="n" * 3_000_000), "no site 'nnn"),
    "a site with escapes": (first(site=STRANGE), r"no site 'h\\x1b\[31m\\x00\\u202e"),
    "a site with half a character": (first(site="h\ud800"), r"site is 'h\\ud800'"),
    "an id with half a character": (first(id="\ud800"), "expected a short text"),
    "an id of 3 MB": (first(id="x" * 3_000_000), "expected a short text"),
    "an id twice": (
        lambda plain: (more("strip", [0], fraction=0.5)(plain), plain["actions"][1].update(id="a1")),
        "a1",
    ),
    "a unit out of range": (first(units=[4]), "no unit 4: expected 0 to 3"),
    "a unit of 2^31": (first(units=[2**31]), "is not an index"),
    "a unit of 4,000 digits": (first(units=[10**4000]), "is not an index"),
    "a unit twice": (first(units=[2, 2]), "stands twice"),
    "a negative unit": (first(units=[-1]), "unit -1 is not an index"),
    "a unit that is true": (first(units=[True]), "unit True is not an index"),
    "a unit that is a fraction": (first(units=[2.0]), "unit 2.0 is not an index"),
    "units that are a table": (first(units={"2": 1}), "units is an object"),
    "removed and masked": (
        more("mask", [2]),
        r"unit 2 of h stands in the actions a1 \(remove\) and a2 \(mask\)",
    ),
    "removed and folded": (more("fold", [2], values=1.0), "stands in the actions"),
    "removed and reset": (more("reset", [2], scheme="he", seed=1, means=0.5), "stands in the actions"),
    "removed and woken": (
        more("shift", [2], delta=600.0, zero_outgoing=False, target_rate=0.1),
        "stands in the actions",
    ),
    "removed beside a swap": (
        lambda plain: (more("swap", [0, 1], to="Gelu")(plain), first(units=[2])(plain)),
        r"a2 \(swap\) changes what every later layer sees",
    ),
    "removed beside a flip": (more("flip", [0, 1]), r"a2 \(flip\) changes what every later layer sees"),
    "merged into itself": (
        only("merge", [2], into=2, scales=1.0),
        "merges into unit 2 of h, which action a1 cuts",
    ),
    "merged into one that goes": (more("merge", [0], into=2, scales=1.0), "which action a1 cuts"),
    "merged in a circle": (only("merge", [2, 3], into=[3, 2], scales=1.0), "which action a1 cuts"),
    "merged out of range": (only("merge", [2], into=9, scales=1.0), "no unit 9"),
    "merged with a negative scale": (only("merge", [2], into=0, scales=-1.0), "scales is -1.0"),
    "folded to 10^400": (only("fold", [2], values=10**400), "values is 1000"),
    "folded to nothing": (only("fold", [2], values=None), "values is None"),
    "folded to a text": (only("fold", [2], values="1"), "values is '1'"),
    "folded without a value": (only("fold", [2]), "needs the parameter values"),
    "folded to too many values": (only("fold", [2], values=[1, 2, 3]), "3 values for 1 units"),
    "a fraction of 0": (only("strip", [2], fraction=0), "fraction is 0"),
    "a fraction of 1.5": (only("strip", [2], fraction=1.5), "fraction is 1.5"),
    "a fraction that is true": (only("strip", [2], fraction=True), "fraction is True"),
    "means of another layer": (
        only("strip-contribution", [2], fraction=0.5, input_mean=[1, 2]),
        "input_mean has 2 numbers",
    ),
    "means of another layer for a reset": (
        only("reset", [2], scheme="he", seed=1, means=0.5, input_mean=[1, 2]),
        "input_mean has 2 numbers, expected one for each of the 4 channels",
    ),
    "half of a layer flipped": (
        only("flip", [0, 1]),
        "flips 2 of the 4 units of h: a flip is of a whole layer",
    ),
    "a slope for an activation without one": (
        only("swap", [0, 1, 2, 3], to="Gelu", alpha=0.5),
        "Gelu has no alpha, only LeakyRelu and Elu have",
    ),
    "constants that are none": (
        lambda plain: plain["checkpoint"].update(constants=["x"]),
        "checkpoint.constants is a list, expected an object",
    ),
    "a constant of the wrong type": (
        lambda plain: plain["checkpoint"].update(constants={"x": 1}),
        "checkpoint.constants: a value is a number, expected a text",
    ),
    "a constant for no input": (
        lambda plain: plain["checkpoint"].update(constants={"gone": "1"}),
        "the model has no such input",
    ),
    "a constant that does not fit its input": (
        lambda plain: plain["checkpoint"].update(constants={"x": "[1, 2, 3]"}),
        "does not fit the input's",
    ),
    "shapes that are none": (
        lambda plain: plain["data"].update(shapes={"x": [-1]}),
        r"data.shapes: \[-1\] is no shape",
    ),
    "an unknown scheme": (only("reset", [2], scheme="x", seed=1, means=0.5), "scheme is 'x'"),
    "a negative seed": (only("reset", [2], scheme="he", seed=-1, means=0.5), "seed is -1"),
    "means beyond the type": (
        only("reset", [2], scheme="he", seed=1, means=1e308),
        "'c' would hold values that float32",
    ),
    "a bias beyond the type": (
        only("shift", [2], delta=1e308, zero_outgoing=False, target_rate=0.1),
        "'b' would hold values that float32",
    ),
    "an unknown activation": (only("swap", [0, 1, 2, 3], to="Evil"), "to is 'Evil'"),
    "a slope beyond the type": (only("swap", [0, 1, 2, 3], to="Elu", alpha=1e308), "alpha is 1e.308"),
    "an unknown parameter": (only("remove", [2], force=True), "no parameter 'force'"),
    "weights that are none": (first(weights=[3]), "weights: an entry is a number"),
    "samples that are a text": (field("data", samples="x\x1b"), r"data.samples is 'x\\x1b'"),
    "lists nested 60 deep": (field("worth", words=nested(60)), "nested more than 32 deep"),
    "lists nested 900 deep": (field("worth", words=nested(900)), "nested more than 32 deep"),
}
"""Refused, whatever the verb, or at the latest when it is applied."""

LYING_WEIGHTS: dict[str, tuple[Change, str]] = {
    "an axis that is not there": (weight(axis=2), "with axis 2 cannot be"),
    "a terabyte": (weight(shape=[1 << 30, 1 << 10], axis=0), "cannot be|more memory than there is"),
    "sizes whose product overflows": (
        weight(shape=[(1 << 31) - 1] * 4),
        "cannot be|more memory than there is",
    ),
    "nothing, hugely": (weight(shape=[0, *[(1 << 31) - 1] * 3]), "cannot be|more memory|outside"),
    "a hundred axes": (weight(shape=[1] * 100), "does not say where units lie"),
    "places that overflow": (weight(stride=1 << 62), "does not say where units lie"),
    "places that nearly overflow": (weight(stride=(1 << 31) - 1), "is outside its 4 places"),
    "places below zero": (weight(step=-3, count=2), "is outside its 4 places"),
    "more places than there are": (weight(shape=[4, 8], stride=0, step=1, count=8), "more places than the 8"),
    "a count of 2^60": (weight(count=1 << 60), "does not say where units lie"),
    "a count of none": (weight(count=0), "does not say where units lie"),
    "a name with half a character": (weight(name="\ud800"), "does not say where units lie"),
    "the name that safetensors keeps": (weight(name="__metadata__"), "safetensors keeps"),
    "two shapes": (
        lambda plain: plain["actions"][0]["weights"].append(
            {"name": "W", "shape": [4, 5], "axis": 1, "incoming": True}
        ),
        "has the shape",
    ),
}
"""Refused by `nla masks`, which believes a manifest where it says where units lie; `apply` looks for itself."""

ODD: dict[str, Change] = {
    "no action": lambda plain: plain.update(actions=[]),
    "no unit": first(units=[]),
    "a layer all of whose units go": first(units=[0, 1, 2, 3]),
    "a layer all of whose units are folded to 10^308": only("fold", [0, 1, 2, 3], values=1e308),
    "a fold beyond the type": only("fold", [2], values=1e39),
    "a duplicate that is none": only("merge", [1], into=0, scales=1e308),
    "means that nobody recorded": only("strip-contribution", [2], fraction=0.5, input_mean=None),
    "an output's units": first(site="y", units=[0]),
    "some units of a swap": only("swap", [2], to="Gelu"),
    "remarks with escapes": lambda plain: plain.update(notes=[STRANGE], nla=STRANGE),
    "a policy that is none": lambda plain: plain.update(policy={"name": {STRANGE: [1]}, "options": 7}),
    "effects that are none": first(effect={"units": "x", "exact": "yes"}),
    "evidence that is none": first(evidence={"state": {"2": [{}]}, "fired_samples": "x", "margin": [1]}),
    "a path with escapes": field("checkpoint", path=STRANGE),
    "weights that lie": weight(name="V", shape=[9, 9], axis=7, stride=5),
}
"""Strange and well-formed: carried out where that can be, else left alone and listed."""

TEXTS: dict[str, tuple[Callable[[str], str | bytes], str]] = {
    "a name twice": (lambda text: text.replace('"schema"', '"nla": "1", "schema"', 1), "'nla' stands twice"),
    "60,000 names, the last twice": (
        lambda text: "{" + ",".join(f'"k{k}":1' for k in [*range(60_000), 59_999]) + "}",
        "'k59999' stands twice",
    ),
    "NaN": (lambda text: text.replace('"samples": 50', '"samples": NaN', 1), "NaN is no number"),
    "infinity": (
        lambda text: text.replace('"samples": 50', '"samples": -Infinity', 1),
        "-Infinity is no number",
    ),
    "a number beyond all": (
        lambda text: text.replace('"samples": 50', '"samples": 1e999', 1),
        "1e999 is beyond all numbers",
    ),
    "5,000 digits": (
        lambda text: text.replace('"samples": 50', f'"samples": {"1" * 5000}', 1),
        "4300 digits",
    ),
    "100,000 lists": (lambda text: "[" * 100_000, "recursion|nested"),
    "cut short": (lambda text: text[:-5], "not JSON"),
    "empty": (lambda text: "", "not JSON"),
    "no object": (lambda text: "null", "not a manifest: null"),
    "not UTF-8": (lambda text: text.encode() + b"\xff", "not JSON"),
    "UTF-16": (lambda text: text.encode("utf-16"), "not JSON"),
    "20 MB of empty lists": (lambda text: "[" + "[]," * 7_000_000 + "[]]", "over 8,000,000 values"),
}
