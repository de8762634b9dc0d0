"""hardy push: what goes up, what its card says, and that it loads back to the bit."""

from __future__ import annotations

import importlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from verb_runs import SMALL, hardy, timeless

import hardy as package
from hardy.evaluation.results import FILE_NAME, Measurement, Results, read
from hardy.models.architecture import Architecture
from hardy.models.hub import Place
from hardy.models.load import read_checkpoint, save
from hardy.reporting.card import card as drawn
from hardy.reporting.card_metadata import About, metadata
from hardy.verbs.asked.pathless import must_hold_none, paths_in, without_paths
from hardy.verbs.publication import CARD, description
from hub_server import TOKEN, Hub, serving

ME = "hub:me/net"
DOCS = Path(__file__).parents[2] / "docs" / "hub.md"
FEW = (*SMALL, "--limit", "60", "--curve-pictures", "0", "--preflight-pictures", "0")
FILES = {"README.md", "best.safetensors", "config.json", "results.json"}


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    with serving(monkeypatch, tmp_path / "hf") as found:
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield found


@pytest.fixture(autouse=True)
def unpaged(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing the page takes most of the time: only the tests of the page wait for it."""
    if "drawn" not in request.fixturenames:
        monkeypatch.setattr("hardy.verbs.publication.write_report", lambda folder: folder)


@pytest.fixture
def talkative(robust: Path, tmp_path: Path) -> Path:
    """A copy of a run that names paths of this machine wherever it can, and evil names."""
    folder = tmp_path / "my own runs" / "at"
    shutil.copytree(robust, folder)
    private = "/home/jane/my pictures/cats"
    setting = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    setting |= {
        "out": str(folder),
        "data": f"folder:{private}",
        "data_root": "/mnt/secret/root",
        "checkpoint": "C:\\Users\\jane\\at.pt",
        "teacher": ["robust=/home/jane/teacher.pt"],
        "command": f"hardy train --data 'folder:{private}' --out {folder} --eps 8/255",
    }
    (folder / "config.json").write_text(json.dumps(setting), encoding="utf-8")
    results = read(folder)
    results.facts |= {"seen": private, "evil": "<script>alert(1)</script>\n---\nlicense: stolen"}
    results.notes.append(f"Pictures were read from {private}, and /srv/other/x.npz beside.")
    results.notes.append("[click](https://evil.example) ![x](https://evil.example/x.png) ```")
    results.write()
    path = folder / "best.safetensors"
    found = read_checkpoint(path)
    names = [f"'{i}': \"x\"\n- {{a: b}} <b> | [l](u)" for i in range(10)]
    extra = {**found.extra, "extra_data": f"npz:{private}/more.npz"}
    save(path, found.model, found.architecture, classes=names, extra=extra)
    return folder


def front(card: str) -> dict[str, Any]:
    """The metadata of a card."""
    return yaml.safe_load(card.split("\n---\n")[0].removeprefix("---\n"))


def mistake(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    assert hardy(*words) == 2
    text = capsys.readouterr().err.strip().splitlines()[-1]
    assert text.startswith("hardy: "), text
    return text


def test_a_run_goes_up_in_one_commit_and_comes_back_to_the_bit(
    robust: Path, hub: Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = package.push(run=robust, target=ME, tags=("digits",), license="mit")
    repo = hub.repos["me/net"]
    (commit,) = repo.commits
    assert set(repo.files()) == FILES and not repo.private
    assert results.facts["published"] == f"{ME}@{commit}"
    assert "published" not in read(robust).facts
    posted = [line for line in hub.asked if "/commit/" in line]
    assert posted == ["POST /api/models/me/net/commit/main"]

    mine, theirs = package.load(robust), package.load(f"{ME}@{commit}")
    assert mine.state_dict().keys() == theirs.state_dict().keys()
    for key, value in mine.state_dict().items():
        assert torch.equal(value, theirs.state_dict()[key])
    capsys.readouterr()
    assert hardy("evaluate", robust, *FEW, "--out", tmp_path / "here") == 0
    assert hardy("evaluate", ME, *FEW, "--out", tmp_path / "there") == 0
    here, there = timeless(read(tmp_path / "here")), timeless(read(tmp_path / "there"))
    assert {row["subject"] for row in there} == {"me/net"}
    assert [{**row, "subject": ""} for row in here] == [{**row, "subject": ""} for row in there]
    assert any(commit[:7] in note for note in read(tmp_path / "there").notes)


def test_the_card_says_what_was_measured(better: Path, hub: Hub) -> None:
    package.push(run=better, target=ME, license="apache-2.0", tags=("mine", "mine", "hardy"))
    card = hub.repos["me/net"].files()[CARD].decode()
    about, results = front(card), read(better)
    assert about["library_name"] == "hardy" and about["pipeline_tag"] == "image-classification"
    assert about["license"] == "apache-2.0"
    assert about["tags"] == ["adversarial-robustness", "rift", "mine", "hardy"]
    (entry,) = about["model-index"]
    (tested,) = entry["results"]
    clean, robust = (
        next(m for m in results.select(quantity, subject="result") if "alpha" not in m.setting)
        for quantity in ("clean accuracy", "robust accuracy")
    )
    assert tested["dataset"] == {"name": "digits", "type": "digits", "split": clean.split}
    assert tested["metrics"] == [
        {"type": "accuracy", "name": "clean accuracy, %", "value": round(100 * clean.value, 2)},
        {
            "type": "accuracy",
            "name": "robust accuracy, % (PGD-2, Linf 0.1)",
            "value": round(100 * robust.value, 2),
        },
    ]
    assert "at most **Linf 0.1**" in card and "| result |" in card
    assert "hardy evaluate hub:me/net --data digits --norm linf --eps 0.1\n" in card
    assert 'hardy.load("hub:me/net")' in card
    assert "*Improving Generalization of Adversarial Training via Robust Critical" in card
    assert f"what PGD-2, Linf 0.1 left standing of {robust.n} pictures" in card


def test_the_hub_reads_the_card_as_it_is_meant(better: Path, hub: Hub) -> None:
    from huggingface_hub import ModelCard

    package.push(run=better, target=ME)
    found: Any = ModelCard(hub.repos["me/net"].files()[CARD].decode()).data
    assert found.license is None and found.model_name == "net"
    values = {(each.metric_name, each.dataset_name) for each in found.eval_results or []}
    assert values == {
        ("clean accuracy, %", "digits"),
        ("robust accuracy, % (PGD-2, Linf 0.1)", "digits"),
    }


def test_nothing_of_this_machine_and_nothing_evil_goes_up(
    talkative: Path, hub: Hub, drawn: None
) -> None:
    package.push(run=talkative, target=ME)
    files = hub.repos["me/net"].files()
    assert set(files) >= {*FILES, "report.html", "figures/training.svg"}
    assert set(files) == {*FILES, "report.html"} | {f for f in files if f[:8] == "figures/"}
    secrets = (
        "/home/",
        "jane",
        "my pictures",
        "/mnt/",
        "secret",
        "/srv/",
        "Users",
        str(Path.home()),
    )
    secrets += (str(talkative), str(talkative.parent), "my own runs", str(Path.cwd()))
    for name, content in files.items():
        for secret in secrets:
            assert secret.encode() not in content, f"{secret} in {name}"
    # What is not secret stays.
    assert b"8/255" in files["report.html"] and b"folder:cats" in files["report.html"]
    held = {a["path"] for a in json.loads(files["results.json"])["artifacts"]}
    assert held == {f for f in files if f[:8] == "figures/"} | {"best.safetensors"}

    card = files[CARD].decode()
    assert "license" not in front(card) and "<script>" not in card and "<b>" not in card
    assert not re.search(r"\]\((?!results\.json|report\.html)", card)
    assert card.count("\n---\n") == 1
    fences = re.findall(r"^`{3,}", card, re.MULTILINE)
    assert len(fences) == 6


def test_the_weights_are_the_same_where_their_description_is_cut(
    talkative: Path, hub: Hub, tmp_path: Path
) -> None:
    package.push(run=talkative, target=ME)
    path = tmp_path / "best.safetensors"
    path.write_bytes(hub.repos["me/net"].files()["best.safetensors"])
    mine, theirs = load_file(talkative / "best.safetensors"), load_file(path)
    assert mine.keys() == theirs.keys() and all(torch.equal(mine[k], theirs[k]) for k in mine)
    with safe_open(path, "pt") as file:
        about = json.loads(file.metadata()["hardy"])
    assert about["extra"]["extra_data"] == "npz:cats/more.npz"
    # The classes are named as the network's own are, whatever they look like.
    assert about["classes"] == list(read_checkpoint(talkative).classes or ())


def test_a_dry_run_writes_it_all_and_asks_nobody(
    robust: Path, hub: Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "would"
    assert hardy("push", robust, ME, "--dry-run", "--out", out) == 0
    said = capsys.readouterr().err
    assert {p.name for p in out.iterdir()} == FILES and not hub.asked
    assert "nothing was uploaded" in said and all(name in said for name in FILES)
    assert "is not empty" in mistake(capsys, "push", robust, ME, "--dry-run", "--out", out)
    assert "--dry-run needs --out" in mistake(capsys, "push", robust, ME, "--dry-run")
    # An upload is those very files.
    package.push(run=robust, target=ME)
    assert hub.repos["me/net"].files() == {p.name: p.read_bytes() for p in out.iterdir()}


def test_branch_message_and_privacy_are_as_asked(
    robust: Path, hub: Hub, capsys: pytest.CaptureFixture[str]
) -> None:
    assert hardy("push", robust, ME, "--private", "--revision", "v2", "--message", "Second") == 0
    repo = hub.repos["me/net"]
    assert repo.private and repo.messages[-1] == "Second"
    assert set(repo.files("v2")) == FILES and set(repo.branches) == {"v2"}
    hub.repo("me/open", {"README.md": b"mine"})
    said = mistake(capsys, "push", robust, "hub:me/open", "--private")
    assert "is there and public" in said and hub.repos["me/open"].files() == {"README.md": b"mine"}


def test_a_start_and_a_teacher_come_from_the_hub(robust: Path, hub: Hub, tmp_path: Path) -> None:
    best = {"best.safetensors": (robust / "best.safetensors").read_bytes()}
    start, teacher = hub.repo("me/start", best), hub.repo("me/teacher-0", best)
    out = tmp_path / "run"
    few = ("--limit", "64", "--val-pictures", "20", "--test-limit", "20", "--epochs", "1")
    words = ("--checkpoint", "hub:me/start", "--method", "rslad")
    words += ("--teacher", "robust=hub:me/teacher-{seed}@main", "--teacher-pictures", "20")
    assert hardy("train", *SMALL, *few, *words, "--out", out) == 0
    results = read(out)
    assert results.facts["start"] == f"hub:me/start at {start[:7]}"
    assert f"Teacher robust: downloaded from hub:me/teacher-0 at {teacher[:7]}." in results.notes


def test_a_commit_that_fails_leaves_nothing(
    robust: Path, hub: Hub, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.broken.append("/commit/")
    assert "the hub refused (500" in mistake(capsys, "push", robust, ME)
    assert hub.repos["me/net"].commits == {}
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    assert "401" in mistake(capsys, "push", robust, "hub:me/other")
    assert "me/other" not in hub.repos
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    assert "the exchange with the hub failed (ConnectError" in mistake(capsys, "push", robust, ME)


def test_what_cannot_be_published_is_refused_before_the_hub_is_asked(
    robust: Path, better: Path, hub: Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def said(*words: object) -> str:
        return mistake(capsys, "push", *words)

    bare, seeds = tmp_path / "bare", tmp_path / "seeds"
    bare.mkdir()
    assert "no results.json in" in said(bare, ME)
    shutil.copy(robust / FILE_NAME, bare)
    assert "has no best.safetensors" in said(bare, ME)
    for seed in (0, 1):
        shutil.copytree(robust, seeds / f"seed-{seed}")
    assert "is a run of several seeds: publish one of" in said(seeds, ME)
    assert "nothing to publish" in said()
    assert "publish where?" in said(robust)
    assert "publish where?" in said(robust, "me/net")
    assert "is no folder" in said(ME, robust)
    assert "the branch goes by --revision" in said(robust, f"{ME}@v2")
    assert "is no identifier of the hub" in said(robust, ME, "--license", "My Licence")
    foreign = tmp_path / "foreign"
    shutil.copytree(robust, foreign)
    save_file(load_file(robust / "best.safetensors"), foreign / "best.safetensors")
    assert "does not say what it is" in said(foreign, ME)
    assert not hub.asked


def test_the_network_is_described_with_its_classes() -> None:
    about = Architecture("timm:resnet50.a1_in1k", 3, 3, "imagenet", 224).described()
    found = description(about, ["a", "b", "c"])
    assert found["library_name"] == "hardy" and found["classes"] == ["a", "b", "c"]
    assert (found["model"], found["input_size"]) == ("timm:resnet50.a1_in1k", 224)


def test_a_path_that_is_left_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "page" / "figures"
    folder.mkdir(parents=True)
    (folder / "a.svg").write_bytes(b"<svg>x/srv/my secret/b.png</svg>")
    must_hold_none(tmp_path / "page", ["/srv/my other"])
    with pytest.raises(ValueError, match=r"figures/a\.svg would publish /srv/my secret, a path"):
        must_hold_none(tmp_path / "page", ["/srv/my secret"])
    monkeypatch.chdir(tmp_path)
    (folder / "b.json").write_text(json.dumps({"in": f"{tmp_path}!"}))
    with pytest.raises(ValueError, match=r"b\.json would publish"):
        must_hold_none(tmp_path / "page", [])


@pytest.mark.parametrize(
    ("text", "cut"),
    [
        ("folder:/home/jane/my pictures", "folder:my pictures"),
        ("‘/srv/priv/t.pt’ and x@/srv/p/q", "‘t.pt’ and x@q"),
        ("one—/srv/a/b, →/srv/a/b, //srv/share/x", "one—b, →b, x"),
        ("(a + b)/255, 8/255, 3 pictures/s, 40 %/s", None),
        ("read from /home/jane/my pictures/a.", "read from my pictures/a."),
        ("/data/x/best.safetensors: damaged", "best.safetensors: damaged"),
        ("PosixPath('/data/x.y')", "PosixPath('x.y')"),
        ("C:\\Users\\j\\x.pt and D:/a/b.pt", "x.pt and b.pt"),
        ("\\\\server\\share\\x.pt", "x.pt"),
        ("file:///data/x.pt", "x.pt"),
        ("Linf 8/255, m,m/s,s, 3 / 4", "Linf 8/255, m,m/s,s, 3 / 4"),
        ("https://arxiv.org/abs/1 hub:me/net ../a/b runs/at", None),
    ],
)
def test_paths_are_cut_to_their_last_part(text: str, cut: str | None) -> None:
    known = paths_in({"data": "folder:/home/jane/my pictures"})
    assert without_paths({"a": [text]}, known) == {"a": [text if cut is None else cut]}


def test_the_commands_of_the_docs_are_understood(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked: list[Any] = []
    for verb in ("evaluate", "rift", "train", "export", "push"):
        module = importlib.import_module(f"hardy.verbs.{verb}")
        monkeypatch.setattr(module, "run", lambda chosen: asked.append(chosen) or read(tmp_path))
    Results("push", folder=tmp_path).write()
    blocks = re.findall(r"```sh\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines() if line.startswith("hardy")]
    assert len(lines) == 8
    for line in lines:
        assert hardy(*shlex.split(line, comments=True)[1:]) == 0, line
    named = [name for one in asked for name in re.findall("hub:[^'\"]+", repr(one))]
    assert [str(Place.of(name)) for name in named] == named and len(named) == 8


@pytest.mark.slow
def test_the_environment_leads_a_process_of_its_own_to_the_hub(
    robust: Path, hub: Hub, tmp_path: Path
) -> None:
    def cli(*words: object) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "hardy", *map(str, words)],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        assert done.returncode == 0, done.stderr
        return done.stderr

    assert f"published: {hub.url}/me/net/commit/" in cli("push", robust, ME)
    assert "report.html" in hub.repos["me/net"].files()
    cli("evaluate", ME, *FEW, "--out", "there")
    assert read(tmp_path / "there").one("clean accuracy").subject == "me/net"


@pytest.mark.parametrize(
    ("data", "setting", "flags"),
    [
        ("flowers", {}, "--data folder:PATH --image-size 48 --channels 3"),
        ("digits", {}, "--data digits"),
        ("digits", {"image_size": 48}, "--data digits --image-size 48"),
    ],
)
def test_the_card_says_of_which_size_the_pictures_are(
    data: str, setting: dict[str, Any], flags: str
) -> None:
    spec = Architecture("resnet18", 2, 3, "none").described()
    about = About("me/net", spec, False, (), 48, setting, None, ())
    results = Results("train", facts={"data": data})
    where = {"norm": "linf", "eps": 8 / 255, "steps": 10, "restarts": 1}
    results.measurements = [
        Measurement("robust accuracy", 0.5, "test", 10, interval=(0.1, 0.9), setting=where)
    ]
    found = drawn(results, about)
    assert f"hardy evaluate hub:me/net {flags} --norm linf --eps 8/255\n" in found
    assert "of shape (B, 3, 48, 48) to logits" in found
    assert "in pixels of the range 0 to 1 of pictures of 48×48." in found


def test_metadata_holds_any_text_as_it_is() -> None:
    evil = (
        "a\nlicense: stolen",
        "x: y # z",
        "---",
        "'\"\\{[&*!|>%@`",
        "no",
        "1e3",
        "\u2028\x85é😀",
    )
    about = About("me/net", {}, False, (), None, {}, None, evil)
    results = Results("train", facts={"data": 'my "set"\n---\n'})
    results.measurements = [
        Measurement("clean accuracy", 0.1 + 0.2, "test: a", 10, interval=(0.1, 0.5))
    ]
    found = yaml.safe_load(metadata(results, about))
    assert found.keys() == {"library_name", "pipeline_tag", "tags", "model-index"}
    assert found["tags"] == ["adversarial-robustness", "train", *evil]
    (tested,) = found["model-index"][0]["results"]
    assert tested["dataset"] == {"name": 'my "set"\n---\n', "type": "my-set", "split": "test: a"}
    assert tested["metrics"] == [{"type": "accuracy", "name": "clean accuracy, %", "value": 30.0}]
