"""A set of features as files: an .npz or a folder of PNGs, its provenance, and a few pictures."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from hardy.data.made import PROVENANCE
from hardy.data.raw import Part, set_hash
from hardy.data.splits import Split
from hardy.evaluation.pictures import write_arrays
from hardy.evaluation.results import Results
from hardy.files import write_json, written_whole
from hardy.verbs.feature_sets.job import OWN, Job
from hardy.verbs.feature_sets.making import Made

FILE, FOLDER, SHOWN = "features.npz", "features", "made.npz"
KIND = "feature pictures"


def must_be_storable(job: Job) -> None:
    """Raises ValueError where class folders cannot hold the set: they have no order but the
    alphabet's, and none may be empty."""
    classes = job.data.classes
    if job.asked.format == "npz":
        return
    if list(classes) != sorted(classes):
        raise ValueError(
            f"the classes of {job.data.name} are not in alphabetical order, the only one that "
            "folders have: --format npz"
        )
    if odd := [name for name in classes if Path(name).name != name or name in (".", "..")]:
        raise ValueError(f"no folder can be called {odd[0]!r}, a class: --format npz")
    for name, labels in (("train", job.labels), ("test", job.data.test.labels)):
        counts = torch.bincount(labels.cpu(), minlength=len(classes))
        if not counts.all():
            empty = classes[int(counts.argmin())]
            raise ValueError(
                f"no picture of {name} is labelled {empty!r}, and no class folder may be empty: "
                "give more pictures or --format npz"
            )


def content_hash(found: Made) -> str:
    """Of the pictures and labels, as they are stored."""
    part = Part(found.images.numpy(), found.labels.numpy())
    return set_hash({"train": part}, lambda part: [np.asarray(part.images)])


def write_set(job: Job, found: Made, about: Mapping[str, Any], folder: Path) -> Path:
    """Write the set, its train part made and its test part as it was, and provenance.json, whole;
    where the set lies."""
    write_json(folder / PROVENANCE, about)
    if job.asked.format == "folder":
        return _pngs(job, found, about, folder / FOLDER)
    path, test = folder / FILE, job.data.test
    arrays: dict[str, Any] = {
        "train_images": _last(found.images),
        "train_labels": found.labels.numpy(),
        "test_images": _last(test.images[:].cpu()),
        "test_labels": test.labels.cpu().numpy(),
        "classes": np.array(job.data.classes),
        "source_index": job.originals.index.cpu().numpy(),
        "source_label": job.originals.labels.cpu().numpy(),
        "provenance": np.array(json.dumps(about)),
    }
    # Not compressed: noise does not shrink.
    with written_whole(path) as part, part.open("wb") as file:
        np.savez(file, **arrays)
    return path


def write_shown(job: Job, found: Made, results: Results) -> None:
    """Write the stages of the first pictures, 8 bits, with their labels and what is said of the
    last, for the page."""
    assert results.folder is not None, "a run folder makes its results"
    count = len(found.shown["made"])
    kept: dict[str, Any] = {
        f"stage/{name}": (x * 255).round().byte().numpy() for name, x in found.shown.items()
    }
    kept |= {
        "classes": np.array(job.data.classes),
        "original labels": job.originals.labels[:count].cpu().numpy(),
        "labels": found.labels[:count].numpy(),
        "said": found.values[f"said/{OWN}"][:count].numpy(),
    }
    write_arrays(results.folder / SHOWN, kept)
    results.add_artifact(results.folder / SHOWN, KIND)


def _pngs(job: Job, found: Made, about: Mapping[str, Any], path: Path) -> Path:
    """The set as <split>/<class>/<position in its file's own split>.png."""
    if path.is_dir():  # it has come to its place whole, and the same set is made again
        return path
    part = path.with_name(f"{path.name}.unfinished")
    if part.is_dir():
        shutil.rmtree(part)
    originals, test = job.originals, job.data.test
    made = Split(found.images, found.labels, originals.index.cpu(), originals.name)
    for split in (made, test.to("cpu")):
        for name in job.data.classes:
            (part / split.name / name).mkdir(parents=True)
        images = _last((split.pixels(slice(None)) * 255).round().byte())
        places = zip(images, split.labels.tolist(), split.index.tolist(), strict=True)
        for image, label, index in places:
            flat = image[..., 0] if image.shape[2] == 1 else image
            target = part / split.name / job.data.classes[label] / f"{index:08d}.png"
            Image.fromarray(flat).save(target)
    write_json(part / PROVENANCE, about)
    part.rename(path)
    return path


def _last(images: Tensor) -> np.ndarray:
    """Pictures (N, H, W, C)."""
    return np.ascontiguousarray(images.numpy().transpose(0, 2, 3, 1))
