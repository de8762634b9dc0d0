"""Networks of the Hugging Face Hub by name: `hub:owner/name[@revision][:file]`.

    >>> held = fetch("hub:owner/name@main")
    >>> held.file, held.source  # in the cache; 'hub:owner/name at 1a2b3c4'

Of a repository only its weights and its config.json are downloaded, into the cache of
huggingface_hub, and none of its code is ever run. HF_ENDPOINT, HF_TOKEN, HF_HOME and
HF_HUB_OFFLINE mean what they mean to that library. Needs the extra hardy[hub].
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from hardy.models.hub_errors import in_words, library, one_line
from hardy.models.normalize import in_units, spec_of
from hardy.models.state_dicts import shortened

PREFIX = "hub:"
CONFIG = "config.json"
# Our own first: it says what it is.
WEIGHTS = ("best.safetensors", "model.safetensors", "pytorch_model.bin")
WAIT = 10.0  # seconds for an answer, before the cache is taken
_NAME = re.compile(r"hub:([\w.-]+/[\w.-]+)(?:@([^:@\s]+))?(?::(.+))?")


@dataclass(frozen=True)
class Place:
    """A repository of a model, a branch, tag or commit of it (None: main), a file in it (None:
    the first of `WEIGHTS`)."""

    repo: str
    revision: str | None = None
    file: str | None = None

    @classmethod
    def of(cls, name: Path | str) -> Place:
        """Raises ValueError where it is no name of that kind."""
        found = _NAME.fullmatch(_text(name))
        if found is None:
            raise ValueError(f"{_text(name)} is no hub:OWNER/NAME[@REVISION][:FILE]: write it so")
        return cls(*found.groups())

    def __str__(self) -> str:
        revision = "" if self.revision is None else f"@{self.revision}"
        return f"{PREFIX}{self.repo}{revision}" + ("" if self.file is None else f":{self.file}")


@dataclass(frozen=True)
class Held:
    """A weights file of a repository, in the cache.

    place: as it was asked for. commit: its hash, 40 digits; empty where it is unknown. model,
    normalize, arguments: what a config.json in timm's layout says of the network (arguments:
    model_args), else None or empty; scaled: its statistics were of pixels from 0 to 255. files:
    all that the repository holds; none where only the cache could be asked.
    """

    place: Place
    file: Path
    commit: str
    model: str | None = None
    normalize: str | None = None
    arguments: dict[str, Any] = field(default_factory=dict)
    scaled: bool = False
    files: list[str] = field(default_factory=list)

    @property
    def source(self) -> str:
        """Where it comes from: 'hub:owner/name at 1a2b3c4'."""
        return f"{PREFIX}{self.place.repo} at {self.commit[:7]}"


def is_hub(path: object) -> bool:
    """Whether it names a repository and no file of this machine."""
    return isinstance(path, str | Path) and _text(path).startswith(PREFIX)


def fetch(name: Path | str) -> Held:
    """Download the weights that a name means, or find them in the cache where the hub cannot be
    reached.

    Raises ValueError, in one line, where there is no such repository, revision or file, where
    it may not be read, where it holds no weights, and where it is neither reached nor cached.
    """
    place = Place.of(name)
    library()
    with in_words(place):
        files, unreached = _listed(place)
        if files is None:
            weights = _cached(place, unreached)
        else:
            weights = _download(place.repo, _chosen(place, files), place.revision)
    chosen = place.file or weights.name
    # The cache keeps snapshots/<commit>/<file>.
    commit = weights.parts[-1 - len(PurePosixPath(chosen).parts)]
    about: dict[str, Any] = {}
    # A file of another name is no more the one that a config.json describes.
    if chosen in WEIGHTS[1:] and (files is None or CONFIG in files):
        about = _described(place, commit, cached=files is None)
    return Held(place, weights, commit, files=files or [], **about)


def _listed(place: Place) -> tuple[list[str] | None, str]:
    """The files of the repository, or None and why the hub cannot be asked."""
    hub = library()
    try:
        found = hub.HfApi().model_info(place.repo, revision=place.revision, timeout=WAIT)
    except hub.errors.HFValidationError:
        raise
    except hub.errors.HfHubHTTPError as error:
        if error.response.status_code < 500:
            raise
        return None, f"error {error.response.status_code}"
    except Exception as error:  # of its transport: nobody answered
        return None, f"{type(error).__name__}{one_line(error)}"
    return sorted(each.rfilename for each in found.siblings or []), ""


def _chosen(place: Place, files: Sequence[str]) -> str:
    wanted = WEIGHTS if place.file is None else (place.file,)
    found = next((name for name in wanted if name in files), None)
    if found is None:
        raise ValueError(
            f"{place} holds no {' or '.join(wanted)}: name one of its files, as in "
            f"hub:OWNER/NAME:FILE (it holds {shortened(list(files)) or 'nothing'})"
        )
    return found


def _download(repo: str, file: str, revision: str | None, *, cached: bool = False) -> Path:
    get = library().hf_hub_download
    return Path(get(repo, file, revision=revision, local_files_only=cached))


def _cached(place: Place, unreached: str) -> Path:
    missing = library().errors.LocalEntryNotFoundError
    for file in WEIGHTS if place.file is None else (place.file,):
        try:
            return _download(place.repo, file, place.revision, cached=True)
        except missing:
            continue
    raise ValueError(
        f"{place}: the hub cannot be reached ({unreached}), and it is not in the cache: connect, "
        "or give a file of this machine"
    )


def _described(place: Place, commit: str, *, cached: bool) -> dict[str, Any]:
    """What config.json says where timm wrote it, by the fields of `Held`."""
    with in_words(place):
        try:
            path = _download(place.repo, CONFIG, commit, cached=cached)
        except library().errors.LocalEntryNotFoundError:
            if cached:
                return {}
            raise
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        return {}
    name = content.get("architecture") if isinstance(content, dict) else None
    if not isinstance(name, str) or not re.fullmatch(r"\w[\w.]*", name):
        return {}
    about = content.get("pretrained_cfg")
    about = about if isinstance(about, dict) else content  # as older versions wrote it
    mean, std = _numbers(about.get("mean")), _numbers(about.get("std"))
    statistics, scaled = in_units(mean, std)
    good = bool(mean) and len(mean) == len(std)
    arguments = content.get("model_args")
    return {
        "model": f"timm:{name}",
        "normalize": spec_of(*statistics) if good else None,
        "arguments": arguments if isinstance(arguments, dict) else {},
        "scaled": good and scaled,
    }


def _numbers(values: Any) -> list[float]:
    """A list of numbers; empty where it is none."""
    many = values if isinstance(values, list) else []
    good = all(type(v) in (int, float) and math.isfinite(v) for v in many)
    return many if good else []


def _text(name: Path | str) -> str:
    # On Windows a Path turns the slash of a name round.
    return name.as_posix() if isinstance(name, Path) else name
