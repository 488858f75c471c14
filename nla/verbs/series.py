"""Checkpoints replayed one after another on the same data; recordings that are kept let a series go on."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nla.errors import Interrupted, OutputError, RecordingError, UsageError, printable
from nla.isolation import Limits
from nla.lifecycle.criteria import Criteria
from nla.runs.of_inspection import of
from nla.verbs.inspecting import recorded
from nla.verbs.parcel import Parcel, StrPath
from nla.verbs.recordings import as_criteria, judged, read_recording
from nla.verbs.replaying import ReplayOptions, put_replay
from nla.verbs.runs import digests
from nla.verbs.verifying import Data

if TYPE_CHECKING:
    from nla.recording import Recording
    from nla.runs.run import Run

PHASE = "checkpoints"


@dataclass(frozen=True)
class Series:
    """How the checkpoints of a series are replayed."""

    data: Data
    recordings: StrPath | None
    """The folder for their recordings; None: they are not kept."""
    options: ReplayOptions

    def replay(self, models: Sequence[StrPath], labels: Sequence[str]) -> tuple[Run, ...]:
        """The runs of these checkpoints, in the order given; raises as `nla.inspect` does."""
        places = self._places(labels)
        report = self.options.get("progress") or (lambda told: None)
        runs = []
        with self._told(places):
            for k, (model, place) in enumerate(zip(models, places, strict=True)):
                report({"phase": PHASE, "done": k, "total": len(models)})
                seen = self._recording(model, place)
                path = "" if place is None else os.fspath(place)
                runs.append(of(judged(seen, self._criteria), labels[k], path, weights=digests(seen)))
        if models:
            report({"phase": PHASE, "done": len(models), "total": len(models)})
        return tuple(runs)

    @contextmanager
    def _told(self, places: Sequence[Path | None]) -> Iterator[None]:
        """An interrupt says where the recordings so far are kept, if there are any."""
        try:
            yield
        except (Interrupted, KeyboardInterrupt) as error:
            done = sum(place is not None and place.exists() for place in places)
            if not done or self.recordings is None:
                raise
            raise Interrupted(
                f"interrupted; {done} of {len(places)} checkpoints are recorded in {printable(self.recordings)}: the "
                "same command goes on from there"
            ) from error

    def _places(self, labels: Sequence[str]) -> Sequence[Path | None]:
        """Where each recording goes; the folder is made. Raises OutputError."""
        if self.recordings is None:
            return [None] * len(labels)
        folder = Path(self.recordings)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            why = (error.strerror or str(error)).lower()
            raise OutputError(f"cannot make the folder {printable(folder)} for recordings: {why}") from None
        names = [label.replace("/", "-") for label in labels]
        doubled = next((name for k, name in enumerate(names) if name in names[:k]), None)
        if doubled is not None:
            raise UsageError(
                f"two checkpoints would have their recordings in {printable(doubled)}.h5: rename one"
            )
        return [folder / f"{name}.h5" for name in names]

    def _recording(self, model: StrPath, place: Path | None) -> Recording:
        parcel = self._parcel(model)
        if place is not None and place.exists():
            return self._kept(parcel, place)
        return recorded(
            parcel,
            place,
            self._limits,
            in_process=self.options.get("in_process", False),
            progress=self.options.get("progress"),
            verbose=self.options.get("verbose", False),
        )

    def _kept(self, parcel: Parcel, place: Path) -> Recording:
        """The recording that lies there already. Raises RecordingError where it is of anything else than is asked."""
        here = self.options.get("in_process", False)
        seen = read_recording(place, here, self._limits)
        now, _ = parcel.run("nla.replay.identity:identity", self._limits, None, here)
        differs = _difference(seen, now)
        if differs is not None:
            raise RecordingError(
                f"{printable(place)} is there already, a recording {differs}: name another folder, or remove it"
            )
        return seen

    def _parcel(self, model: StrPath) -> Parcel:
        """What `nla.inspect` would send with these options."""
        parcel = Parcel()
        put_replay(parcel, self.options)
        parcel.arguments.update(
            model=os.fspath(model),
            include=[],
            criteria=self._criteria.to_dict(),
            batch_size=self.options.get("batch_size", "auto"),
            kernel=self.options.get("kernel", "auto"),
            effective_rank="sample",
            histogram="sample",
            pre_activations=False,
            initial=None,
        )
        parcel.put_data(self.data)
        return parcel

    @property
    def _criteria(self) -> Criteria:
        return as_criteria(self.options.get("criteria"))

    @property
    def _limits(self) -> Limits:
        return Limits(self.options.get("memory_limit"), self.options.get("time_limit"))


def _difference(seen: Recording, now: Mapping[str, Any]) -> str | None:
    """In what a recording is not that of a replay as it would be now; None where it is."""
    if seen.checkpoint.get("digest") != now["checkpoint"]:
        return "of another checkpoint"
    if seen.data.get("digest") != now["data"] or seen.data.get("shard"):
        return "on other data"
    for name in sorted(seen.settings.keys() | now["settings"].keys()):
        if seen.settings.get(name) != now["settings"].get(name):
            return f"made with another {printable(name)}"
    return None
