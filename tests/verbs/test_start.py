"""What a verb imports before it begins: seconds that its user would wait for."""

from __future__ import annotations

import subprocess
import sys

import pytest

LATER = {"matplotlib", "sklearn", "scipy.optimize", "scipy.stats", "jinja2"}
ENGINE = {"lightning_fabric", "torch._dynamo"}


def imported(verbs: tuple[str, ...]) -> set[str]:
    """The modules that are there once these verbs are."""
    code = f"import sys, importlib; [importlib.import_module('hardy.verbs.' + v) for v in {verbs}]"
    code += "; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize(
    ("verbs", "never"),
    [
        (("mrc", "evaluate", "ligs", "features", "transfer", "why", "export"), LATER | ENGINE),
        (("train", "rift", "demo"), LATER),
    ],
    ids=["those that do not train", "those that train"],
)
def test_what_the_first_step_does_not_need_is_not_imported(
    verbs: tuple[str, ...], never: set[str]
) -> None:
    found = imported(verbs)
    assert "torch" in found
    assert not found & never
