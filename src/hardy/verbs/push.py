"""hardy push: a finished run as a repository of the Hugging Face Hub, with a model card."""

from __future__ import annotations

import re
import tempfile
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import hardy
from hardy import config
from hardy.console import say
from hardy.evaluation.results import Results, read
from hardy.models.hub import Place, is_hub
from hardy.models.hub_errors import in_words, library
from hardy.models.load import BEST, seeds_in
from hardy.verbs.asked.arguments import check, keywords
from hardy.verbs.publication import write_publication

_LICENSE = re.compile(r"[a-z0-9][a-z0-9.-]*")


def run(asked: config.Push) -> Results:
    """Publish as asked; the results of the run, with what `hardy.load` takes in the fact
    'published', or, where nothing was uploaded, those in the folder that would have been.

    All files go up in one commit. They hold no path of this machine: those in the settings, the
    results, the page and the description in the weights are cut to their last part. Raises
    ValueError where the run is not finished, has no weights or is one of several seeds, and for
    whatever the hub has against it.
    """
    check(asked)
    source, place = _source(asked), _target(asked)
    if asked.license is not None and not _LICENSE.fullmatch(asked.license):
        raise ValueError(
            f"--license {asked.license!r} is no identifier of the hub: write mit, apache-2.0 …"
        )
    if not asked.dry_run:
        library()
    with ExitStack() as stack:
        if asked.dry_run:
            folder = _empty(asked)
        else:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        write_publication(source, folder, place.repo, asked.license, asked.tags)
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        for path in files:
            say(f"{path.stat().st_size:>12,} bytes  {path.relative_to(folder).as_posix()}")
        if asked.dry_run:
            say(f"nothing was uploaded: what would go to {place} lies in {folder}")
            return read(folder)
        commit = _upload(folder, files, place, asked)
    results = read(source)
    results.facts["published"] = str(replace(place, revision=commit))
    return results


push = keywords(config.Push, run)


def _source(asked: config.Push) -> Path:
    """The folder of the run. Raises ValueError where it cannot be published."""
    if asked.run is None:
        raise ValueError(
            "nothing to publish: give a run folder, as in hardy push runs/at hub:me/at"
        )
    folder = Path(asked.run)
    if is_hub(asked.run) or not folder.is_dir():
        raise ValueError(
            f"{asked.run} is no folder: give that of a finished run, then hub:OWNER/NAME"
        )
    if several := seeds_in(folder):
        names = ", ".join(str(each) for each in several)
        raise ValueError(f"{folder} is a run of several seeds: publish one of {names}")
    read(folder)
    if not (folder / BEST).is_file():
        raise ValueError(
            f"the run in {folder} has no {BEST}: publish one that hardy train or hardy rift wrote"
        )
    return folder


def _target(asked: config.Push) -> Place:
    if asked.target is None or not is_hub(asked.target):
        raise ValueError(f"publish where? give hub:OWNER/NAME after {asked.run}")
    place = Place.of(asked.target)
    if place.revision is not None or place.file is not None:
        raise ValueError(f"{place} is more than a repository: the branch goes by --revision")
    return place


def _empty(asked: config.Push) -> Path:
    if asked.out is None:
        raise ValueError("--dry-run needs --out: the folder to write what would be uploaded to")
    folder = Path(asked.out)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"--out {folder} is not empty: give another folder")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _upload(folder: Path, files: list[Path], place: Place, asked: config.Push) -> str:
    """Upload files in one commit; its hash."""
    hub = library()
    api = hub.HfApi()
    message = asked.message or f"hardy {hardy.__version__}: {read(folder).verb}"
    operations = [
        hub.CommitOperationAdd(path_in_repo=p.relative_to(folder).as_posix(), path_or_fileobj=p)
        for p in files
    ]
    with in_words(place):
        visibility = {"private": True} if asked.private else {}
        api.create_repo(place.repo, exist_ok=True, **visibility)
        # Where the repository is there already, the hub passes over what was asked for.
        if asked.private and not api.model_info(place.repo, timeout=10).private:
            raise ValueError(
                f"{place} is there and public: leave --private out, or make it private on its page"
            )
        if asked.revision is not None:
            api.create_branch(place.repo, branch=asked.revision, exist_ok=True)
        done = api.create_commit(
            place.repo, operations, commit_message=message, revision=asked.revision
        )
    say(f"published: {done.commit_url}")
    return str(done.oid)
