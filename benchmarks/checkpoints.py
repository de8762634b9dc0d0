"""The published figures of three robust checkpoints, measured again on the same pictures.

    python benchmarks/checkpoints.py --shared FOLDER

FOLDER holds checkpoints/ and data/. The figures were given for the *first* n pictures of a test
set, so those are taken here (`hardy evaluate --limit` takes a stratified sample). Steps are
2.5 eps / steps long, except for the last network, whose 2/255 is the same at 8/255 and ten steps.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from hardy.attacks.pgd import PGD
from hardy.data.load import load_data
from hardy.data.splits import DataSet, Split
from hardy.evaluation.robustness import Protocol, judge
from hardy.evaluation.statistics import wilson
from hardy.models.load import load
from hardy.threat import Linf

# file, network, published clean accuracy and the number of pictures, and of each attack:
# pictures, radius, steps, restarts, published robust accuracy
FIGURES = (
    (
        "cifar10_resnet2b.pth",
        "resnet2b",
        (70.4, 1017),
        (
            (512, 1 / 255, 20, 1, 62.1),
            (512, 2 / 255, 20, 1, 55.3),
            (512, 8 / 255, 20, 1, 18.4),
        ),
    ),
    (
        "mnist_trades_smallcnn.pt",
        "mnist_cnn",
        (99.48, 10_000),
        ((1000, 0.1, 40, 1, 98.5), (1000, 0.3, 40, 1, 93.4)),
    ),
    (
        "cifar10_thin_resnet18_pgd_at.pth",
        "thin_resnet18",
        (67.3, 1017),
        ((1017, 8 / 255, 10, 3, 41.0),),
    ),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shared", type=Path, required=True)
    shared: Path = parser.parse_args().shared
    lossless = load_data("cifar10", shared / "data" / "cifar-10-python-head.tar.gz").test
    # Only the test files of MNIST are there, so they were cut in three.
    digits = in_order(load_data("mnist", shared / "data"))

    print(f"{'checkpoint':34}{'measured':34}{'published':>10}{'ours, with 95 % interval':>30}")
    for file, model, (clean, n), attacks in FIGURES:
        normalize = "none" if model == "mnist_cnn" else "cifar10"
        net = load(shared / "checkpoints" / file, model=model, normalize=normalize)
        pictures = digits if model == "mnist_cnn" else lossless
        with torch.no_grad():
            some = pictures.take(slice(0, n))
            right = sum(
                int((net(some.pixels(rows)).argmax(1) == some.labels[rows]).sum())
                for rows in (slice(i, i + 256) for i in range(0, n, 256))
            )
        show(file, f"clean, {n} pictures", clean, right, n)
        for n, eps, steps, restarts, published in attacks:
            protocol = Protocol(PGD(Linf(eps), steps), restarts)
            verdicts = judge(net, pictures.take(slice(0, n)), protocol)
            what = f"PGD-{steps} worst of {restarts}, {protocol.attack.threat!r}"
            show("", what, published, int(verdicts.robust.sum()), n)


def in_order(data: DataSet) -> Split:
    """All pictures of a set in the order of its file."""
    parts = (data.train, data.val, data.test)
    order = torch.cat([part.index for part in parts]).argsort()
    return Split(
        torch.cat([part.images[:] for part in parts])[order],
        torch.cat([part.labels for part in parts])[order],
        torch.arange(len(order)),
        data.name,
    )


def show(file: str, what: str, published: float, right: int, n: int) -> None:
    low, high = wilson(right, n)
    ours = f"{100 * right / n:.2f} [{100 * low:.1f}, {100 * high:.1f}]"
    print(f"{file:34}{what:34}{published:>10}{ours:>30}")


if __name__ == "__main__":
    main()
