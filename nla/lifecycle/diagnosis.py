"""From the picture per site to findings: the decision matrix of the lifecycle paper (Table 3), and what it
lacks.

A rule is a row of `RULES`: words, and the function of `triggers` that says whether the numbers set it off.
To add one, write its function and its row. Commands name verbs that exist.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from nla.lifecycle import triggers
from nla.lifecycle.results import Finding, Inspection, path_of
from nla.lifecycle.triggers import Trigger


@dataclass(frozen=True)
class Rule:
    """One row of the decision matrix."""

    when: Callable[[Inspection], Trigger | None]
    symptom: str
    diagnosis: str
    intervention: str
    expected: str
    command: str
    """With {model}, {data} and {site} (`--site NAME` where one site is concerned) to be filled in."""


def diagnose(inspection: Inspection) -> tuple[Finding, ...]:
    """The findings that the numbers trigger, the most urgent first; one that all is well where none is."""
    found = [(rule, trigger) for rule in RULES if (trigger := rule.when(inspection)) is not None]
    if not found and inspection.sites:
        found = [(HEALTHY, triggers.healthy(inspection))]
    findings = [_finding(rule, trigger, inspection) for rule, trigger in found]
    return tuple(sorted(findings, key=lambda finding: -finding.severity))


def _finding(rule: Rule, trigger: Trigger, inspection: Inspection) -> Finding:
    one = f" --site {shlex.quote(trigger.sites[0])}" if len(trigger.sites) == 1 else ""
    command = rule.command.format(
        model=_model(inspection.checkpoint),
        data=shlex.quote(path_of(inspection.data) or "DATA"),
        site=one,
    )
    return Finding(
        symptom=rule.symptom,
        diagnosis=rule.diagnosis,
        intervention=rule.intervention,
        expected=rule.expected,
        evidence=trigger.evidence,
        command=command,
        sites=trigger.sites,
        severity=trigger.severity,
    )


def _model(checkpoint: Mapping[str, Any]) -> str:
    """The checkpoint's path, and what was said of the graph that it does not hold."""
    words = [shlex.quote(path_of(checkpoint) or "MODEL")]
    for name in ("graph", "layers", "activation"):
        said = checkpoint.get(name)
        if said:
            text = ",".join(map(str, said)) if isinstance(said, list) else str(said)
            words += [f"--{name}", shlex.quote(text)]
    return " ".join(words)


_SHOW = "nla neurons RUN.h5{site} "
_REPLAY = "nla inspect {model} --data {data} "

RULES: tuple[Rule, ...] = (
    Rule(
        triggers.network_dead,
        symptom="the network is dead",
        diagnosis=(
            "a layer on every path is silent for every sample: the output does not depend on the input, and "
            "no parameter before that layer gets a gradient"
        ),
        intervention=(
            "check first that the data are prepared as in training (scale, mean, layout); if they are, "
            "initialise again (He, widths that the narrowest layer can bear) and train with a lower learning "
            "rate"
        ),
        expected="samples pass every layer; accuracy leaves that of a constant answer",
        command=_SHOW + "--state dead",
    ),
    Rule(
        triggers.nonfinite,
        symptom="activations that are NaN or infinite",
        diagnosis=(
            "the weights or the arithmetic overflow (fp16), or the data lie far outside the range of training"
        ),
        intervention=(
            "check the scale of the data; run in fp32; look at the weights of the first site named"
        ),
        expected=(
            "every value is finite; no neuron of these sites could be called dead or constant while it met "
            "one"
        ),
        command=_SHOW + "--flag nonfinite",
    ),
    Rule(
        triggers.killed_samples,
        symptom="samples that a layer silences altogether",
        diagnosis=(
            "the layer is zero for these samples, so that the network gives all of them the same answer and "
            "learns nothing from them (living data, trainability paper)"
        ),
        intervention=(
            "compare these samples with the others (scale, corruption); widen the narrowest layer, or use an "
            "activation that does not reach zero"
        ),
        expected="no sample is silenced",
        command=_SHOW + "--state dead",
    ),
    Rule(
        triggers.starved,
        symptom="neurons without any living input",
        diagnosis=(
            "death propagates (eq. 12): all inputs of these neurons are dead or constant, so that they cannot"
            " tell one sample from another"
        ),
        intervention="mend the layer before; these neurons can only wake after it has",
        expected="they wake with their inputs",
        command=_SHOW + "--flag starved",
    ),
    Rule(
        triggers.dying_relu,
        symptom="a large share of dead neurons",
        diagnosis=(
            "dying ReLU: a bias or weights driven so far down, mostly by large steps early in training, that "
            "z is never positive on this data, and the gradient there is zero"
        ),
        intervention=(
            "for a checkpoint to be served, remove the dead: no output on this data changes. For the next "
            "training, lower the learning rate or warm it up, initialise with He, or use LeakyReLU, ELU or "
            "GELU"
        ),
        expected=(
            "removal frees the parameters named at the same outputs; retraining lowers the dead share. Check "
            "first on held-out data that the dead stay silent"
        ),
        command=_REPLAY + "--held-out 0.2 -o RUN.h5",
    ),
    Rule(
        triggers.silent_elsewhere,
        symptom="a large share of silent units where no ReLU is the cause",
        diagnosis=(
            "their own weights, or what they are multiplied with (a shut gate, an attention value of zero), are "
            "zero or nearly so: pruned before, never trained, or driven to the flat side of φ"
        ),
        intervention=(
            "for a checkpoint to be served, remove them: no output on this data changes. Before training on, look "
            "at their incoming weights, and at weight decay on gates and values"
        ),
        expected="removal frees the parameters named at the same outputs. Check first on held-out data",
        command=_REPLAY + "--held-out 0.2 -o RUN.h5",
    ),
    Rule(
        triggers.dead_in_first_layer,
        symptom="dead neurons in the first layer",
        diagnosis=(
            "where nothing trained lies before it, the inputs of the first layer never move, so that death "
            "is permanent: no training step can bring these neurons back (deeper, a fifth to a third of the "
            "dead fire again at the next checkpoint)"
        ),
        intervention=(
            "check that the data are scaled as in training; lower the learning rate at the start, or reset "
            "these neurons before training goes on"
        ),
        expected="without a reset the number can only grow",
        command=_SHOW + "--state dead",
    ),
    Rule(
        triggers.death_rises_with_depth,
        symptom="death rises with depth",
        diagnosis=(
            "signals shrink or shift layer by layer: initialisation, or steps too large for the deep layers"
        ),
        intervention=(
            "He initialisation, normalisation before the activation, residual connections; or fewer, narrower"
            " layers, for these do not use their width"
        ),
        expected="the dead share levels off over the layers",
        command=_SHOW + "--state dead",
    ),
    Rule(
        triggers.held_out_wakes,
        symptom="neurons called dead that fire on held-out data",
        diagnosis="the calibration data are too few, or do not cover what the model meets",
        intervention=(
            "use more data, and data like those in service; treat as dead only what stays silent on both"
        ),
        expected="fewer dead, and firmer ones",
        command=_REPLAY + "--held-out 0.5 -o RUN.h5",
    ),
    Rule(
        triggers.weak_evidence,
        symptom="too few samples to rely on",
        diagnosis="that a neuron was silent on few samples says little about the next",
        intervention="replay more samples before anything is removed",
        expected="the bound falls as 1 / samples; some of the dead will turn out to fire",
        command=_SHOW + "--state dead",
    ),
    Rule(
        triggers.saturated,
        symptom="a large share of saturated neurons",
        diagnosis=(
            "z lies far out on the flat part of φ, so that gradients vanish; unlike death it is reversible"
        ),
        intervention=(
            "smaller initial weights (Xavier for tanh and sigmoid), normalisation of inputs and of z, a lower"
            " learning rate; a gate that is meant to be open or shut may stay"
        ),
        expected="z moves back to where φ bends; the saturated share falls",
        command=_SHOW + "--state saturated",
    ),
    Rule(
        triggers.dormant,
        symptom="a large share of dormant neurons",
        diagnosis=(
            "these neurons hardly contribute beside the others of their layer; capacity is idle. The score "
            "changes when units are rescaled: compare the contribution score before acting"
        ),
        intervention=(
            "where training goes on, reset them (ReDo: fresh incoming weights, outgoing weights zero); where "
            "it is over, they are candidates for pruning, at a small, measurable change of the outputs"
        ),
        expected="after a reset, more of the layer takes part; after pruning, a smaller layer",
        command=_SHOW + "--state dormant",
    ),
    Rule(
        triggers.thin_representation,
        symptom="a representation much thinner than its layer",
        diagnosis=(
            "the activations of the live neurons span few directions: the layer is wider than its task, or "
            "its representation has collapsed"
        ),
        intervention=(
            "a narrower layer, or merging neurons that say the same; if accuracy suffers, less regularisation"
            " or a lower learning rate"
        ),
        expected="the same accuracy at a smaller width",
        command=_REPLAY + "--effective-rank exact",
    ),
    Rule(
        triggers.constant,
        symptom="neurons that give the same value for every sample",
        diagnosis="they carry no information, only an offset of the next layer",
        intervention="fold the value into the bias of the consumers and remove the neuron",
        expected=(
            "the same outputs on this data (up to rounding; at the borders of zero-padded convolutions not "
            "quite)"
        ),
        command=_SHOW + "--state constant",
    ),
    Rule(
        triggers.linear,
        symptom="rectifiers that are never off",
        diagnosis=(
            "they are linear on this data (gradient 1: this is not saturation), so that the layer bends "
            "little"
        ),
        intervention=(
            "none is needed for health; where most of a layer is linear, it could be merged with the next"
        ),
        expected="a shallower network with the same outputs on this data",
        command=_SHOW + "--flag linear",
    ),
    Rule(
        triggers.near_dead,
        symptom="neurons at the border of death",
        diagnosis=(
            "their largest z lies close to zero, so that a little other data, or rounding in fp16 or int8, "
            "kills or wakes them"
        ),
        intervention="judge them on more data, and on the graph that is served, before anything is removed",
        expected="some change sides",
        command=_SHOW + "--flag near_dead",
    ),
)

HEALTHY = Rule(
    triggers.healthy,
    symptom="no sign of trouble",
    diagnosis=(
        "dead, saturated, dormant, constant and linear neurons all stay below the levels of the criteria"
    ),
    intervention="none",
    expected="the same on other data of the same kind",
    command="nla neurons RUN.h5",
)
