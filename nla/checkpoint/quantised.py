"""Checkpoints whose weights are stored in fewer bits than they are computed with: refused by name."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from nla.errors import ModelError, printable

_KEYS = ("quantization_config", "compression_config", "quantization")
_SUFFIXES = {
    ".qweight": "GPTQ or AWQ",
    ".qzeros": "GPTQ or AWQ",
    ".g_idx": "GPTQ",
    ".SCB": "bitsandbytes int8",
    ".quant_state.bitsandbytes__nf4": "bitsandbytes nf4",
    ".quant_state.bitsandbytes__fp4": "bitsandbytes fp4",
    ".weight_scale_inv": "fp8 in blocks",
    ".weight_packed": "compressed-tensors",
    ".weight_zero_point": "compressed-tensors",
}
_BLOCKS = "_blocks"
_SMALL_FLOATS = ("F8_", "F6_", "F4")


def refuse_quantised(config: Mapping[str, Any] | None, dtypes: Mapping[str, str]) -> None:
    """Raises ModelError for a quantised checkpoint; `dtypes` are those of its tensors, by name."""
    method = _declared(config) or _stored(dtypes)
    if method is not None:
        raise ModelError(
            f"the checkpoint is quantised ({method}), and nla reads float32, float16 and bfloat16 weights; give the "
            "checkpoint that it was made from, or one converted back to float"
        )


def _declared(config: Mapping[str, Any] | None) -> str | None:
    """What config.json says of it, the parts of a model of several included."""
    if config is None:
        return None
    parts = [config, *(value for key, value in config.items() if key.endswith("_config"))]
    for part in parts:
        for key in _KEYS if isinstance(part, Mapping) else ():
            found = part.get(key)
            if found:
                return f"{_method(found)}, says '{key}' in config.json"
    return None


def _method(found: Any) -> str:
    if not isinstance(found, Mapping):
        return printable(found, 60)
    for key in ("quant_method", "quant_algo", "quant_type", "format"):
        if isinstance(found.get(key), str):
            return printable(found[key], 60)
    bits = [key for key in ("load_in_8bit", "load_in_4bit") if found.get(key) is True]
    return f"bitsandbytes, {bits[0]}" if bits else "by a method that it does not name"


def _stored(dtypes: Mapping[str, str]) -> str | None:
    """What the tensors show."""
    for name, dtype in dtypes.items():
        if dtype.startswith(_SMALL_FLOATS):
            return f"tensor '{printable(name)}' is {dtype}"
    return _by_names(dtypes)


def _by_names(names: Collection[str]) -> str | None:
    """Formats that keep packed integers and their scales beside each other."""
    for name in names:
        for suffix, method in _SUFFIXES.items():
            if name.endswith(suffix):
                return f"{method}, by tensor '{printable(name)}'"
        if name.endswith(_BLOCKS) and name.removesuffix(_BLOCKS) + "_scales" in names:
            return f"mxfp4, by tensor '{printable(name)}'"
    return None
