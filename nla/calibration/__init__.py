"""Calibration data: one format a file, matched to the inputs of a model, read a batch at a time."""

from nla.calibration.calibration import Calibration
from nla.calibration.feeds import finite
from nla.calibration.labels import Labels
from nla.calibration.opening import open_calibration
from nla.calibration.options import CalibrationOptions

__all__ = ["Calibration", "CalibrationOptions", "Labels", "finite", "open_calibration"]
