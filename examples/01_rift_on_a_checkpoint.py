"""RiFT on a robust checkpoint: more clean accuracy at the same robustness.

    python examples/01_rift_on_a_checkpoint.py

Half a minute on one core. The checkpoint is trained here, on scikit-learn's digits, so that
there is something to start from; with a file of your own, leave the first step out:

    hardy.rift(checkpoint=Path("robust.pth"), model="resnet18", data="cifar10", eps=8 / 255)
"""

from pathlib import Path

import torch

import hardy


def main(folder: Path = Path("runs/example-1"), epochs: int = 8) -> None:
    # What the attacker may do must be the same in training, fine-tuning and evaluation.
    setting = {"data": "digits", "val_fraction": 0.2, "eps": 0.2}

    hardy.train(
        **setting,
        method="pgd_at",
        model="small_resnet",
        epochs=epochs,
        schedule="onecycle",
        lr=0.2,
        batch_size=64,
        out=folder / "robust",
    )
    results = hardy.rift(
        **setting,
        checkpoint=folder / "robust",
        choose="both",
        k=2,
        lr=(0.03,),
        epochs=3,
        mrc_pictures=256,
        out=folder / "rift",
    )
    for quantity in ("clean accuracy gain", "robust accuracy gain"):
        gain = results.one(quantity, subject="result")
        low, high = gain.interval or (float("nan"), float("nan"))
        print(f"{quantity}: {100 * gain.value:+.2f} points [{100 * low:.1f}, {100 * high:.1f}]")

    # A plain torch.nn.Module from pixels in [0, 1] to logits, in eval mode.
    network = hardy.load(folder / "rift")
    test = hardy.load_data("digits").test
    with torch.no_grad():
        probabilities = network(test.pixels(slice(0, 1))).softmax(1)
    print(
        f"a picture of a {int(test.labels[0])} is a {int(probabilities.argmax())} "
        f"with probability {float(probabilities.max()):.2f}"
    )
    print(f"the page: {folder / 'rift' / 'report.html'}")


if __name__ == "__main__":
    main()
