"""Random networks for the proofs, and how arithmetic other than exact evaluates them."""

from __future__ import annotations

import itertools

import numpy as np

from nla.activations import Activation
from nla.certificates.envelopes import CURVES
from nla.certificates.gradients import by_inputs
from nla.certificates.network import Network, Target
from nla.certificates.ops.elementwise import Activate
from nla.certificates.ops.joining import Concat, Product, Sum
from nla.certificates.ops.linear import Dense, Gathering, Linear, Scale
from nla.certificates.ops.pooling import MaxPool
from nla.certificates.ops.products import InnerProducts
from nla.certificates.ops.softmax import Softmax, strays
from nla.certificates.ops.windows import Conv, Window, average
from nla.certificates.rounding import SINGLE
from nla.certificates.sets import Box

PARAMETERS = {
    "Clip": {"min": -0.25, "max": 0.75},
    "ThresholdedRelu": {"alpha": 0.3125},
    "Swish": {"alpha": 1.5},
    "Elu": {"alpha": 1.3},
}
ACTIVATIONS = {name: Activation.named(name, **PARAMETERS.get(name, {})) for name in CURVES}


def single(x):
    """Rounded to float32, so that models and proofs hold the same numbers."""
    return np.asarray(x, np.float64).astype(np.float32).astype(np.float64)


def normal(rng, *shape, scale=1.0):
    return single(rng.normal(size=shape) * scale)


def dense(rng, activation, widths, bias=0.3, name="x"):
    """A chain of Dense and activation; the last Dense is the target, its activation ReLU."""
    ops, before = [], name
    for k, (n, m) in enumerate(itertools.pairwise(widths)):
        ops.append(
            Dense((before,), f"z{k}", normal(rng, m, n, scale=1.5 / np.sqrt(n)), normal(rng, m, scale=bias))
        )
        if k < len(widths) - 2:
            ops.append(Activate((f"z{k}",), f"a{k}", activation))
            before = f"a{k}"
    target = Target("site", ops[-1].output, Activation.named("Relu"), 0, widths[-1])
    return Network(tuple(ops), {name: (widths[0],)}, (target,))


def joined(rng, activation):
    """Sum, Product, Concat and a Scale over two dense layers."""
    ops = [
        Dense(("x",), "z0", normal(rng, 5, 4), normal(rng, 5, scale=0.3)),
        Activate(("z0",), "a0", activation),
        Dense(("a0",), "z1", normal(rng, 5, 5, scale=0.5), normal(rng, 5, scale=0.3)),
        Sum(("z1", "a0"), "s", -1, terms=6),
        Activate(("s",), "a1", activation),
        Product(("a1", "z1"), "p"),
        Concat(("p", "a0"), "c"),
        Scale(("c",), "b", normal(rng, 10), normal(rng, 10)),
        Dense(("b",), "z2", normal(rng, 4, 10, scale=0.5), normal(rng, 4)),
    ]
    return Network(tuple(ops), {"x": (4,)}, (Target("site", "z2", activation, 0, 4),))


def attention(rng, activation, tokens=3, width=4, heads=2):
    """Two heads over a few tokens, a residual Sum, a feed-forward layer."""
    each = width // heads
    index = np.arange(tokens * width).reshape(tokens, heads, each)
    laid = {"q": index.transpose(1, 0, 2), "k": index.transpose(1, 2, 0), "v": index.transpose(1, 0, 2)}
    ops = []
    for name, places in laid.items():
        ops.append(Dense(("x",), f"{name}0", normal(rng, width, width), normal(rng, width, scale=0.3)))
        ops.append(Gathering((f"{name}0",), name, places))
    back = np.arange(tokens * width).reshape(heads, tokens, each).transpose(1, 0, 2).reshape(tokens, width)
    ops += [
        InnerProducts(("q", "k"), "s"),
        Softmax(("s",), "p", -1),
        InnerProducts(("p", "v"), "m", strays(tokens, SINGLE)),
        Gathering(("m",), "u", back),
        Sum(("u", "x"), "h"),
        Dense(("h",), "z0", normal(rng, 5, width), normal(rng, 5, scale=0.3)),
        Activate(("z0",), "a0", activation),
        Dense(("a0",), "z1", normal(rng, 3, 5), normal(rng, 3, scale=0.3)),
    ]
    return Network(tuple(ops), {"x": (tokens, width)}, (Target("site", "z1", activation, 1, 3),))


def planes(rng, activation, window, groups=2, height=6):
    """Conv, BatchNorm-like Scale, activation, pooling by maximum and average, a gathering with zeros between, Dense."""
    shape = (2, height, 5)
    conv = Conv(
        ("x",), "z0", normal(rng, 4, 2 // groups, *window.kernel), window, groups, normal(rng, 4, scale=0.2)
    )
    made = conv.shape(shape)
    pool = MaxPool(("a0",), "m", Window((1, 2), (1, 1), (1, 1), (0, 1, 0, 0)))
    pooled = pool.shape(made)
    mean = average(("m",), "v", 4, Window((1, 2), (1, 1)), pooled[1:], True)
    averaged = mean.shape(pooled)
    size = int(np.prod(averaged))
    index = rng.permutation(size + 2) - 2  # two elements read nothing
    index = np.where(index < 0, -1, index)
    ops = [
        conv,
        Scale(("z0",), "b0", normal(rng, 4, 1, 1), normal(rng, 4, 1, 1)),
        Activate(("b0",), "a0", activation),
        pool,
        mean,
        Gathering(("v",), "f", index, fill=float(single(rng.normal()))),
        Dense(("f",), "z1", normal(rng, 3, size + 2, scale=0.3), normal(rng, 3)),
    ]
    targets = (Target("first", "b0", activation, 0, 4), Target("site", "z1", activation, 0, 3))
    return Network(tuple(ops), {"x": shape}, targets)


WINDOWS = {
    "plain": (Window((2, 2)), 1, 6),
    "strided": (Window((3, 2), (2, 1), (1, 1), (1, 0, 1, 1)), 2, 6),
    "dilated": (Window((2, 2), (1, 2), (2, 3), (0, 1, 2, 1)), 2, 6),
    "one row": (Window((1, 3), (1, 2), (1, 1), (0, 1, 0, 1)), 1, 1),
}


def around(rng, shape, width=0.3):
    """A box of half-width `width` around a random centre, its ends float32 numbers."""
    centre = rng.normal(size=shape)
    return Box(single(centre - width), single(centre + width))


def inside(rng, box, count):
    """[count, *shape] float32 points of a box: half of them corners."""
    shape = (count, *box.shape)
    points = single(box.lo + (box.hi - box.lo) * rng.random(shape))
    corners = np.where(rng.random(shape) < rng.random((count, *(1,) * len(box.shape))), box.hi, box.lo)
    return np.clip(
        np.where(np.arange(count).reshape(-1, *(1,) * len(box.shape)) % 2, points, corners), box.lo, box.hi
    )


def climbed(network, tensor, box, points, steps=10):
    """[2 · elements, *shape] points from which no short step along the gradient raises (or lowers) one element."""
    values = network.forward({"x": points}, [tensor])[tensor].reshape(len(points), -1)
    size = values.shape[1]
    x = points[np.concatenate([values.argmax(axis=0), values.argmin(axis=0)])].copy()
    A = np.concatenate([np.eye(size), -np.eye(size)]).reshape(2 * size, *network.shapes[tensor])
    names = [op.output for op in network.before([tensor])]
    for step in range(steps):
        held = {"x": x, **network.forward({"x": x}, names)}
        gradient = by_inputs(network, held, tensor, A, leak=0.1)["x"]
        moved = x + (box.hi - box.lo) * np.sign(gradient) * 0.5**step
        x = np.clip(single(moved), box.lo, box.hi)
    return x


def matrix(op, shape):
    """[outputs, inputs] of a linear operator, from its action on unit vectors."""
    if isinstance(op, Dense) and len(shape) == 1:
        return op.weight
    size = int(np.prod(shape))
    return op.apply(np.eye(size).reshape(size, *shape)).reshape(size, -1).T


def in_single(network, inputs, tensors, rng):
    """The network in float32, every sum one product after another in an order drawn anew for each operator."""
    values = {name: np.asarray(x, np.float32) for name, x in inputs.items()}
    for op in network.before(tensors):
        read = [values[name] for name in op.inputs]
        values[op.output] = _operator(op, read, network, rng)
        assert values[op.output].dtype == np.float32
    return {name: values[name] for name in tensors}


def _operator(op, read, network, rng):  # noqa: PLR0911 - one return an operator
    if isinstance(op, Linear):
        W = matrix(op, network.shapes[op.inputs[0]]).astype(np.float32)
        b = np.broadcast_to(op.offset, network.shapes[op.output]).ravel().astype(np.float32)
        flat = read[0].reshape(len(read[0]), 1, -1)
        terms = np.concatenate([flat * W, np.broadcast_to(b[:, None], (len(flat), len(b), 1))], axis=2)
        order = rng.permutation(terms.shape[2])
        summed = np.cumsum(terms[:, :, order], axis=2, dtype=np.float32)[:, :, -1]
        return summed.reshape(len(flat), *network.shapes[op.output])
    if isinstance(op, Activate):
        exact = op.activation.value(read[0].astype(np.float64))
        if not CURVES[op.activation.name].rounding:
            return exact.astype(np.float32)
        return (exact * (1 + rng.integers(-4, 5, exact.shape) * 2.0**-24)).astype(np.float32)
    if isinstance(op, InnerProducts):
        x, y = read
        terms = (x[..., :, None] * y[..., None, :, :])[..., rng.permutation(x.shape[-1]), :]
        return np.cumsum(terms, axis=-2, dtype=np.float32)[..., -1, :]
    if isinstance(op, Softmax):
        z = np.moveaxis(read[0], op.axis % (read[0].ndim - 1) + 1, -1)
        raised = np.exp(z - z.max(axis=-1, keepdims=True))
        raised *= (1 + rng.integers(-4, 5, raised.shape) * 2.0**-24).astype(np.float32)
        order = rng.permutation(z.shape[-1])
        shares = raised / np.cumsum(raised[..., order], axis=-1, dtype=np.float32)[..., -1:]
        return np.moveaxis(shares, -1, op.axis % (read[0].ndim - 1) + 1)
    if isinstance(op, Sum | Product):
        x, y = read
        return x * y if isinstance(op, Product) else x + np.float32(op.sign) * y
    return op.forward(*(x.astype(np.float64) for x in read)).astype(np.float32)
