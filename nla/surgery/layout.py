"""A manifest carried out as far as the safetensors layout of an architecture allows: no node comes, goes or changes.

The layout holds weights, and a graph follows from config.json. So weights may change, and the MLPs of all blocks may
become narrower by the same number of units, for the layout knows one width for all. What else would change the graph
is left alone, and the report says so; a graph of its own, an .onnx file, holds it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from onnx import ModelProto

from nla.architectures.widths import width_key
from nla.checkpoint.built import BuiltCheckpoint
from nla.checkpoint.editing import ModelEdit
from nla.checkpoint.safetensors_source import SafetensorsSource
from nla.checkpoint.skeleton import skeleton
from nla.errors import ModelError, printable
from nla.manifest.document import Action, Manifest
from nla.manifest.parameters import CUTS
from nla.surgery.carried import without
from nla.surgery.carry_out import carry_out
from nla.surgery.report import ActionReport, SurgeryReport, refused_together
from nla.surgery.structure import Structure

Unit = tuple[str, int]
"""Action id and index."""
Rebuild = Callable[[SafetensorsSource], BuiltCheckpoint]

ELSEWHERE = "write to an .onnx file instead"
_FREE = "layers"
"""The architecture of a plain network: its widths are those of its tensors, and nothing else says them."""
_ORDER = {"remove": 0, "fold": 1, "merge": 2}
"""The dead go before the constant, and these before duplicates."""
_LEFT_BEHIND = ("values", "means")
"""Parameters: by unit, what its readers lack when it is gone."""
_MOST_TRIES = 4


@dataclass(frozen=True)
class Within:
    """A manifest as the layout allows it, carried out."""

    edit: ModelEdit
    report: SurgeryReport
    config: Mapping[str, int] = field(default_factory=dict)
    """Numbers of config.json that follow from it."""


def carry_out_within(
    checkpoint: BuiltCheckpoint, manifest: Manifest, round_to: int, rebuild: Rebuild
) -> Within:
    """Carry out what the layout allows; `rebuild` makes the graph of a changed checkpoint, which must be this one.

    Raises as `carry_out`.
    """
    if not manifest.actions:
        edit = ModelEdit(checkpoint)
        return Within(edit, carry_out(edit, manifest, round_to))
    work = _Work(checkpoint, manifest, round_to, rebuild)
    work.decline_unknown()
    work.decline_weights()
    if work.left(*CUTS).actions:
        work.decline_cuts()
    return work.done()


class _Work:
    """The units that are declined, found one reason after the other, each on an edit that is thrown away."""

    def __init__(
        self, checkpoint: BuiltCheckpoint, manifest: Manifest, round_to: int, rebuild: Rebuild
    ) -> None:
        self._checkpoint = checkpoint
        self._manifest = manifest
        self._round_to = round_to
        self._rebuild = rebuild
        self._declined: dict[Unit, str] = {}
        self._config: dict[str, int] = {}
        self._name = printable(checkpoint.architecture)
        self._structure = Structure.of(checkpoint, manifest.constants)

    def left(self, *kinds: str) -> Manifest:
        """The manifest without what is declined, of these kinds where any are named."""
        gone: dict[str, list[int]] = defaultdict(list)
        for name, unit in self._declined:
            gone[name].append(unit)
        kept = (without(action, gone[action.id]) for action in self._manifest.actions)
        chosen = (action for action in kept if action.units and (not kinds or action.kind in kinds))
        return replace(self._manifest, actions=tuple(chosen))

    def decline_unknown(self) -> None:
        """Decline actions on sites that the graph has for some sizes alone. Raises UsageError for others."""
        sites = self._structure.sites
        unknown = [action for action in self._manifest.actions if action.site not in sites]
        if unknown:
            self._refuse_as(self._tried(self._only(unknown))[1])

    def decline_weights(self) -> None:
        """Decline the actions on weights that would change the graph."""
        weights = self._others()
        if not weights or not self._changes(self._only(weights)):
            return
        for action in weights:
            what = "one activation for all blocks" if action.kind == "swap" else "no place for what it adds"
            reason = f"the safetensors layout of {self._name} has {what}; {ELSEWHERE}"
            self._decline_loud(action, reason, lambda left: self._changes(self._only([left])))

    def _decline_loud(self, action: Action, reason: str, is_wrong: Callable[[Action], bool]) -> None:
        """Decline an action that is wrong: of its units those that leave something behind, if that is enough."""
        if not is_wrong(action):
            return
        values = next((action.parameters[name] for name in _LEFT_BEHIND if name in action.parameters), None)
        loud = [unit for unit, value in zip(action.units, values, strict=True) if value] if values else []
        quiet = without(action, loud)
        if loud and quiet.units and not is_wrong(quiet):
            self._declined.update(((action.id, unit), reason) for unit in loud)
        else:
            self._decline(action, reason)

    def _others(self) -> list[Action]:
        return [action for action in self.left().actions if action.kind not in CUTS]

    def _only(self, actions: Sequence[Action]) -> Manifest:
        return replace(self._manifest, actions=tuple(actions))

    def _changes(self, manifest: Manifest) -> bool:
        edit, _ = self._tried(manifest)
        return edit.structural or not self._known(edit)

    def decline_cuts(self) -> None:
        """Decline cuts until every block loses the same number of units, and nothing but widths changes."""
        free = self._checkpoint.architecture == _FREE
        key = None if free or self._checkpoint.source.config is None else width_key(self._name)
        layers = _Layers(self._structure, free)
        for action in self.left(*CUTS).actions:
            if action.site not in layers.of or not (free or key):
                self._decline(action, self._no_width(action.site))
        self._decline_nodes(layers)
        if key is not None:
            self._level(layers, key)

    def _no_width(self, site: str) -> str:
        heads = self._structure.site(site).role in ("head", "attn_out")
        what = "one number of heads for all blocks" if heads else "no width of its own for this layer"
        return f"the safetensors layout of {self._name} has {what}; {ELSEWHERE}"

    def _decline_nodes(self, layers: _Layers) -> None:
        """Decline what adds nodes: a layer without bias gets one where a constant is folded into it."""
        if not self.left(*CUTS).actions or self._keeps_nodes(self.left()):
            return
        for number in sorted(set(layers.of.values())):
            mine = [action for action in self.left(*CUTS).actions if layers.of[action.site] == number]
            if not mine or self._keeps_nodes(self._with(mine)):
                continue
            reason = f"the safetensors layout of {self._name} has no bias that would take it; {ELSEWHERE}"
            for action in mine:
                self._decline_loud(action, reason, lambda left: not self._keeps_nodes(self._with([left])))

    def _with(self, cuts: Sequence[Action]) -> Manifest:
        return self._only([*self._others(), *cuts])

    def _keeps_nodes(self, manifest: Manifest) -> bool:
        edit, _ = self._tried(manifest)
        return self._known(edit) and _wiring(edit.model) == _wiring(self._checkpoint.proto)

    def _level(self, layers: _Layers, key: str) -> None:
        """Let every block lose as many units as the one that can lose the fewest."""
        for number in range(_MOST_TRIES):
            if not self.left(*CUTS).actions:
                return
            _, report = self._tried(self.left(), 1 if number else self._round_to)
            going = layers.going(self.left(*CUTS).actions, report)
            self._refuse_as(report)
            short = min(going, key=lambda layer: len(going[layer]))
            fewest = len(going[short])
            if fewest and all(len(groups) == fewest for groups in going.values()):
                self._config = {key: layers.width - fewest}
                return
            reason = (
                f"kept: all blocks share one width, {key}, and '{printable(layers.name(short), 80)}' can lose "
                f"{'only ' if fewest else ''}{fewest or 'none'}; -o model.onnx takes a width for each"
            )
            for layer, groups in going.items():
                leaving = set(sorted(groups, key=lambda group: groups[group])[:fewest])
                self._keep(layers, layer, leaving, reason)
        for action in self.left(*CUTS).actions:
            self._decline(action, f"the safetensors layout of {self._name} has one width, {key}; {ELSEWHERE}")

    def _refuse_as(self, report: SurgeryReport) -> None:
        """Decline what the surgery refused, for its reasons."""
        for action in report.actions:
            for entry in action.refused:
                self._declined.update(((action.id, unit), entry.reason) for unit in entry.units)

    def _keep(self, layers: _Layers, number: int, leaving: set[int], reason: str) -> None:
        for action in self.left(*CUTS).actions:
            if layers.of[action.site] == number:
                groups = layers.groups[action.site]
                for unit in action.units:
                    if groups[unit] not in leaving:
                        self._declined[action.id, unit] = reason

    def _decline(self, action: Action, reason: str) -> None:
        self._declined.update(((action.id, unit), reason) for unit in action.units)

    def _known(self, edit: ModelEdit) -> bool:
        """Whether all that changes are tensors of the checkpoint."""
        return all(name in self._checkpoint.source.tensors and edit.is_weight(name) for name in edit.touched)

    def _tried(self, manifest: Manifest, round_to: int = 1) -> tuple[ModelEdit, SurgeryReport]:
        edit = ModelEdit(self._checkpoint)
        return edit, carry_out(edit, manifest, round_to, self._structure)

    def done(self) -> Within:
        """What is left, carried out; without its cuts where the checkpoint's graph would be another."""
        edit, report = self._tried(self.left(), 1 if self._config else self._round_to)
        if not self._is_rebuilt(edit):
            reason = f"the safetensors layout of {self._name} would give another graph; {ELSEWHERE}"
            for action in self.left(*CUTS).actions or self.left().actions:
                self._decline(action, reason)
            self._config = {}
            edit, report = self._tried(self.left())
            if not self._is_rebuilt(edit):
                raise ModelError(f"the safetensors layout of {self._name} cannot hold the edit: {ELSEWHERE}")
        return Within(edit, self._told(report), self._config)

    def _is_rebuilt(self, edit: ModelEdit) -> bool:
        """Whether the graph that is built from the edited checkpoint is the edited graph."""
        source = self._checkpoint.source
        tensors = {
            name: replace(stored, shape=edit.shape(name)) if edit.is_weight(name) else stored
            for name, stored in source.tensors.items()
        }
        config = None if source.config is None else {**source.config, **self._config}
        try:
            rebuilt = self._rebuild(replace(source, tensors=tensors, config=config))
        except ModelError:
            return False
        return same_graph(rebuilt.proto, edit.model) and _inline(rebuilt) == _inline(self._checkpoint)

    def _told(self, report: SurgeryReport) -> SurgeryReport:
        """The report on the whole manifest, with what was declined here."""
        by_id = {action.id: action for action in report.actions}
        return replace(report, actions=tuple(self._about(a, by_id.get(a.id)) for a in self._manifest.actions))

    def _about(self, action: Action, done: ActionReport | None) -> ActionReport:
        known = [(unit, entry.reason) for entry in done.refused for unit in entry.units] if done else []
        reasons = {
            **{
                unit: self._declined[action.id, unit]
                for unit in action.units
                if (action.id, unit) in self._declined
            },
            **dict(known),
        }
        ordered = [(unit, reasons[unit]) for unit in action.units if unit in reasons]
        units = () if done is None else done.done
        return ActionReport(action.id, action.kind, action.site, units, refused_together(ordered))


class _Layers:
    """The layers that may become narrower: of a plain network all, else the MLPs of blocks, if all have one width."""

    def __init__(self, structure: Structure, free: bool) -> None:
        self.groups = {name: structure.coupling.everyone(name).tolist() for name in structure.drafts}
        mlps = {
            tuple(groups): name
            for name, groups in self.groups.items()
            if free or structure.site(name).role == "mlp_post"
        }
        widths = {len(groups) for groups in mlps}
        self.width = max(widths, default=0)
        alike = free or len(widths) == 1
        self._names = list(mlps.values())
        numbers = {groups: number for number, groups in enumerate(mlps)} if alike else {}
        self.of = {
            name: numbers[tuple(groups)] for name, groups in self.groups.items() if tuple(groups) in numbers
        }
        """By site, the number of its layer: sites whose units leave together are of one."""

    def name(self, number: int) -> str:
        """A site of the layer."""
        return self._names[number]

    def going(
        self, actions: Iterable[Action], report: SurgeryReport
    ) -> dict[int, dict[int, tuple[int, int]]]:
        """By layer, the groups of channels that left, each with what it is sorted by."""
        going: dict[int, dict[int, tuple[int, int]]] = {number: {} for number in range(len(self._names))}
        done = {action.id: action.done for action in report.actions}
        for action in actions:
            for unit in done.get(action.id, ()):
                place = (_ORDER.get(action.kind, len(_ORDER)), unit)
                groups = going[self.of[action.site]]
                group = self.groups[action.site][unit]
                groups[group] = min(place, groups.get(group, place))
        return going


def _wiring(model: ModelProto) -> list[tuple[str, tuple[str, ...], tuple[str, ...]]]:
    """What the nodes are and read, and the weights that there are."""
    nodes = [(node.op_type, tuple(node.input), tuple(node.output)) for node in model.graph.node]
    return [*nodes, *((tensor.name, (), ()) for tensor in model.graph.initializer)]


def same_graph(one: ModelProto, other: ModelProto) -> bool:
    """Whether two models have the same nodes, inputs, outputs, and weights of the same shapes and types."""
    return bool(_bare(one) == _bare(other))


def _inline(checkpoint: BuiltCheckpoint) -> list[bytes]:
    """The constants that the architecture put into the graph."""
    tensors = checkpoint.proto.graph.initializer
    return [tensor.SerializeToString() for tensor in tensors if tensor.name not in checkpoint.source.tensors]


def _bare(model: ModelProto) -> ModelProto:
    """The graph without where its weights lie, and without what is said about it."""
    bare = skeleton(model)
    del bare.metadata_props[:]
    del bare.graph.value_info[:]
    for tensor in bare.graph.initializer:
        del tensor.external_data[:]
    return bare
