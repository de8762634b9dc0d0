"""The arguments of the verbs: one dataclass a verb, its fields the flags of the command line
and the keywords of the Python function of the same name.

Nothing here imports torch, so `hardy --help` is instant.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from tyro.conf import Positional, UseAppendAction
from tyro.constructors import PrimitiveConstructorSpec

from hardy.units import as_fraction, pixels

if TYPE_CHECKING:
    from torch import nn

    from hardy.data.splits import DataSet

    Model = str | nn.Module
    Data = str | DataSet | Callable[..., Any]
    File = Path | str
    Network = File | nn.Module
    Teachers = Network | tuple[Network, ...] | Mapping[str, Network]
    Several = str | tuple[str, ...]
else:  # on the command line all are text
    Model = str
    Data = str
    File = Path
    Teachers = Several = Annotated[tuple[str, ...], UseAppendAction]


def _read_by(parse: Callable[[str], Any], metavar: str) -> PrimitiveConstructorSpec[Any]:
    """A flag that `parse` reads; 'unset', as the help shows it, is None."""

    def read(words: list[str]) -> Any:
        return None if words[0] == "unset" else parse(words[0])

    def shown(value: Any) -> list[str]:
        if value is None:
            return ["unset"]
        if isinstance(value, tuple):
            return [",".join(map(str, value))]
        return [as_fraction(value) if isinstance(value, float) else str(value)]

    return PrimitiveConstructorSpec(
        nargs=1,
        metavar=metavar,
        instance_from_str=read,
        is_instance=lambda _: True,
        str_from_instance=shown,
    )


def _count(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"{text!r} is no whole number") from None


def _classes(text: str) -> int | str:
    return text if text == "auto" else _count(text)


def _counts(text: str) -> tuple[int, ...]:
    return tuple(_count(part) for part in text.split(","))


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"{text!r} is no number") from None


MaybePixels = Annotated[float | None, _read_by(pixels, "8/255")]
MaybeShare = Annotated[float | None, _read_by(_number, "0.75")]
MaybeFile = Annotated[File | None, _read_by(Path, "PATH")]
MaybeCount = Annotated[int | None, _read_by(_count, "N")]
MaybeClasses = Annotated[int | str | None, _read_by(_classes, "auto")]
MaybeCounts = Annotated[tuple[int, ...] | None, _read_by(_counts, "0,1,2")]
MaybeName = Annotated[str | None, _read_by(str, "NAME")]
MaybeNormLayer = Annotated[
    Literal["bn", "gn", "ln", "in", "none"] | None, _read_by(str, "bn|gn|ln|in|none")
]
MaybeModel = Annotated[Model | None, _read_by(str, "NAME")]
Norm = Literal["linf", "l2"]
Precision = Literal["fp32", "bf16"]
Border = Literal["zero", "reflect", "none"]
AttackName = Literal[
    "pgd",
    "fgsm",
    "cw",
    "mi-fgsm",
    "apgd-ce",
    "apgd-dlr",
    "apgd-t",
    "fab-t",
    "square",
    "autoattack",
    "autoattack-quick",
    "autoattack-rand",
]


@dataclass(frozen=True, kw_only=True)
class Run:
    """Where a run goes and what it runs on."""

    out: MaybeFile = None
    """Run folder; unset: the next free one in runs/."""
    resume: bool = False
    """Go on with the run in --out after a stop."""
    seed: int = 0
    """Seed of everything random: the same seed gives the same run."""
    device: str = "auto"
    """Where to compute: cpu, cuda, cuda:1 …; auto takes a GPU if there is one."""
    precision: Precision = "fp32"
    """bf16 attacks and trains in bfloat16, faster on GPUs; reported numbers stay fp32."""
    batch_size: int = 128
    """Pictures in a training step; what measures takes twice as many at once."""


@dataclass(frozen=True, kw_only=True)
class Repeated(Run):
    """A run that may be repeated with other seeds."""

    seeds: MaybeCounts = None
    """Several, such as 0,1,2, in place of one: a run of each in the folders seed-0, seed-1 … of
    the run, and there their mean and spread. {seed} in the name of a file is the seed of a run."""


@dataclass(frozen=True, kw_only=True)
class OnData:
    """Which pictures."""

    data: Data = "cifar10"
    """digits, mnist, cifar10, cifar100, tiny-imagenet, folder:PATH (directory, tar, zip),
    npz:PATH, parquet:PATH (a file or a folder of them), or a Python function pkg.module:load."""
    data_root: MaybeFile = None
    """Folder of the published files; unset: $HARDY_DATA or ./data, downloaded if missing."""
    val_fraction: float = 0.1
    """Share of train that is held out to choose the best epoch, module and α on."""
    image_size: MaybeCount = None
    """Resize the pictures to this height and width (shorter side, then the centre), whose pixels
    the radius then is in (--input-size resizes in the network); unset: as they are."""
    channels: MaybeCount = None
    """1 makes all pictures grey, 3 repeats grey in three channels; unset: as they are."""
    image_column: MaybeName = None
    """Column of the pictures in parquet files, where it cannot be found by itself."""
    label_column: MaybeName = None
    """Column of the labels in parquet files, where it cannot be found by itself."""
    limit: MaybeCount = None
    """At most this many pictures of train, or of test in evaluate; unset: all."""
    stream: Literal["auto", "on", "off"] = "auto"
    """Read the pictures of folder: (archives too), parquet: and tiny-imagenet from disk as they
    are needed; auto: where they would take more than a quarter of the free memory, or half of the
    GPU's. Those of other data stay in memory, and go to the device in batches."""
    workers: MaybeCount = None
    """Threads that decode them ahead, in each process; unset: one for each core, at most 16."""


@dataclass(frozen=True, kw_only=True)
class Attacker:
    """What the attacker may do. Radii are in pixels of the range 0 to 1."""

    norm: Norm = "linf"
    """Norm in which the attacker's change of a picture is measured."""
    eps: MaybePixels = None
    """Largest change that the attacker may make, a fraction or a decimal; unset: 8/255 in linf,
    128/255 in l2."""
    steps: int = 10
    """Gradient steps of the attack (PGD)."""
    step_size: MaybePixels = None
    """Length of a step of the attack; unset: 2.5 eps / steps."""


@dataclass(frozen=True, kw_only=True)
class Attacked(Attacker):
    """And how often it may try."""

    restarts: int = 3
    """Random starts of the final attack; a picture must withstand all of them."""


@dataclass(frozen=True, kw_only=True)
class FromCheckpoint:
    """Which network."""

    checkpoint: MaybeFile = None
    """A run folder, our own best.safetensors, a file from elsewhere (.pt, .pth, …), or one of the
    Hugging Face Hub: hub:OWNER/NAME[@REVISION][:FILE]."""
    model: MaybeModel = None
    """Architecture of a file from elsewhere: a name, timm:NAME, torchvision:NAME, or an import
    path pkg.module:function."""
    normalize: MaybeName = None
    """Its input normalisation: cifar10, imagenet, none, or m,m,m/s,s,s; unset: as the file says."""
    input_size: MaybeCount = None
    """Height and width to which the network resizes every picture itself; radii stay in the
    picture's own pixels (--image-size resizes the data). Unset: as the file says, else not."""


@dataclass(frozen=True, kw_only=True)
class Train(Repeated, Attacked, OnData, FromCheckpoint):
    """Train a classifier with any method, from scratch or from a checkpoint."""

    model: MaybeModel = None
    """Network: a name such as resnet18, timm:NAME or torchvision:NAME, or an import path
    pkg.module:function; our own checkpoints know theirs."""
    pretrained: bool = False
    """Start from the weights that timm or torchvision publishes for --model; they are downloaded
    once. Their own normalisation is kept, the classifier layer is new where the classes differ."""
    num_classes: MaybeClasses = None
    """auto: give the network of --checkpoint a new classifier layer where its classes are not
    those of the data; N, the number of the data's: in any case. Unset: classes must agree."""
    head: MaybeName = None
    """That layer, where it cannot be found by itself; its name, such as fc."""
    norm_layer: MaybeNormLayer = None
    """Normalisation in the place of all of the network's own: bn, gn (up to 32 groups), ln, in or
    none; its gamma and beta are kept. Unset: as it is."""
    method: str = "pgd_at"
    """standard, pgd_at, trades, mart, score, fast_at; from a teacher ard, iad, rslad, adaad,
    adaiad; to fine-tune a robust network with BatchNorm twins; or a Python file of your own
    (./mine.py)."""
    method_options: tuple[str, ...] = ()
    """The method's own settings, as key=value, several with spaces."""
    awp: float = 0.0
    """Wrap the method in adversarial weight perturbation of this γ (0.005 to 0.01); 0: do not."""
    awp_warmup: int = 0
    """Epochs before the weights are perturbed."""
    ligs_weight: float = 0.0
    """Add this weight times one less the LIGS of the batch to the method's loss, which costs as
    much as three or four clean steps; 0: do not."""
    ligs_pictures: int = 0
    """Pictures of val whose LIGS is measured after each epoch, to look at; 0: not."""
    ligs_sigma: MaybePixels = None
    """Standard deviation of the noise of both, in pixels; unset: 0.01."""
    teacher: Teachers = ()
    """Network to learn from, a run folder, file or hub:OWNER/NAME: [ROLE=]FILE, once for each role
    of the method, such as robust=FILE and natural=FILE for iad."""
    teacher_model: Several = ()
    """Architecture of a teacher's file from elsewhere: [ROLE=]NAME."""
    teacher_normalize: Several = ()
    """Its input normalisation: [ROLE=]NAME, as --normalize; unset: as the file says."""
    teacher_precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Precision that teachers compute in; auto: as --precision."""
    teacher_device: MaybeName = None
    """Where teachers compute; unset: where the student does."""
    teacher_pictures: int = 512
    """Pictures of val, and of test at the end, that teachers are measured on; 0: not."""
    eval_eps: MaybePixels = None
    """Radius at which val and test are attacked; unset: --eps."""
    eval_steps: MaybeCount = None
    """Steps of the attack on val and test; unset: --steps."""
    eval_step_size: MaybePixels = None
    """Length of its steps; unset: as in training where radius and steps are the same, else
    2.5 eval-eps / eval-steps."""
    epochs: int = 110
    """Passes over train."""
    lr: float = 0.1
    """Highest learning rate of SGD."""
    momentum: float = 0.9
    """Momentum of SGD."""
    nesterov: bool = False
    """Use Nesterov's momentum."""
    weight_decay: float = 5e-4
    """Weight decay of SGD."""
    schedule: Literal["constant", "multistep", "cosine", "onecycle", "triangular"] = "multistep"
    """How the learning rate changes over the run."""
    milestones: tuple[int, ...] = ()
    """Epochs from which --schedule multistep takes a tenth of the learning rate; unset: after
    10/11 and 21/22 of them, which is 100 and 105 of 110."""
    augment: Border = "zero"
    """Border of the random crops; none leaves out crops and flips."""
    probe_epochs: int = 0
    """First epochs, of --epochs, in which only the classifier layer is trained."""
    probe: Literal["clean", "adversarial"] = "clean"
    """Pictures that it is trained on in them, with cross-entropy."""
    eps_warmup: int = 0
    """Epochs, after those of --probe-epochs, in which the radius of training grows from 0 to eps;
    val and test are attacked at their own."""
    average: Literal["none", "ema", "swa"] = "none"
    """Also keep the mean of the weights: ema after each step, swa after each epoch. It becomes
    best.safetensors, and the live weights live.safetensors."""
    average_decay: float = 0.995
    """Decay of ema; choose it so that 1 / (1 - decay) steps are a small part of the run."""
    average_start: MaybeShare = None
    """Fraction of training before which the mean is a copy; unset: 0.025 (ema), 0.75 (swa)."""
    average_batchnorm: Literal["auto", "copied", "reestimated"] = "auto"
    """BatchNorm's statistics of the mean: the live network's (auto for ema), or measured on
    train's clean pictures (auto for swa)."""
    extra_data: MaybeName = None
    """More training pictures, such as generated ones: npz:PATH, folder:PATH … as for --data, whose
    size and channels they get."""
    extra_fraction: float = 0.7
    """Share of each batch that comes from --extra-data; an epoch keeps its number of steps."""
    extra_limit: MaybeCount = None
    """At most this many extra pictures; unset: all."""
    accumulate: int = 1
    """Parts that each batch is cut into, so that it fits into memory; a step adds them up. Where
    memory runs out all the same they become twice as many by themselves, as often as need be."""
    cuda_graphs: bool = False
    """Capture the attack of a training step as one CUDA graph for each epoch, so that a GPU need
    not wait for its launches; not yet measured on one."""
    compile: bool = False
    """Compile the network for attacks and training steps (torch.compile, which needs a C++
    compiler). The first steps then take a minute or more; val and test are measured without."""
    devices: int = 1
    """Processes of this machine, a device each (torchrun sets it, on several machines too)."""
    on_collapse: Literal["stop", "rollback", "ignore"] = "stop"
    """When robust accuracy on val falls below a quarter of its best: end the run (two epochs
    running), or at once go back one and on at half the learning rate, three times at most."""
    val_pictures: MaybeCount = 1000
    """At most this many validation pictures after each epoch; unset: all."""
    test_limit: MaybeCount = None
    """At most this many test pictures at the end; unset: all."""
    keep_epochs: MaybeCounts = None
    """Epochs, counted from 1, whose networks are kept too, as epoch-N.safetensors in the run folder
    (with --average the means), such as 1,5,10; unset: none."""
    tensorboard: bool = False
    """Also log for TensorBoard, in tensorboard/ of the run folder (the extra hardy[log])."""
    dry_run: bool = False
    """Train nothing: print parameters, operations, memory and the time it would take."""


@dataclass(frozen=True, kw_only=True)
class Criticality(Repeated, Attacked, OnData, FromCheckpoint):
    """What measuring criticality needs."""

    mrc_pictures: int = 1024
    """Pictures that criticality is measured on, drawn from train; 0 takes all."""
    mrc_split: Literal["train", "test"] = "train"
    """Split they are drawn from (the authors' code takes test for CIFAR)."""
    mrc_ascent: Literal["full", "official"] = "full"
    """Full-sample normalised ascent, or SGD over minibatches as in the authors' code."""
    mrc_step_size: MaybePixels = None
    """Step of the attack that makes the adversarial pictures; unset: as --step-size."""
    radius: float = 0.1
    """Radius of the ball around a module's weight, relative to its norm."""


@dataclass(frozen=True, kw_only=True)
class Shared(Criticality):
    """And in what time."""

    racing: bool = False
    """Measure only the --k least critical modules to the end, the same as without it: of a module
    that is known not to be among them a lower bound is given."""
    devices: int = 1
    """Processes of this machine, a device each, that share out the modules."""


@dataclass(frozen=True, kw_only=True)
class Mrc(Shared):
    """Measure the robust criticality of every module of a robust classifier."""

    k: int = 1
    """How many least critical modules --racing is after."""


@dataclass(frozen=True, kw_only=True)
class Rift(Shared):
    """Give a robust classifier more clean accuracy at the same robustness (RiFT)."""

    modules: str = "search"
    """search: one by one, by --choose and --k; least or most: the k least or most critical
    together; last; all; or names with commas between them."""
    choose: Literal["mrc", "potential", "both"] = "mrc"
    """Search the k least critical modules, the k of highest clean potential, or both."""
    k: int = 1
    """How many modules to try, or to tune together."""
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
    augment: Border = "reflect"
    """Border of the random crops while fine-tuning; none leaves out crops and flips."""
    batchnorm: tuple[Literal["frozen", "reestimated"], ...] = ("frozen",)
    """BatchNorm's statistics while fine-tuning; several are tried in turn."""
    bn_only: bool = True
    """Also measure the baseline that only re-estimates BatchNorm."""
    trainable: Literal["exact", "substring"] = "exact"
    """Train the module's weight, or (authors' code) all whose name contains the module's."""
    alphas: tuple[float, ...] = tuple(i / 10 for i in range(1, 11))
    """Points between the start (0) and the fine-tuned network (1)."""
    path: Literal["full", "deciding"] = "full"
    """full measures every point of the way; deciding, for the same choice in less time, attacks
    only the points that could still be chosen, and gives up those that can no longer be."""
    tolerance: float = 0.001
    """Fall of robust accuracy that is allowed, as a fraction: at least a picture, but 0 is 0."""
    choose_on: Literal["auto", "val", "half", "test"] = "auto"
    """Pictures to choose on; auto: val for our own checkpoints, half of test for others,
    which have seen val; the authors' code takes test."""
    choose_pictures: MaybeCount = None
    """At most this many pictures to choose on; unset: all. Few make the choice a matter of luck."""
    test_limit: MaybeCount = None
    """At most this many pictures of the reported split; unset: all."""


@dataclass(frozen=True, kw_only=True)
class Evaluate(Repeated, Attacked, OnData, FromCheckpoint):
    """Measure clean and robust accuracy of one or several classifiers on the test split."""

    checkpoints: Positional[tuple[File, ...]] = ()
    """Run folders, checkpoints of hardy or hub:OWNER/NAME, compared on the same pictures."""
    attack: tuple[AttackName, ...] = ("pgd",)
    """Attacks, each measured on its own; classes and pictures are shown under the last one.
    apgd-t, fab-t and square are AutoAttack's; autoattack takes hours where pgd takes minutes."""
    reference: bool = False
    """Also run autoattack or autoattack-quick through the package pyautoattack, side by side
    (the extra hardy[reference])."""
    corruptions: tuple[str, ...] = ()
    """Common corruptions to measure accuracy under: names, or standard (15), extra (4), all."""
    severities: tuple[int, ...] = (1, 2, 3, 4, 5)
    """How severe they are, from 1 to 5."""
    corruption_files: MaybeFile = None
    """Published corrupted pictures (CIFAR-10-C, CIFAR-100-C, Tiny-ImageNet-C), a folder or tar;
    unset: made on the fly."""
    corruption_pictures: MaybeCount = None
    """At most this many test pictures under corruptions; unset: all."""
    curve_pictures: int = 500
    """At most this many test pictures for the curve of robust accuracy (PGD, one start) over
    radii up to 2 eps; 0: no curve."""
    curve_points: int = 9
    """Radii of that curve, 0 among them."""
    preflight_pictures: int = 256
    """Test pictures on which a network is checked for what makes robustness look higher than it
    is, before it is attacked; 0: no checks."""
    latency: bool = False
    """Also time the forward pass of one picture and of a batch on --device; a time is not the same
    twice, all else is."""
    over_seeds: bool = False
    """The networks are one setting trained with several seeds: also their mean and spread."""
    equal_clean: bool = False
    """Also compare robust accuracy at equal clean accuracy: a copy of each network is fine-tuned
    on clean pictures, and its weights are taken as far there as the best one's accuracy needs."""
    equal_clean_epochs: int = 2
    """Passes over train of that fine-tuning."""
    equal_clean_lr: float = 0.01
    """Its highest learning rate."""
    equal_clean_pictures: MaybeCount = 1000
    """At most this many test pictures for that comparison (PGD, one start); unset: all."""
    devices: int = 1
    """Processes of this machine, a device each; each takes its share of the pictures."""
    compile: bool = False
    """Compile each network for what attacks search with (torch.compile, which needs a C++
    compiler). What they find is judged by the network as it is."""


@dataclass(frozen=True, kw_only=True)
class Ligs(Repeated, Attacker, OnData, FromCheckpoint):
    """Measure how alike the loss's gradients are at a picture and a little beside it (LIGS)."""

    checkpoints: Positional[tuple[File, ...]] = ()
    """Run folders, checkpoints of hardy or hub:OWNER/NAME, compared on the same pictures."""
    v: Literal["gaussian", "uniform", "adversarial"] = "gaussian"
    """What is added to a picture: noise, or what the attack (PGD) adds, whose flags have else
    nothing to say."""
    sigma: MaybePixels = None
    """Standard deviation of gaussian v, bound of uniform v, in pixels; unset: 0.01."""
    draws: int = 1
    """v for each picture, whose cosines are averaged."""
    loss: Literal["ce", "margin"] = "ce"
    """Whose gradients: cross-entropy, or the largest wrong logit less the right one."""
    limit: MaybeCount = None
    """At most this many test pictures; unset: all."""


@dataclass(frozen=True, kw_only=True)
class Features(Run, OnData, FromCheckpoint):
    """Make a data set of a network's robust or non-robust features, for hardy train --data."""

    network: Positional[MaybeFile] = None
    """A run folder, checkpoint of hardy or hub:OWNER/NAME; files from elsewhere by --checkpoint."""
    set: Literal["d_r", "d_nr", "d_det", "d_rand", "conflicting"] = "d_rand"
    """d_r, d_nr: pictures with the features that a robust, or a standard, network has of the
    originals, and their labels; d_det, d_rand: the originals attacked to the next, or a random,
    class, which is their label; conflicting: d_r of --robust attacked to the next class."""
    robust: MaybeFile = None
    """Of conflicting, the robust network whose features are taken first."""
    robust_model: MaybeName = None
    """Its architecture, where it is a file from elsewhere."""
    robust_normalize: MaybeName = None
    """Its input normalisation, as --normalize; unset: as the file says."""
    head: MaybeName = None
    """Classifier layer whose input is the features, where it cannot be found by itself; its name,
    such as fc."""
    inversion_steps: MaybeCount = None
    """Steps towards the features (d_r, d_nr, conflicting); unset: 1000."""
    inversion_step_size: MaybePixels = None
    """Euclidean length of each; unset: 0.1."""
    norm: Norm = "l2"
    """Norm of the attack (d_det, d_rand, conflicting)."""
    eps: MaybePixels = None
    """Its radius; unset: 0.5 in l2, 8/255 in linf."""
    steps: int = 100
    """Gradient steps of the attack."""
    step_size: MaybePixels = None
    """Length of each; unset: 0.1 in l2, else 2.5 eps / steps."""
    format: Literal["npz", "folder"] = "npz"
    """features.npz, in half precision, or the folder features/ of PNGs, whose 8 bits take a part
    of what was done away."""
    provenance: MaybeFile = None
    """Make the set again that this provenance.json (or the run folder that holds it) tells of,
    with the same networks and data; all other settings are in it."""


@dataclass(frozen=True, kw_only=True)
class Why(Criticality):
    """Tell why a classifier is robust, or not, beside a baseline, and what to try next."""

    network: Positional[MaybeFile] = None
    """A run folder, checkpoint of hardy or hub:OWNER/NAME; files from elsewhere by --checkpoint."""
    baseline: MaybeFile = None
    """Network to compare it with on the same pictures, and to try transfer with; unset: none."""
    mrc: bool = True
    """Also measure the criticality of every module."""
    mrc_pictures: int = 256
    """Pictures that it is measured on, drawn from train; 0 takes all."""
    limit: MaybeCount = None
    """At most this many test pictures; unset: all."""
    corruptions: tuple[str, ...] = ("standard",)
    """Common corruptions to measure accuracy under: names, or standard (15), extra (4), all."""
    severities: tuple[int, ...] = (1, 2, 3, 4, 5)
    """How severe they are, from 1 to 5; means over the kinds of corruption need all five."""
    corruption_files: MaybeFile = None
    """Published corrupted pictures (CIFAR-10-C, CIFAR-100-C, Tiny-ImageNet-C), a folder or tar;
    unset: made on the fly."""
    corruption_pictures: MaybeCount = 500
    """At most this many test pictures under corruptions; unset: all."""
    preflight_pictures: int = 256
    """Test pictures on which a network is checked for what makes robustness look higher than it
    is, before it is attacked; 0: no checks."""
    ligs_sigma: MaybePixels = None
    """Standard deviation of the noise of LIGS, in pixels; unset: 0.01."""


@dataclass(frozen=True, kw_only=True)
class Transfer(Repeated, Attacker, OnData, FromCheckpoint):
    """Measure how often adversarial examples of one classifier fool another."""

    surrogates: Positional[tuple[File, ...]] = ()
    """Networks that the examples are made on: run folders, checkpoints of hardy, those that hardy
    train --keep-epochs has left, or hub:OWNER/NAME."""
    targets: tuple[File, ...] = ()
    """Networks that they are shown to; unset: the surrogates themselves."""
    attack: tuple[AttackName, ...] = ("pgd",)
    """Attacks, pgd, fgsm, cw or mi-fgsm, each a matrix of its own, one start. The step of mi-fgsm
    is eps / steps, unless --step-size says."""
    targeted: bool = False
    """Aim each picture at a wrong class, drawn by (seed, picture): only that class is a success."""
    limit: MaybeCount = None
    """At most this many test pictures; unset: all."""


@dataclass(frozen=True, kw_only=True)
class Export(Run, Attacker, OnData, FromCheckpoint):
    """Write a network as a file that runs without hardy, ONNX or torch.export, and check it."""

    network: Positional[MaybeFile] = None
    """A run folder, checkpoint of hardy or hub:OWNER/NAME; files from elsewhere by --checkpoint."""
    format: tuple[Literal["onnx", "torch"], ...] = ("onnx",)
    """onnx writes network.onnx (the extra hardy[export]), torch writes network.pt2; or both."""
    check_pictures: int = 64
    """Test pictures on which each file must give what the network gives, clean and attacked."""


@dataclass(frozen=True, kw_only=True)
class Push:
    """Publish a finished run on the Hugging Face Hub, with a model card of its results."""

    run: Positional[MaybeFile] = None
    """The run folder, of hardy train or hardy rift."""
    target: Positional[MaybeName] = None
    """hub:OWNER/NAME, made if it is not there."""
    private: bool = False
    """Make the repository private."""
    revision: MaybeName = None
    """Branch to publish on, made if it is not there; unset: main."""
    message: MaybeName = None
    """Message of the commit."""
    license: MaybeName = None
    """Licence of the weights by the Hub's identifier, such as mit or apache-2.0; unset: none is
    named."""
    tags: tuple[str, ...] = ()
    """More tags for the model card."""
    dry_run: bool = False
    """Upload nothing: write all that would go into --out and list it."""
    out: MaybeFile = None
    """Folder for --dry-run."""


@dataclass(frozen=True, kw_only=True)
class Demo:
    """See it all on the embedded digits: adversarial training, RiFT, the page."""

    out: File = Path("runs/demo")
    """Run folder, made anew."""
    seed: int = 0
    """Seed of everything random: the same seed gives the same run."""
    device: str = "auto"
    """Where to compute: cpu, cuda …; auto takes a GPU if there is one."""


@dataclass(frozen=True, kw_only=True)
class Report:
    """Draw the page of a finished run again from its results."""

    folder: Positional[File] = field()
    """The run folder, with its results.json."""
