"""hub:owner/name: the weights of a repository, from a stand-in of the Hub on this machine."""

from __future__ import annotations

import io
import json
import re
import socket
import sys
from collections.abc import Iterator
from pathlib import Path, PureWindowsPath
from typing import Any

import pytest
import torch
from safetensors.torch import save as saved
from torch import nn

from hardy.models import hub as hubs
from hardy.models import load as loading
from hardy.models.architecture import Architecture
from hardy.models.hub import Place, fetch, is_hub
from hardy.models.load import load, read_checkpoint, save
from hub_server import TOKEN, Hub, serving

CLASSES = ("cat", "dog", "frog")
ME = "me/net"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    with serving(monkeypatch, tmp_path / "hf") as found:
        yield found


@pytest.fixture
def net() -> nn.Module:
    torch.manual_seed(0)
    return Architecture("small_resnet", 3, 1, "none").build().eval()


def ours(net: nn.Module, folder: Path) -> bytes:
    path = folder / "ours.safetensors"
    about = Architecture("small_resnet", 3, 1, "none")
    save(path, net, about, classes=CLASSES, extra={"data": "animals"})
    return path.read_bytes()


def pickled(net: nn.Module) -> bytes:
    box = io.BytesIO()
    torch.save(net.state_dict(), box)
    return box.getvalue()


def same(one: nn.Module, other: nn.Module) -> bool:
    a, b = one.state_dict(), other.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


@pytest.mark.parametrize(
    ("name", "repo", "revision", "file"),
    [
        ("hub:me/net", ME, None, None),
        ("hub:me/net@v1.0", ME, "v1.0", None),
        ("hub:me/net:deep/best.pt", ME, None, "deep/best.pt"),
        ("hub:me/net@refs/pr/3:a@b.pt", ME, "refs/pr/3", "a@b.pt"),
    ],
)
def test_a_name_says_repository_revision_and_file(
    name: str, repo: str, revision: str | None, file: str | None
) -> None:
    assert Place.of(name) == Place.of(Path(name)) == Place(repo, revision, file)
    assert str(Place.of(name)) == name and is_hub(name) and is_hub(Path(name))
    # Windows turns the slashes round when the command line makes a path of it.
    assert PureWindowsPath(name).as_posix() == name


@pytest.mark.parametrize(
    "name", ["hub:", "hub:net", "hub:a/b/c", "hub:a/b@", "hub:a/b:", "hub:a b/c"]
)
def test_another_form_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=re.escape(f"{name} is no hub:OWNER/NAME")):
        Place.of(name)
    assert not is_hub("runs/hub:a/b") and not is_hub(None)


def test_our_own_file_loads_without_a_flag_and_says_where_it_is_from(
    hub: Hub, net: nn.Module, tmp_path: Path
) -> None:
    best = ours(net, tmp_path)
    other = {
        "model.safetensors": b"no weights",
        "run_me.py": b"raise SystemExit",
        "config.json": b"{",
    }
    commit = hub.repo(ME, {"best.safetensors": best, **other})
    found = read_checkpoint("hub:me/net")
    assert same(found.model, net) and found.classes == CLASSES and found.ours
    assert found.source == f"hub:me/net at {commit[:7]}"
    assert found.notes == [f"downloaded from hub:me/net at {commit[:7]}"]
    assert same(load(Path("hub:me/net")), net)
    # Nothing but the wanted file is asked for.
    resolved = {line.partition("/resolve/")[2] for line in hub.asked if "/resolve/" in line}
    assert resolved == {"main/best.safetensors"}


def test_a_revision_is_a_branch_or_a_commit(hub: Hub, net: nn.Module, tmp_path: Path) -> None:
    first = hub.repo(ME, {"best.safetensors": ours(net, tmp_path)})
    torch.manual_seed(1)
    newer = Architecture("small_resnet", 3, 1, "none").build()
    hub.repos[ME].commit({"best.safetensors": ours(newer, tmp_path)})
    hub.repos[ME].branches["old"] = first
    assert same(load("hub:me/net"), newer)
    assert same(load("hub:me/net@old"), net) and same(load(f"hub:me/net@{first}"), net)
    assert fetch("hub:me/net@old").commit == first


def test_files_from_elsewhere_need_a_model_and_what_lies_beside_is_named(
    hub: Hub, net: nn.Module
) -> None:
    odd = {"a.weight": torch.zeros(2, 2)}
    hub.repo("me/odd", {"model.safetensors": saved(odd), "README.md": b"x", "weights.pt": b"x"})
    with pytest.raises(ValueError, match=r"^hub:me/odd: .*pass --model") as said:
        load("hub:me/odd")
    assert str(said.value).endswith("beside it lie README.md, model.safetensors, weights.pt")
    assert "hf/hub" not in str(said.value) and "\n" not in str(said.value)
    hub.repo(ME, {"pytorch_model.bin": pickled(net), "deep/other.pt": pickled(net)})
    for name in ("hub:me/net", "hub:me/net:deep/other.pt"):
        found = read_checkpoint(name, model="small_resnet", normalize="none")
        assert same(found.model, net) and not found.ours


@pytest.mark.parametrize("nested", [True, False])
def test_a_config_of_timm_names_network_and_normalisation(
    nested: bool, hub: Hub, net: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    built: dict[str, Any] = {}

    def build(model: str | None, state: Any, given: Any) -> Any:
        built.update(model=model, normalize=given.normalize)
        return usual("small_resnet", state, given)

    usual = loading.build
    monkeypatch.setattr(loading, "build", build)
    statistics = {"mean": [0.5], "std": [0.25]}
    about = {
        "architecture": "resnet50",
        **({"pretrained_cfg": statistics} if nested else statistics),
    }
    state = saved(dict(net.state_dict()))
    hub.repo(ME, {"model.safetensors": state, "config.json": json.dumps(about).encode()})
    notes = read_checkpoint("hub:me/net").notes
    assert built == {"model": "timm:resnet50", "normalize": "0.5/0.25"}
    assert "its config.json says timm:resnet50, normalisation 0.5/0.25" in notes
    notes = read_checkpoint("hub:me/net", normalize="none").notes
    assert built == {"model": "timm:resnet50", "normalize": "none"}
    assert "its config.json says timm:resnet50" in notes
    # Each of the two is the user's where it is given, and the other stays.
    found = read_checkpoint("hub:me/net", model="small_resnet")
    assert built == {"model": "small_resnet", "normalize": "0.5/0.25"}
    assert found.notes[1:] == ["its config.json says normalisation 0.5/0.25"]
    x = torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    assert torch.equal(found.model(x), net((x - 0.5) / 0.25))
    found = read_checkpoint("hub:me/net", model=Architecture("small_resnet", 3, 1, "none").build())
    assert torch.equal(found.model(x), net((x - 0.5) / 0.25))


def described(hub: Hub, net: nn.Module, **config: Any) -> None:
    about = json.dumps({"architecture": "resnet50", **config}).encode()
    state = saved(dict(net.state_dict()))
    hub.repo(ME, {"model.safetensors": state, "config.json": about, "other.safetensors": state})


def test_a_config_with_other_arguments_is_no_network_by_name(hub: Hub, net: nn.Module) -> None:
    pytest.importorskip("vision_ops")
    usual = {"in_chans": 1, "num_classes": 3, "img_size": 64, "x": None, "drop_path_rate": 0.1}
    usual["global_pool"] = "avg"
    described(hub, net, model_args=usual | {"act_layer": "gelu", "output_stride": 8})
    line = (
        'hub:me/net: its config.json builds timm:resnet50 with act_layer="gelu", output_stride=8: '
        "pass --model with a function (import path) that does"
    )
    assert mistaken("hub:me/net").startswith(line)
    for name in ("timm:resnet50", "timm:resnet50.a1_in1k"):
        with pytest.raises(ValueError, match="output_stride=8"):
            load("hub:me/net", model=name)
    found = read_checkpoint("hub:me/net", model="small_resnet", normalize="none")
    assert same(found.model, net)
    described(hub, net, model_args=usual)  # as timm writes it of any network: the weights' turn
    assert "the weights do not fit timm:resnet50" in mistaken("hub:me/net")
    described(hub, net, model_args=usual | {"global_pool": "max"})
    assert 'builds timm:resnet50 with global_pool="max":' in mistaken("hub:me/net")


@pytest.mark.parametrize(
    ("mean", "std", "spec"),
    [
        ([123.675, 116.28, 103.53], [58.395, 57.12, 57.375], "imagenet"),
        ([127.5], [0.75], "0.5/0.0029411765"),
        ([0.5], [255], "0.5/255.0"),
        ([1], [2], "1.0/2.0"),
    ],
)
def test_statistics_of_pixels_from_0_to_255(
    mean: list[float], std: list[float], spec: str, hub: Hub, net: nn.Module
) -> None:
    described(hub, net, pretrained_cfg={"mean": mean, "std": std})
    held = fetch("hub:me/net")
    assert held.normalize == spec and held.scaled == (max(mean) > 1)
    if len(mean) == 1:
        notes = read_checkpoint("hub:me/net", model="small_resnet").notes
        assert notes[1].startswith(f"its config.json says normalisation {spec}")
        assert ("for pixels from 0 to 255" in notes[1]) == held.scaled


def test_a_config_is_not_of_a_file_of_another_name(hub: Hub, net: nn.Module) -> None:
    described(hub, net, mean=[0.5], std=[0.5])
    held = fetch("hub:me/net:other.safetensors")
    assert (held.model, held.normalize) == (None, None)
    assert not any("config.json" in line for line in hub.asked)
    assert fetch("hub:me/net:model.safetensors").model == "timm:resnet50"


@pytest.mark.parametrize(
    "config",
    [
        b"\xff{",
        b"[1]",
        b'{"architectures": ["ResNetForImageClassification"], "model_type": "resnet"}',
        b'{"architecture": "../evil:make"}',
        b'{"architecture": ["resnet50"]}',
        b"[" * 100_000,
    ],
)
def test_a_config_that_is_not_timms_says_nothing(config: bytes, hub: Hub, net: nn.Module) -> None:
    hub.repo(ME, {"model.safetensors": saved(dict(net.state_dict())), "config.json": config})
    held = fetch("hub:me/net")
    assert (held.model, held.normalize) == (None, None)


@pytest.mark.parametrize(
    "statistics", [{}, {"mean": ["x"], "std": [1]}, {"mean": [1.0], "std": []}]
)
def test_odd_statistics_of_timm_are_left_out(statistics: dict[str, Any], hub: Hub) -> None:
    about = {"architecture": "resnet50", "pretrained_cfg": statistics}
    hub.repo(ME, {"model.safetensors": b"", "config.json": json.dumps(about).encode()})
    held = fetch("hub:me/net")
    assert (held.model, held.normalize) == ("timm:resnet50", None)


def test_no_code_of_a_repository_is_run(hub: Hub) -> None:
    class Evil:
        def __reduce__(self) -> Any:
            return sys.exit, ("the code ran",)

    box = io.BytesIO()
    torch.save({"state_dict": Evil()}, box)
    hub.repo(ME, {"pytorch_model.bin": box.getvalue()})
    with pytest.raises(ValueError, match="hub:me/net was refused: to read it, it wants"):
        load("hub:me/net", model="small_resnet")


def mistaken(name: str) -> str:
    with pytest.raises(ValueError) as said:
        load(name)
    text = str(said.value)
    assert "\n" not in text and text.startswith(name), text
    return text


def test_what_the_hub_has_against_it_is_one_line(
    hub: Hub, net: nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    best = {"best.safetensors": ours(net, tmp_path)}
    hub.repo(ME, best)
    hub.repo("me/secret", best, private=True)
    hub.repo("me/gated", best, gated=True)
    hub.repo("me/empty", {"README.md": b""})
    assert "no such repository on the hub, or it is private" in mistaken("hub:me/nothing")
    assert "no such repository on the hub, or it is private" in mistaken("hub:me/secret")
    assert "only those whom its owner has accepted" in mistaken("hub:me/gated")
    assert "no such branch, tag or commit" in mistaken("hub:me/net@v9")
    assert "holds no x.pt" in mistaken("hub:me/net:x.pt")
    assert "(it holds README.md)" in mistaken("hub:me/empty")
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    assert "refused (401: Invalid credentials" in mistaken("hub:me/net")
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    assert same(load("hub:me/secret"), net)


def test_what_is_cached_loads_where_the_hub_cannot_be_reached(
    hub: Hub, net: nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    state = saved(dict(net.state_dict()))
    about = json.dumps({"architecture": "resnet50", "mean": [0.5], "std": [0.5]}).encode()
    commit = hub.repo(ME, {"model.safetensors": state, "config.json": about})
    online = fetch("hub:me/net")
    hub.broken.append("/api/")
    assert "cannot be reached (error 500), and it is not in the cache" in mistaken("hub:me/other")
    hub.broken.clear()
    with monkeypatch.context() as patch:
        patch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
        assert "cannot be reached (ConnectError" in mistaken("hub:me/other")
        assert fetch("hub:me/net").commit == commit
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    asked = len(hub.asked)
    offline = fetch("hub:me/net")
    assert len(hub.asked) == asked
    assert (offline.file, offline.commit, offline.model) == (online.file, commit, online.model)
    assert offline.normalize == online.normalize == "0.5/0.5"
    assert offline.source == f"hub:me/net at {commit[:7]}"
    assert "OfflineModeIsEnabled" in mistaken("hub:me/other")


def test_a_hub_that_never_answers_is_not_waited_for(
    hub: Hub, net: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    commit = hub.repo(ME, {"pytorch_model.bin": pickled(net)})
    fetch("hub:me/net")
    assert 5 <= hubs.WAIT <= 30
    monkeypatch.setattr(hubs, "WAIT", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        monkeypatch.setattr(constants, "ENDPOINT", url)
        assert fetch("hub:me/net").commit == commit
        assert "cannot be reached (ReadTimeout" in mistaken("hub:me/other")


def test_the_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    monkeypatch.setitem(sys.modules, "huggingface_hub.errors", None)
    with pytest.raises(ValueError, match=re.escape("pip install 'hardy[hub]'")):
        load("hub:me/net")


@pytest.mark.slow
def test_what_timm_itself_saves_loads_without_a_flag(hub: Hub, tmp_path: Path) -> None:
    from vision_ops import timm

    torch.manual_seed(0)
    theirs = timm.create_model("resnet18", num_classes=4).eval()
    timm.models.save_for_hf(theirs, str(tmp_path / "saved"), safe_serialization=True)
    files = {path.name: path.read_bytes() for path in (tmp_path / "saved").iterdir()}
    assert {"config.json", "model.safetensors"} <= files.keys()
    hub.repo(ME, files)
    found = read_checkpoint("hub:me/net")
    assert found.architecture == Architecture("timm:resnet18", 4, 3, "imagenet")
    x = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    with torch.no_grad():
        expected = theirs((x - mean[:, None, None]) / std[:, None, None])
        assert torch.allclose(found.model(x), expected, atol=1e-5)
