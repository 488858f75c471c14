"""The columns of the page's table of neurons: what each is called, and what it means."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Column:
    """A column of `nla neurons` as people read it."""

    name: str
    """As `nla neurons` calls it; searches such as `margin<1` use it."""
    title: str
    meaning: str


IDENTITY = (
    Column("site", "Site", "Name of the activation's output tensor in the graph."),
    Column("index", "Index", "Number of the neuron in its site, from 0: the channel or column."),
    Column(
        "state", "State", "Lifecycle state: the first definition that holds, by the criteria at the foot."
    ),
    Column(
        "flags",
        "Flags",
        "What was noted beside the state: linear, near_dead, starved, polysemantic, nonfinite.",
    ),
)
TRAJECTORY = Column(
    "trajectory",
    "Trajectory",
    "The neuron's state in every run, the first at the left, in the states' colours.",
)
_EVIDENCE = (
    Column("activation_rate", "Activation rate", "Share of positions with z > 0 (lifecycle paper, eq. 2)."),
    Column("firing_frequency", "Firing frequency", "Share of positions with |a| above the firing threshold."),
    Column("mean", "Mean a", "Mean of the activation over all counted positions."),
    Column("mean_abs", "Mean |a|", "Mean absolute activation over all counted positions."),
    Column("std", "SD of a", "Population standard deviation of the activation."),
    Column("min", "Min a", "Smallest activation."),
    Column("max", "Max a", "Largest activation."),
    Column(
        "dormancy_score", "Dormancy score", "E|a| over the site's mean of it (eq. 11, ReDo); averages to 1."
    ),
    Column(
        "contribution_score", "Contribution", "E|a|·‖w_out‖ over the site's mean of it; rescaling keeps it."
    ),
    Column("samples", "Samples", "Samples that were replayed."),
    Column("positions", "Positions", "Positions that were counted: pixels, tokens; padding is left out."),
    Column("fired_samples", "Fired samples", "Samples with z > 0 at one position at least."),
    Column(
        "rate_upper_bound", "Rate below", "Upper confidence bound on the share of samples on which it fires."
    ),
    Column(
        "margin", "Margin", "-max(z) / sd(z): standard deviations of z that a silent neuron is from waking."
    ),
    Column("saturated_share", "Saturated share", "Share of positions on a flat part of φ that is not zero."),
    Column(
        "mutual_information",
        "Label information",
        "Mutual information with the label, plug-in, in nats (eq. 7).",
    ),
    Column("p_value", "p-value", "Of the hypothesis that the neuron says nothing about the label."),
    Column("held_out_fired", "Held-out fired", "Held-out samples on which the neuron fired."),
    Column(
        "certificate", "Certificate", "Proof that the neuron is silent for every input of a stated domain."
    ),
    Column(
        "mutual_information_corrected", "Information, corrected", "Mutual information less its bias, in nats."
    ),
    Column("q_value", "q-value", "p-value with the false discovery rate over the site controlled."),
    Column("selectivity", "Selectivity", "How far the best label stands out from the others, 0 to 1."),
    Column(
        "labels_answered", "Labels answered", "Labels on which its mean |a| is at least half of the best."
    ),
    Column(
        "lifetime_sparseness", "Lifetime sparseness", "Vinje and Gallant 2000: 0 dense, 1 one sample only."
    ),
    Column("nonfinite", "Non-finite", "Values that were NaN or infinite."),
    Column("decided_by", "Decided by", "What made the neuron specialised: labels or sparseness."),
)
_BY_NAME = {column.name: column for column in (*IDENTITY, TRAJECTORY, *_EVIDENCE)}


def column(name: str) -> Column:
    """What is known of a column; one that is not known here goes by its name.

    >>> column("p_value").title, column("else_where").title
    ('p-value', 'else where')
    """
    return _BY_NAME.get(name) or Column(name, name.replace("_", " "), "")


def in_order(names: set[str]) -> list[str]:
    """Columns in the order of `nla neurons`; those not known here last, by name.

    >>> in_order({"zeta", "margin", "mean"})
    ['mean', 'margin', 'zeta']
    """
    order = {name: place for place, name in enumerate(_BY_NAME)}
    return sorted(names, key=lambda name: (order.get(name, len(order)), name))
