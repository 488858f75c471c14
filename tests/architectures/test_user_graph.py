"""A user's graph with a checkpoint's weights: computed as NumPy does, and refused where a weight stays unaccounted for.

The silent errors are those of real exporters, which fold BatchNorm into convolutions and merge equal tensors.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, numpy_helper, parser
from stored_networks import convolved, furthest, normed, run, stored

from nla.architectures.opening import open_checkpoint
from nla.architectures.user_graph import build_on
from nla.checkpoint.built import BuiltCheckpoint
from nla.errors import ModelError, UsageError
from nla.graph.find import find_sites
from nla.graph.prepare import prepare

Array = np.ndarray


def random(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng([seed, *shape]).normal(size=shape).astype(np.float32)


def graph(text: str, weights: Mapping[str, Array], functions: str = "", opset: int = 17) -> ModelProto:
    """The model of a graph in ONNX text, with these initializers."""
    domains = ', "own": 1' if functions else ""
    model = parser.parse_model(f'<ir_version: 8, opset_import: ["": {opset}{domains}]> {text} {functions}')
    model.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in weights.items())
    return model


def saved(folder: Path, model: ModelProto, name: str = "graph.onnx") -> Path:
    folder.mkdir(exist_ok=True, parents=True)
    onnx.save(model, folder / name)
    return folder / name


def grafted(
    folder: Path, model: ModelProto, tensors: Mapping[str, Array], config: Mapping[str, Any] | None = None
) -> BuiltCheckpoint:
    return build_on(stored(folder / "checkpoint", tensors, config), saved(folder, model))


GEMM = """g (float[n, 6] x) => (float[n, 30] y) {
    z = Gemm <transB = 1> (x, fc1.weight, fc1.bias)
    a = Relu (z)
    y = Gemm <transB = 1> (a, fc2.weight, fc2.bias)
}""".replace("fc1.", "fc1_").replace("fc2.", "fc2_")
"""The parser takes no dots in names: `dotted` puts them in."""
SHAPES = {"fc1.weight": (20, 6), "fc1.bias": (20,), "fc2.weight": (30, 20), "fc2.bias": (30,)}


def dotted(model: ModelProto) -> ModelProto:
    """Underscores in names of weights as dots."""
    for node in model.graph.node:
        node.input[:] = [name.replace("_", ".") for name in node.input]
    for tensor in model.graph.initializer:
        tensor.name = tensor.name.replace("_", ".")
    return model


def weights(seed: int, shapes: Mapping[str, tuple[int, ...]] = SHAPES) -> dict[str, Array]:
    return {name: random(*shape, seed=seed + at) for at, (name, shape) in enumerate(shapes.items())}


def mlp(own: Mapping[str, Array] | None = None, prefix: str = "") -> ModelProto:
    """The graph of an MLP with weights of its own, which are not to be seen again."""
    model = dotted(graph(GEMM, own or weights(100)))
    for node in model.graph.node:
        node.input[:] = [f"{prefix}{name}" if "." in name else name for name in node.input]
    for tensor in model.graph.initializer:
        tensor.name = prefix + tensor.name
    return model


def forward(x: Array, w: Mapping[str, Array], prefix: str = "") -> Array:
    a = np.maximum(x @ w[f"{prefix}fc1.weight"].T.astype(np.float64) + w[f"{prefix}fc1.bias"], 0)
    return a @ w[f"{prefix}fc2.weight"].T + w[f"{prefix}fc2.bias"]


X = random(5, 6, seed=9)


def test_weights_are_those_of_the_checkpoint(tmp_path: Path):
    built = grafted(tmp_path, mlp(), weights(1))
    assert furthest(run(built, {"x": X})["y"], forward(X, weights(1))) < 1e-5
    sites, left = find_sites(prepare(built).model)
    assert [(site.name, site.neurons, site.producers[0].weight) for site in sites] == [
        ("a", 20, "fc1.weight")
    ]
    assert not left
    assert built.architecture == "graph"
    assert built.cuts == ()
    assert all(t.data_location == TensorProto.EXTERNAL for t in built.proto.graph.initializer)


@pytest.mark.parametrize("whose", ["graph", "checkpoint"])
def test_one_prefix_may_be_left_out(whose: str, tmp_path: Path):
    tensors = weights(1)
    if whose == "checkpoint":
        built = grafted(tmp_path, mlp(), {f"model.net.{name}": array for name, array in tensors.items()})
    else:
        built = grafted(tmp_path, mlp(prefix="model.net."), tensors)
    assert furthest(run(built, {"x": X})["y"], forward(X, tensors)) < 1e-5
    assert any("model.net." in note for note in built.notes)
    names = {tensor.name for tensor in built.proto.graph.initializer}
    assert names == set(built.source.tensors)


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.float64])
def test_other_floating_types_are_cast(dtype: type, tmp_path: Path):
    tensors = {name: array.astype(dtype) for name, array in weights(1).items()}
    built = grafted(tmp_path, mlp(), tensors)
    expected = forward(X, {name: array.astype(np.float64) for name, array in tensors.items()})
    assert furthest(run(built, {"x": X})["y"], expected) < 1e-5
    sites, _ = find_sites(prepare(built).model)
    assert [site.producers[0].weight for site in sites] == ["fc1.weight"]
    assert any("cast" in note for note in built.notes)


def test_an_old_opset_casts_nothing(tmp_path: Path):
    model = mlp()
    model.opset_import[0].version = 9
    tensors = {name: array.astype(np.float16) for name, array in weights(1).items()}
    with pytest.raises(ModelError, match="opset 13 or later"):
        grafted(tmp_path, model, tensors)


DIRECT = GEMM.replace("Gemm <transB = 1>", "Gemm")
MATMUL = """g (float[n, 6] x) => (float[n, 30] y) {
    p = MatMul (x, fc1_weight)
    z = Add (p, fc1_bias)
    a = Relu (z)
    q = MatMul (a, fc2_weight)
    y = Add (q, fc2_bias)
}"""
TRANSPOSED = """g (float[n, 6] x) => (float[n, 30] y) {
    t = Transpose (fc1_weight)
    p = MatMul (x, t)
    z = Add (p, fc1_bias)
    a = Relu (z)
    s = Transpose <perm = [1, 0]> (fc2_weight)
    q = MatMul (a, s)
    y = Add (q, fc2_bias)
}"""


def turned(tensors: Mapping[str, Array]) -> dict[str, Array]:
    return {name: np.ascontiguousarray(array.T) for name, array in tensors.items()}


@pytest.mark.parametrize("text", [DIRECT, MATMUL], ids=["Gemm", "MatMul"])
def test_matrices_that_the_graph_reads_as_in_out_are_transposed(text: str, tmp_path: Path):
    built = grafted(tmp_path, dotted(graph(text, turned(weights(100)))), weights(1))
    assert furthest(run(built, {"x": X})["y"], forward(X, weights(1))) < 1e-5
    assert any("2 matrices" in note for note in built.notes)
    sites, _ = find_sites(prepare(built).model)
    assert [(site.neurons, site.producers[0].weight) for site in sites] == [(20, "fc1.weight")]


@pytest.mark.parametrize("text", [GEMM, TRANSPOSED], ids=["transB", "Transpose"])
def test_matrices_that_the_graph_reads_as_out_in_are_transposed_for_a_file_of_in_out(
    text: str, tmp_path: Path
):
    built = grafted(tmp_path, dotted(graph(text, weights(100))), turned(weights(1)))
    assert furthest(run(built, {"x": X})["y"], forward(X, weights(1))) < 1e-5


SQUARE = {"fc1.weight": (6, 6), "fc1.bias": (6,), "fc2.weight": (6, 6), "fc2.bias": (6,)}
HALF_SQUARE = {"fc1.weight": (6, 6), "fc1.bias": (6,), "fc2.weight": (30, 6), "fc2.bias": (30,)}


def test_a_square_matrix_behind_transb_is_read_as_stored(tmp_path: Path):
    tensors = weights(1, SQUARE)
    built = grafted(tmp_path, dotted(graph(GEMM.replace("30", "6"), weights(100, SQUARE))), tensors)
    assert furthest(run(built, {"x": X})["y"], forward(X, tensors)) < 1e-5


def test_a_square_matrix_without_a_witness_is_refused(tmp_path: Path):
    model = dotted(graph(MATMUL.replace("30", "6"), weights(100, SQUARE)))
    with pytest.raises(ModelError, match=r"'fc1.weight' is square"):
        grafted(tmp_path, model, weights(1, SQUARE))


def test_a_square_matrix_beside_transposed_ones_is_refused(tmp_path: Path):
    model = dotted(graph(MATMUL, turned(weights(100, HALF_SQUARE))))
    with pytest.raises(ModelError, match=r"'fc1.weight' is square"):
        grafted(tmp_path, model, weights(1, HALF_SQUARE))


def test_a_square_matrix_beside_straight_ones_is_straight(tmp_path: Path):
    tensors = turned(weights(1, HALF_SQUARE))
    built = grafted(tmp_path, dotted(graph(MATMUL, turned(weights(100, HALF_SQUARE)))), tensors)
    assert furthest(run(built, {"x": X})["y"], forward(X, turned(tensors))) < 1e-5


@pytest.mark.parametrize("same", [True, False], ids=["straight", "transposed"])
def test_equal_values_tell_how_a_square_matrix_lies(same: bool, tmp_path: Path):
    tensors = weights(1, SQUARE)
    own = tensors if same else turned(tensors)
    built = grafted(tmp_path, dotted(graph(MATMUL.replace("30", "6"), own)), tensors)
    assert furthest(run(built, {"x": X})["y"], forward(X, turned(own))) < 1e-5


NORM = """g (float[n, 3, 8, 8] x) => (float[n, 8, 8, 8] y) {
    c = Conv <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (x, 0.weight, 0.bias)
    b = BatchNormalization (c, 1.weight, 1.bias, 1.running_mean, 1.running_var)
    y = Relu (b)
}""".replace("0.", "m0_").replace("1.", "m1_")
NORM_SHAPES = {"m0.weight": (8, 3, 3, 3), "m0.bias": (8,)} | {
    f"m1.{leaf}": (8,) for leaf in ("weight", "bias", "running_mean", "running_var")
}


def under(text: str, own: Mapping[str, Array]) -> ModelProto:
    """As `dotted`, for names with an underscore of their own."""
    model = graph(text, own)
    for node in model.graph.node:
        node.input[:] = [name.replace("m0_", "m0.").replace("m1_", "m1.") for name in node.input]
    return model


def norm_weights(seed: int) -> dict[str, Array]:
    made = weights(seed, NORM_SHAPES)
    made["m1.running_var"] = np.abs(made["m1.running_var"]) + 0.5
    return made


def fresh() -> dict[str, Array]:
    """What stands in a BatchNorm before training: means equal biases, variances equal weights."""
    return {
        **weights(100, {name: NORM_SHAPES[name] for name in ("m0.weight", "m0.bias")}),
        **{"m1.weight": np.ones(8, np.float32), "m1.bias": np.zeros(8, np.float32)},
        **{"m1.running_var": np.ones(8, np.float32), "m1.running_mean": np.zeros(8, np.float32)},
    }


def test_a_batchnorm_of_the_graph_gets_the_checkpoints_statistics(tmp_path: Path):
    tensors = {**norm_weights(1), "m1.num_batches_tracked": np.array(4)}
    built = grafted(tmp_path, under(NORM, fresh()), tensors)
    x = random(2, 3, 8, 8, seed=9)
    z = convolved(x, tensors["m0.weight"], tensors["m0.bias"], 1, 1)
    leaves = ("running_mean", "running_var", "weight", "bias")
    expected = np.maximum(normed(z, *(tensors[f"m1.{leaf}"] for leaf in leaves)), 0)
    assert furthest(run(built, {"x": x})["y"], expected) < 1e-5


def test_merged_tensors_of_a_fresh_batchnorm_are_no_silent_error(tmp_path: Path):
    """Exporters keep one of two equal tensors: the graph has a name for the mean and none for the bias."""
    own = fresh()
    del own["m1.running_mean"], own["m1.running_var"]
    merged = NORM.replace("m1_running_mean", "m1_bias").replace("m1_running_var", "m1_weight")
    with pytest.raises(ModelError, match=r"does not use .*'m1.running_mean' \[8\], 'm1.running_var' \[8\]"):
        grafted(tmp_path, under(merged, own), norm_weights(1))


def test_a_batchnorm_folded_into_its_convolution_is_no_silent_error(tmp_path: Path):
    """Exporters keep the name of the convolution's weight, which then holds the product."""
    text = NORM.replace(
        "b = BatchNormalization (c, m1_weight, m1_bias, m1_running_mean, m1_running_var)\n", ""
    )
    own = {name: array for name, array in fresh().items() if name.startswith("m0")}
    model = under(text.replace("y = Relu (b)", "y = Relu (c)"), own)
    with pytest.raises(ModelError, match=r"does not use tensors of the checkpoint: 'm1.bias'"):
        grafted(tmp_path, model, norm_weights(1))


def torch_model(kind: str) -> tuple[Any, Any]:
    torch = pytest.importorskip("torch")
    nn = torch.nn
    if kind == "mlp":
        layers = [
            nn.Linear(8, 32),
            nn.BatchNorm1d(32),
            nn.ReLU(),
            nn.Linear(32, 32),
            nn.ReLU(),
            nn.Linear(32, 20),
        ]
        return nn.Sequential(*layers).eval(), torch.randn(4, 8)
    layers = [
        nn.Conv2d(3, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 16, 3),
        nn.BatchNorm2d(16),
    ]
    return nn.Sequential(*layers, nn.ReLU(), nn.Flatten(), nn.Linear(16 * 36, 32)).eval(), torch.randn(
        2, 3, 8, 8
    )


def trained(model: Any) -> dict[str, Array]:
    """Other weights for the model, put into it too."""
    import torch

    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if tensor.is_floating_point():
                tensor.copy_(
                    torch.rand_like(tensor) + 0.5 if "var" in name else torch.randn_like(tensor) * 0.3
                )
    return {name: tensor.numpy().copy() for name, tensor in model.state_dict().items()}


EXPORTS: dict[str, tuple[str, dict[str, Any], bool]] = {
    "an MLP as it is": ("mlp", {"dynamo": True, "optimize": False}, True),
    "a CNN as it is": ("cnn", {"dynamo": True, "optimize": False}, True),
    "BatchNorm folded": ("cnn", {"dynamo": True}, False),
    "equal tensors merged": ("mlp", {"dynamo": False, "do_constant_folding": False}, False),
}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("kind", "options", "exact"), EXPORTS.values(), ids=EXPORTS)
def test_an_export_of_torch_is_exact_or_refused(
    kind: str, options: dict[str, Any], exact: bool, tmp_path: Path
):
    torch = pytest.importorskip("torch")
    pytest.importorskip("onnxscript")
    model, x = torch_model(kind)
    torch.onnx.export(model, (x,), str(tmp_path / "export.onnx"), verbose=False, **options)
    source = stored(tmp_path / "checkpoint", trained(model))
    if not exact:
        with pytest.raises(ModelError, match="Export it again"):
            build_on(source, tmp_path / "export.onnx")
        return
    built = build_on(source, tmp_path / "export.onnx")
    with torch.inference_mode():
        expected = model(x).numpy()
    feed = built.proto.graph.input[0].name
    assert furthest(next(iter(run(built, {feed: x.numpy()}).values())), expected) < 1e-5
    assert len(find_sites(prepare(built).model)[0]) == 2


TIED = """g (int64[n] x) => (float[n, 12] y) {
    e = Gather (embed_weight, x)
    h = Relu (e)
    t = Transpose <perm = [1, 0]> (head_weight)
    y = MatMul (h, t)
}"""


def tied(shape: tuple[int, int] = (12, 5)) -> ModelProto:
    model = graph(TIED, {"embed_weight": random(*shape), "head_weight": random(12, 5, seed=3)})
    names = {"embed_weight": "model.embed_tokens.weight", "head_weight": "lm_head.weight"}
    for holder in (*(node.input for node in model.graph.node),):
        holder[:] = [names.get(name, name) for name in holder]
    for tensor in model.graph.initializer:
        tensor.name = names[tensor.name]
    return model


def test_a_tied_head_has_the_values_of_the_embeddings(tmp_path: Path):
    table = random(12, 5, seed=7)
    ids = np.array([3, 0, 11])
    built = grafted(tmp_path, tied(), {"model.embed_tokens.weight": table})
    assert (
        furthest(run(built, {"x": ids})["y"], np.maximum(table[ids], 0) @ table.T.astype(np.float64)) < 1e-5
    )
    assert any("tied" in note for note in built.notes)
    assert [t.name for t in built.proto.graph.initializer] == ["model.embed_tokens.weight"]


def test_embeddings_may_be_stored_as_the_head_only(tmp_path: Path):
    table = random(12, 5, seed=7)
    built = grafted(tmp_path, tied(), {"lm_head.weight": table})
    ids = np.array([3, 0, 11])
    assert (
        furthest(run(built, {"x": ids})["y"], np.maximum(table[ids], 0) @ table.T.astype(np.float64)) < 1e-5
    )


def test_a_head_is_not_tied_against_the_configuration(tmp_path: Path):
    config = {"model_type": "own", "tie_word_embeddings": False}
    with pytest.raises(ModelError, match=r"'lm_head.weight' \[12, 5\]"):
        grafted(tmp_path, tied(), {"model.embed_tokens.weight": random(12, 5, seed=7)}, config)


@pytest.mark.parametrize("equal", [True, False])
def test_a_tied_tensor_that_is_stored_twice_may_stay_unused(equal: bool, tmp_path: Path):
    text = TIED.replace("head_weight", "embed_weight")
    model = graph(text, {"embed_weight": random(12, 5)})
    model.graph.initializer[0].name = "model.embed_tokens.weight"
    for node in model.graph.node:
        node.input[:] = [name.replace("embed_weight", "model.embed_tokens.weight") for name in node.input]
    table = random(12, 5, seed=7)
    tensors = {"model.embed_tokens.weight": table, "lm_head.weight": table if equal else table + 1}
    if equal:
        grafted(tmp_path, model, tensors)
        return
    with pytest.raises(ModelError, match=r"'lm_head.weight'"):
        grafted(tmp_path, model, tensors)


UNUSED = {
    "h.0.attn.bias": np.tril(np.ones((1, 1, 4, 4), np.float32)),
    "h.0.attn.masked_bias": np.array(-1e9, np.float32),
    "rotary.inv_freq": random(20),
    "embeddings.position_ids": np.arange(20)[None],
    "bn.num_batches_tracked": np.array(3),
}


@pytest.mark.parametrize("name", UNUSED)
def test_buffers_that_nothing_needs_may_stay_unused(name: str, tmp_path: Path):
    built = grafted(tmp_path, mlp(), {**weights(1), name: UNUSED[name]})
    assert furthest(run(built, {"x": X})["y"], forward(X, weights(1))) < 1e-5


LARGE = random(6, 6)
IF = """g (float[n, 6] x, bool c) => (float[n, 6] y) {
    y = If (c) <then_branch = t () => (float[n, 6] p) <float[6, 6] WEIGHTS> { p = MatMul (x, w) },
        else_branch = e () => (float[n, 6] q) { q = Relu (x) }>
}"""


def subgraph() -> ModelProto:
    text = IF.replace(" <float[6, 6] WEIGHTS>", "").replace("MatMul (x, w)", "MatMul (x, w)")
    model = graph(text, {})
    model.graph.node[0].attribute[0].g.initializer.append(numpy_helper.from_array(LARGE, "w"))
    return model


def constant() -> ModelProto:
    model = mlp()
    moved = model.graph.initializer.pop(0)
    node = onnx.helper.make_node("Constant", [], [moved.name], value=moved)
    model.graph.node.insert(0, node)
    return model


def in_function() -> ModelProto:
    lines = "w = Constant <value_floats = [VALUES]> () u = Add (v, w)"
    body = f'<domain: "own", opset_import: ["": 17]> layer (v) => (u) {{ {lines} }}'
    values = ", ".join(f"{value:.3f}" for value in range(20))
    text = GEMM.replace("a = Relu (z)", "b = own.layer (z)\n a = Relu (b)")
    return dotted(graph(text, weights(100), body.replace("VALUES", values)))


def sparse() -> ModelProto:
    model = mlp()
    values = onnx.helper.make_tensor("more", TensorProto.FLOAT, [1], [1.0])
    indices = onnx.helper.make_tensor("at", TensorProto.INT64, [1], [3])
    model.graph.sparse_initializer.append(onnx.helper.make_sparse_tensor(values, indices, [20]))
    return model


def with_initializer(name: str, array: Array) -> Callable[[], ModelProto]:
    def make() -> ModelProto:
        model = mlp()
        model.graph.initializer.append(numpy_helper.from_array(array, name))
        return model

    return make


def weight_as_output() -> ModelProto:
    model = mlp(prefix="net.")
    model.graph.output.append(onnx.helper.make_tensor_value_info("net.fc1.bias", 1, [20]))
    model.graph.node[0].output[0] = "fc1.bias"
    model.graph.node[1].input[0] = "fc1.bias"
    return model


REFUSED: dict[str, tuple[Callable[[], ModelProto], dict[str, Array], str]] = {
    "a tensor that the graph does not use": (
        mlp,
        {**weights(1), "fc3.weight": LARGE},
        r"'fc3.weight' \[6, 6\]",
    ),
    "a bias that is called like a mask": (mlp, {**weights(1), "h.attn.bias": random(20)}, "h.attn.bias"),
    "a weight that the checkpoint has not": (with_initializer("own", LARGE), weights(1), r"'own' \[6, 6\]"),
    "a small parameter": (with_initializer("fc3.bias", random(3)), weights(1), "'fc3.bias'"),
    "another size": (mlp, {**weights(1), "fc1.bias": random(21)}, r"'fc1.bias' of the graph is \[20\]"),
    "no common name": (mlp, {"a.b": LARGE}, "the checkpoint has not"),
    "prefixes that differ": (
        mlp,
        {f"{'a' if 'fc1' in name else 'b'}.{name}": array for name, array in weights(1).items()},
        "more than one way",
    ),
    "a name that fits twice": (
        mlp,
        {f"{p}.{name}": array for name, array in weights(1).items() for p in "ab"},
        "more than one way",
    ),
    "a weight in a Constant node": (constant, weights(1), "'fc1.weight' holds 120 numbers"),
    "a weight in a subgraph": (subgraph, {"w": LARGE}, "inside a subgraph"),
    "a weight in a function": (in_function, weights(1), "holds 20 numbers"),
    "a sparse weight": (sparse, weights(1), "sparse"),
    "a quantised weight": (
        with_initializer("fc1.weight_quantized", np.zeros((20, 6), np.int8)),
        weights(1),
        "quantised weight",
    ),
    "bytes in the checkpoint": (
        mlp,
        {**weights(1), "q": np.zeros(20, np.int8)},
        "'q' of the checkpoint is I8",
    ),
    "a name that is taken": (weight_as_output, weights(1), "bears the name of another value"),
}


@pytest.mark.parametrize(("make", "tensors", "told"), REFUSED.values(), ids=REFUSED)
def test_weights_that_are_unaccounted_for_are_refused(
    make: Callable[[], ModelProto], tensors: dict[str, Array], told: str, tmp_path: Path
):
    with pytest.raises(ModelError, match=told) as caught:
        grafted(tmp_path, make(), tensors)
    assert len(str(caught.value).splitlines()) == 1
    assert "graph.onnx" in str(caught.value)


def test_small_constants_stay_the_graphs_own(tmp_path: Path):
    model = dotted(graph(GEMM.replace("a = Relu (z)", "b = Mul (z, scale)\n a = Relu (b)"), weights(100)))
    model.graph.initializer.append(numpy_helper.from_array(np.float32(2.0), "scale"))
    built = grafted(tmp_path, model, weights(1))
    doubled = {**weights(1), "fc2.weight": 2 * weights(1)["fc2.weight"]}
    assert furthest(run(built, {"x": X})["y"], forward(X, doubled)) < 1e-5
    assert any("scale" in note for note in built.notes)


@pytest.mark.parametrize("cast", [False, True])
def test_weights_that_a_subgraph_reads_from_outside(cast: bool, tmp_path: Path):
    text = IF.replace(" <float[6, 6] WEIGHTS>", "").replace("MatMul (x, w)", "Mul (x, w)")
    model = graph(text, {"w": random(6, seed=100)})
    model.graph.initializer.append(numpy_helper.from_array(random(20), "net.more"))
    array = random(6, seed=1).astype(np.float16 if cast else np.float32)
    tensors = {"net.w": array, "net.net.more": random(20)}
    built = grafted(tmp_path, model, tensors)
    found = run(built, {"x": X, "c": np.array(True)})["y"]
    assert furthest(found, X * array.astype(np.float64)) < 1e-5


def test_a_renamed_weight_that_is_an_output_stays_one(tmp_path: Path):
    model = mlp(prefix="net.")
    model.graph.output.append(onnx.helper.make_tensor_value_info("net.fc1.bias", 1, [20]))
    built = grafted(tmp_path, model, weights(1))
    assert np.array_equal(run(built, {"x": X})["net.fc1.bias"], weights(1)["fc1.bias"])


def test_weights_that_the_graph_declares_as_inputs_too(tmp_path: Path):
    model = mlp()
    model.ir_version = 3
    for tensor in model.graph.initializer:
        model.graph.input.append(onnx.helper.make_tensor_value_info(tensor.name, 1, list(tensor.dims)))
    built = grafted(tmp_path, model, weights(1))
    assert [info.name for info in built.proto.graph.input] == ["x"]
    assert furthest(run(built, {"x": X})["y"], forward(X, weights(1))) < 1e-5


def test_a_graph_with_external_data_of_its_own(tmp_path: Path):
    model = mlp()
    model.graph.initializer.append(numpy_helper.from_array(np.arange(40, dtype=np.int64), "index"))
    (tmp_path / "g").mkdir()
    onnx.save(
        model, tmp_path / "g/graph.onnx", save_as_external_data=True, location="w.bin", size_threshold=0
    )
    source = stored(tmp_path / "checkpoint", weights(1))
    built = build_on(source, tmp_path / "g/graph.onnx")
    assert furthest(run(built, {"x": X})["y"], forward(X, weights(1))) < 1e-5
    assert {tmp_path / "g/graph.onnx", tmp_path / "g/w.bin"} <= set(built.files)
    (tmp_path / "g/w.bin").unlink()
    with pytest.raises(ModelError, match=r"w.bin"):
        build_on(source, tmp_path / "g/graph.onnx")


def test_the_digest_is_over_graph_and_checkpoint(tmp_path: Path):
    first = grafted(tmp_path / "a", mlp(), weights(1))
    again = grafted(tmp_path / "b", mlp(), weights(1))
    assert first.digest == again.digest != first.source.digest
    assert grafted(tmp_path / "c", mlp(weights(7)), weights(1)).digest != first.digest
    assert grafted(tmp_path / "d", mlp(), weights(2)).digest != first.digest
    assert first.describe()["graph"] == str(tmp_path / "a/graph.onnx")
    assert first.size_bytes == first.source.size_bytes


def test_the_opener_takes_a_graph(tmp_path: Path):
    source, path = stored(tmp_path / "checkpoint", weights(1)), saved(tmp_path, mlp())
    built = open_checkpoint(source.path, graph=path)
    assert isinstance(built, BuiltCheckpoint)
    assert prepare(built).notes[0].startswith("the graph is that of graph.onnx")
    with pytest.raises(UsageError, match="--graph"):
        open_checkpoint(source.path, graph=path, activation="relu")
    with pytest.raises(UsageError, match="--graph"):
        open_checkpoint(path, graph=path)
    with pytest.raises(ModelError, match="no such file"):
        open_checkpoint(source.path, graph=tmp_path / "none.onnx")
    with pytest.raises(ModelError, match="safetensors"):
        open_checkpoint(source.path, graph=source.path)
