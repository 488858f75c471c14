"""Plain MLPs and CNNs from tensors alone, against NumPy; and what a file leaves open is refused, by name."""

from __future__ import annotations

from pathlib import Path

import ml_dtypes
import numpy as np
import onnxruntime as ort
import pytest
from stored_networks import convolved, furthest, normed, pooled, run, stored

from nla.architectures.layers import build_layers
from nla.architectures.opening import open_checkpoint
from nla.architectures.plain.words import ACTIVATIONS
from nla.checkpoint.safetensors_source import open_safetensors
from nla.errors import ModelError, NlaError, UsageError
from nla.graph.find import find_sites
from nla.graph.prepare import prepare

Layers = list[tuple[str, int, int]]


def random(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng([seed, *shape]).normal(size=shape).astype(np.float32)


def dense(
    layers: Layers, *, bias: bool = True, turned: bool = True, leaf: str = ".weight"
) -> dict[str, np.ndarray]:
    """Tensors of dense layers (name, in, out); weights are [out, in] if `turned`."""
    made = {}
    for seed, (name, inputs, outputs) in enumerate(layers):
        weight = random(outputs, inputs, seed=seed)
        made[f"{name}{leaf}"] = weight if turned else np.ascontiguousarray(weight.T)
        if bias:
            made[f"{name}{leaf[0]}bias"] = random(outputs, seed=100 + seed)
    return made


def forward(x: np.ndarray, layers: Layers, *, bias: bool = True) -> np.ndarray:
    """float64 outputs of the layers that `dense` makes, with ReLU between."""
    for seed, (_, inputs, outputs) in enumerate(layers):
        x = x @ random(outputs, inputs, seed=seed).T.astype(np.float64)
        x = x + (random(outputs, seed=100 + seed) if bias else 0)
        x = np.maximum(x, 0) if seed < len(layers) - 1 else x
    return x


MLPS: dict[str, Layers] = {
    "a Sequential with ReLUs between": [("0", 6, 8), ("2", 8, 8), ("4", 8, 8), ("6", 8, 3)],
    "names that end in numbers": [(f"fc{k}", 8 if k > 1 else 6, 8) for k in range(1, 13)],
    "two numbers in a name": [("blocks.9.lin1", 6, 8), ("blocks.10.lin1", 8, 8), ("blocks.11.lin1", 8, 4)],
    "a head without a number": [("body.0", 6, 8), ("body.1", 8, 8), ("head", 8, 5)],
    "no numbers, one chain": [("zeta", 6, 9), ("beta", 9, 7), ("alpha", 7, 5)],
    "one layer": [("only", 6, 3)],
    "names of the graph's ends": [("x", 6, 9), ("hidden", 9, 7), ("output", 7, 5)],
    "an end's name inside": [("output", 6, 9), ("layer", 9, 7), ("x", 7, 5)],
}


@pytest.mark.parametrize("layers", MLPS.values(), ids=MLPS)
@pytest.mark.parametrize("turned", [True, False], ids=["out-in", "in-out"])
def test_an_mlp_computes_what_numpy_computes(layers: Layers, turned: bool, tmp_path: Path):
    built = build_layers(stored(tmp_path, dense(layers, turned=turned)), None, "relu")
    x = random(5, layers[0][1], seed=9)
    assert furthest(run(built, {"x": x})["output"], forward(x, layers)) < 1e-5


def test_names_of_keras_are_understood(tmp_path: Path):
    layers = [("dense", 6, 9), ("dense_1", 9, 4)]
    tensors = dense(layers, turned=False, leaf="/kernel")
    built = build_layers(stored(tmp_path, tensors), None, "relu")
    x = random(5, 6, seed=9)
    assert furthest(run(built, {"x": x})["output"], forward(x, layers)) < 1e-5
    assert any("[in, out]" in note for note in built.notes)


@pytest.mark.parametrize("layout", ["oi", "io"])
def test_square_weights_without_bias_are_read_as_the_user_says(layout: str, tmp_path: Path):
    layers = [("a", 8, 8), ("b", 8, 8)]
    source = stored(tmp_path, dense(layers, bias=False, turned=layout == "oi"))
    built = build_layers(source, [f"a:layout={layout}", "b"], "relu")
    x = random(5, 8, seed=9)
    assert furthest(run(built, {"x": x})["output"], forward(x, layers, bias=False)) < 1e-5


@pytest.mark.parametrize(
    ("dtype", "close"), [(np.float16, 2e-3), (ml_dtypes.bfloat16, 2e-2), (np.float64, 1e-5)]
)
def test_other_floating_types_are_computed_in_float32(dtype: type, close: float, tmp_path: Path):
    layers = MLPS["a head without a number"]
    tensors = {name: array.astype(dtype) for name, array in dense(layers).items()}
    found = run(build_layers(stored(tmp_path, tensors), None, "relu"), {"x": random(5, 6, seed=9)})["output"]
    assert found.dtype == np.float32
    assert furthest(found, forward(random(5, 6, seed=9), layers)) < close


def test_the_order_that_is_given_counts(tmp_path: Path):
    layers = [("b", 8, 8), ("c", 8, 8), ("a", 8, 8)]
    source = stored(
        tmp_path, {**dense(layers), "a.weight": random(3, 8, seed=2), "a.bias": random(3, seed=102)}
    )
    layers[2] = ("a", 8, 3)
    built = build_layers(source, "b,c,a", "relu")
    x = random(5, 8, seed=9)
    assert furthest(run(built, {"x": x})["output"], forward(x, layers)) < 1e-5
    other = run(build_layers(source, ["c", "b", "a"], "relu"), {"x": x})["output"]
    assert furthest(other, forward(x, layers)) > 1e-2


def batchnorm(name: str, width: int, seed: int = 0) -> dict[str, np.ndarray]:
    return {
        f"{name}.weight": random(width, seed=seed + 20),
        f"{name}.bias": random(width, seed=seed + 21),
        f"{name}.running_mean": random(width, seed=seed + 22),
        f"{name}.running_var": np.abs(random(width, seed=seed + 23)) + 0.5,
        f"{name}.num_batches_tracked": np.array(7),
    }


def norm_of(x: np.ndarray, tensors: dict[str, np.ndarray], name: str, epsilon: float = 1e-5) -> np.ndarray:
    leaves = ("running_mean", "running_var", "weight", "bias")
    return normed(x, *(tensors[f"{name}.{leaf}"] for leaf in leaves), epsilon)


@pytest.mark.parametrize("words", [None, "0,1:eps=0.001,3"])
def test_batchnorm_directly_behind_a_layer(words: str | None, tmp_path: Path):
    tensors = {**dense([("0", 6, 8), ("3", 8, 3)]), **batchnorm("1", 8)}
    built = build_layers(stored(tmp_path, tensors), words, "relu")
    x = random(5, 6, seed=9)
    z = x @ tensors["0.weight"].T.astype(np.float64) + tensors["0.bias"]
    a = np.maximum(norm_of(z, tensors, "1", 1e-3 if words else 1e-5), 0)
    expected = a @ tensors["3.weight"].T + tensors["3.bias"]
    found = run(built, {"x": x}, ["1.act"])
    assert furthest(found["output"], expected) < 1e-5
    assert furthest(found["1.act"], a) < 1e-5


def cnn() -> dict[str, np.ndarray]:
    return {
        "conv1.weight": random(4, 3, 3, 3),
        "conv1.bias": random(4, seed=1),
        "conv2.weight": random(6, 2, 3, 3, seed=2),
        **batchnorm("bn2", 6),
        "fc.weight": random(5, 6 * 2 * 2, seed=3),
        "fc.bias": random(5, seed=4),
    }


def test_a_cnn_computes_what_numpy_computes(tmp_path: Path):
    tensors = cnn()
    words = [
        "conv1:stride=2:pad=1",
        "pool=max2",
        "conv2:stride=1:pad=1:groups=2",
        "bn2",
        "pool=max2:stride=2",
        "fc",
    ]
    built = build_layers(stored(tmp_path, tensors), words, "relu,tanh")
    x = random(2, 3, 16, 16, seed=9)
    first = np.maximum(convolved(x, tensors["conv1.weight"], tensors["conv1.bias"], 2, 1), 0)
    z = convolved(pooled(first, 2, 2), tensors["conv2.weight"], 0.0, 1, 1, groups=2)
    second = np.tanh(norm_of(z, tensors, "bn2"))
    flat = pooled(second, 2, 2).reshape(2, -1)
    found = run(built, {"x": x}, ["conv1.act", "bn2.act"])
    assert furthest(found["conv1.act"], first) < 1e-5
    assert furthest(found["bn2.act"], second) < 1e-5
    assert furthest(found["output"], flat @ tensors["fc.weight"].T + tensors["fc.bias"]) < 1e-5
    sites, left = find_sites(prepare(built).model)
    assert [(site.name, site.role, site.activation.name) for site in sites] == [
        ("conv1.act", "conv", "Relu"),
        ("bn2.act", "conv", "Tanh"),
    ]
    assert not left


def test_global_pooling_and_average_pooling(tmp_path: Path):
    tensors = {"c.weight": random(4, 3, 3, 3), **dense([("fc", 4, 2)])}
    built = build_layers(stored(tmp_path, tensors), "c:stride=1:pad=0,pool=avg2,pool=global,fc", "relu")
    x = random(2, 3, 10, 10, seed=9)
    a = np.maximum(convolved(x, tensors["c.weight"]), 0).mean((2, 3))
    expected = a @ tensors["fc.weight"].T + tensors["fc.bias"]
    assert furthest(run(built, {"x": x})["output"], expected) < 1e-5


def test_convolutions_along_one_axis(tmp_path: Path):
    tensors = {"c.weight": random(4, 3, 5), "c.bias": random(4, seed=1)}
    built = build_layers(stored(tmp_path, tensors), ["c:stride=1:pad=2"], "relu")
    x = random(2, 3, 11, seed=9)
    expected = convolved(
        np.pad(x, ((0, 0), (0, 0), (2, 2)))[:, :, None], tensors["c.weight"][:, :, None], tensors["c.bias"]
    )
    assert furthest(run(built, {"x": x})["output"], expected[:, :, 0]) < 1e-5


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_every_activation_is_a_site(name: str, tmp_path: Path):
    built = build_layers(stored(tmp_path, dense([("0", 6, 8), ("2", 8, 3)])), None, name)
    prepared = prepare(built)
    sites, left = find_sites(prepared.model)
    assert [(site.neurons, site.producers[0].weight) for site in sites] == (
        [(8, "0.weight")] if name != "identity" else []
    )
    assert not left
    if sites:
        z, a = run(built, {"x": random(9, 6, seed=9)}, ["0", "0.act"])["0"], "0.act"
        found = run(built, {"x": random(9, 6, seed=9)}, [a])[a]
        assert furthest(found, sites[0].activation.value(z)) < 1e-5


def test_one_activation_for_each_hidden_layer(tmp_path: Path):
    source = stored(tmp_path, dense(MLPS["a head without a number"]))
    sites, _ = find_sites(prepare(build_layers(source, None, "leaky_relu, Tanh")).model)
    assert [site.activation.name for site in sites] == ["LeakyRelu", "Tanh"]
    assert dict(sites[0].activation.parameters)["alpha"] == pytest.approx(0.01)


def test_the_plan_is_told(tmp_path: Path):
    source = stored(tmp_path, dense([("fc1", 6, 8), ("fc2", 8, 3)]))
    built = build_layers(source, None, "relu")
    assert built.notes[0] == "the network: x [batch, 6] -> fc1 6 to 8 -> relu -> fc2 8 to 3 -> output"
    assert "inferred" in built.notes[1]
    assert prepare(built).notes[: len(built.notes)] == built.notes
    assert "given" in build_layers(source, "fc1,fc2", "relu").notes[1]
    assert built.architecture == "layers"


@pytest.mark.shared
def test_the_checkpoint_of_a_trained_network_is_its_onnx_export(shared: Path):
    folder = shared / "models/dying-relu/relu"
    built = build_layers(open_safetensors(folder / "epoch12.safetensors"), None, "relu")
    x = np.load(shared / "data/mnist_t10k.npz")
    x = next(array for array in x.values() if array.ndim > 1)[:64].reshape(64, -1).astype(np.float32) / 255
    twin = ort.InferenceSession(folder / "epoch12.onnx")
    assert np.array_equal(run(built, {"x": x})["output"], twin.run(None, {"x": x})[0])


BN_LATER = {**dense([("0", 6, 8), ("3", 8, 3)]), **batchnorm("2", 8)}
REFUSED = {
    "no activation": (dense([("0", 6, 8)]), None, None, "needs --activation"),
    "unknown activation": (dense([("0", 6, 8)]), None, "wiggle", "--activation 'wiggle'"),
    "too many activations": (dense([("0", 6, 8), ("1", 8, 3)]), None, "relu,relu,relu", "1 hidden layers"),
    "several orders": (dense([(n, 8, 8) for n in "abcd"]), None, "relu", "more than one order"),
    "encoder or decoder first": (
        dense([("enc.0", 8, 4), ("enc.2", 4, 2), ("dec.0", 2, 4), ("dec.2", 4, 8)]),
        None,
        "relu",
        "more than one order",
    ),
    "too many orders to try": (
        dense([(f"l{'abc'[k % 3] * k}", 8, 8) for k in range(1, 30)]) | {"z.weight": random(5, 7)},
        None,
        "relu",
        "more than one order|too many orders|no network",
    ),
    "no chain": (dense([("fc1", 6, 8), ("fc2", 7, 3)]), None, "relu", "no network in one line"),
    "a chain against the numbers": (
        dense([("fc2", 6, 8), ("fc1", 8, 3)]),
        None,
        "relu",
        "no network in one line",
    ),
    "square without bias": (dense([("0", 8, 8), ("2", 8, 8)], bias=False), None, "relu", "layout=oi"),
    "square with bias": (dense([("0", 8, 8)]), None, "relu", "layout=oi"),
    "one matrix without bias": (dense([("0", 6, 8)], bias=False), None, "relu", "layout=oi"),
    "two layouts": (dense([("0", 8, 8), ("2", 8, 8)]), "0:layout=oi,2:layout=io", "relu", "two layouts"),
    "a convolution without --layers": (cnn(), None, "relu", "not in the file"),
    "a convolution without stride": (cnn(), "conv1:pad=1,conv2,bn2,fc", "relu", "stride and padding"),
    "channels that do not fit": (
        cnn(),
        "conv1:stride=1:pad=1,conv2:stride=1:pad=1,bn2,fc",
        "relu",
        "'conv2'.* reads 2, and the layer before it gives 4",
    ),
    "a layer left out": (dense([("0", 6, 8), ("2", 8, 3)]), "0", "relu", "leaves out 2"),
    "a layer named twice": (dense([("0", 8, 8)]), "0,0", "relu", "twice"),
    "a layer that is not there": (dense([("0", 6, 8)]), "0,1", "relu", "no layer '1'"),
    "an unknown option": (dense([("0", 6, 8)]), "0:stride=1", "relu", "no option 'stride'"),
    "an option that is no number": (cnn(), "conv1:stride=x:pad=1", "relu", "whole number"),
    "an option without a value": (dense([("0", 6, 8)]), "0:layout", "relu", "option=value"),
    "an unknown pooling": (dense([("0", 6, 8)]), "pool=min2,0", "relu", "pool=max2"),
    "a pooling first": (dense([("0", 6, 8)]), "pool=max2,0", "relu", "no feature map"),
    "dense before convolution": (
        {**cnn()},
        "fc,conv1:stride=1:pad=1,conv2:stride=1:pad=1:groups=2,bn2",
        "relu",
        "spatial axes",
    ),
    "a given order that does not chain": (dense([("0", 6, 8), ("2", 8, 3)]), "2,0", "relu", "does not fit"),
    "an activation before the norm": (BN_LATER, None, "relu", "leave room for an activation"),
    "no room for an activation": (
        dense([("0", 6, 8), ("1", 8, 8), ("3", 8, 3)]),
        None,
        "relu",
        "leave no room for an activation",
    ),
    "a norm in front": ({**dense([("1", 8, 3)]), **batchnorm("0", 8)}, "0,1", "relu", "directly behind"),
    "LayerNorm": (
        {**dense([("0", 6, 8)]), "1.weight": random(8), "1.bias": random(8)},
        None,
        "relu",
        "LayerNorm",
    ),
    "an unknown tensor": ({**dense([("0", 6, 8)]), "0.scale": random(8)}, None, "relu", "'0.scale'"),
    "a bias alone": ({"0.bias": random(8)}, None, "relu", "no .weight"),
    "integers": ({"0.weight": np.zeros((3, 4), np.int8)}, None, "relu", "I8"),
    "a scalar": ({"0.weight": random()}, None, "relu", "0.weight"),
    "an empty weight": ({"0.weight": np.zeros((0, 4), np.float32)}, None, "relu", "empty"),
    "a bias that fits neither way": (
        {"0.weight": random(3, 4), "0.bias": random(5)},
        None,
        "relu",
        "no network",
    ),
    "a norm of two lengths": (
        {**dense([("0", 6, 8)]), **batchnorm("1", 8), "1.running_mean": random(7)},
        None,
        "relu",
        "would be a BatchNorm",
    ),
    "a kernel of Keras": (
        {"c.kernel": random(3, 3, 3, 3), "c.bias": random(3)},
        "c:stride=1:pad=1",
        "relu",
        "Keras",
    ),
    "a hostile name": ({"\x1b[31m.weight": random(3)}, None, "relu", r"\\x1b"),
}


@pytest.mark.parametrize(("tensors", "words", "activation", "told"), REFUSED.values(), ids=REFUSED)
def test_what_is_not_certain_is_refused(
    tensors: dict[str, np.ndarray], words: str | None, activation: str | None, told: str, tmp_path: Path
):
    source = stored(tmp_path, tensors)
    with pytest.raises((UsageError, ModelError), match=told) as caught:
        build_layers(source, words, activation)
    assert isinstance(caught.value, NlaError)
    assert len(str(caught.value).splitlines()) == 1
    assert str(caught.value).isprintable()


def test_many_layers_without_numbers_end_soon(tmp_path: Path):
    names = ["".join(chr(97 + (k // 26**p) % 26) for p in range(3)) for k in range(60)]
    source = stored(tmp_path, {**dense([(n, 8, 8) for n in names]), **dense([("zz", 5, 4)])})
    with pytest.raises(UsageError, match="too many orders"):
        build_layers(source, None, "relu")


def test_the_opener_takes_layers_and_activation(tmp_path: Path):
    layers = [("fc1", 6, 8), ("fc2", 8, 3)]
    source = stored(tmp_path, dense(layers))
    built = open_checkpoint(source.path, layers="fc1,fc2", activation="relu")
    assert built.proto.graph.input[0].name == "x"
    with pytest.raises(ModelError, match="--layers and --activation"):
        open_checkpoint(source.path)
    with pytest.raises(UsageError, match="needs --activation"):
        open_checkpoint(source.path, layers="fc1,fc2")
