"""What an evaluation is made of, put together from its arguments before a file is written."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import nn

from hardy import config
from hardy.attacks.autoattack import Version
from hardy.data.corruptions import SEVERITIES, corrupted, published, table_for, wnids_of
from hardy.data.load import home_of
from hardy.data.splits import DataSet, Split, limited
from hardy.evaluation.corruption import named
from hardy.evaluation.preflight import as_given
from hardy.evaluation.reference import must_be_there
from hardy.evaluation.results import Finding, Scalar
from hardy.evaluation.robustness import Protocol
from hardy.models.load import Checkpoint
from hardy.verbs.asked.arguments import check
from hardy.verbs.asked.inputs import DATA_SEED, data_of
from hardy.verbs.asked.networks import networks_of, placed_on
from hardy.verbs.asked.protocols import Judged, protocols_of

# Of the attacks that pyautoattack has too, its name for each.
VERSIONS: dict[str, Version] = {"autoattack": "standard", "autoattack-quick": "quick"}


@dataclass(frozen=True)
class Job:
    """An evaluation before its first picture: the networks by their labels, the test pictures,
    and a protocol for each attack that was asked for. package: pyautoattack and its version,
    where --reference asks for it. settings: the networks that are one setting trained with several
    seeds, by the name of the setting, which is empty for all of them. handed_over: what there is
    to say of a network from Python as it came, before it was put in eval mode."""

    asked: config.Evaluate
    data: DataSet
    test: Split
    nets: dict[str, Checkpoint]
    protocols: list[Judged]
    package: str = ""
    settings: dict[str, list[str]] = field(default_factory=dict)
    handed_over: tuple[Finding, ...] = ()

    @property
    def batch_size(self) -> int:
        """Pictures at once: what measures keeps no gradients of the weights."""
        return 2 * self.asked.batch_size

    @property
    def on_curve(self) -> Split:
        """The pictures of the curve over radii."""
        return limited(self.test, self.asked.curve_pictures, DATA_SEED)

    @property
    def under_corruption(self) -> Split:
        """The pictures that are corrupted."""
        return limited(self.test, self.asked.corruption_pictures, DATA_SEED)

    @property
    def at_equal_clean(self) -> Split:
        """The pictures on which networks are brought to one clean accuracy."""
        return limited(self.test, self.asked.equal_clean_pictures, DATA_SEED)

    @property
    def corruptions(self) -> list[str]:
        """The corruptions, each once."""
        return named(self.asked.corruptions)

    @property
    def severities(self) -> list[int]:
        """The severities, each once and from the mildest on."""
        return sorted(set(self.asked.severities))

    @property
    def frames(self) -> list[Split]:
        """All the parts of test that something is measured on."""
        found = [self.test]
        found += [self.on_curve] if self.asked.curve_pictures else []
        return found + ([self.under_corruption] if self.asked.corruptions else [])

    @property
    def about_corruptions(self) -> dict[str, Scalar]:
        """What a measurement under corruptions must say of them."""
        # The published files have these by the size of their pictures too.
        parameters = table_for(self.data.image_size)
        if self.asked.corruption_files is not None:
            return {"source": "published", "parameters": parameters, "dtype": "fp32"}
        seed = self.asked.seed
        return {"source": "generated", "parameters": parameters, "seed": seed, "dtype": "fp32"}

    def corrupt(self, name: str, severity: int, part: tuple[int, int] = (0, 1)) -> Split:
        """A part of the pictures under a corruption, made or read; on their device."""
        whole, seed = self.under_corruption, self.asked.seed
        if self.asked.corruption_files is None:
            return corrupted(of_part(whole, part), name, severity, seed=seed)
        # What files give instead of pictures of their own is a sample of all of them, cut after.
        return of_part(self.read(name, severity, whole), part).to(whole.device)

    def read(self, name: str, severity: int, like: Split) -> Split:
        """The published corrupted pictures of a split."""
        files = self.asked.corruption_files
        assert files is not None, "nothing to read"
        return published(Path(files), name, severity, self.data, like=like, wnids=self.wnids)

    @functools.cached_property
    def wnids(self) -> tuple[str, ...] | None:
        """The classes of Tiny-ImageNet, whose corrupted pictures are others than its own."""
        asked = self.asked
        if self.data.name != "tiny-imagenet" or not isinstance(asked.data, str):
            return None
        return wnids_of(home_of(asked.data_root))

    def to(self, device: torch.device) -> Job:
        """The same on another device."""
        return replace(self, test=self.test.to(device), nets=placed_on(device, self.nets))


def job_of(asked: config.Evaluate) -> Job:
    """The job, on the CPU. Raises ValueError for anything that was asked for wrongly."""
    check(asked)
    _check(asked)
    handed_over = _train_mode(asked)
    data = data_of(asked)
    protocols = protocols_of(asked, data.num_classes)
    package = ""
    for name, version in VERSIONS.items():
        if asked.reference and name in asked.attack:
            package = must_be_there(version, data.num_classes)
    nets, labels = networks_of(asked_for(asked), asked, data)
    settings = {str(given): several for given, several in labels.items() if len(several) > 1}
    settings = {_short(Path(name), settings): several for name, several in settings.items()}
    if asked.over_seeds:
        settings = {"": list(nets)}
    if asked.over_seeds and len(nets) < 2:
        raise ValueError("--over-seeds needs several networks, trained with other seeds: give them")
    if asked.equal_clean and len(nets) < 2:
        raise ValueError("--equal-clean compares networks and needs at least two: give them")
    test = limited(data.test, asked.limit, DATA_SEED)
    job = Job(asked, data, test, nets, protocols, package, settings, handed_over)
    _must_corrupt(job)
    return job


def _train_mode(asked: config.Evaluate) -> tuple[Finding, ...]:
    if asked.checkpoint or asked.checkpoints or not isinstance(asked.model, nn.Module):
        return ()
    found = (one for one in as_given(asked.model) if one.check == "train mode")
    return tuple(replace(one, subject="network") for one in found)


def _must_corrupt(job: Job) -> None:
    """Raises ValueError where a corruption cannot be made of such pictures, or where published
    files are missing or do not match: one picture shows it."""
    files, one = job.asked.corruption_files, job.under_corruption.take(slice(0, 1))
    if files is None:
        _must_be_possible(job, one)
        return
    # An archive is read from its beginning each time.
    archive = Path(files).is_file()
    for name in job.corruptions:
        for severity in job.severities[: 1 if archive else None]:
            job.read(name, severity, one)


def _must_be_possible(job: Job, one: Split) -> None:
    refused: dict[str, ValueError] = {}
    for name in job.corruptions:
        try:
            for severity in job.severities:
                corrupted(one, name, severity)
        except ValueError as error:
            refused[name] = error
    if refused:
        left = [name for name in job.corruptions if name not in refused]
        rest = f"; possible are --corruptions {' '.join(left)}" if left else ""
        raise ValueError(f"{next(iter(refused.values()))}{rest}")


def of_part(split: Split, part: tuple[int, int]) -> Split:
    """The pictures of a part (rank, world): picture i belongs to rank i % world."""
    return split.take(slice(part[0], None, part[1]))


def _check(asked: config.Evaluate) -> None:
    if not asked.attack:
        raise ValueError("--attack needs at least one: pgd, or autoattack")
    if asked.reference and not VERSIONS.keys() & set(asked.attack):
        raise ValueError(f"--reference goes with --attack {' or '.join(VERSIONS)}: give one")
    if not asked.severities or not set(asked.severities) <= set(SEVERITIES):
        raise ValueError("--severities must be whole numbers from 1 to 5, at least one")
    if asked.corruption_files is not None and not asked.corruptions:
        raise ValueError("--corruption-files needs --corruptions: give names, standard or all")
    named(asked.corruptions)


def asked_for(asked: config.Evaluate | config.Ligs) -> list[Path | None]:
    """The checkpoints that were asked for; None is a network from Python. Raises ValueError where
    there is none, or where they are given in two ways."""
    if asked.checkpoints and asked.checkpoint:
        raise ValueError("give checkpoints by position or one by --checkpoint, not both")
    if not asked.checkpoints and not asked.checkpoint and asked.model is None:
        raise ValueError("nothing to evaluate: give run folders or checkpoints")
    found = asked.checkpoints or (asked.checkpoint,)
    return [None if path is None else Path(path) for path in found]


def _short(folder: Path, others: Iterable[str]) -> str:
    """The name of a run folder, or the whole of its path where another has that name."""
    same = [other for other in others if Path(other).name == folder.name]
    return str(folder) if len(same) > 1 else folder.name or str(folder)


def attack_name(protocol: Judged) -> str:
    """What the field calls the attack."""
    return str(protocol.setting["attack"])


def described(protocol: Judged) -> str:
    """The attack with its settings, for a log line."""
    if isinstance(protocol, Protocol):
        return f"{protocol.attack!r}, worst of {protocol.restarts}"
    return f"{protocol.name} in {protocol.threat!r}: {protocol.more['runs']}"
