"""ViT: an image in patches, a class token before them."""

from __future__ import annotations

from nla.architectures.config import Config
from nla.architectures.families import reading
from nla.architectures.spec import Attention, Block, Image, Mlp, Norm, Order, Spec
from nla.errors import ModelError


def spec(config: Config) -> Spec:
    """The transformer that config.json describes."""
    hidden = config.count("hidden_size", default=768)
    heads = reading.heads(config, default=12)
    size = reading.divided(hidden, heads)
    epsilon = config.real("layer_norm_eps", default=1e-12)
    height, width = _pair(config, "image_size", 224)
    patch = _pair(config, "patch_size", 16)
    if patch[0] > height or patch[1] > width:
        raise ModelError(f"config.json: patch_size {list(patch)} is larger than image_size {[height, width]}")
    attention = Attention(
        heads,
        heads,
        size,
        size**-0.5,
        query="attention.attention.query",
        key="attention.attention.key",
        value="attention.attention.value",
        out="attention.output.dense",
        bias=config.flag("qkv_bias", default=True),
        masked=False,
        causal=False,
    )
    mlp = Mlp(
        up="intermediate.dense",
        down="output.dense",
        size=config.count("intermediate_size", default=3072),
        activation=reading.activation(config, "hidden_act", default="gelu"),
    )
    norms = (Norm("layernorm_before", hidden, epsilon), Norm("layernorm_after", hidden, epsilon))
    image = Image(
        config.count("num_channels", default=3, most=1 << 10),
        height,
        width,
        patch,
        "embeddings.patch_embeddings.projection",
        "embeddings.cls_token",
        "embeddings.position_embeddings",
    )
    block = Block(attention, mlp, Order.PRE, *norms)
    count = reading.layers(config, default=12)
    return Spec(
        ("vit.", ""), hidden, image, (block,) * count, "encoder.layer", Norm("layernorm", hidden, epsilon)
    )


def _pair(config: Config, key: str, default: int) -> tuple[int, int]:
    """(height, width), where config.json gives one number for both or a list of two."""
    if isinstance(config.values.get(key), list):
        pair = config.numbers(key)
        if len(pair) != 2:
            raise ModelError(
                f"config.json: {key} is {list(pair)[:4]}: expected one number, or height and width"
            )
        return pair[0], pair[1]
    size = config.count(key, default=default, most=1 << 14)
    return size, size
