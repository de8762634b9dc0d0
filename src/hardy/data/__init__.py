"""Data: anything that gives pictures and labels in train, val and test."""

from hardy.data.augment import Augment, augment_of, flip, pad_crop
from hardy.data.load import load_data
from hardy.data.loader import Batch, batch_count, batches
from hardy.data.splits import DataSet, Split, halves, limited, stratified

__all__ = [
    "Augment",
    "Batch",
    "DataSet",
    "Split",
    "augment_of",
    "batch_count",
    "batches",
    "flip",
    "halves",
    "limited",
    "load_data",
    "pad_crop",
    "stratified",
]
