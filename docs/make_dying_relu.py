"""Writes dying-relu.md and its figures from the checkpoints of the dying-ReLU study, with nla's own verbs.

    python docs/make_dying_relu.py CHECKPOINTS TEST.npz TRAIN.npz

CHECKPOINTS holds the folders relu, leaky_relu and elu with epochNN.onnx; TEST.npz the MNIST test images, TRAIN.npz the
first 1,000 training images, both with x (uint8, [n, 28, 28]) and y. onnxruntime computes the accuracies.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

import nla

HERE = Path(__file__).resolve().parent
FAMILIES = {"relu": "ReLU", "leaky_relu": "LeakyReLU", "elu": "ELU"}
LAST = 12
SHOWN = (0, 1, 6, LAST)
"""Epochs of which every family has a checkpoint."""
DATA = {"test": "10,000 test images", "train": "first 1,000 training images"}


def images(path: Path) -> np.ndarray[Any, Any]:
    """float32 [n, 784] in [0, 1]."""
    return np.asarray(np.load(path)["x"].reshape(-1, 784).astype(np.float32) / np.float32(255))


def inspected(folder: Path, data: Mapping[str, np.ndarray[Any, Any]]) -> dict[str, dict[str, dict[int, Any]]]:
    """By data and family, the inspection of each epoch."""
    return {
        which: {
            family: {
                int(path.stem.removeprefix("epoch")): nla.inspect(path, x)
                for path in sorted((folder / family).glob("epoch*.onnx"))
            }
            for family in FAMILIES
        }
        for which, x in data.items()
    }


def compared(runs: Mapping[str, Mapping[str, Mapping[int, Any]]]) -> dict[str, dict[str, Any]]:
    """By data and family, `nla compare` of all epochs."""
    return {
        which: {
            family: nla.compare(list(epochs.values()), name=[str(epoch) for epoch in epochs])
            for family, epochs in families.items()
        }
        for which, families in runs.items()
    }


def accuracy(model: Path, data: Path) -> float:
    """Share of the images that the model classifies as they are labelled."""
    session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    scores = session.run(None, {session.get_inputs()[0].name: images(data)})[0]
    return float((scores.argmax(1) == np.load(data)["y"]).mean())


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown; the first column is text."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def percent(share: float) -> str:
    """As the study prints it: one decimal."""
    return f"{100 * share:.1f}"


def over_epochs(comparison: Any, epochs: Iterable[int], measure: str) -> str:
    """A line for each epoch: the share by layer, and the average of the layers."""
    rows = []
    for epoch in epochs:
        layers = comparison[str(epoch)].layers
        shares = [layer.share(getattr(layer, measure)) for layer in layers]
        rows.append([str(epoch), *map(percent, shares), percent(float(np.mean(shares)))])
    return table(["epoch", *(f"L{k + 1}" for k in range(5)), "average"], rows)


def revivals(epochs: Mapping[int, Any]) -> str:
    """A line for each layer: of the neurons dead at an epoch, how many fire at the next; over all pairs of epochs."""
    dead, back = [0] * 5, [0] * 5
    for epoch in range(1, LAST):
        seen = nla.diff(epochs[epoch], epochs[epoch + 1])
        for k, site in enumerate(seen.sites):
            dead[k] += site.before.counts["dead"]
            back[k] += site.summary["revived"]
    lines = [
        [f"L{k + 1}", f"{dead[k]:,}", f"{back[k]:,}", percent(back[k] / max(dead[k], 1))] for k in range(5)
    ]
    return table(["layer", "dead at an epoch", "of these fire at the next", "%"], lines)


def side_by_side(last: Mapping[str, Any], accuracies: Mapping[str, float]) -> str:
    """A line for each family at the last epoch: what `nla compare --column accuracy=…` shows."""
    seen = nla.compare(
        list(last.values()), name=list(FAMILIES.values()), column={"accuracy": list(accuracies.values())}
    )
    head = [
        "run",
        "accuracy",
        "dead",
        "never on",
        "dormant",
        "saturated",
        "constant",
        "effective rank",
        "capacity",
    ]
    rows = []
    for each in seen.experiments:
        shares = [each.mean_dead_share, each.mean_never_positive_share]
        shares += [each.total(state) / each.neurons for state in ("dormant", "saturated", "constant")]
        ranks = f"{each.mean_effective_rank:.1f}", f"{each.mean_effective_capacity:.1f}"
        rows.append([each.label, f"{each.columns['accuracy']:.4f}", *map(percent, shares), *ranks])
    return table(head, rows)


def by_layer(last: Mapping[str, Any], cell: Callable[[Any], str]) -> str:
    """A line for each of these families at the last epoch, a column for each layer."""
    seen = nla.compare(list(last.values()), name=[FAMILIES[family] for family in last])
    rows = [[each.label, *map(cell, each.layers)] for each in seen.experiments]
    return table(["run", *(f"L{k + 1}" for k in range(5))], rows)


def change(epochs: Mapping[int, Any]) -> dict[str, Any]:
    """What `nla diff` says of the ReLU network between its first epoch and its last."""
    seen = nla.diff(epochs[1], epochs[LAST])
    weak = seen.evidence["died"]["weak"] + seen.evidence["revived"]["weak"]
    return {"weak": weak, "moved": seen.summary["died"] + seen.summary["revived"], **seen.summary}


def claims(tables: Mapping[str, Mapping[str, Any]], accuracies: Mapping[str, float]) -> dict[str, str]:
    """What stands beside the claims of the study: numbers of the last epoch, on its own 1,000 images."""

    def shares(which: str, family: str, measure: str) -> list[float]:
        layers = tables[which][family][str(LAST)].layers
        return [layer.share(getattr(layer, measure)) for layer in layers]

    relu = shares("train", "relu", "dead")
    return {
        "last": str(LAST),
        "relu_claim": f"{percent(relu[0])} %, {percent(relu[-1])} %, {percent(float(np.mean(relu)))} %",
        "accuracies": ", ".join(
            f"{name} {percent(accuracies[family])} %" for family, name in FAMILIES.items()
        ),
        "leaky_claim": f"{percent(float(np.mean(shares('train', 'leaky_relu', 'never_positive'))))} %",
        "elu_claim": f"{percent(float(np.mean(shares('train', 'elu', 'never_positive'))))} %",
        "relu_train_average": percent(float(np.mean(relu))),
        "relu_test_average": percent(float(np.mean(shares("test", "relu", "dead")))),
    }


def figures(runs: Mapping[str, Mapping[int, Any]], folder: Path) -> None:
    """The pictures that the text shows, each as `nla plot` draws it."""
    folder.mkdir(exist_ok=True)
    relu = list(runs["relu"].values())
    nla.plot(relu, "dead-share-over-time", folder / "dying-relu-dead-share.svg")
    nla.plot(relu, "states-over-time", folder / "dying-relu-states.svg")
    for family in FAMILIES:
        nla.plot(
            [runs[family][LAST]], "activation-rate", folder / f"dying-{family.replace('_', '-')}-rates.svg"
        )


def main(folder: Path, test: Path, train: Path) -> None:
    """Measure, write the text, draw."""
    runs = inspected(folder, {"test": images(test), "train": images(train)})
    tables = compared(runs)
    last = {family: epochs[LAST] for family, epochs in runs["test"].items()}
    accuracies = {family: accuracy(folder / family / f"epoch{LAST:02d}.onnx", test) for family in FAMILIES}
    places: dict[str, str] = {
        "side_by_side": side_by_side(last, accuracies),
        "ranks": by_layer(last, lambda layer: f"{layer.effective_rank:.1f}"),
        "saturated": by_layer(
            {"elu": last["elu"]},
            lambda layer: percent(layer.share(layer.counts["saturated"] + layer.counts["constant"])),
        ),
        "revivals": revivals(runs["test"]["relu"]),
        **claims(tables, accuracies),
    }
    for which in DATA:
        places[f"relu_{which}"] = over_epochs(tables[which]["relu"], range(LAST + 1), "dead")
        for family in ("leaky_relu", "elu"):
            places[f"{family}_{which}"] = over_epochs(tables[which][family], SHOWN, "never_positive")
    for name, value in change(runs["test"]["relu"]).items():
        places[f"change_{name}"] = f"{value:,}"
    text = (HERE / "dying-relu.md.template").read_text()
    for name, value in places.items():
        text = text.replace(f"{{{{{name}}}}}", value)
    (HERE / "dying-relu.md").write_text(text)
    figures(runs["test"], HERE / "figures")


if __name__ == "__main__":
    main(*(Path(argument) for argument in sys.argv[1:4]))
