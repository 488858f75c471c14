"""Sixteen lanes at a time inside numba: vector values, and the few operations that the kernels need.

numba's own loops over a reduction with comparisons stay scalar (0 packed instructions), so the vectors are
written out as LLVM types. LLVM splits <16 x float> into whatever the processor has: one register with
AVX-512, two with AVX2, four with SSE2 or NEON. Every operation here is an `@intrinsic` at module level:
kernels made in a closure would never be found in numba's cache.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba.core import types
from numba.core.extending import intrinsic, models, register_model

LANES = 16

_FLOAT = ir.VectorType(ir.FloatType(), LANES)
_DOUBLE = ir.VectorType(ir.DoubleType(), LANES)
_INT = ir.VectorType(ir.IntType(32), LANES)
_MASK = ir.VectorType(ir.IntType(1), LANES)


class _Vector(types.Type):
    """A numba type with one LLVM vector as its value."""

    def __init__(self, name: str, llvm: ir.VectorType) -> None:
        super().__init__(name=f"nla.{name}x{LANES}")
        self.llvm = llvm


# numba's classes are partly untyped, and differ in that between versions.
_new_vector: Callable[..., Any] = _Vector
_new_pointer: Callable[..., Any] = types.CPointer
_new_model: Callable[..., None] = models.PrimitiveModel.__init__
_floats = _new_vector("float", _FLOAT)
_ints = _new_vector("int", _INT)
_mask = _new_vector("mask", _MASK)


@register_model(_Vector)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: _Vector) -> None:
        _new_model(self, manager, kind, kind.llvm)


def _operation(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function` as a numba intrinsic; its first argument, the typing context, is supplied by numba."""
    made: Callable[..., Any] = intrinsic(function)
    return made


def _constant(vector: ir.VectorType, value: float) -> ir.Constant:
    return ir.Constant(vector, [ir.Constant(vector.element, value)] * LANES)


def _splat(builder: Any, vector: ir.VectorType, scalar: Any) -> Any:
    single = builder.insert_element(ir.Constant(vector, ir.Undefined), scalar, ir.IntType(32)(0))
    return builder.shuffle_vector(single, ir.Constant(vector, ir.Undefined), _constant(_INT, 0))


def _pointer(builder: Any, vector: ir.VectorType, start: Any, index: Any) -> Any:
    """The place of element `index` of what begins at `start`, as a pointer to `vector`."""
    return builder.bitcast(builder.gep(start, [index]), vector.as_pointer())


def _load(builder: Any, pointer: Any, vector: ir.VectorType) -> Any:
    value = builder.load(pointer, typ=vector)
    value.align = 4  # NumPy promises no more than the alignment of one element
    return value


def _store(builder: Any, pointer: Any, value: Any) -> None:
    builder.store(value, pointer).align = 4


def _call(builder: Any, name: str, arguments: list[Any], vector: ir.VectorType) -> Any:
    """Call of an LLVM intrinsic from `vector`s to `vector`; `name` bears LLVM's suffix of the type."""
    kind = ir.FunctionType(vector, [vector] * len(arguments))
    return builder.call(builder.module.declare_intrinsic(name, (), kind), arguments)


@_operation
def address(_: Any, array: Any) -> Any:
    """Where a C-contiguous array begins: parts of a kernel take this, as passing arrays counts references."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return context.make_array(signature.args[0])(context, builder, value=arguments[0]).data

    return _new_pointer(array.dtype)(array), generate


@_operation
def zeros(_: Any) -> Any:
    """16 float32 zeros."""
    return _floats(), lambda context, builder, signature, arguments: _constant(_FLOAT, 0.0)


@_operation
def no_counts(_: Any) -> Any:
    """16 int32 zeros."""
    return _ints(), lambda context, builder, signature, arguments: _constant(_INT, 0)


@_operation
def same(_: Any, value: Any) -> Any:
    """16 copies of a float32."""
    return _floats(value), lambda context, builder, signature, arguments: _splat(
        builder, _FLOAT, arguments[0]
    )


@_operation
def load(_: Any, start: Any, index: Any) -> Any:
    """[16] the float32 elements from `index` on."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return _load(builder, _pointer(builder, _FLOAT, *arguments), _FLOAT)

    return _floats(start, types.intp), generate


@_operation
def prefetch(_: Any, start: Any, index: Any) -> Any:
    """Ask for the memory at float32 element `index`, which may lie behind the end."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        byte, word = ir.IntType(8).as_pointer(), ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [byte, word, word, word])
        asked = builder.module.declare_intrinsic("llvm.prefetch.p0", (), kind)
        place = builder.bitcast(builder.gep(arguments[0], [arguments[1]]), byte)
        builder.call(asked, [place, word(0), word(3), word(1)])
        return context.get_dummy_value()

    return types.void(start, types.intp), generate


@_operation
def load_halves(_: Any, start: Any, index: Any, other: Any) -> Any:
    """[16] the 8 float32 elements from `index` on, then the 8 from `other` on."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        half = ir.VectorType(ir.FloatType(), LANES // 2)
        first, second = (
            _load(builder, _pointer(builder, half, arguments[0], k), half) for k in arguments[1:]
        )
        return builder.shuffle_vector(first, second, ir.Constant(_INT, list(range(LANES))))

    return _floats(start, types.intp, types.intp), generate


@_operation
def store(_: Any, start: Any, index: Any, value: Any) -> Any:
    """Write 16 lanes, float32 or int32, over the elements of the same type from `index` on."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        vector = signature.args[2].llvm
        _store(builder, _pointer(builder, vector, *arguments[:2]), arguments[2])
        return context.get_dummy_value()

    return types.void(start, types.intp, value), generate


@_operation
def accumulate(_: Any, start: Any, index: Any, value: Any) -> Any:
    """Add 16 lanes to the elements from `index` on: float32 lanes to float64 ones, int32 to int32."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        is_float = signature.args[2] == _floats
        vector = _DOUBLE if is_float else _INT
        there = _pointer(builder, vector, *arguments[:2])
        old = _load(builder, there, vector)
        if is_float:
            _store(builder, there, builder.fadd(old, builder.fpext(arguments[2], _DOUBLE)))
        else:
            _store(builder, there, builder.add(old, arguments[2]))
        return context.get_dummy_value()

    return types.void(start, types.intp, value), generate


def _binary(emit: Callable[[Any, Any, Any], Any], kind: _Vector, result: _Vector) -> Callable[..., Any]:
    """The typing and code of an operation on two vectors of one kind."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return emit(builder, *arguments)

    return result(kind, kind), generate  # type: ignore[return-value]


@_operation
def add(_: Any, left: Any, right: Any) -> Any:
    """left + right."""
    return _binary(lambda builder, x, y: builder.fadd(x, y), _floats, _floats)


@_operation
def subtract(_: Any, left: Any, right: Any) -> Any:
    """left - right."""
    return _binary(lambda builder, x, y: builder.fsub(x, y), _floats, _floats)


@_operation
def minimum(_: Any, left: Any, right: Any) -> Any:
    """The smaller of each pair; `right` where one is NaN."""
    return _binary(_smaller, _floats, _floats)


@_operation
def maximum(_: Any, left: Any, right: Any) -> Any:
    """The larger of each pair; `right` where one is NaN."""
    return _binary(_larger, _floats, _floats)


def _smaller(builder: Any, x: Any, y: Any) -> Any:
    return builder.select(builder.fcmp_ordered("<", x, y), x, y)


def _larger(builder: Any, x: Any, y: Any) -> Any:
    return builder.select(builder.fcmp_ordered(">", x, y), x, y)


@_operation
def greater(_: Any, left: Any, right: Any) -> Any:
    """left > right; False for NaN."""
    return _binary(lambda builder, x, y: builder.fcmp_ordered(">", x, y), _floats, _mask)


@_operation
def at_least(_: Any, left: Any, right: Any) -> Any:
    """left >= right; False for NaN."""
    return _binary(lambda builder, x, y: builder.fcmp_ordered(">=", x, y), _floats, _mask)


@_operation
def both(_: Any, left: Any, right: Any) -> Any:
    """left and right, of two masks."""
    return _binary(lambda builder, x, y: builder.and_(x, y), _mask, _mask)


@_operation
def last_lanes(_: Any, count: Any) -> Any:
    """The mask that is True in the last `count` lanes."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        first = builder.sub(ir.IntType(32)(LANES), builder.trunc(arguments[0], ir.IntType(32)))
        return builder.icmp_signed(">=", ir.Constant(_INT, list(range(LANES))), _splat(builder, _INT, first))

    return _mask(types.intp), generate


@_operation
def where(_: Any, mask: Any, left: Any, right: Any) -> Any:
    """left where the mask holds, else right."""
    return _floats(_mask, _floats, _floats), lambda context, builder, signature, arguments: builder.select(
        *arguments
    )


@_operation
def magnitude(_: Any, value: Any) -> Any:
    """|value|."""
    return _floats(_floats), lambda context, builder, signature, arguments: _call(
        builder, "llvm.fabs.v16f32", list(arguments), _FLOAT
    )


@_operation
def add_square(_: Any, total: Any, value: Any) -> Any:
    """total + value², fused where the processor can; llvm.fma would call a function where it cannot."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        total_, value_ = arguments
        return _call(builder, "llvm.fmuladd.v16f32", [value_, value_, total_], _FLOAT)

    return _floats(_floats, _floats), generate


@_operation
def count(_: Any, total: Any, mask: Any) -> Any:
    """total + 1 in the lanes where the mask holds."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.sub(arguments[0], builder.sext(arguments[1], _INT))

    return _ints(_ints, _mask), generate


def _nearer(builder: Any, x: Any, y: Any) -> Any:
    sizes = [_call(builder, "llvm.fabs.v16f32", [value], _FLOAT) for value in (x, y)]
    return builder.select(builder.fcmp_ordered("<", *sizes), x, y)


@_operation
def nearer(_: Any, left: Any, right: Any) -> Any:
    """The one of each pair that is smaller in magnitude."""
    return _binary(_nearer, _floats, _floats)


def _folded(builder: Any, rows: list[Any], combine: Callable[[Any, Any, Any], Any]) -> Any:
    """Lane j of the result is the reduction of rows[j]: transposition and reduction in one."""
    width = LANES // 2
    while len(rows) > 1:
        half = len(rows) // 2
        low = [lane + side * LANES for lane in range(LANES) if not lane & width for side in (0, 1)]
        low.sort(key=lambda lane: (lane % LANES // (2 * width), lane // LANES))
        first = ir.Constant(_INT, low)
        second = ir.Constant(_INT, [lane + width for lane in low])
        rows = [
            combine(builder, builder.shuffle_vector(x, y, first), builder.shuffle_vector(x, y, second))
            for x, y in zip(rows[:half], rows[half:], strict=True)
        ]
        width //= 2
    return rows[0]


def _fold(start: Any, combine: Callable[[Any, Any, Any], Any], kind: _Vector) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        rows = []
        for row in range(LANES):
            index = builder.add(arguments[1], arguments[1].type(row * LANES))
            rows.append(_load(builder, _pointer(builder, kind.llvm, arguments[0], index), kind.llvm))
        return _folded(builder, rows, combine)

    return kind(start, types.intp), generate


@_operation
def fold_sum(_: Any, start: Any, index: Any) -> Any:
    """[16] float32 sums of the 16 rows of 16 that begin at element `index`."""
    return _fold(start, lambda builder, x, y: builder.fadd(x, y), _floats)


@_operation
def fold_count(_: Any, start: Any, index: Any) -> Any:
    """[16] int32 sums of the 16 rows of 16 that begin at element `index`."""
    return _fold(start, lambda builder, x, y: builder.add(x, y), _ints)


@_operation
def fold_minimum(_: Any, start: Any, index: Any) -> Any:
    """[16] smallest of the 16 rows of 16 that begin at element `index`."""
    return _fold(start, _smaller, _floats)


@_operation
def fold_maximum(_: Any, start: Any, index: Any) -> Any:
    """[16] largest of the 16 rows of 16 that begin at element `index`."""
    return _fold(start, _larger, _floats)


@_operation
def fold_nearer(_: Any, start: Any, index: Any) -> Any:
    """[16] smallest in magnitude of the 16 rows of 16 that begin at element `index`."""
    return _fold(start, _nearer, _floats)
