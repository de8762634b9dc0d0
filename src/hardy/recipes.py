"""Published settings: one function a setting, which returns a configuration.

    hardy rift --recipe rift_official --checkpoint at.pt --model resnet18
    hardy.rift(**vars(hardy.recipes.rift_official(checkpoint=Path("at.pt"), model="resnet18")))

Flags that are given beside a recipe win over it. The ones named `…_official` do what the
authors' code does, habits such as choosing on the test split included; their docstrings name
what is still different.
"""

from __future__ import annotations

import difflib
from typing import Any

from hardy import config


def rift_official(**more: Any) -> config.Rift:
    """RiFT as microsoft/robustlearn runs it on CIFAR (Zhu et al., ICCV 2023).

    MRC on the whole test split, with PGD-10 at step 2/225 (a typo for 255, kept), SGD of
    lr 1 over minibatches of 512 projected each epoch; fine-tuning in train mode of every
    parameter whose name contains the module's; one attack run; alpha chosen on test.

    Different from it: the last epoch is kept (theirs: the best on test), a tenth of train is
    left out as val, and a criticality is never below zero.
    """
    return config.Rift(
        **{
            "eps": 8 / 255,
            "step_size": 2 / 255,
            "restarts": 1,
            "mrc_pictures": 0,
            "mrc_split": "test",
            "mrc_ascent": "official",
            "mrc_step_size": 2 / 225,
            "batchnorm": ("reestimated",),
            "trainable": "substring",
            "choose_on": "test",
            "choose_pictures": None,
            **more,
        }
    )


def rift_official_mrc(**more: Any) -> config.Mrc:
    """The criticality measurement of rift_official alone."""
    return config.Mrc(
        **{
            "eps": 8 / 255,
            "step_size": 2 / 255,
            "mrc_pictures": 0,
            "mrc_split": "test",
            "mrc_ascent": "official",
            "mrc_step_size": 2 / 225,
            **more,
        }
    )


def pgd_at_rift(**more: Any) -> config.Train:
    """The adversarial training that RiFT starts from: PGD-10 at 8/255 with step 2/255, 110
    epochs, lr 0.1 and a tenth of it from epochs 100 and 105, batches of 128, weight decay
    5e-4, attacked in eval mode (Pang et al. 2021)."""
    return config.Train(
        **{"model": "resnet18", "eps": 8 / 255, "epochs": 110, "milestones": (100, 105), **more}
    )


def pgd_at_rice(**more: Any) -> config.Train:
    """Rice et al. 2020 (locuslab/robust_overfitting): PreActResNet-18, 200 epochs, a tenth at
    half and three quarters of them, crops of pictures with a reflected border, attacked in
    train mode.

    Different from it: their attack and the clean pictures that they run after each step, both
    in train mode, move BatchNorm's running statistics; ours leave them as they were.
    """
    return config.Train(
        **{
            "model": "preact_resnet18",
            "method_options": ("attack_mode=train",),
            "eps": 8 / 255,
            "epochs": 200,
            "milestones": (100, 150),
            "augment": "reflect",
            **more,
        }
    )


def pgd_at_l2(**more: Any) -> config.Train:
    """The usual l2 setting of Rice et al. 2020: radius 128/255, ten steps of 15/255; otherwise
    pgd_at_rice, with what is different there."""
    return pgd_at_rice(**{"norm": "l2", "eps": 128 / 255, "step_size": 15 / 255, **more})


def trades_official(**more: Any) -> config.Train:
    """TRADES as its authors train WRN-34-10 on CIFAR-10 (yaodongyu/TRADES): radius 0.031, ten
    steps of 0.007, beta 6, weight decay 2e-4, 76 epochs. Their epochs count from 1, so the drop
    'at 75' comes after 74 of them.

    Different from it: their loss runs the clean pictures twice, so BatchNorm's running
    statistics weigh them double; loss and gradients are the same.
    """
    return config.Train(
        **{
            "model": "wrn34_10",
            "method": "trades",
            "method_options": ("beta=6",),
            "normalize": "none",
            "eps": 0.031,
            "step_size": 0.007,
            "epochs": 76,
            "milestones": (74,),
            "weight_decay": 2e-4,
            **more,
        }
    )


def mart_official(**more: Any) -> config.Train:
    """MART as its authors train ResNet-18 (YisenWang/MART): radius 0.031, steps of 0.007, beta 5,
    lr 0.01, weight decay 3.5e-3, 120 epochs, a tenth of the learning rate from their epochs 75,
    90 and 100, which count from 1."""
    return config.Train(
        **{
            "model": "resnet18",
            "method": "mart",
            "method_options": ("beta=5",),
            "normalize": "none",
            "eps": 0.031,
            "step_size": 0.007,
            "lr": 0.01,
            "epochs": 120,
            "milestones": (74, 89, 99),
            "weight_decay": 3.5e-3,
            **more,
        }
    )


def awp_official(**more: Any) -> config.Train:
    """AT-AWP (csdongxian/AWP, which builds on Rice et al.): pgd_at_rice with gamma 0.01.

    Different from it: as in pgd_at_rice. The attack's mode is Rice's; the authors' own script
    could not be read, and in others' copies of it the first batch of each epoch but the first
    is attacked in eval mode.
    """
    return pgd_at_rice(**{"awp": 0.01, **more})


def trades_awp_official(**more: Any) -> config.Train:
    """TRADES-AWP (csdongxian/AWP): WRN-34-10 at 8/255 with steps of 2/255, gamma 0.005 from their
    epoch 10 on, 200 epochs, a tenth of the learning rate from 100 and 150; epochs count from 1.

    Different from it: as in trades_official.
    """
    return config.Train(
        **{
            "model": "wrn34_10",
            "method": "trades",
            "method_options": ("beta=6",),
            "normalize": "none",
            "eps": 8 / 255,
            "step_size": 2 / 255,
            "awp": 0.005,
            "awp_warmup": 9,
            "epochs": 200,
            "milestones": (99, 149),
            **more,
        }
    )


def score_official(**more: Any) -> config.Train:
    """SCORE with a million generated pictures, 0.7 of each batch (P2333/SCORE): beta 4, labels
    smoothed by 0.1, attacked in train mode, batches of 512, lr 0.2 with Nesterov's momentum,
    EMA with decay 0.995, 400 epochs. Give the pictures: --extra-data npz:cifar10_ddpm.npz.

    Different from it: ReLU in the network where theirs has Swish; a cosine without warm-up that
    falls with each step, theirs with each epoch; weight decay on BatchNorm's parameters too and
    PyTorch's momentum of its running statistics, where theirs have none and 0.01.
    """
    return config.Train(
        **{
            "model": "wrn28_10",
            "method": "score",
            "method_options": ("beta=4", "smoothing=0.1", "attack_mode=train"),
            "eps": 8 / 255,
            "step_size": 2 / 255,
            "batch_size": 512,
            "lr": 0.2,
            "nesterov": True,
            "schedule": "cosine",
            "epochs": 400,
            "average": "ema",
            "average_decay": 0.995,
            "extra_fraction": 0.7,
            **more,
        }
    )


def score_no_extra_official(**more: Any) -> config.Train:
    """SCORE without extra pictures, its TRADES form (P2333/SCORE, without_DDPM): PreActResNet-18,
    beta 6, the loss clipped at c = 0.3, attacked in eval mode from normal noise of 0.001, lr
    0.05, 110 epochs."""
    return config.Train(
        **{
            "model": "preact_resnet18",
            "method": "score",
            "method_options": (
                "beta=6",
                "smoothing=0",
                "clip=0.3",
                "start=0.001",
                "attack_mode=eval",
            ),
            "eps": 8 / 255,
            "step_size": 2 / 255,
            "lr": 0.05,
            "epochs": 110,
            "milestones": (100, 105),
            **more,
        }
    )


def fast_at_official(**more: Any) -> config.Train:
    """Fast AT (locuslab/fast_adversarial): PreActResNet-18, one step of 10/255 in train mode,
    15 epochs in which the learning rate rises to 0.2 and falls to 0 in straight lines.

    Different from it: float32 or bfloat16 in place of half precision; their attack, in train
    mode, moves BatchNorm's running statistics, ours leaves them as they were; their start ends
    upwards at the first channel's bound in every normalised channel, ours at eps in each.
    """
    return config.Train(
        **{
            "model": "preact_resnet18",
            "method": "fast_at",
            "method_options": ("alpha=1.25", "attack_mode=train"),
            "eps": 8 / 255,
            "step_size": 2 / 255,
            "lr": 0.2,
            "schedule": "triangular",
            "epochs": 15,
            **more,
        }
    )


def ard_official(**more: Any) -> config.Train:
    """ARD as its authors distil into MobileNetV2 (goldblum/AdversariallyRobustDistillation): alpha
    1, tau 30, divergences averaged over the classes too, attacked in train mode, weight decay
    2e-4, 200 epochs. Their second drop of the learning rate, at 150, repeats the first: it falls
    to a tenth at 100 and stays there. Give the teacher: --teacher FILE.

    Different from it: their attack and an unused pass of the clean pictures move BatchNorm's
    running statistics, and their start may leave the pixel box until the first step.
    """
    return config.Train(
        **{
            "model": "mobilenetv2",
            "method": "ard",
            "method_options": ("temperature=30", "alpha=1", "reduction=mean", "attack_mode=train"),
            "normalize": "none",
            "eps": 8 / 255,
            "step_size": 2 / 255,
            "epochs": 200,
            "milestones": (100,),
            "weight_decay": 2e-4,
            **more,
        }
    )


def iad_official(**more: Any) -> config.Train:
    """IAD-I as its authors distil into ResNet-18 (ZFancy/IAD): tau 1, beta 0.1, the student asked
    from epoch 60 of 200 on, the teacher's own term not weighed, attacked in train mode, weight
    decay 2e-4. The learning rate falls once, at 100, as in ard_official. Give the teacher:
    --teacher FILE.

    Different from it: as in ard_official.
    """
    options = ("temperature=1", "beta=0.1", "warmup=0.3", "attack_mode=train")
    return ard_official(**{"model": "resnet18", "method": "iad", "method_options": options, **more})


def iad2_official(**more: Any) -> config.Train:
    """IAD-II (ZFancy/IAD): a quarter of the loss is the labels', a quarter a naturally trained
    teacher's, half the robust teacher's and the student's own, weighed by A from epoch 40 of 200
    on; both teachers are asked on x'. Otherwise iad_official. Give both: --teacher robust=FILE
    --teacher natural=FILE.

    Different from it: as in ard_official.
    """
    options = (
        *("temperature=1", "beta=0.1", "warmup=0.2", "attack_mode=train", "weighted=true"),
        *("target=adversarial", "labels=0.25", "natural=0.25"),
    )
    return iad_official(**{"method_options": options, **more})


def rslad_official(**more: Any) -> config.Train:
    """RSLAD as its authors distil into ResNet-18 (zibojia/RSLAD): 5/6 and 1/6, tau 1, divergences
    averaged over the classes too with 1e-5 in the teacher's logarithm, weight decay 2e-4, 300
    epochs, a tenth of the learning rate after 215, 260 and 285 of them. Give the teacher:
    --teacher FILE.
    """
    return config.Train(
        **{
            "model": "resnet18",
            "method": "rslad",
            "method_options": ("robust=5/6", "reduction=mean", "log_constant=1e-5"),
            "normalize": "none",
            "eps": 8 / 255,
            "step_size": 2 / 255,
            "epochs": 300,
            "milestones": (215, 260, 285),
            "weight_decay": 2e-4,
            **more,
        }
    )


def adaad_official(**more: Any) -> config.Train:
    """AdaAD on CIFAR-10 as in the paper (boyellow/AdaAD): alpha 1, tau 1, divergences averaged over
    the classes too (on CIFAR-100 over the pictures alone: reduction=batchmean), radius 8/255 in
    ten steps of 2/255, 200 epochs, a tenth of the learning rate from 100 and 150. Their command
    line's own radius is 16/255 with steps of 4/255: --eps 16/255 --step-size 4/255 --eval-eps
    8/255. Give the teacher: --teacher FILE.

    Different from it: an unused pass of the clean pictures moves their BatchNorm's statistics.
    """
    return config.Train(
        **{
            "model": "resnet18",
            "method": "adaad",
            "method_options": ("alpha=1", "reduction=mean"),
            "normalize": "none",
            "eps": 8 / 255,
            "step_size": 2 / 255,
            "epochs": 200,
            "milestones": (100, 150),
            **more,
        }
    )


def adaiad_official(**more: Any) -> config.Train:
    """AdaIAD (boyellow/AdaAD, its method AdaAD_with_IAD1): tau 30, beta 0.1, the student asked
    from epoch 60 of 200 on, divergences averaged over the pictures alone. Otherwise
    adaad_official.

    Different from it: as in adaad_official, and until epoch 60 only.
    """
    options = ("temperature=30", "beta=0.1", "warmup=0.3")
    return adaad_official(**{"method": "adaiad", "method_options": options, **more})


def twins_at_official(**more: Any) -> config.Train:
    """TWINS-AT as its authors fine-tune a robust ImageNet ResNet-50 on CIFAR (Liu et al., CVPR
    2023): lambda 1, pictures of 32x32 resized to 224 inside the network, radius 8/255 in ten steps
    of 2/255, lr 0.003 and a tenth of it from epochs 30 and 50 of 60, weight decay 1e-5, no probing
    and no warm-up. Give the start: --checkpoint FILE --model timm:resnet50. On their larger
    pictures (Caltech-256, CUB, Dogs) they take lambda 0.4 and weight decay 1e-3.

    Different from it: an odd batch leaves its middle picture to the adaptive wing, and on several
    GPUs labels stay with their pictures.
    """
    return config.Train(
        **{
            "method": "twins",
            "method_options": ("variant=at", "lam=1"),
            "num_classes": "auto",
            "input_size": 224,
            "eps": 8 / 255,
            "step_size": 2 / 255,
            "epochs": 60,
            "milestones": (30, 50),
            "lr": 0.003,
            "weight_decay": 1e-5,
            **more,
        }
    )


def twins_trades_official(**more: Any) -> config.Train:
    """TWINS-TRADES by the same authors: beta 6 of divergences that are summed over a wing's half
    of the batch and divided by all of it, so 3 of their means; x' ascends cross-entropy. Otherwise
    twins_at_official, with what is different there."""
    options = ("variant=trades", "lam=1", "beta=6", "kl_scale=authors")
    return twins_at_official(**{"method_options": options, **more})


def twins_normalised(**more: Any) -> config.Train:
    """twins_at_official with its loss divided by 1 + lambda: the gradient, and so the step, is as
    long as that of at_finetune at the same learning rate."""
    return twins_at_official(
        **{"method_options": ("variant=at", "lam=1", "normalised=true"), **more}
    )


def at_finetune(**more: Any) -> config.Train:
    """Plain adversarial fine-tuning on the schedule of twins_at_official, to compare with: without
    the frozen wing. Give the start as there."""
    return twins_at_official(**{"method": "pgd_at", "method_options": (), **more})


def at_double_lr(**more: Any) -> config.Train:
    """at_finetune at twice the learning rate: the control for the data gradient of
    twins_at_official, which at lambda 1 is the sum of two. It doubles the pull of weight decay
    too, which TWINS does not."""
    return at_finetune(**{"lr": 0.006, **more})


RECIPES = {
    f.__name__: f
    for f in (
        rift_official,
        rift_official_mrc,
        pgd_at_rift,
        pgd_at_rice,
        pgd_at_l2,
        trades_official,
        mart_official,
        awp_official,
        trades_awp_official,
        score_official,
        score_no_extra_official,
        fast_at_official,
        ard_official,
        iad_official,
        iad2_official,
        rslad_official,
        adaad_official,
        adaiad_official,
        twins_at_official,
        twins_trades_official,
        twins_normalised,
        at_finetune,
        at_double_lr,
    )
}


def recipe(name: str, kind: type) -> Any:
    """The configuration of a recipe, for the verb whose configuration is of that kind.

    Raises ValueError for an unknown name or a recipe of another verb.
    """
    if name not in RECIPES:
        near = difflib.get_close_matches(name, RECIPES, n=1, cutoff=0.3)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise ValueError(f"no recipe {name!r}: there are {', '.join(RECIPES)}{hint}")
    found = RECIPES[name]()
    if not isinstance(found, kind):
        verb = type(found).__name__.lower()
        raise ValueError(f"the recipe {name} is for hardy {verb}, not {kind.__name__.lower()}")
    return found
