"""Data: anything that gives pictures and labels in train, val and test."""

from hardy.data.augment import Augment, augment_of, flip, pad_crop
from hardy.data.load import load_data
from hardy.data.loader import Batch, batch_count, batches
from hardy.data.mixing import joined, load_extra
from hardy.data.order import Mix
from hardy.data.splits import DataSet, Split, halves, limited, stratified
from hardy.data.streaming.room import Streaming

__all__ = [
    "Augment",
    "Batch",
    "DataSet",
    "Mix",
    "Split",
    "Streaming",
    "augment_of",
    "batch_count",
    "batches",
    "flip",
    "halves",
    "joined",
    "limited",
    "load_data",
    "load_extra",
    "pad_crop",
    "stratified",
]
