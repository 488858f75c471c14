"""A graph under construction: onnx.helper behind short calls, and the checkpoint's tensors as external weights.

A value is its name. An operator is a method: `g.MatMul(x, w, name="h.0.mlp.act")` adds the node and gives the name
of what it makes back. Operands that are no names are constants: 3 and [1, 2] are int64, 0.5 is float32.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from nla.checkpoint.safetensors_file import Stored
from nla.errors import ModelError, printable

OPSET = 20
IR_VERSION = 10
FLOAT, INT64, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL

FLOATING = {
    "F32": TensorProto.FLOAT,
    "F16": TensorProto.FLOAT16,
    "BF16": TensorProto.BFLOAT16,
    "F64": TensorProto.DOUBLE,
}
"""The element types that a weight may have, by their names in safetensors."""

_SHOWN = 10

Operand = str | int | float | Sequence[int] | np.ndarray
Size = int | str


class Tensors(Protocol):
    """What the builder asks of a checkpoint."""

    @property
    def tensors(self) -> Any:
        """The stored tensors by name: `nla.checkpoint.safetensors_file.Stored`."""


class Graph:
    """Nodes in order, weights by their names in the checkpoint, and which of these were used."""

    def __init__(self, source: Tensors) -> None:
        self._tensors: dict[str, Stored] = dict(source.tensors)
        self._nodes: list[onnx.NodeProto] = []
        self._weights: dict[str, TensorProto] = {}
        self._constants: dict[tuple[str, tuple[int, ...], bytes], str] = {}
        self._made: dict[tuple[str, ...], str] = {}
        self._initializers: list[TensorProto] = []
        self._inputs: list[onnx.ValueInfoProto] = []
        self._outputs: list[onnx.ValueInfoProto] = []
        self._taken: set[str] = set()
        self._missing: dict[str, None] = {}
        self._misfits: dict[str, str] = {}
        self._consumed: set[str] = set()
        self._cuts: list[str] = []
        self._notes: list[str] = []
        self._counts: Counter[str] = Counter()

    # --- nodes

    def __getattr__(self, kind: str) -> Callable[..., Any]:
        if not kind[:1].isupper():
            raise AttributeError(kind)
        return lambda *operands, **more: self.op(kind, *operands, **more)

    def op(
        self, kind: str, *operands: Operand | None, name: str = "", outputs: int = 1, **attributes: Any
    ) -> Any:
        """Add a node; the name of its output, or a tuple of names where it has several.

        `name` is the output's; None stands for an operand that is left out.
        """
        inputs = ["" if operand is None else self._operand(operand) for operand in operands]
        made = [self._fresh(name or f"{kind}_{self._counts[kind]}")]
        self._counts[kind] += 1
        made += [self._fresh(f"{made[0]}_{at}") for at in range(1, outputs)]
        self._nodes.append(helper.make_node(kind, inputs, made, name=f"{made[0]}/{kind}", **attributes))
        return made[0] if outputs == 1 else tuple(made)

    def constant(self, array: np.ndarray) -> str:
        """A constant, made once however often it is asked for."""
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self._constants:
            name = self._fresh(f"constant_{len(self._constants)}")
            self._initializers.append(numpy_helper.from_array(np.array(array, order="C"), name))
            self._constants[key] = name
        return self._constants[key]

    def once(self, key: tuple[str, ...], make: Callable[[], str]) -> str:
        """What `make` gives at the first call with this key: masks and the like, which all blocks share."""
        if key not in self._made:
            self._made[key] = make()
        return self._made[key]

    def _operand(self, operand: Operand) -> str:
        if isinstance(operand, str):
            return operand
        if isinstance(operand, np.ndarray):
            return self.constant(operand)
        return self.constant(np.asarray(operand, np.float32 if isinstance(operand, float) else np.int64))

    def _fresh(self, name: str) -> str:
        """The name, or one close to it where it is taken or a tensor of the file has it."""
        chosen, at = name, 1
        while chosen in self._taken or chosen in self._tensors:
            chosen, at = f"{name}_{at}", at + 1
        self._taken.add(chosen)
        return chosen

    # --- weights

    @property
    def names(self) -> Iterable[str]:
        """The names of the checkpoint's tensors."""
        return self._tensors

    def has(self, name: str) -> bool:
        """Whether the checkpoint has the tensor."""
        return name in self._tensors

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of a tensor of the checkpoint."""
        return self._tensors[name].shape

    def same(self, one: str, other: str) -> bool:
        """Whether two tensors of the checkpoint are equal, byte by byte."""
        left, right = self._tensors[one], self._tensors[other]
        if (left.dtype, left.shape) != (right.dtype, right.shape):
            return False
        pairs = zip(left.piece().checked(), right.piece().checked(), strict=True)
        return all(bytes(mine) == bytes(yours) for mine, yours in pairs)

    def raw(self, name: str, *shape: int) -> str:
        """A tensor in its own element type. One that is missing, or of another shape, is told at the end."""
        self._consumed.add(name)
        stored = self._tensors.get(name)
        if stored is None:
            self._missing[name] = None
        elif shape and stored.shape != shape:
            self._misfits[name] = f"{list(stored.shape)} where {list(shape)} was expected"
        elif stored.dtype not in FLOATING:
            self._misfits[name] = f"of type {printable(stored.dtype)} where floating numbers were expected"
        elif name not in self._weights:
            self._weights[name] = external(name, stored)
        return name

    def weight(self, name: str, *shape: int) -> str:
        """A tensor as float32: the initializer itself, or a Cast of it."""
        raw = self.raw(name, *shape)
        stored = self._tensors.get(name)
        if stored is None or stored.dtype == "F32":
            return raw
        return self.once(("float32", name), lambda: str(self.Cast(raw, to=FLOAT, name=f"{name}.float32")))

    def rows(self, name: str, at: str, *shape: int, of: str = "") -> str:
        """Rows of an embedding as float32: looked up in the tensor's own type, so that the table is never cast."""
        raw = self.raw(name, *shape)
        stored = self._tensors.get(name)
        whole = stored is None or stored.dtype == "F32"
        found = self.Gather(raw, at, name=of if whole else "")
        return str(found if whole else self.Cast(found, to=FLOAT, name=of))

    def discard(self, name: str) -> None:
        """Count a tensor as used that the graph does not need, because it equals another."""
        self._consumed.add(name)

    def matrix(self, name: str, inputs: int, outputs: int, *, turned: bool = True) -> str:
        """A weight as [inputs, outputs]: the transpose of a torch Linear's, or the tensor itself (`turned` False)."""
        if not turned:
            return self.weight(name, inputs, outputs)
        plain = self.weight(name, outputs, inputs)
        return self.once(
            ("matrix", name), lambda: str(self.Transpose(plain, perm=[1, 0], name=f"{name}.transposed"))
        )

    def linear(
        self,
        x: str,
        module: str,
        inputs: int,
        outputs: int,
        *,
        bias: bool = True,
        turned: bool = True,
        name: str = "",
    ) -> str:
        """A layer: `module.weight` [outputs, inputs] ([inputs, outputs] unless `turned`), `module.bias` [outputs]."""
        matrix = self.matrix(f"{module}.weight", inputs, outputs, turned=turned)
        if not bias:
            return str(self.MatMul(x, matrix, name=name or module))
        product = self.MatMul(x, matrix, name=f"{module}.product")
        return str(self.Add(product, self.weight(f"{module}.bias", outputs), name=name or module))

    # --- the graph's ends

    def input(self, name: str, element: int, shape: Sequence[Size]) -> str:
        """An input of the graph."""
        self._taken.add(name)
        self._inputs.append(helper.make_tensor_value_info(name, element, list(shape)))
        return name

    def output(self, value: str, name: str, shape: Sequence[Size], element: int = FLOAT) -> None:
        """An output of the graph: the value under this name."""
        made = self.Identity(value, name=name)
        if made != name:
            raise ModelError(f"tensor '{printable(name)}' of the checkpoint bears the name of an output")
        self._outputs.append(helper.make_tensor_value_info(name, element, list(shape)))

    def cut(self, value: str) -> str:
        """Say that stages may be parted here; the value again."""
        self._cuts.append(value)
        return value

    def note(self, said: str) -> None:
        """Say what was taken for granted where the files leave it open."""
        self._notes.append(said)

    @property
    def notes(self) -> tuple[str, ...]:
        """What was taken for granted."""
        return tuple(self._notes)

    @property
    def cuts(self) -> tuple[str, ...]:
        """Where stages may be parted, in graph order."""
        return tuple(self._cuts)

    def finish(self, name: str, unused: Callable[[str], bool] = lambda name: False) -> onnx.ModelProto:
        """The model. `unused` says which tensors of the checkpoint need not be used.

        Raises ModelError that lists tensors that are missing, of another shape, or used by nothing.
        """
        faults = self._faults(unused)
        if faults:
            raise ModelError(
                f"the tensors are not those of the architecture ({printable(name)}): {'; '.join(faults)}"
            )
        graph = helper.make_graph(
            self._nodes, name, self._inputs, self._outputs, [*self._initializers, *self._weights.values()]
        )
        opsets = [helper.make_opsetid("", OPSET)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="nla")

    def _faults(self, unused: Callable[[str], bool]) -> list[str]:
        """What keeps the graph from computing what the checkpoint does, as clauses."""
        faults = []
        if self._missing:
            faults.append(f"the checkpoint lacks {_listed(self._missing, len(self._missing))}")
        if self._misfits:
            told = (f"'{printable(tensor)}' is {fault}" for tensor, fault in self._misfits.items())
            faults.append(f"config.json and tensors disagree: {_joined(told, len(self._misfits))}")
        left = [tensor for tensor in self._tensors if tensor not in self._consumed and not unused(tensor)]
        if left:
            are = "is" if len(left) == 1 else "are"
            faults.append(
                f"{_listed(left, len(left))} {are} used by nothing, so that the graph would compute something else "
                "than the checkpoint; another graph can be given with --graph"
            )
        return faults


def external(name: str, stored: Stored) -> TensorProto:
    """The tensor as an initializer whose bytes stay in the file."""
    tensor = TensorProto(name=name, data_type=FLOATING[stored.dtype], dims=stored.shape)
    tensor.data_location = TensorProto.EXTERNAL
    where = (("location", stored.path.name), ("offset", stored.offset), ("length", stored.length))
    for key, value in where:
        tensor.external_data.add(key=key, value=str(value))
    return tensor


def _listed(names: Iterable[str], count: int) -> str:
    quoted = _joined((f"'{printable(name)}'" for name in names), count)
    return f"tensor {quoted}" if count == 1 else f"{count:,} tensors: {quoted}"


def _joined(parts: Iterable[str], count: int) -> str:
    """The first ten, and how many more."""
    shown = [part for _, part in zip(range(_SHOWN), parts, strict=False)]
    more = f" and {count - _SHOWN:,} more" if count > _SHOWN else ""
    return f"{', '.join(shown)}{more}"
