"""The metadata on top of a model card, as the Hub reads it: YAML with the measured accuracies."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hardy.evaluation.results import Measurement, Results
from hardy.reporting.tables import is_final
from hardy.reporting.wording import attack

# The sets that the Hub has under names of its own.
ON_HUB = {
    "cifar10": "uoft-cs/cifar10",
    "cifar100": "uoft-cs/cifar100",
    "mnist": "ylecun/mnist",
    "tiny-imagenet": "zh-plus/tiny-imagenet",
}
# What YAML takes for the end of a line, or does not allow at all.
_UNPRINTABLE = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")


@dataclass(frozen=True)
class About:
    """What a card says beside the results.

    repo: owner/name. architecture: as the weights file describes it (model, num_classes,
    in_channels …). own_code: whether its network is not one that a name alone builds again.
    classes: their names in the order of the logits, or none. image_size: height and width of the
    pictures that it was made with, None where that is not known. setting: the run's config.json.
    license: an identifier of the Hub's, or None. tags: more of them.
    """

    repo: str
    architecture: Mapping[str, Any]
    own_code: bool
    classes: Sequence[str]
    image_size: int | None
    setting: Mapping[str, Any]
    license: str | None
    tags: Sequence[str]

    @property
    def name(self) -> str:
        """The name of the repository without its owner."""
        return self.repo.rpartition("/")[2]


def published(results: Results) -> list[Measurement]:
    """The accuracies of the network in best.safetensors: of RiFT its result, of training that of
    the best epoch, averaged where the mean of the weights was kept."""
    finals = [
        m
        for m in results.measurements
        if is_final(m) and not {"last", "teacher"} & m.setting.keys()
    ]
    subjects = dict.fromkeys(m.subject for m in finals)
    subject = "result" if "result" in subjects else next(iter(subjects), "")
    return [m for m in finals if m.subject == subject]


def metadata(results: Results, about: About) -> str:
    """The lines between the two `---`."""
    data, method = str(results.facts.get("data", "")), str(about.setting.get("method", ""))
    tags = ["adversarial-robustness", results.verb, *([method] if method.isidentifier() else [])]
    found: dict[str, Any] = {"library_name": "hardy", "pipeline_tag": "image-classification"}
    if about.license:
        found["license"] = about.license
    found["tags"] = list(dict.fromkeys([*tags, *about.tags]))
    if data in ON_HUB:
        found["datasets"] = [ON_HUB[data]]
    by_split: dict[str, list[Measurement]] = {}
    for m in published(results):
        by_split.setdefault(m.split, []).append(m)
    if by_split:
        tested = [_tested(data, split, measured) for split, measured in by_split.items()]
        found["model-index"] = [{"name": about.name, "results": tested}]
    return _yaml(found)


def _tested(data: str, split: str, measured: Sequence[Measurement]) -> dict[str, Any]:
    kind = ON_HUB.get(data) or re.sub(r"[^a-z0-9]+", "-", data.lower()).strip("-") or "unnamed"
    return {
        "task": {"type": "image-classification"},
        "dataset": {"name": data or "unnamed", "type": kind, "split": split},
        "metrics": [
            {"type": "accuracy", "name": _metric(m), "value": round(100 * m.value, 2)}
            for m in measured
        ],
    }


def _metric(m: Measurement) -> str:
    against = attack(m.setting) if m.quantity == "robust accuracy" else ""
    return f"{m.quantity}, %{f' ({against})' if against else ''}"


def _yaml(value: Mapping[str, Any], indent: str = "") -> str:
    """A mapping in YAML's block style. Its names are our own; texts are quoted as in JSON."""
    lines = []
    for name, each in value.items():
        if isinstance(each, Mapping):
            lines += [f"{indent}{name}:", _yaml(each, indent + "  ")]
        elif isinstance(each, list):
            lines += [f"{indent}{name}:", *(_item(one, indent) for one in each)]
        else:
            lines.append(f"{indent}{name}: {_scalar(each)}")
    return "\n".join(lines)


def _item(value: Any, indent: str) -> str:
    if not isinstance(value, Mapping):
        return f"{indent}- {_scalar(value)}"
    return f"{indent}- {_yaml(value, indent + '  ').lstrip()}"


def _scalar(value: Any) -> str:
    quoted = json.dumps(value, ensure_ascii=False, allow_nan=False)
    return _UNPRINTABLE.sub(lambda found: f"\\u{ord(found[0]):04x}", quoted)
