"""The architectures that nla builds a graph for, by the `model_type` of config.json."""

from __future__ import annotations

from collections.abc import Callable

from nla.architectures import transformer
from nla.architectures.builder import Graph
from nla.architectures.config import Config
from nla.architectures.families import (
    bert,
    distilbert,
    gemma,
    gpt2,
    gpt_neox,
    llama,
    mistral,
    opt,
    phi,
    qwen,
    resnet,
    vit,
)
from nla.architectures.heads import (
    BERT,
    DISTILBERT,
    ROBERTA,
    Masked,
    finish_decoder,
    finish_encoder,
    finish_vision,
)
from nla.architectures.spec import Image, Spec

Architecture = Callable[[Graph, Config], None]
"""Adds inputs, nodes, cuts and outputs to an empty graph. Raises ModelError."""

Family = Callable[[Config], Spec]


def _decoder(family: Family) -> Architecture:
    """A language model that reads from left to right."""

    def build(g: Graph, config: Config) -> None:
        spec = family(config)
        finish_decoder(g, config, spec, transformer.build(g, spec))

    return build


def _encoder(family: Family, masked: Masked) -> Architecture:
    """A model of whole sentences."""

    def build(g: Graph, config: Config) -> None:
        spec = family(config)
        trunk = transformer.build(g, spec)
        finish_encoder(g, config, spec, trunk, masked, spec.blocks[0].attention_norm.epsilon)

    return build


def _vision(family: Family) -> Architecture:
    """A model of images."""

    def build(g: Graph, config: Config) -> None:
        spec = family(config)
        assert isinstance(spec.inputs, Image)
        finish_vision(g, config, spec, transformer.build(g, spec), spec.inputs.tokens)

    return build


ARCHITECTURES: dict[str, Architecture] = {
    "bert": _encoder(bert.bert, BERT),
    "camembert": _encoder(bert.camembert, ROBERTA),
    "distilbert": _encoder(distilbert.spec, DISTILBERT),
    "gemma": _decoder(gemma.spec),
    "gpt2": _decoder(gpt2.spec),
    "gpt_neox": _decoder(gpt_neox.spec),
    "llama": _decoder(llama.spec),
    "mistral": _decoder(mistral.spec),
    "opt": _decoder(opt.spec),
    "phi": _decoder(phi.spec),
    "qwen2": _decoder(qwen.qwen2),
    "qwen3": _decoder(qwen.qwen3),
    "resnet": resnet.resnet,
    "roberta": _encoder(bert.roberta, ROBERTA),
    "vit": _vision(vit.spec),
    "xlm-roberta": _encoder(bert.camembert, ROBERTA),
}
