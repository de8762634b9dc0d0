"""The papers of the methods, for whoever uses a network that one of them made."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

PAPERS = {
    "pgd_at": "Madry et al., *Towards Deep Learning Models Resistant to Adversarial Attacks*, "
    "ICLR 2018 (arXiv 1706.06083)",
    "trades": "Zhang et al., *Theoretically Principled Trade-off between Robustness and Accuracy*, "
    "ICML 2019 (arXiv 1901.08573)",
    "mart": "Wang et al., *Improving Adversarial Robustness Requires Revisiting Misclassified "
    "Examples*, ICLR 2020",
    "score": "Pang et al., *Robustness and Accuracy Could Be Reconcilable by (Proper) Definition*, "
    "ICML 2022 (arXiv 2202.10103)",
    "fast_at": "Wong et al., *Fast Is Better than Free: Revisiting Adversarial Training*, "
    "ICLR 2020 (arXiv 2001.03994)",
    "ard": "Goldblum et al., *Adversarially Robust Distillation*, AAAI 2020 (arXiv 1905.09747)",
    "iad": "Zhu et al., *Reliable Adversarial Distillation with Unreliable Teachers*, "
    "ICLR 2022 (arXiv 2106.04928)",
    "rslad": "Zi et al., *Revisiting Adversarial Robustness Distillation: Robust Soft Labels Make "
    "Student Better*, ICCV 2021 (arXiv 2108.07969)",
    "adaad": "Huang et al., *Boosting Accuracy and Robustness of Student Models via Adaptive "
    "Adversarial Distillation*, CVPR 2023",
    "twins": "Liu et al., *TWINS: A Fine-Tuning Framework for Improved Transferability of "
    "Adversarial Robustness and Generalization*, CVPR 2023",
    "awp": "Wu et al., *Adversarial Weight Perturbation Helps Robust Generalization*, "
    "NeurIPS 2020 (arXiv 2004.05884)",
    "rift": "Zhu et al., *Improving Generalization of Adversarial Training via Robust Critical "
    "Fine-Tuning*, ICCV 2023",
}
SAME = {"adaiad": "adaad"}  # the paper that proposed both


def papers(verb: str, setting: Mapping[str, Any]) -> list[str]:
    """The papers of what a run did, by its verb and its arguments; none for a method of the
    user's own."""
    method = str(setting.get("method", ""))
    names = ["rift"] if verb == "rift" else [SAME.get(method, method)]
    names += ["awp"] if setting.get("awp") else []
    return [PAPERS[name] for name in names if name in PAPERS]
