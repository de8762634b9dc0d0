"""Every warning by a network that deserves it, silence on those that do not."""

from __future__ import annotations

from math import comb
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from hardy.data.load import load_data
from hardy.data.loader import Batch
from hardy.data.splits import Split
from hardy.draws import Draws
from hardy.evaluation.checks import gradients, labels, masking
from hardy.evaluation.checks.gradients import Slopes
from hardy.evaluation.preflight import check_pixels, preflight, too_few
from hardy.evaluation.results import Finding
from hardy.models.load import read_checkpoint
from hardy.models.normalize import Normalize
from hardy.threat import L2, Linf, Threat
from suspicious_nets import (
    CLASSES,
    After,
    Before,
    Blocks,
    Clamped,
    NoGradient,
    Noisy,
    PartlyDetached,
    Permuted,
    Rounded,
    Wavy,
    block_pictures,
)

SHARED = Path(__file__).resolve().parents[3] / "shared"
EPS = 20 / 255
LARGE = "stands at a large radius"
HALF = Normalize([0.5], [0.5])


@pytest.fixture(scope="module")
def pictures() -> Split:
    return block_pictures()


def checked(net: nn.Module, split: Split, threat: Threat | None = None, **more) -> dict[str, str]:
    """What is found, and how it is graded."""
    torch.manual_seed(0)
    found = preflight(net, split, threat or Linf(EPS), num_classes=CLASSES, **more)
    assert len({finding.check for finding in found}) == len(found)
    return {finding.check: finding.grade for finding in found}


def only(net: nn.Module, split: Split, check: str, threat: Threat | None = None) -> Finding:
    found = preflight(net, split, threat or Linf(EPS), num_classes=CLASSES)
    return next(finding for finding in found if finding.check == check)


def batchnorm(**more: bool) -> nn.Module:
    return Before(nn.BatchNorm2d(1, **more))


@pytest.mark.parametrize("threat", [Linf(EPS / 10), Linf(EPS), Linf(2 * EPS), L2(0.5)], ids=repr)
def test_an_honest_network_is_left_in_peace(pictures: Split, threat: Threat) -> None:
    assert checked(Blocks().eval(), pictures, threat) == {}


def test_nor_in_half_precision(pictures: Split) -> None:
    assert checked(Blocks().eval(), pictures, precision="bf16") == {}


@pytest.mark.parametrize(
    ("net", "expected"),
    [
        (
            Blocks(3e5),
            {"saturated loss": "serious", "black box wins": "serious", LARGE: "serious"},
        ),
        (
            Before(Rounded()),
            {
                "rounded input": "mild",
                "zero gradients": "fatal",
                "black box wins": "serious",
                LARGE: "serious",
            },
        ),
        (Before(Clamped()), {"clamped input": "mild"}),
        (Before(Noisy(0.05)), {"randomised forward": "serious"}),
        (Before(Noisy(0.0003)), {"randomised forward": "mild"}),
        (
            Before(Wavy(-3)),
            {"misleading gradients": "serious", "black box wins": "serious"},
        ),
        (Before(NoGradient()), {"no gradient": "fatal"}),
        (After(Permuted(*range(1, CLASSES), 0)), {"labels do not match": "fatal"}),
        (After(Permuted(1, 0, *range(2, CLASSES))), {"labels do not match": "serious"}),
        (Before(Clamped(95, 255), Blocks(0.1)), {"pixel range": "fatal"}),
        (Blocks(0), {"accuracy at chance": "fatal"}),
        (After(nn.LogSoftmax(1)), {"probabilities": "mild"}),
        (After(nn.Softmax(1)), {"probabilities": "serious"}),
        (
            batchnorm(track_running_stats=False),
            {"no running statistics": "serious", "depends on the batch": "serious"},
        ),
    ],
    ids=lambda value: ", ".join(value) if isinstance(value, dict) else "",
)
def test_what_a_network_deserves_is_found_and_nothing_else(
    pictures: Split, net: nn.Module, expected: dict[str, str]
) -> None:
    assert checked(net.eval(), pictures) == expected


@pytest.mark.parametrize(
    ("net", "threat", "check", "grade"),
    [
        (Blocks(150), Linf(100 / 255), "saturated loss", "mild"),
        (Before(Wavy(20)), Linf(30 / 255), "single step wins", "serious"),
        (Before(PartlyDetached(0.332)), Linf(EPS), "zero gradients", "mild"),
        (Before(PartlyDetached(0.336)), Linf(EPS), "zero gradients", "serious"),
        (Before(Rounded()), L2(0.5), LARGE, "serious"),
        (
            Before(nn.Sequential(HALF, HALF, Clamped(-1, 0.3))),
            Linf(EPS),
            "pixel range",
            "serious",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_a_network_deserves_is_found_among_other_things(
    pictures: Split, net: nn.Module, threat: Threat, check: str, grade: str
) -> None:
    assert checked(net.eval(), pictures, threat)[check] == grade


def test_train_mode_is_told_and_given_back(pictures: Split) -> None:
    norm, blocks = nn.BatchNorm2d(1), Blocks().eval()
    net = nn.Sequential(norm, blocks, nn.Dropout(0.5))
    blocks.scale.requires_grad_(False)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    modes = [module.training for module in net.modules()]
    state = torch.get_rng_state()
    found = preflight(net, pictures, Linf(EPS), num_classes=CLASSES, subject="mine")
    assert [(f.check, f.grade, f.subject) for f in found] == [("train mode", "mild", "mine")]
    assert found[0].evidence == {"BatchNorm": 1, "dropout": 1}
    assert [module.training for module in net.modules()] == modes
    assert [p.requires_grad for p in net.parameters()] == [True, True, False]
    assert all(p.grad is None for p in net.parameters())
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)


def test_transfer_from_another_network(pictures: Split) -> None:
    others = {"an honest one": Blocks()}
    assert checked(Blocks().eval(), pictures, transfer=others) == {}
    found = preflight(
        Before(Rounded()).eval(), pictures, Linf(EPS), num_classes=CLASSES, transfer=others
    )
    finding = next(finding for finding in found if finding.check == "transfer wins")
    assert finding.grade == "serious" and "an honest one" in finding.sentence


def test_findings_do_not_hang_on_the_batch_size(pictures: Split) -> None:
    net = Before(Wavy(-3)).eval()
    assert checked(net, pictures, batch_size=50) == checked(net, pictures)


def test_only_so_many_pictures_are_looked_at(pictures: Split) -> None:
    seen = []
    net = Blocks().eval()
    net.register_forward_pre_hook(lambda _, args: seen.append(len(args[0])))
    checked(net, pictures, pictures=40)
    assert max(seen) == 40 and sum(seen) < 400 * 40


def test_sentences_hold_the_numbers_and_the_way_out(pictures: Split) -> None:
    finding = only(After(Permuted(*range(1, CLASSES), 0)), pictures, "labels do not match")
    assert "output = label + 7, modulo 8" in finding.sentence
    assert finding.evidence["right"] == 0 and finding.evidence["permuted"] == 256
    finding = only(After(Permuted(1, 0, *range(2, CLASSES))), pictures, "labels do not match")
    assert "(label 0 is output 1, label 1 is output 0;" in finding.sentence
    finding = only(Before(Clamped(95, 255), Blocks(0.1)), pictures, "pixel range")
    assert "--normalize 0/0.003921569" in finding.sentence
    net = Before(nn.Sequential(HALF, HALF, Clamped(-1, 0.3)))
    assert "--normalize none" in only(net, pictures, "pixel range").sentence
    finding = only(Before(Rounded()), pictures, LARGE, L2(0.5))
    assert finding.evidence["eps"] == 4, "half the diagonal of 64 pixels"


@pytest.mark.parametrize(
    ("zeros", "grade"),
    [(0, None), (1, "mild"), (9, "mild"), (10, "serious"), (89, "serious"), (90, "fatal")],
)
def test_zero_gradients_by_their_share(zeros: int, grade: str | None) -> None:
    grad = (torch.arange(100) >= zeros).float().view(-1, 1, 1, 1) * 1e-30
    at = Slopes(torch.ones(100), -torch.ones(100), grad, grad)
    finding = gradients.zero_gradients(at)
    assert (finding and finding.grade) == grade
    assert not at.saturated.any(), "what has no gradient at all is not the softmax's doing"


@pytest.mark.parametrize(
    ("saturated", "blind", "grade"),
    [(9, 9, None), (10, 9, "mild"), (9, 10, "serious"), (100, 0, "mild")],
)
def test_saturated_loss_by_its_share(saturated: int, blind: int, grade: str | None) -> None:
    ce = (torch.arange(100) >= saturated).float()
    some = torch.ones(100, 1, 1, 1)
    finding = gradients.saturated_loss(
        Slopes(ce, -torch.ones(100), some, some), torch.arange(100) < blind
    )
    assert (finding and finding.grade) == grade


def test_float32_underflows_where_it_is_said_to() -> None:
    """exp(-17) is below half an ulp of 1, exp(-104) below the smallest float32."""
    logits = torch.tensor([[16.0], [18.0], [100.0], [106.0]])

    def forward(x: Tensor) -> Tensor:
        return torch.cat([logits + x.flatten(1), torch.zeros(4, 1)], 1)

    y = torch.zeros(4, dtype=torch.int64)
    at = gradients.slopes(forward, torch.zeros(4, 1, 1, 1), y, 4)
    assert at is not None
    assert at.saturated.tolist() == [False, True, True, True]
    assert not at.flat.any()
    assert at.margin.tolist() == [-16, -18, -100, -106]


def sure(hits: int, n: int, share: float) -> bool:
    """Whether so many hits have a chance below 1 %, summed by hand."""
    return sum(comb(n, k) * share**k * (1 - share) ** (n - k) for k in range(hits, n + 1)) < 0.01


@pytest.mark.parametrize("n", [10, 64, 253])
def test_wins_beyond_chance(n: int) -> None:
    grades = []
    for hits in range(n + 1):
        finding = masking.transfer_wins("another", torch.arange(n) < hits)
        expected = "serious" if sure(hits, n, 0.1) else "mild" if sure(hits, n, 0.02) else None
        assert (finding and finding.grade) == expected
        grades.append(expected)
    assert {None, "mild", "serious"} == set(grades)


@pytest.mark.parametrize(("fgsm", "pgd", "found"), [(7, 0, True), (6, 0, False), (9, 3, False)])
def test_single_step_must_win_beyond_chance(fgsm: int, pgd: int, found: bool) -> None:
    """1/128 and 1/64; 299/4096."""
    by_fgsm = torch.arange(40) < fgsm
    by_pgd = torch.arange(40) >= 40 - pgd
    both = torch.arange(40) == 20
    assert (masking.single_step_wins(by_fgsm | both, by_pgd | both) is not None) is found


def test_labels_that_fit_by_luck_are_not_found() -> None:
    """With few pictures a class, the best pairing of any guesses is right on a third of them."""
    draws = Draws(0, 0, torch.arange(256))
    guesses = nn.functional.one_hot(draws.integers(60, (), "said"), 60).float()
    y = draws.integers(60, (), "y")
    pairs = labels._assignment(y, guesses.argmax(1), 60)
    lucky = (pairs[y] == guesses.argmax(1)).float().mean()
    assert lucky > (guesses.argmax(1) == y).float().mean() + 2 * labels.LEAST_GAIN
    paired = labels.rightly_paired(guesses, y)
    assert labels.permuted_labels(guesses, y, paired) is None


def test_more_outputs_than_classes(pictures: Split) -> None:
    """An output of its own for the background moves every label by one."""
    net = After(nn.ZeroPad2d((1, 0, 0, 0)))
    finding = only(net.eval(), pictures, "labels do not match")
    assert finding.grade == "fatal" and "output = label + 1" in finding.sentence


def test_few_pictures_are_not_at_chance() -> None:
    logits, y = torch.eye(2).repeat(25, 1), torch.tensor([0, 0, 1, 1]).repeat(13)[:50]
    assert labels.at_chance(logits[:48], y[:48]) is None
    finding = labels.at_chance(logits, y)
    assert finding is not None and finding.grade == "fatal"
    assert labels.at_chance(logits, torch.zeros_like(y)) is None, "a class alone tells nothing"


@pytest.mark.parametrize(("deaf", "grade"), [(7, None), (10, "mild"), (40, "serious")])
def test_large_radius_by_how_many_stand(deaf: int, grade: str | None) -> None:
    """Of 64 pictures of two pixels some, marked by a first pixel that the attack cannot turn
    grey enough, are deaf to the second, which decides all others."""
    x = torch.full((64, 1, 1, 2), 0.5)
    x[:, 0, 0, 0] = (torch.arange(64) < deaf).float()
    index = torch.arange(64)
    batch = Batch(x, torch.zeros_like(index), index, Draws(0, 0, index))

    def forward(z: Tensor) -> Tensor:
        mark, score = z[:, 0, 0, :1].detach() > 0.49, z[:, 0, 0, 1:] - 0.4
        return torch.cat([torch.where(mark, 1 + 0 * score, score), 0 * score], 1)

    finding = masking.stands_at_large_radius(forward, batch, Linf(EPS), 64, None)
    assert (finding and finding.grade) == grade
    assert finding is None or finding.evidence["standing"] == deaf


@pytest.mark.parametrize(
    ("n", "grade"), [(1000, None), (999, "mild"), (100, "mild"), (99, "serious"), (0, "serious")]
)
def test_too_few(n: int, grade: str | None) -> None:
    finding = too_few(n, "all")
    assert (finding and finding.grade) == grade
    assert finding is None or (finding.subject, finding.evidence) == ("all", {"n": n})


def test_too_few_says_how_far_off() -> None:
    """Wilson's half width at 50 of 100: 1.96 sqrt(.0025 + .0096) / 1.0384 ... 9.6 points."""
    finding = too_few(100)
    assert finding is not None and "±9.6 points" in finding.sentence


@pytest.mark.parametrize(
    ("x", "grade", "said"),
    [
        (torch.tensor([0.0, 1.0]), None, ""),
        (torch.zeros(3), None, ""),
        (torch.zeros(0), None, ""),
        (torch.tensor([0, 255], dtype=torch.uint8), "fatal", "torch.uint8"),
        (torch.tensor([0.0, 255.0]), "fatal", "divide them by 255"),
        (torch.tensor([-2.1, 2.6]), "fatal", "normalisation"),
        (torch.tensor([0.0, float("nan")]), "fatal", "NaN"),
        (torch.tensor([0.0, 1 / 255]), "serious", "twice"),
    ],
)
def test_check_pixels(x: Tensor, grade: str | None, said: str) -> None:
    finding = check_pixels(x)
    assert (finding and finding.grade) == grade
    assert finding is None or said in finding.sentence


def test_what_cannot_be_checked(pictures: Split) -> None:
    with pytest.raises(ValueError, match="no pictures"):
        preflight(Blocks(), pictures.take(slice(0, 0)), Linf(EPS), num_classes=CLASSES)
    with pytest.raises(ValueError, match="8 outputs, the data 10 classes"):
        preflight(Blocks(), pictures, Linf(EPS), num_classes=10)
    with pytest.raises(ValueError, match="NaN"):
        preflight(Blocks(float("nan")), pictures, Linf(EPS), num_classes=CLASSES)


def slow(*case: object) -> object:
    return pytest.param(*case, marks=pytest.mark.slow)


# Networks that their authors trained to be robust.
CIFAR, MNIST = ("cifar10", "cifar-10-python-head.tar.gz"), ("mnist", ".")
RESNET2B = ("cifar10_resnet2b.pth", "resnet2b", None)
THIN = ("cifar10_thin_resnet18_pgd_at.pth", "thin_resnet18", "cifar10")
UNNORMALISED = ("cifar10_thin_resnet18_pgd_at.pth", "thin_resnet18", "none")
SMALL_CNN = ("mnist_trades_smallcnn.pt", "mnist_cnn", None)


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs the shared checkpoints")
@pytest.mark.parametrize(
    ("data", "checkpoint", "threat", "expected"),
    [
        (CIFAR, RESNET2B, Linf(8 / 255), {}),
        slow(CIFAR, RESNET2B, Linf(2 / 255), {}),
        slow(CIFAR, RESNET2B, L2(0.5), {}),
        slow(CIFAR, THIN, Linf(8 / 255), {}),
        slow(CIFAR, UNNORMALISED, Linf(8 / 255), {"pixel range": "fatal"}),
        slow(MNIST, SMALL_CNN, Linf(0.1), {}),
        slow(MNIST, SMALL_CNN, Linf(0.3), {}),
        # Trained for Linf, it masks gradients in L2, as is known of such networks on MNIST.
        slow(MNIST, SMALL_CNN, L2(2), {"black box wins": "mild"}),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else str(value),
)
def test_robust_checkpoints(
    data: tuple[str, str],
    checkpoint: tuple[str, str, str | None],
    threat: Threat,
    expected: dict[str, str],
) -> None:
    file, model, normalize = checkpoint
    net = read_checkpoint(SHARED / "checkpoints" / file, model=model, normalize=normalize).model
    test = load_data(data[0], SHARED / "data" / data[1]).test
    found = preflight(net, test, threat, num_classes=10)
    assert {finding.check: finding.grade for finding in found} == expected
