"""What stands on a transformer: a language model's head, poolers, classifiers; each where its tensors are there."""

from __future__ import annotations

from dataclasses import dataclass

from nla.architectures.attention import positions
from nla.architectures.builder import INT64, Graph
from nla.architectures.config import Config
from nla.architectures.functions import activate, known
from nla.architectures.normalising import normalise
from nla.architectures.spec import Norm, Spec, Text
from nla.architectures.transformer import BATCH, SEQUENCE, Trunk
from nla.errors import ModelError, printable

_CAUSAL = ("ForCausalLM", "LMHead", "DoubleHeads")
"""Parts of the names of classes that have a language model's head."""

HIDDEN, POOLED, LOGITS = "last_hidden_state", "pooler_output", "logits"


def finish_decoder(g: Graph, config: Config, spec: Spec, trunk: Trunk) -> None:
    """Outputs of a language model: `logits`, unless it was stored without its head, and `last_hidden_state`."""
    text, head = spec.inputs, spec.head
    assert isinstance(text, Text)
    assert head is not None
    width = text.width if spec.project else spec.hidden
    module, table = trunk.root + head.name, f"{trunk.prefix}{text.tokens}.weight"
    own = f"{module}.weight"
    named = any(part in name for name in config.architectures for part in _CAUSAL)
    check_tied(g, own, table, head.tied)
    if g.has(own) or named or (head.tied and not config.architectures):
        weight = own if g.has(own) or not head.tied else table
        logits = g.MatMul(trunk.hidden, g.matrix(weight, width, text.vocabulary))
        if head.bias:
            logits = g.Add(logits, g.weight(f"{module}.bias", text.vocabulary))
        g.output(logits, LOGITS, (BATCH, SEQUENCE, text.vocabulary))
    g.output(trunk.hidden, HIDDEN, (BATCH, SEQUENCE, width))
    score = f"{trunk.root}score"
    if g.has(f"{score}.weight"):
        _classify(g, _last_token(g, config, trunk.hidden), score, width, bias=False)


def _last_token(g: Graph, config: Config, hidden: str) -> str:
    """[batch, hidden] of each row's last token that is not the padding token."""
    if not config.has("pad_token_id"):
        return str(g.Gather(hidden, -1, axis=1))
    token = g.Not(g.Equal("input_ids", config.count("pad_token_id", least=-1)))
    last = g.ArgMax(g.Mul(positions(g), g.Cast(token, to=INT64)), axis=1, keepdims=1)
    return str(g.GatherND(hidden, last, batch_dims=1))


def check_tied(g: Graph, own: str, table: str, tied: bool) -> None:
    """Raises ModelError where the head's weight should be the table of embeddings, is stored too, and differs."""
    if tied and g.has(own) and g.has(table) and not g.same(own, table):
        raise ModelError(
            f"config.json ties the embeddings (tie_word_embeddings), and '{printable(own)}' differs from "
            f"'{printable(table)}': one of the three is wrong; set tie_word_embeddings to false, or leave the head's "
            "tensor out"
        )


@dataclass(frozen=True)
class Masked:
    """Names of the head that guesses masked tokens: decoder(norm(φ(dense x))), the decoder tied to the embeddings."""

    dense: str
    norm: str
    decoder: str
    bias: str
    """Where the decoder's bias lies; older versions stored it as `decoder.bias` too."""


BERT = Masked(
    "cls.predictions.transform.dense",
    "cls.predictions.transform.LayerNorm",
    "cls.predictions.decoder",
    "cls.predictions.bias",
)
ROBERTA = Masked("lm_head.dense", "lm_head.layer_norm", "lm_head.decoder", "lm_head.bias")
DISTILBERT = Masked("vocab_transform", "vocab_layer_norm", "vocab_projector", "vocab_projector.bias")


def finish_encoder(
    g: Graph, config: Config, spec: Spec, trunk: Trunk, masked: Masked, epsilon: float
) -> None:
    """Outputs of an encoder: `last_hidden_state`, then those of the heads that the checkpoint has."""
    g.output(trunk.hidden, HIDDEN, (BATCH, SEQUENCE, spec.hidden))
    pooled = _pool(g, trunk, spec.hidden, spec.hidden, "tanh")
    root = trunk.root
    if g.has(f"{root}{masked.dense}.weight"):
        _guess(g, config, spec, trunk, masked, epsilon)
    if pooled and g.has(f"{root}cls.seq_relationship.weight"):
        _classify(g, pooled, f"{root}cls.seq_relationship", spec.hidden, "seq_relationship_logits")
    if g.has(f"{root}qa_outputs.weight"):
        _answer(g, trunk, spec.hidden)
    first = str(g.Gather(trunk.hidden, 0, axis=1))
    if g.has(f"{root}classifier.out_proj.weight"):  # RoBERTa
        dense = g.linear(first, f"{root}classifier.dense", spec.hidden, spec.hidden)
        _classify(g, str(g.Tanh(dense)), f"{root}classifier.out_proj", spec.hidden)
    elif g.has(f"{root}pre_classifier.weight"):  # DistilBERT
        dense = g.linear(first, f"{root}pre_classifier", spec.hidden, spec.hidden)
        _classify(g, str(g.Relu(dense)), f"{root}classifier", spec.hidden)
    elif g.has(f"{root}classifier.weight"):
        tokens = not pooled or any("ForTokenClassification" in name for name in config.architectures)
        if not config.architectures:
            what = "every token" if tokens else "the pooled output"
            g.note(
                f"config.json names no architecture: '{printable(root)}classifier' is taken to classify {what}"
            )
        x = trunk.hidden if tokens else pooled
        _classify(g, x, f"{root}classifier", spec.hidden, between=(SEQUENCE,) if tokens else ())


def finish_vision(g: Graph, config: Config, spec: Spec, trunk: Trunk, tokens: int) -> None:
    """Outputs of a vision transformer: `last_hidden_state`, and those of its pooler and its classifier."""
    g.output(trunk.hidden, HIDDEN, (BATCH, tokens, spec.hidden))
    width = config.count("pooler_output_size", default=spec.hidden)
    _pool(g, trunk, spec.hidden, width, known(config.text("pooler_act", default="tanh")))
    if g.has(f"{trunk.root}classifier.weight"):
        _classify(g, str(g.Gather(trunk.hidden, 0, axis=1)), f"{trunk.root}classifier", spec.hidden)


def _pool(g: Graph, trunk: Trunk, hidden: int, width: int, activation: str) -> str:
    """φ of a layer over the first token, [batch, width]; "" where the checkpoint has no pooler."""
    module = f"{trunk.prefix}pooler.dense"
    if not g.has(f"{module}.weight"):
        return ""
    dense = g.linear(str(g.Gather(trunk.hidden, 0, axis=1)), module, hidden, width)
    pooled = activate(g, dense, activation, f"{trunk.prefix}pooler.act")
    g.output(pooled, POOLED, (BATCH, width))
    return pooled


def _guess(g: Graph, config: Config, spec: Spec, trunk: Trunk, masked: Masked, epsilon: float) -> None:
    """The tokens that stood where the mask token stands."""
    assert isinstance(spec.inputs, Text)
    hidden, vocabulary = spec.hidden, spec.inputs.vocabulary
    act = spec.blocks[0].mlp.activation
    x = g.linear(trunk.hidden, trunk.root + masked.dense, hidden, hidden)
    x = activate(g, x, act, f"{trunk.root}{masked.dense}.act")
    x = normalise(g, x, Norm(masked.norm, hidden, epsilon), trunk.root)
    table, own = f"{trunk.prefix}{spec.inputs.tokens}.weight", f"{trunk.root}{masked.decoder}.weight"
    tied = config.flag("tie_word_embeddings", default=True)
    check_tied(g, own, table, tied)
    logits = g.MatMul(x, g.matrix(table if tied and not g.has(own) else own, hidden, vocabulary))
    bias, again = trunk.root + masked.bias, f"{trunk.root}{masked.decoder}.bias"
    if not g.has(bias):
        bias = again
    elif bias != again and g.has(again):
        if not g.same(bias, again):
            raise ModelError(
                f"'{printable(bias)}' and '{printable(again)}' are two names of one bias, and differ"
            )
        g.discard(again)
    g.output(str(g.Add(logits, g.weight(bias, vocabulary))), LOGITS, (BATCH, SEQUENCE, vocabulary))


def _answer(g: Graph, trunk: Trunk, hidden: int) -> None:
    """Where the answer to a question starts and ends."""
    both = g.linear(trunk.hidden, f"{trunk.root}qa_outputs", hidden, 2)
    for part, name in zip(g.Split(both, [1, 1], axis=-1, outputs=2), ("start", "end"), strict=True):
        g.output(str(g.Squeeze(part, [-1])), f"{name}_logits", (BATCH, SEQUENCE))


def _classify(
    g: Graph,
    x: str,
    module: str,
    hidden: int,
    name: str = LOGITS,
    between: tuple[str, ...] = (),
    bias: bool = True,
) -> None:
    """The logits of as many classes as the tensor has rows."""
    shape = g.shape(f"{module}.weight")
    classes = shape[0] if len(shape) == 2 else 1
    g.output(g.linear(x, module, hidden, classes, bias=bias), name, (BATCH, *between, classes))
