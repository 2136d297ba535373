"""Temporal fusion: one prediction from all observations of a tracked face, and which faces need another one now.

A look through the network costs most of a frame, and the tenth look at a person who sits still says little new. So a
track is looked at when a look would add a fair share to what is known: often at first, then rarely, at once when it
comes nearer or gets sharper, and at once when it seems to be someone else. The posterior is ``tracking.posterior``'s.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from edgeface.errors import ConfigError
from edgeface.inference.result import AGE_STD_LIMIT, GENDER_LIMIT, RACE_LIMIT
from edgeface.spec.model import ModelSpec
from edgeface.tracking.clock import StreamClock
from edgeface.tracking.posterior import Answer, Posterior, PosteriorOptions
from edgeface.tracking.quality import Looks, likeness, look_at
from edgeface.types import HEADS, Attributes, Faces, Floats, Frame, Fused, Tracks

_FORGOTTEN_S = 10.0
"""A track unseen for longer is forgotten; trackers give up numbers long before."""
_NEW, _CHANGED = 1e6, 1e3
"""Urgencies; a look that is merely due has about 1."""


@dataclass(frozen=True)
class FusionOptions:
    """When to look again, and when to abstain.

    At most ``per_frame`` faces a frame go to the network (``None``: no limit): first those never answered, then
    changed ones, then by what a look would add. A look is due when it adds ``gain`` of what is known, and after
    ``refresh_s`` seconds in any case. A face has changed when its thumbnail's correlation with the one last looked at
    falls below ``alike``, or its centre jumped by ``jump`` of its size since the last frame; what was known of it then
    keeps the share ``kept_after_change`` for every unit by which the new look differs from it. ``every_face``: all
    are always due, for analyzers that answer all faces in one pass.

    Age abstains above ``age_std_limit`` years of posterior spread, gender and race below a probability.
    """

    per_frame: int | None = 32
    every_face: bool = False
    gain: float = 0.15
    refresh_s: float = 3.0
    alike: float = 0.5
    jump: float = 1.0
    kept_after_change: float = 0.5
    age_std_limit: float = AGE_STD_LIMIT
    gender_limit: float = GENDER_LIMIT
    race_limit: float = RACE_LIMIT
    posterior: PosteriorOptions = field(default_factory=PosteriorOptions)

    def __post_init__(self) -> None:
        if self.per_frame is not None and self.per_frame < 1:
            raise ConfigError(f"per_frame: expected 1 face or more, found {self.per_frame}")
        for name in ("gain", "refresh_s", "jump", "age_std_limit"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"{name}: expected a number above 0, found {getattr(self, name)}")
        for name in ("kept_after_change", "gender_limit", "race_limit"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"{name}: expected a number from 0 to 1, found {getattr(self, name)}")


@dataclass
class FusionCounters:
    """Totals since the start: ``faces`` seen, those ``inferred``, looks for ``changed`` ones; ``tracks`` known now."""

    faces: int = 0
    inferred: int = 0
    changed: int = 0
    tracks: int = 0


@dataclass(frozen=True, eq=False)
class Plan:
    """``due`` bool ``[N]``: the faces of this frame that the network has to see; the rest is the fuser's own."""

    due: NDArray[np.bool_]
    looks: Looks
    followed: tuple[_Followed, ...]
    changed: NDArray[np.bool_]
    now_s: float


class Fuser(Protocol):
    """Plans a frame's looks and fuses what they said; one per source, frames in order."""

    counters: FusionCounters

    def plan(self, frame: Frame, faces: Faces, tracks: Tracks) -> Plan: ...

    def fuse(self, plan: Plan, attributes: Attributes) -> Fused: ...

    def forget(self) -> None: ...


class TrackFuser:
    """One posterior per track of one source. ``spec`` names the heads, of which only those present ever abstain."""

    def __init__(self, spec: ModelSpec, options: FusionOptions | None = None) -> None:
        self.options = options or FusionOptions()
        self.counters = FusionCounters()
        self._heads = np.array([any(head.name == name for head in spec.heads) for name in HEADS])
        self._clock = StreamClock()
        self._tracks: dict[int, _Followed] = {}

    def plan(self, frame: Frame, faces: Faces, tracks: Tracks) -> Plan:
        """Which of ``faces`` the network has to see; the rows of ``tracks`` are theirs.

        A face without a track has no past: it is due in every frame.
        """
        self._clock.tick(frame.pts_s)
        looks = look_at(frame.pixels, faces)
        followed = tuple(self._followed(int(number)) for number in tracks.ids)
        changed = np.array([one.changed(looks, row, self.options) for row, one in enumerate(followed)], bool)
        urgencies = [self._urgency(one, looks.quality[row], changed[row]) for row, one in enumerate(followed)]
        plan = Plan(self._pick(np.array(urgencies)), looks, followed, changed, self._clock.now_s)
        for row, one in enumerate(followed):
            one.see(looks, row, plan.now_s)
        self._count(plan)
        return plan

    def fuse(self, plan: Plan, attributes: Attributes) -> Fused:
        """What is known of all faces of ``plan``'s frame; ``attributes`` are those of its due faces, in their order.

        Raises ``ValueError`` for another number of rows.
        """
        rows = np.flatnonzero(plan.due)
        if len(rows) != len(attributes):
            raise ValueError(
                f"attributes: expected a row for each of {len(rows)} faces that are due, found {len(attributes)}"
            )
        for given, row in enumerate(rows):
            one = plan.followed[row]
            if plan.changed[row]:
                differs = one.posterior.surprise(attributes[given]) * plan.looks.quality[row]
                one.posterior.doubt(self.options.kept_after_change**differs)
            one.look(attributes[given], plan, int(row))
        return self._fused([one.posterior.answer() for one in plan.followed])

    def forget(self) -> None:
        """Drop all tracks and the clock, as after a source came back; counters go on."""
        self._tracks, self._clock = {}, StreamClock()

    def _followed(self, number: int) -> _Followed:
        if number < 0:
            return _Followed(Posterior(self.options.posterior))
        if number not in self._tracks:
            self._tracks[number] = _Followed(Posterior(self.options.posterior))
        return self._tracks[number]

    def _urgency(self, one: _Followed, quality: float, changed: bool) -> float:
        """1 or more: due. The higher the sooner."""
        if one.posterior.looks == 0:
            return _NEW + quality
        since_s = self._clock.now_s - one.looked_s
        if changed:
            return _CHANGED + quality
        added = one.posterior.worth(quality, since_s) / one.posterior.looks
        return max(added / self.options.gain, since_s / self.options.refresh_s)

    def _pick(self, urgencies: NDArray[np.float64]) -> NDArray[np.bool_]:
        due = np.full(len(urgencies), True) if self.options.every_face else urgencies >= 1
        limit = self.options.per_frame
        if limit is not None and not self.options.every_face and due.sum() > limit:
            due[np.argsort(-urgencies, kind="stable")[limit:]] = False
        return due

    def _count(self, plan: Plan) -> None:
        self._tracks = {key: one for key, one in self._tracks.items() if plan.now_s - one.seen_s <= _FORGOTTEN_S}
        self.counters.faces += len(plan.due)
        self.counters.inferred += int(plan.due.sum())
        self.counters.changed += int((plan.due & plan.changed).sum())
        self.counters.tracks = len(self._tracks)

    def _fused(self, answers: list[Answer]) -> Fused:
        if not answers:
            return Fused.empty()
        stack = {name: np.stack([getattr(answer, name) for answer in answers]) for name in Answer.__dataclass_fields__}
        return Fused(**stack, abstained=np.stack([self._abstained(answer) for answer in answers]))

    def _abstained(self, answer: Answer) -> NDArray[np.bool_]:
        """Of each of ``HEADS`` whether its answer is unsure or still missing; never one that the network lacks."""
        options = self.options
        sure = (
            answer.age_std <= options.age_std_limit,
            answer.gender_label >= 0 and answer.gender[answer.gender_label] >= options.gender_limit,
            answer.race_label >= 0 and answer.race[answer.race_label] >= options.race_limit,
        )
        return np.asarray(self._heads & ~np.array(sure), np.bool_)


@dataclass
class _Followed:
    """A track's posterior, when and how it looked when the network last saw it, and where it was last."""

    posterior: Posterior
    looked_s: float = 0.0
    seen_s: float = 0.0
    thumb: Floats | None = None
    centre: NDArray[np.float64] | None = None

    def changed(self, looks: Looks, row: int, options: FusionOptions) -> bool:
        """Whether this may be someone else, or the same person quite differently."""
        if self.thumb is None or self.centre is None:
            return False
        step = float(np.hypot(*(looks.centres[row] - self.centre))) / looks.sides_px[row]
        return step > options.jump or likeness(looks.thumbs[row], self.thumb) < options.alike

    def see(self, looks: Looks, row: int, now_s: float) -> None:
        """Remember where the face is."""
        self.centre, self.seen_s = looks.centres[row], now_s

    def look(self, said: Attributes, plan: Plan, row: int) -> None:
        """Take in what the network said of it."""
        self.posterior.add(said, float(plan.looks.quality[row]), plan.now_s - self.looked_s)
        self.looked_s, self.thumb = plan.now_s, plan.looks.thumbs[row]
