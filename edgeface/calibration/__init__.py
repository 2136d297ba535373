"""Calibration sets: the images that give an int8 network its ranges; drawn evenly, from training folds only."""

from edgeface.calibration.check import Coverage, check_set
from edgeface.calibration.crops import calibration_crops
from edgeface.calibration.images import HELD_OUT, TRAINING_FOLDS
from edgeface.calibration.sample import draw
from edgeface.calibration.set_file import CalibrationFile, CalibrationSet, read_set, write_set

__all__ = [
    "HELD_OUT",
    "TRAINING_FOLDS",
    "CalibrationFile",
    "CalibrationSet",
    "Coverage",
    "calibration_crops",
    "check_set",
    "draw",
    "read_set",
    "write_set",
]
