"""hardy: robust image classifiers that still generalise.

    import hardy

    results = hardy.rift(checkpoint="robust.pth", model="resnet18", data="cifar10")
    better = hardy.load(results.folder)

Every verb of the command line is a function here with the same arguments. Nothing heavy is
imported before the first of them is used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hardy.data.load import load_data
    from hardy.models.load import load
    from hardy.models.twins import to_plain, to_twins
    from hardy.verbs.demo import demo
    from hardy.verbs.evaluate import evaluate
    from hardy.verbs.export import export
    from hardy.verbs.features import features
    from hardy.verbs.ligs import ligs
    from hardy.verbs.mrc import mrc
    from hardy.verbs.push import push
    from hardy.verbs.report import report
    from hardy.verbs.rift import rift
    from hardy.verbs.train import train
    from hardy.verbs.transfer import transfer
    from hardy.verbs.why import why

__version__ = "0.1.0"
__all__ = [
    "demo",
    "evaluate",
    "export",
    "features",
    "ligs",
    "load",
    "load_data",
    "mrc",
    "push",
    "report",
    "rift",
    "to_plain",
    "to_twins",
    "train",
    "transfer",
    "why",
]

_HOMES = {
    "load": "hardy.models.load",
    "load_data": "hardy.data.load",
    "to_plain": "hardy.models.twins",
    "to_twins": "hardy.models.twins",
}


def __getattr__(name: str) -> Any:
    if name == "recipes":
        return importlib.import_module("hardy.recipes")
    if name not in __all__:
        raise AttributeError(f"module 'hardy' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES.get(name, f"hardy.verbs.{name}")), name)
