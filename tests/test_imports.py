from __future__ import annotations

import sys
from pathlib import Path

import pytest

from hardy.imports import blamed, here_on_path, named, nearest, place_of


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("a_module_of_mine", "a_package_of_mine", "a_package_of_mine.inner"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return tmp_path


def test_a_function_of_the_current_directory_and_of_a_package_in_it(here: Path):
    (here / "a_module_of_mine.py").write_text("def five(): return 5\n")
    (here / "a_package_of_mine").mkdir()
    (here / "a_package_of_mine" / "inner.py").write_text("six = lambda: 6\nseven = 7\n")
    assert named("a_module_of_mine:five", "m:f")() == 5
    assert named("a_package_of_mine.inner:six", "m:f")() == 6
    with pytest.raises(ValueError, match=r"inner has no function 'seven'"):
        named("a_package_of_mine.inner:seven", "m:f")
    for name in ("a_module_of_mine", "a_package_of_mine", "a_package_of_mine.inner"):
        del sys.modules[name]


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("a-module:make", r"'a-module' is not the name of a module: write m:f, or package\.m:f"),
        ("a_modul_of_mine:make", r"there is no module 'a_modul_of_mine' .*nearest: a_module_of_mi"),
        ("a_module_of_mine:five", "module 'a_module_of_mine' cannot be imported: .*nowhere_at_all"),
    ],
)
def test_paths_that_lead_nowhere(here: Path, spec: str, message: str):
    (here / "a_module_of_mine.py").write_text("import nowhere_at_all\n")
    with pytest.raises(ValueError, match=message) as caught:
        named(spec, "m:f")
    assert "\n" not in str(caught.value)


def test_the_path_is_as_it_was_whatever_happens(here: Path):
    before = list(sys.path)
    with pytest.raises(KeyError), here_on_path() as first:
        assert sys.path[0] == first == str(here)
        raise KeyError
    assert sys.path == before


def thrown(error: Exception) -> Exception:
    try:
        raise error
    except Exception as caught:
        return caught


def test_the_place_of_an_error():
    line = thrown.__code__.co_firstlineno + 2
    said = f"{__file__}, line {line}: KeyError: "
    assert place_of(thrown(KeyError("x\ny")), Path(__file__)) == said + r"'x\ny'"
    elsewhere = place_of(thrown(OSError("first\nsecond")), Path("elsewhere.py"))
    assert elsewhere == f"{__file__}, line {line}: OSError: first"
    try:
        compile("x = 1\n)", "some.py", "exec")
    except SyntaxError as error:
        assert place_of(error, Path(__file__)).startswith("some.py, line 2: SyntaxError: ")


def test_an_error_is_blamed_in_one_line_and_an_interrupt_is_not():
    with (
        pytest.raises(ValueError, match=r"^mine: .*\.py, line \d+: TypeError: no more is said: "),
        blamed("mine", Path(__file__)),
    ):
        raise TypeError
    with pytest.raises(KeyboardInterrupt), blamed("mine", Path(__file__)):
        raise KeyboardInterrupt


def test_near_names():
    assert nearest("lode", ["load", "x"]) == " (nearest: load)"
    assert nearest("q", ["load"]) == ""
