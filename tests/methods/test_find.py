"""Methods are found by the name of their file, here or in a user's folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from hardy.methods.find import find, make
from hardy.methods.pgd_at import PGDAT
from hardy.methods.standard import Standard

HEAD = """
from __future__ import annotations
from dataclasses import dataclass
from typing import Literal
from hardy.methods.pgd_at import PGDAT
from hardy.methods.protocol import Method
"""
BODY = """
@dataclass(frozen=True)
class {name}(Method):
    beta: float = 6.0
    rounds: int = 1
    warm: bool = False
    kind: Literal["kl", "ce"] = "kl"
    clip: float | None = None
    weights: tuple[float, ...] = (1.0,)
    def adversary(self, nets, batch, attack):
        return batch.x
    def loss(self, nets, batch, x_adv, progress):
        return {{"loss": nets.student(x_adv).sum()}}
"""


@pytest.fixture
def mine(tmp_path: Path) -> str:
    path = tmp_path / "mine.py"
    path.write_text(HEAD + BODY.format(name="Mine"))
    return str(path)


def test_built_in_methods_by_name() -> None:
    assert find("pgd_at") is PGDAT
    assert make("standard") == Standard()
    assert make("pgd_at", ["attack_mode=train"]) == PGDAT(attack_mode="train")


def test_a_file_of_the_users_own(mine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert find(mine).__name__ == "Mine", "what the file imports is not its own"
    monkeypatch.chdir(Path(mine).parent)
    method = make("./mine.py", ["beta=1e-1", "rounds=3", "warm=True", "kind=ce", "weights=1,.5"])
    expected = "beta=0.1, rounds=3, warm=True, kind='ce', clip=None, weights=(1.0, 0.5)"
    assert repr(method) == f"Mine({expected})"
    assert repr(make("./mine.py", ["clip=8/255"])) == repr(find("./mine.py")(clip=8 / 255))  # type: ignore[call-arg]
    assert repr(make(mine, ["clip=2", "clip=none"])) == repr(make(mine)), "the last one wins"


@pytest.mark.parametrize(
    ("option", "text"),
    [
        ("gamma=1", "has no setting 'gamma'; it has beta, rounds, warm, kind, clip, weights"),
        ("beta", "beta has no value: write beta=…"),
        ("beta=", "beta must be a number, not ''"),
        ("beta=much", "beta must be a number, not 'much'"),
        ("rounds=1.5", "rounds must be a whole number, not '1.5'"),
        ("warm=yes", "warm must be true or false, not 'yes'"),
        ("kind=KL", "kind must be one of kl, ce, not 'KL'"),
        ("clip=off", "clip must be a number or none, not 'off'"),
        ("weights=1;2", "weights must be values with commas between them, each a number, not"),
    ],
)
def test_a_setting_that_does_not_fit_is_named(mine: str, option: str, text: str) -> None:
    with pytest.raises(ValueError, match=text) as error:
        make(mine, [option])
    assert "\n" not in str(error.value)


def test_a_method_without_settings_says_so() -> None:
    with pytest.raises(ValueError, match="standard has no setting 'beta'; it has none"):
        make("standard", ["beta=6"])


def test_a_setting_without_a_default_must_be_given(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(HEAD + BODY.format(name="Mine").replace("beta: float = 6.0", "beta: float"))
    with pytest.raises(ValueError, match=r"mine\.py's beta has no default: write beta=…"):
        make(str(path), ["rounds=2"])
    assert "beta=2.0" in repr(make(str(path), ["beta=2"]))


def test_annotations_that_cannot_be_read(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(HEAD + BODY.format(name="Mine").replace("beta: float", "beta: Missing"))
    with pytest.raises(ValueError, match="'Missing' is not defined: import what the annotations"):
        make(str(path), ["rounds=2"])


def test_an_unknown_name_gets_the_nearest_and_all() -> None:
    with pytest.raises(ValueError, match=r"no method 'pgdat': there are .*did you mean pgd_at"):
        find("pgdat")
    for not_a_method in ("protocol", "find", "options", "wrappers", "", "zzzzzz"):
        with pytest.raises(ValueError, match=f"no method '{not_a_method}': there are"):
            find(not_a_method)


def test_a_file_that_is_not_there() -> None:
    with pytest.raises(ValueError, match=r"no method file .*theirs\.py"):
        find("./theirs.py")


@pytest.mark.parametrize(("classes", "count"), [((), 0), (("Mine", "Other"), 2)])
def test_a_file_must_define_exactly_one(
    tmp_path: Path, classes: tuple[str, ...], count: int
) -> None:
    path = tmp_path / "several.py"
    path.write_text(HEAD + "".join(BODY.format(name=name) for name in classes))
    with pytest.raises(ValueError, match=f"defines {count} methods: it must define exactly one"):
        find(str(path))


@pytest.mark.parametrize(
    ("text", "said"),
    [("def broken(:\n", "line 1: SyntaxError"), ("x = 1\nimport nothing_like_it\n", "line 2: Mod")],
)
def test_a_file_that_does_not_run_is_named_with_its_line(
    text: str, said: str, tmp_path: Path
) -> None:
    path = tmp_path / "mine.py"
    path.write_text(text)
    with pytest.raises(ValueError, match=said):
        find(str(path))
