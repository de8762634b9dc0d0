"""The command line: instant help that reads well, one line for a mistake, honest exit codes."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from hardy.cli import VERBS, main, run

HEAVY = {"torch", "numpy", "scipy", "matplotlib", "sklearn", "PIL", "lightning_fabric"}


def helped(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    with pytest.raises(SystemExit) as stop:
        run([*words])
    assert stop.value.code == 0
    return capsys.readouterr().out


def flags(text: str) -> dict[str, str]:
    """Each flag of a help text and what is said of it, less type and default."""
    inside = [line.strip("│| ") for line in text.splitlines()]
    found: dict[str, str] = {}
    name = ""
    for line in inside:
        if re.match("--[a-z]", line):
            name = line.split()[0].rstrip(",")
            found[name] = re.split(r"\s{2,}", line, maxsplit=1)[1] if "  " in line else ""
        elif name and line.strip("╰─╯+- "):
            found[name] += " " + line
    return {name: re.sub(r"\((default|required).*", "", text) for name, text in found.items()}


@pytest.mark.parametrize("words", [("--help",), ("rift", "--help")])
def test_help_is_instant(words: tuple[str, ...]) -> None:
    """In time of the processor: a busy machine must not fail it."""
    seconds = []
    for _ in range(3):
        began = os.times()
        done = subprocess.run([sys.executable, "-m", "hardy", *words], capture_output=True)
        ended = os.times()
        both = ("children_user", "children_system")
        seconds.append(sum(getattr(ended, kind) - getattr(began, kind) for kind in both))
        assert done.returncode == 0 and b"usage: hardy" in done.stdout
    assert min(seconds) < 0.5


def test_the_parser_imports_nothing_heavy() -> None:
    program = (
        "import sys; from hardy.cli import _parse; _parse(['rift', '--eps', '4/255'], None); "
        "print(*{name.partition('.')[0] for name in sys.modules})"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert HEAVY.isdisjoint(done.stdout.split())


def test_the_first_page_names_every_verb(capsys: pytest.CaptureFixture[str]) -> None:
    text = helped(capsys, "--help")
    assert helped(capsys) == text  # no words are a wish for help
    for verb in VERBS:
        assert re.search(rf"• {verb} +[A-Z]", text)
    assert "hardy demo" in text and "rift_official" in text


@pytest.mark.parametrize("verb", [verb for verb in VERBS if verb != "report"])
def test_every_flag_has_a_sentence(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = helped(capsys, verb, "--help")
    assert "None" not in text
    said = flags(text)
    assert "--out" in said
    for flag, sentence in said.items():
        assert re.fullmatch(r"\S.{12,}\.( \(repeatable\))?", sentence.strip()), (flag, sentence)


def test_help_names_the_recipes_of_the_verb(capsys: pytest.CaptureFixture[str]) -> None:
    said = " ".join(helped(capsys, "train", "--help").split())
    assert "--recipe NAME takes a published setting: pgd_at_rift, pgd_at_rice, " in said
    assert "score_official" in said and "rift_official" not in said
    assert "published setting" not in helped(capsys, "evaluate", "--help")


def test_help_begins_with_the_network_and_the_data(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(flags(helped(capsys, "rift", "--help")))[:5] == [
        "--checkpoint",
        "--model",
        "--normalize",
        "--input-size",
        "--data",
    ]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["rfit"], "no verb 'rfit': there are demo, train, rift"),
        (["rfit"], "did you mean rift?"),
        (["rift", "--epoch", "3"], "--epoch"),
        (["rift", "--frobnicate"], "--frobnicate"),
        (["rift", "--eps", "abc"], "--eps: 'abc' is no number: write a fraction or a decimal"),
        (["rift", "--eps", "8/0"], "--eps: '8/0' is no number"),
        (["rift", "--step-size", "abc"], "--step-size: 'abc' is no number"),
        (["rift", "--limit", "many"], "--limit: 'many' is no whole number"),
        (["rift", "--norm", "l7"], "'--norm'. Expected one of ('linf', 'l2')"),
        (["rift", "--k"], "'--k'"),
        (["report"], "hardy report"),
        (["rift", "--recipe"], "--recipe needs a name"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(words) == 2
    printed = capsys.readouterr()
    (line,) = printed.err.splitlines()
    assert line.startswith("hardy: ") and said in line and printed.out == ""
    if words[0] in VERBS and "--recipe" not in words:
        assert line.endswith(f"(see hardy {words[0]} --help)")


@pytest.mark.parametrize("colour", ["1", ""])
def test_a_mistake_is_one_plain_line_on_a_terminal_too(colour: str) -> None:
    """The parser draws a coloured box there."""
    done = subprocess.run(
        [sys.executable, "-m", "hardy", "rift", "--eps", "abc"],
        capture_output=True,
        text=True,
        env={"FORCE_COLOR": colour, "COLUMNS": "60", "PYTHONIOENCODING": "utf-8"},
    )
    assert done.returncode == 2
    assert done.stderr == (
        "hardy: Error parsing --eps: 'abc' is no number: write a fraction or a decimal, "
        "as 8/255 (see hardy rift --help)\n"
    )


def test_ctrl_c_is_130_and_says_how_to_go_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def stopped(asked: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("hardy.verbs.mrc.run", stopped)
    assert run(["mrc", "--out", str(tmp_path)]) == 130
    assert "--resume" in capsys.readouterr().err
    monkeypatch.setattr("hardy.verbs.report.run", stopped)
    assert run(["report", str(tmp_path)]) == 130
    assert capsys.readouterr().err == "interrupted\n"


def test_main_leaves_with_the_exit_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["hardy", "rfit"])
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 2


def test_a_reader_that_has_seen_enough_is_no_mistake() -> None:
    command = f"{sys.executable} -m hardy rift --help | head -1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert done.stderr == "" and done.stdout.startswith("usage: hardy rift")
