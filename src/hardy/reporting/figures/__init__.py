"""The figures of a run. Each is a pure function of the results, None where they hold nothing."""

from hardy.reporting.figures.attacks import radius_curves, stages
from hardy.reporting.figures.broken import broken_pictures
from hardy.reporting.figures.classes import class_scatter, confusion_matrices
from hardy.reporting.figures.corruptions import corruption_map
from hardy.reporting.figures.equal_clean import equal_clean_curves
from hardy.reporting.figures.features import feature_pictures
from hardy.reporting.figures.ligs import ligs_histogram
from hardy.reporting.figures.modules import mrc_bars, potential_scatter
from hardy.reporting.figures.pictures import AMPLIFIED, PICTURES_SHOWN, pictures
from hardy.reporting.figures.profile import profile_bars, profile_rows
from hardy.reporting.figures.tradeoff import tradeoff
from hardy.reporting.figures.training import training_curves
from hardy.reporting.figures.transfer import transfer_map
from hardy.reporting.figures.watched import watched_curves

__all__ = [
    "AMPLIFIED",
    "PICTURES_SHOWN",
    "broken_pictures",
    "class_scatter",
    "confusion_matrices",
    "corruption_map",
    "equal_clean_curves",
    "feature_pictures",
    "ligs_histogram",
    "mrc_bars",
    "pictures",
    "potential_scatter",
    "profile_bars",
    "profile_rows",
    "radius_curves",
    "stages",
    "tradeoff",
    "training_curves",
    "transfer_map",
    "watched_curves",
]
