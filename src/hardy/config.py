"""The arguments of the verbs: one dataclass a verb, its fields the flags of the command line
and the keywords of the Python function of the same name.

Nothing here imports torch, so `hardy --help` is instant.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import Positional
from tyro.constructors import PrimitiveConstructorSpec

from hardy.units import as_fraction, pixels

if TYPE_CHECKING:
    from torch import nn

    from hardy.data.splits import DataSet

    Model = str | nn.Module
    Data = str | DataSet
else:  # on the command line both are names
    Model = str
    Data = str


Pixels = Annotated[
    float,
    PrimitiveConstructorSpec(
        nargs=1,
        metavar="8/255",
        instance_from_str=lambda args: pixels(args[0]),
        is_instance=lambda value: isinstance(value, float | int),
        str_from_instance=lambda value: [as_fraction(value)],
    ),
]
Norm = Literal["linf", "l2"]
Precision = Literal["fp32", "bf16"]


@dataclass(frozen=True, kw_only=True)
class Run:
    """Where a run goes and what it runs on."""

    out: Path | None = None
    """Run folder; unset: the next free one in runs/."""
    resume: bool = False
    """Go on with the run in --out after a stop."""
    seed: int = 0
    """Seed of everything random."""
    device: str = "auto"
    """cpu, cuda, cuda:1 …; auto takes a GPU if there is one."""
    precision: Precision = "fp32"
    """bf16 runs attacks and training in bfloat16; reported numbers stay fp32."""
    batch_size: int = 128
    """Pictures in a step."""


@dataclass(frozen=True, kw_only=True)
class OnData:
    """Which pictures."""

    data: Data = "cifar10"
    """digits, mnist, cifar10, cifar100, tiny-imagenet or folder:PATH (directory, tar, zip)."""
    data_root: Path | None = None
    """Where the published files lie; unset: $HARDY_DATA or ./data, downloaded if missing."""
    val_fraction: float = 0.1
    """Share of train that is held out to choose on."""
    image_size: int | None = None
    """Resize the pictures of a folder to this many pixels."""
    limit: int | None = None
    """At most this many pictures of train (or of the split that is evaluated)."""


@dataclass(frozen=True, kw_only=True)
class Attacked:
    """What the attacker may do. Radii are in pixels of the range 0 to 1."""

    norm: Norm = "linf"
    """Norm of the ball around each picture."""
    eps: Pixels = 8 / 255
    """Radius of the ball."""
    steps: int = 10
    """PGD steps."""
    step_size: Pixels | None = None
    """Length of a step; unset: 2.5 eps / steps."""
    restarts: int = 3
    """Random starts of the final attack; an example must withstand all of them."""


@dataclass(frozen=True, kw_only=True)
class FromCheckpoint:
    """Which network."""

    checkpoint: Path | None = None
    """A run folder, our own best.safetensors, or a file from elsewhere (.pt, .pth, …)."""
    model: Model | None = None
    """Architecture of a file from elsewhere: a name, or an import path pkg.module:function."""
    normalize: str | None = None
    """Its input normalisation: cifar10, imagenet, none, or m,m,m/s,s,s; unset: as the file says."""


@dataclass(frozen=True, kw_only=True)
class Train(FromCheckpoint, Attacked, OnData, Run):
    """Train a classifier with any method, from scratch or from a checkpoint."""

    method: str = "pgd_at"
    """standard, pgd_at, or a Python file of your own."""
    method_options: tuple[str, ...] = ()
    """The method's settings, as key=value."""
    epochs: int = 110
    """Passes over train."""
    lr: float = 0.1
    """Highest learning rate of SGD."""
    momentum: float = 0.9
    """Momentum of SGD."""
    nesterov: bool = False
    """Nesterov's momentum."""
    weight_decay: float = 5e-4
    """Weight decay of SGD."""
    schedule: Literal["constant", "multistep", "cosine", "onecycle"] = "multistep"
    """Course of the learning rate."""
    milestones: tuple[int, ...] = (100, 105)
    """Epochs from which multistep takes a tenth of it."""
    augment: bool = True
    """Random crops and flips fit for the data."""
    val_pictures: int | None = 1000
    """At most this many validation pictures after each epoch."""
    test_limit: int | None = None
    """At most this many test pictures at the end."""


@dataclass(frozen=True, kw_only=True)
class Criticality(FromCheckpoint, Attacked, OnData, Run):
    """What measuring criticality needs."""

    mrc_pictures: int = 1024
    """Pictures that criticality is measured on, drawn from train; 0 takes all."""
    mrc_split: Literal["train", "test"] = "train"
    """Split they are drawn from (the authors' code takes test for CIFAR)."""
    mrc_ascent: Literal["full", "official"] = "full"
    """Full-sample normalised ascent, or SGD over minibatches as in the authors' code."""
    mrc_step_size: Pixels | None = None
    """Step of the attack that makes the adversarial pictures; unset: as --step-size."""
    radius: float = 0.1
    """Radius of the ball around a module's weight, relative to its norm."""


@dataclass(frozen=True, kw_only=True)
class Mrc(Criticality):
    """Measure the robust criticality of every module of a robust classifier."""


@dataclass(frozen=True, kw_only=True)
class Rift(Criticality):
    """Give a robust classifier more clean accuracy at the same robustness (RiFT)."""

    modules: str = "search"
    """search tries modules one by one (--choose, --k); least or most tunes the k least or
    most critical ones together; last, all, or names with commas."""
    choose: Literal["mrc", "potential", "both"] = "mrc"
    """Search the k least critical modules, the k of highest clean potential, or both."""
    k: int = 1
    """How many modules."""
    lr: tuple[float, ...] = (1e-3,)
    """Learning rates to try."""
    epochs: int = 10
    """Passes over train for each candidate."""
    momentum: float = 0.9
    """Momentum of SGD."""
    weight_decay: float = 5e-4
    """Weight decay of SGD."""
    milestones: tuple[int, ...] = (5,)
    """Epochs from which the learning rate is a tenth."""
    batchnorm: tuple[Literal["frozen", "reestimated"], ...] = ("frozen",)
    """BatchNorm's statistics while fine-tuning; several are tried in turn."""
    bn_only: bool = True
    """Also measure the baseline that only re-estimates BatchNorm."""
    trainable: Literal["exact", "substring"] = "exact"
    """Train the module's weight, or (authors' code) all whose name contains the module's."""
    alphas: tuple[float, ...] = tuple(i / 10 for i in range(1, 11))
    """Points between the start (0) and the fine-tuned network (1)."""
    tolerance: float = 0.001
    """Fall of robust accuracy that is allowed, as a fraction; at least one picture is."""
    choose_on: Literal["auto", "val", "half", "test"] = "auto"
    """Where to choose: val for our own checkpoints, half of test for those from elsewhere,
    which have seen val. The authors' code chooses on test."""
    choose_pictures: int | None = 2000
    """At most this many pictures to choose on."""
    test_limit: int | None = None
    """At most this many pictures of the reported split."""


@dataclass(frozen=True, kw_only=True)
class Evaluate(FromCheckpoint, Attacked, OnData, Run):
    """Measure clean and robust accuracy of one or several classifiers on the test split."""

    checkpoints: Positional[tuple[Path, ...]] = ()
    """Our own checkpoints or run folders, compared on the same pictures."""


@dataclass(frozen=True, kw_only=True)
class Demo:
    """See it all on the embedded digits: adversarial training, RiFT, the page."""

    out: Path = Path("runs/demo")
    """Run folder, made anew."""
    seed: int = 0
    """Seed of everything random."""
    device: str = "auto"
    """cpu, cuda …; auto takes a GPU if there is one."""


@dataclass(frozen=True, kw_only=True)
class Report:
    """Draw the page of a finished run again from its results."""

    folder: Positional[Path] = field()
    """The run folder."""
