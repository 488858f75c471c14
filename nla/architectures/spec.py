"""What differs between families of transformers, as values: a family's file reads config.json and fills these in.

Names of modules are relative: those of a block to the block (`layers.3.`), the others to the trunk (`model.`).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Order(Enum):
    """How a block joins attention and MLP to the residual stream x."""

    PRE = "x += attention(norm x); x += mlp(norm x)"
    POST = "x = norm(x + attention x); x = norm(x + mlp x)"
    PARALLEL = "x += attention(norm x) + mlp(norm x)"


class Positions(Enum):
    """Which row of the table of positions a token gets."""

    COUNTED = "0, 1, 2, …, padding counted too"
    MASKED = "counted over the attention mask"
    PADDED = "counted over the tokens that are not the padding token"


@dataclass(frozen=True)
class Norm:
    """LayerNorm or, if `rms`, RMSNorm over the last axis."""

    name: str
    size: int
    epsilon: float
    rms: bool = False
    affine: bool = True
    """False where it has no weights."""
    shift: float = 0.0
    """What is added to the weight before it multiplies."""


@dataclass(frozen=True)
class Rope:
    """Rotary positions: `frequencies` (one for each pair of channels), and what cosine and sine are multiplied with."""

    frequencies: tuple[float, ...]
    factor: float = 1.0


@dataclass(frozen=True)
class Attention:
    """Attention of `heads` heads of `size` channels; keys and values have `groups` heads, each read by several."""

    heads: int
    groups: int
    size: int
    scale: float
    out: str
    query: str = ""
    key: str = ""
    value: str = ""
    fused: str = ""
    """The one layer that makes queries, keys and values, where there is one."""
    by_head: bool = False
    """Whether the fused layer's outputs go head by head (query, key, value of each), or queries first, then keys."""
    bias: bool = True
    out_bias: bool = True
    turned: bool = True
    """Whether weights are [outputs, inputs], as torch's Linear stores them."""
    masked: bool = True
    """False where there is no padding and no order: patches of an image."""
    causal: bool = True
    window: int | None = None
    """A token sees itself and so many minus one before it; None: all before it."""
    rope: Rope | None = None
    query_norm: Norm | None = None
    key_norm: Norm | None = None


@dataclass(frozen=True)
class Mlp:
    """down(φ(up x)), or down(φ(gate x) · up x)."""

    up: str
    down: str
    size: int
    activation: str
    gate: str = ""
    bias: bool = True
    turned: bool = True


@dataclass(frozen=True)
class Block:
    """One block."""

    attention: Attention
    mlp: Mlp
    order: Order
    attention_norm: Norm
    mlp_norm: Norm | None
    """None where the attention's norm serves both (`Order.PARALLEL`)."""


@dataclass(frozen=True)
class Text:
    """Token embeddings, and what is added to them."""

    tokens: str
    width: int
    """Width of the token embeddings; `project` brings it to the hidden size where that is another."""
    vocabulary: int
    table: str = ""
    """The table of positions, where there is one."""
    rows: int = 0
    """Its rows."""
    positions: Positions = Positions.COUNTED
    offset: int = 0
    """Rows of the table before the first position; for `PADDED`, the padding token too."""
    types: str = ""
    """The table of token types, where there is one."""
    kinds: int = 0
    """Its rows."""
    norm: Norm | None = None
    scale: float = 1.0
    project: str = ""


@dataclass(frozen=True)
class Image:
    """Patches of an image by a convolution, a class token before them, a position added to each."""

    channels: int
    height: int
    width: int
    patch: tuple[int, int]
    projection: str
    class_token: str
    table: str

    @property
    def tokens(self) -> int:
        """The patches and the class token."""
        return 1 + (self.height // self.patch[0]) * (self.width // self.patch[1])


@dataclass(frozen=True)
class Head:
    """A language model's head: the logits of the next token."""

    name: str
    """Its module, relative to the root of the checkpoint."""
    bias: bool = False
    tied: bool = False
    """Whether config.json says that it is the table of token embeddings."""


@dataclass(frozen=True)
class Spec:
    """One transformer."""

    prefixes: tuple[str, ...]
    """Where the trunk may lie in the checkpoint, without and with what libraries put before it; the usual first."""
    hidden: int
    inputs: Text | Image
    blocks: tuple[Block, ...]
    stack: str
    """Name of the list of blocks."""
    final: Norm | None = None
    project: str = ""
    """A layer after the final norm, to the width of the token embeddings."""
    head: Head | None = None
