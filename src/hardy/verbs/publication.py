"""What is published of a run: its weights, results, page and model card, without paths."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from safetensors.torch import save_file

import hardy
from hardy.evaluation.results import FILE_NAME, Artifact, read
from hardy.files import sha256, write_json, write_text
from hardy.models.architecture import ZOO
from hardy.models.libraries import is_library_name
from hardy.models.load import BEST
from hardy.models.state_dicts import read_file
from hardy.reporting.card import card
from hardy.reporting.card_metadata import About
from hardy.reporting.page import SHOWN_BY, TABLES, write_report
from hardy.verbs.asked.pathless import must_hold_none, paths_in, without_paths
from hardy.verbs.runs.folder import CONFIG, read_config

CARD = "README.md"


def write_publication(
    source: Path, folder: Path, repo: str, license_id: str | None, tags: Sequence[str]
) -> None:
    """Write all that is published of the run in `source` into an empty folder.

    repo: owner/name. license_id: of the Hub, or None. tags: more than the card's own. The page and
    its figures are drawn again, from results and settings without the paths of this machine.
    Raises ValueError where a path is left all the same.
    """
    setting = read_config(source) or {}
    known = paths_in(setting) | {str(source), str(source.resolve())}
    setting = without_paths(setting, known)
    content = without_paths(json.loads((source / FILE_NAME).read_text(encoding="utf-8")), known)
    write_json(folder / FILE_NAME, content)
    results = read(folder)
    about = _copied(source / BEST, folder / BEST, known)

    # The page is drawn of arrays and of the run's settings, which stay here.
    arrays = [a for a in results.artifacts if a.kind in SHOWN_BY and (source / a.path).is_file()]
    for each in arrays:
        (folder / each.path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / each.path, folder / each.path)
    results.artifacts = [*arrays, Artifact(BEST, "weights", sha256(folder / BEST))]
    results.write()
    write_json(folder / CONFIG, setting)
    write_report(folder)
    results = read(folder)
    results.artifacts = [a for a in results.artifacts if a not in arrays]
    results.write()
    for name in (TABLES, *(each.path for each in arrays)):
        (folder / name).unlink(missing_ok=True)

    architecture = about["architecture"]
    model = str(architecture["model"])
    own_code = model not in ZOO and not is_library_name(model)
    classes = [str(name) for name in about["classes"]]
    write_json(folder / CONFIG, description(architecture, classes))
    size = about["extra"].get("image_size")
    shown = About(repo, architecture, own_code, classes, size, setting, license_id, tags)
    write_text(folder / CARD, card(results, shown))
    must_hold_none(folder, known)


def _copied(path: Path, to: Path, known: set[str]) -> dict[str, Any]:
    """Copy a weights file of ours; what it says of itself. Where that holds a path of this machine
    the copy says it without, and the tensors are the same."""
    state, metadata = read_file(path)
    if "hardy" not in metadata:
        raise ValueError(f"{path} does not say what it is: publish a run of hardy as it wrote it")
    about = json.loads(metadata["hardy"])
    cut = {**about, "extra": without_paths(about["extra"], known)}
    if cut == about:
        shutil.copyfile(path, to)
    else:
        save_file(state, to, {**metadata, "hardy": json.dumps(cut, allow_nan=False)})
    return cut


def description(architecture: dict[str, Any], classes: list[str]) -> dict[str, Any]:
    """config.json of the repository, for people: hardy reads what stands in the weights file."""
    about = {"library_name": "hardy", "version": hardy.__version__}
    return {**about, **architecture, "classes": classes}
