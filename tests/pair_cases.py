"""More graphs of one or a few operators: products of two tensors, windows in three axes, interpolation."""

from __future__ import annotations

from operator_cases import IMAGE, W, case, f, i

_HEADS = (
    " a = Reshape(q, s)\n h = Transpose<perm=[0,2,1,3]>(a)\n c = Reshape(k, s)\n t = Transpose<perm=[0,2,3,1]>(c)\n"
    " e = Reshape(v, s)\n g = Transpose<perm=[0,2,1,3]>(e)\n m = MatMul(h, t)\n d = Div(m, root)\n"
    " p = Softmax<axis=-1>(d)\n o = MatMul(p, g)\n u = Transpose<perm=[0,2,1,3]>(o)\n y0 = Reshape(u, f)\n"
)
_QKV = {
    "wq": W(4, 4),
    "wk": W(4, 4, seed=1),
    "wv": W(4, 4, seed=2),
    "s": i(1, 5, 2, 2),
    "f": i(1, 5, 4),
    "root": f(2**0.5),
}
PAIRING = [
    case("scores", "t = Transpose<perm=[0,2,1]>(x)\n y = MatMul(x, t)", "float[1, 3, 4] x"),
    case(
        "outer",
        "a = MatMul(x, w)\n t = Transpose<perm=[0,2,1]>(a)\n y = MatMul(t, a)",
        "float[1, 3, 4] x",
        w=W(4, 2),
    ),
    case(
        "merged-heads",
        "a = Reshape(x, s)\n t = Transpose<perm=[0,2,1]>(a)\n y = MatMul(a, t)",
        "float[1, 6, 4] x",
        s=i(2, 3, 4),
    ),
    case(
        "attention",
        f"q = MatMul(x, wq)\n k = MatMul(x, wk)\n v = MatMul(x, wv)\n{_HEADS} y = Add(x, y0)",
        "float[1, 5, 4] x",
        **_QKV,
    ),
    case(
        "attention-shared",
        "t = Transpose<perm=[0,2,1]>(x)\n g = MatMul(x, t)\n p = Softmax<axis=1>(g)\n y = MatMul(p, x)",
        "float[1, 3, 4] x",
    ),
    case("one-sample", "t = Transpose(x)\n y = MatMul(t, x)"),
    case(
        "ranks", "a = Reshape(x, s)\n t = Transpose(a)\n y = MatMul(x, t)", "float[1, 2, 5, 4] x", s=i(10, 4)
    ),
    case("shares", "z = Gemm(x, w)\n y = Softmax<axis=-1>(z)", w=W(4, 6)),
    case("shares-of-channels", "z = Conv(x, w)\n y = Softmax<axis=1>(z)", IMAGE, w=W(3, 2, 2, 2)),
    case("shares-of-all", "z = Conv(x, w)\n y = Softmax<axis=1>(z)", IMAGE, opset=11, w=W(3, 2, 6, 5)),
    case("einsum", 'y = Einsum<equation="bnd,bmd->bnm">(x, x)', "float[1, 5, 4] x"),
    case("einsum-left", 'y = Einsum<equation="hde, bnd -> bnhe">(w, x)', "float[1, 5, 4] x", w=W(2, 4, 3)),
    case("einsum-right", 'y = Einsum<equation="bnd,hde->bhne">(x, w)', "float[1, 5, 4] x", w=W(2, 4, 3)),
    case("einsum-kept", 'y = Einsum<equation="bhnd,hde->bhne">(x, w)', "float[1, 2, 5, 4] x", w=W(2, 4, 3)),
    case("einsum-two", 'y = Einsum<equation="bnhd,hde->bne">(x, w)', "float[1, 5, 2, 4] x", w=W(2, 4, 3)),
    case("einsum-more", 'y = Einsum<equation="...nd,de->...ne">(x, w)', "float[1, 2, 5, 4] x", w=W(4, 3)),
]

VOLUME = "float[1,2,5,4,6] x"
_SOLID = {"w": W(4, 2, 2, 3, 2), "b": W(4)}
VOLUMES = [
    case("conv-3d", "y = Conv(x, w, b)", VOLUME, **_SOLID),
    case("conv-3d-strides", "y = Conv<strides=[2,1,3], pads=[1,0,1,0,2,1]>(x, w, b)", VOLUME, **_SOLID),
    case("conv-3d-dilated", "y = Conv<dilations=[2,1,3]>(x, w)", VOLUME, w=W(3, 2, 2, 2, 2)),
    case("conv-3d-groups", "y = Conv<group=2>(x, w, b)", VOLUME, w=W(4, 1, 2, 2, 2), b=W(4)),
    case(
        "conv-3d-same", 'y = Conv<auto_pad="SAME_LOWER", strides=[2,2,2]>(x, w)', VOLUME, w=W(3, 2, 2, 2, 3)
    ),
    case(
        "transposed-3d",
        "y = ConvTranspose<strides=[2,1,2]>(x, w, b)",
        "float[1,2,3,2,2] x",
        w=W(2, 3, 2, 2, 3),
        b=W(3),
    ),
    case(
        "transposed-3d-pads",
        "y = ConvTranspose<strides=[2,2,1], dilations=[1,2,1], pads=[1,0,0,0,1,1], output_padding=[1,0,0], "
        "group=2>(x, w)",
        "float[1,4,3,2,3] x",
        w=W(4, 1, 3, 2, 2),
    ),
    case("max-3d", "y = MaxPool<kernel_shape=[2,2,2], strides=[2,1,2]>(x)", VOLUME),
    case("max-3d-pads", "y = MaxPool<kernel_shape=[2,3,2], pads=[1,1,0,0,1,1]>(x)", VOLUME),
    case("max-3d-ceil", "y = MaxPool<kernel_shape=[2,2,2], strides=[2,2,2], ceil_mode=1>(x)", VOLUME),
    case("average-3d", "y = AveragePool<kernel_shape=[2,2,3]>(x)", VOLUME),
    case("average-3d-pads", "y = AveragePool<kernel_shape=[2,2,3], pads=[1,0,1,0,1,1]>(x)", VOLUME),
    case(
        "average-3d-counted",
        "y = AveragePool<kernel_shape=[2,2,3], pads=[1,0,1,0,1,1], count_include_pad=1>(x)",
        VOLUME,
    ),
    case("global-average-3d", "y = GlobalAveragePool(x)", VOLUME),
    case("global-max-3d", "y = GlobalMaxPool(x)", VOLUME),
]

_SMOOTH = 'y = Resize<mode="linear", coordinate_transformation_mode="{}">(x, , s)'
INTERPOLATING = [
    *(
        case(f"linear-{how}", _SMOOTH.format(how), IMAGE, s=f(1, 1, 2, 4))
        for how in ("half_pixel", "pytorch_half_pixel", "asymmetric")
    ),
    case("linear-smaller", _SMOOTH.format("half_pixel"), "float[1,2,8,4] x", s=f(1, 1, 0.5, 2)),
    case("linear-corners", _SMOOTH.format("align_corners"), "float[1,2,3,3] x", s=f(1, 1, 3, 1)),
    case("linear-sizes", 'y = Resize<mode="linear">(x, , , s)', IMAGE, s=i(1, 2, 14, 12)),
    case("linear-row", 'y = Resize<mode="linear">(x, , s)', "float[1,2,5] x", s=f(1, 1, 4)),
    case("linear-one", 'y = Resize<mode="linear">(x, , s)', "float[1,2,1,1] x", s=f(1, 1, 4, 2)),
    case("upsample-linear", 'y = Upsample<mode="linear">(x, s)', IMAGE, opset=9, s=f(1, 1, 2, 2)),
]

PAIRED = [*PAIRING, *VOLUMES, *INTERPOLATING]
