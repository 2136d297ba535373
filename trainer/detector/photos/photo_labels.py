"""Labels of real photographs: what the teacher says at several scales, mirrored, put to the vote.

One look of the teacher misses small faces and takes dogs for people; a face that most looks agree on is one, a place
that few see counts neither way. Boxes drawn by people come first where a collection has them, and places known to be no
face (photographs without people; places looked at one by one) become hard negatives.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from zipfile import ZipFile

import cv2
import numpy as np

from edgeface.common.files import atomic_path
from edgeface.errors import DataError
from edgeface.imaging.postprocess import iou_matrix
from edgeface.types import Faces, Floats, Image
from trainer.detector.config import Collection
from trainer.detector.consensus import steady_landmarks
from trainer.detector.marked import MIRRORED
from trainer.detector.sources import decode, scene_split
from trainer.detector.teacher import Teacher

FACE, UNSURE, NO_FACE = 1.0, 0.0, -1.0
"""What a row of labels says: a face; neither face nor background; a place that looks like a face and is none."""
COLUMNS = 15  # box, kind, five landmarks
_LONGEST_PX = (960, 640, 320, 160)  # sides of the teacher's looks
_SEEN_PX = (14.0, 260.0)  # sizes of faces that the teacher can see in one look
_SAME_IOU = 0.4
_FACE_VOTE, _UNSURE_SCORE, _HARD_SCORE = 0.55, 0.45, 0.4
_STEADY_FROM_PX = 36.0  # larger faces get landmarks that many looks agree on, or none


@dataclass(frozen=True, eq=False)
class Votes:
    """Faces of one photograph over several looks, best first: ``faces`` with the best look's score, and ``shares``
    float32 ``[N]``, the mean score over the looks in which a face of that size can be seen."""

    faces: Faces
    shares: Floats


def vote(teacher: Teacher, image: Image) -> Votes:
    """The teacher's looks at ``image`` (uint8 ``[H, W, 3]`` RGB) at several scales, also mirrored, merged."""
    looks = [look for longest in _LONGEST_PX for look in _looks(teacher, image, longest)]
    boxes, scores, marks = (np.concatenate([getattr(f, n) for _, f in looks]) for n in ("boxes", "scores", "landmarks"))
    number = np.concatenate([np.full(len(found), i) for i, (_, found) in enumerate(looks)]).astype(int)
    left, merged, shares = np.ones(len(scores), bool), [], []
    while left.any():
        best = int(np.flatnonzero(left)[scores[left].argmax()])
        alike = iou_matrix(boxes[best : best + 1], boxes)[0] > _SAME_IOU
        same = left & alike
        same[best] = True
        left &= ~same
        weight = scores[same] ** 2 / (scores[same] ** 2).sum()
        box, mark = weight @ boxes[same], np.tensordot(weight, marks[same], 1)
        side = float(np.sqrt(max(1.0, (box[2] - box[0]) * (box[3] - box[1]))))
        able = [_SEEN_PX[0] < side * scale < _SEEN_PX[1] for scale, _ in looks]
        seen = [scores[same & (number == i)].max(initial=0.0) for i, can in enumerate(able) if can]
        merged.append((box, scores[best], mark))
        shares.append(sum(seen) / max(1, len(seen)))
    if not merged:
        return Votes(Faces.empty(), np.zeros(0, np.float32))
    columns = (np.array(column, np.float32) for column in zip(*merged))
    return Votes(Faces(*columns), np.array(shares, np.float32))


def _looks(teacher: Teacher, image: Image, longest: int) -> list[tuple[float, Faces]]:
    """One scale, as it is and mirrored: the scale and the faces in the photograph's pixels."""
    scale = min(longest / max(image.shape[:2]), 1.5)
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    view = np.asarray(cv2.resize(image, None, fx=scale, fy=scale, interpolation=how), np.uint8)
    plain, turned = teacher.detect(view), teacher.detect(np.ascontiguousarray(view[:, ::-1]))
    width = view.shape[1]
    boxes = turned.boxes[:, [2, 1, 0, 3]] * [-1, 1, -1, 1] + [width, 0, width, 0]
    marks = turned.landmarks[:, MIRRORED] * [-1, 1] + [width, 0]
    mirrored = Faces(boxes, turned.scores, marks)
    return [(scale, Faces(f.boxes / scale, f.scores, f.landmarks / scale)) for f in (plain, mirrored)]


def label(collection: Collection, teacher: Teacher, progress: Callable[[int, int], None]) -> Path:
    """Label every photograph of a collection that training may see; writes ``labels_path`` and returns it.

    The file holds one float32 ``[K, 15]`` array a photograph: box, kind, landmarks (NaN where unknown), in pixels.
    """
    drawn = _json(collection.boxes) if collection.boxes else {}
    no_face = _json(collection.no_face) if collection.no_face else {}
    rows: dict[str, Floats] = {}
    with ZipFile(collection.path) as archive:
        names = [name for name in sorted(archive.namelist()) if trained_on(name, collection)]
        for number, name in enumerate(names):
            key = _by_stem(drawn, name)
            if drawn and key is None:
                continue
            image = decode(archive.read(name))
            votes = vote(teacher, image)
            marks = _landmarks(teacher, image, votes)
            if key is not None:
                boxes = np.array([box[:4] for box in drawn[key]], np.float32)
                rows[name] = _with_boxes(boxes * _enlarged(image, collection.boxes_longest_px), votes, marks)
            else:
                empty = bool(collection.empty_prefix) and name.startswith(collection.empty_prefix)
                rows[name] = _by_votes(votes, marks, empty, np.array(no_face.get(name, []), np.float32).reshape(-1, 4))
            progress(number + 1, len(names))
    target = labels_path(collection)
    target.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(target) as temporary, temporary.open("wb") as file:
        np.savez(file, **rows)  # type: ignore[arg-type]
    return target


def labels_path(collection: Collection) -> Path:
    """Where a collection's labels lie: where it says, else beside its zip file."""
    return Path(collection.labels) if collection.labels else Path(collection.path).with_suffix(".labels.npz")


def trained_on(name: str, collection: Collection) -> bool:
    """Whether training may see a photograph, by its fold: ``sha1(name without folders and ending) % 10``, of dated
    names (UTKFace's) of what follows the last underscore; scenes have a rule of their own (``sources.scene_split``)."""
    stem = PurePosixPath(name).stem
    if stem in collection.leave_out:
        return False
    if collection.fold_by == "scene":
        return scene_split(PurePosixPath(name).name) == "train"
    key = stem.rpartition("_")[2] if collection.fold_by == "date" else stem
    fold = int(hashlib.sha1(key.encode()).hexdigest(), 16) % 10
    return not collection.fold_by or fold in collection.folds


def _landmarks(teacher: Teacher, image: Image, votes: Votes) -> Floats:
    """Each face's landmarks; of large faces those that many looks agree on, NaN where they do not."""
    marks = votes.faces.landmarks.copy()
    sides = (votes.faces.boxes[:, 2:] - votes.faces.boxes[:, :2]).min(axis=1, initial=np.inf)
    for row in np.flatnonzero((sides >= _STEADY_FROM_PX) & (votes.shares >= _FACE_VOTE)):
        steady = steady_landmarks(teacher, image, votes.faces.boxes[row])
        marks[row] = np.nan if steady is None else steady
    return np.asarray(marks)


def _enlarged(image: Image, longest_px: int) -> float:
    """By how much the photograph is larger than the copy of it that boxes were drawn on."""
    return max(1.0, max(image.shape[:2]) / longest_px) if longest_px else 1.0


def _row(box: Floats, kind: float, marks: Floats | None = None) -> Floats:
    points = np.full(10, np.nan) if marks is None else marks.reshape(10)
    return np.concatenate([box, [kind], points]).astype(np.float32)


def _stacked(rows: list[Floats]) -> Floats:
    return np.array(rows, np.float32).reshape(-1, COLUMNS)


def _by_votes(votes: Votes, marks: Floats, empty: bool, no_face: Floats) -> Floats:
    """By the vote; in a photograph without people, and at places known to be none, as no face."""
    faces, rows = votes.faces, [_row(box, NO_FACE) for box in no_face]
    known = iou_matrix(faces.boxes, no_face).max(axis=1, initial=0.0) > _SAME_IOU
    for box, score, share, mark, refused in zip(faces.boxes, faces.scores, votes.shares, marks, known):
        if empty and score >= _HARD_SCORE:
            rows.append(_row(box, NO_FACE))
        elif not empty and not refused and share >= _FACE_VOTE:
            rows.append(_row(box, FACE, mark))
        elif not empty and not refused and score >= _UNSURE_SCORE:
            rows.append(_row(box, UNSURE))
    return _stacked(rows)


def _with_boxes(drawn: Floats, votes: Votes, marks: Floats) -> Floats:
    """Boxes drawn by people, each with the landmarks (and half the box) of the teacher's face there; what else the
    teacher sees is a face where nearly all looks say so, and counts neither way otherwise."""
    faces, rows, used = votes.faces, [], set()
    overlap = iou_matrix(faces.boxes, drawn)
    for number, box in enumerate(drawn):
        row = int(overlap[:, number].argmax()) if len(faces) else -1
        if row >= 0 and overlap[row, number] >= _SAME_IOU and faces.scores[row] >= _HARD_SCORE:
            used.add(row)
            rows.append(_row((box + faces.boxes[row]) / 2, FACE, marks[row]))
        else:
            rows.append(_row(box, FACE))
    for row in set(range(len(faces))) - used:
        if faces.scores[row] >= _HARD_SCORE:
            sure = votes.shares[row] >= 0.7
            rows.append(_row(faces.boxes[row], FACE if sure else UNSURE, marks[row] if sure else None))
    return _stacked(rows)


def _json(path: str) -> dict[str, list[list[float]]]:
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"cannot read boxes from `{path}`: {error}") from error
    if not isinstance(content, dict):
        raise DataError(
            f"`{path}`: expected an object of file names and lists of boxes, found {type(content).__name__}"
        )
    return content


def _by_stem(boxes: dict[str, list[list[float]]], name: str) -> str | None:
    """The key of ``boxes`` for ``name``, whatever folder and ending it has."""
    stem = PurePosixPath(name).stem
    return next((key for key in (name, f"{stem}.webp", f"{stem}.jpg", stem) if key in boxes), None)
