"""Networks of timm and torchvision by name, from their own lists and with their own weights."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from hardy.models import libraries
from hardy.models.architecture import Architecture, factory
from hardy.models.libraries import library_net
from hardy.models.library_net import LibraryNet, imported
from hardy.models.load import load, read_checkpoint, save
from hardy.models.normalize import Normalized
from vision_ops import publish, timm, torchvision


def built(architecture: Architecture, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return architecture.build().eval()


def same(a: nn.Module, b: nn.Module) -> bool:
    left, right = a.state_dict(), b.state_dict()
    return left.keys() == right.keys() and all(torch.equal(left[key], right[key]) for key in left)


# building


@pytest.mark.parametrize("library", ["timm", "torchvision"])
def test_the_network_is_the_library_s_own(library: str) -> None:
    mine = built(Architecture(f"{library}:resnet18", 7, 3, "none"))
    torch.manual_seed(0)
    make = timm.create_model if library == "timm" else torchvision.models.get_model
    theirs = make("resnet18", num_classes=7)
    assert type(mine) is type(theirs) and same(mine, theirs)


@pytest.mark.parametrize(
    ("model", "classes", "normalize"),
    [
        ("timm:resnet50", 1000, "imagenet"),
        ("timm:vit_tiny_patch16_224", 1000, "0.5,0.5,0.5/0.5,0.5,0.5"),
        ("timm:vit_tiny_patch16_224.augreg_in21k", 21843, "0.5,0.5,0.5/0.5,0.5,0.5"),
        ("timm:vit_small_patch14_dinov2", 1000, "imagenet"),  # published without a head
        ("torchvision:resnet18", 1000, "imagenet"),
        ("torchvision:efficientnet_v2_l", 1000, "0.5,0.5,0.5/0.5,0.5,0.5"),
    ],
)
def test_what_is_not_given_is_as_published(model: str, classes: int, normalize: str) -> None:
    assert Architecture.of(model) == Architecture(model, classes, 3, normalize)
    assert Architecture.of(model, num_classes=5, normalize="none").num_classes == 5


def test_normalisation_stands_before_the_network() -> None:
    network = built(Architecture("timm:resnet18", 5, 3, "imagenet"))
    x = torch.rand(2, 3, 32, 32)
    mean, std = (torch.tensor(v).view(-1, 1, 1) for v in timm_statistics())
    with torch.no_grad():
        inner = network.get_submodule("model")
        torch.testing.assert_close(network(x), inner((x - mean) / std))
    assert isinstance(network, Normalized)


def timm_statistics() -> tuple[tuple[float, ...], tuple[float, ...]]:
    return timm.data.IMAGENET_DEFAULT_MEAN, timm.data.IMAGENET_DEFAULT_STD


@pytest.mark.parametrize("model", ["timm:resnet18", "torchvision:resnet18"])
def test_other_channels(model: str) -> None:
    network = built(Architecture(model, 4, 1, "none"))
    first = next(module for module in network.modules() if isinstance(module, nn.Conv2d))
    assert first.weight.shape == (64, 1, 7, 7) and first.stride == (2, 2)
    assert first.padding == (3, 3) and first.bias is None
    assert network(torch.rand(2, 1, 32, 32)).shape == (2, 4)


@pytest.mark.parametrize("model", ["timm:vit_tiny_patch16_224", "torchvision:vit_b_16"])
def test_a_network_of_one_size_is_built_for_the_size_that_it_gets(model: str) -> None:
    with torch.device("meta"):
        network = Architecture(model, 4, 3, "none", input_size=32).build()
        usual = Architecture(model, 4, 3, "none").build()
    tokens = [
        next(v for k, v in net.state_dict().items() if "pos_embed" in k).shape[1]
        for net in (network, usual)
    ]
    assert tokens == [1 + (32 // 16) ** 2, 1 + (224 // 16) ** 2]


def test_a_network_of_any_size_takes_no_size() -> None:
    network = built(Architecture("timm:resnet18", 4, 3, "none", input_size=64))
    x = torch.rand(2, 3, 32, 32)
    bigger = torch.nn.functional.interpolate(x, size=(64, 64), mode="bilinear")
    with torch.no_grad():
        torch.testing.assert_close(network(x), network.get_submodule("model")(bigger))


def test_side_branches_are_left_out() -> None:
    with torch.device("meta"):
        network = factory("torchvision:googlenet")(num_classes=5, in_channels=3)
    assert not any(name.startswith("aux") for name in network.state_dict())


@pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
def test_pixels_are_as_the_published_weights_take_them(name: str) -> None:
    make = factory(f"torchvision:{name}")
    with torch.device("meta"):
        network: Any = make(num_classes=5, in_channels=3)
        grey: Any = make(num_classes=5, in_channels=1)
    x = torch.rand(1, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    mean, std = (torch.tensor(v).view(-1, 1, 1) for v in timm_statistics())
    torch.testing.assert_close(network._transform_input((x - mean) / std), 2 * x - 1)
    torch.testing.assert_close(grey._transform_input(x[:, :1]), x[:, :1])


# names


@pytest.mark.parametrize(
    ("model", "line"),
    [
        ("timm:resnet5", r"timm has no network 'resnet5' \(nearest: resnet50,"),
        ("timm:resnet18.a9_in1k", r"timm has no weights .* \(nearest: resnet18.a[123]_in1k,"),
        ("torchvision:resnet19", r"torchvision has no network 'resnet19' \(nearest: resnet18,"),
        ("torchvision:fcos_resnet50_fpn", "torchvision has no network 'fcos"),
        ("timm:hf-hub:someone/net", "timm has no network 'hf-hub:someone/net'"),
        ("timm:local-dir:net", "timm has no network 'local-dir:net'"),
        ("timm:../net", "timm has no network"),
        ("timm:", "timm has no network ''"),
    ],
)
def test_only_names_of_the_library_s_list(model: str, line: str) -> None:
    with pytest.raises(ValueError, match=line) as error:
        factory(model)
    assert "\n" not in str(error.value)


def test_our_own_file_of_a_library_s_network_needs_no_flag(tmp_path: Path) -> None:
    architecture = Architecture("timm:resnet18", 3, 3, "imagenet")
    network = built(architecture)
    save(tmp_path / "a.safetensors", network, architecture, classes=["a", "b", "c"], extra={})
    found = read_checkpoint(tmp_path / "a.safetensors")
    assert found.ours and found.architecture == architecture and same(found.model, network)


def test_a_vit_of_another_size_comes_back(tmp_path: Path) -> None:
    architecture = Architecture("timm:vit_tiny_patch16_224", 3, 3, "none", input_size=32)
    network = built(architecture)
    save(tmp_path / "a.safetensors", network, architecture, classes=[], extra={})
    x = torch.rand(2, 3, 28, 28)
    with torch.no_grad():
        assert torch.equal(load(tmp_path / "a.safetensors")(x), network(x))


@pytest.mark.parametrize("stored", ["timm:hf-hub:someone/net", "torchvision:../net", "timm:nonet"])
def test_a_file_chooses_among_the_library_s_list_only(tmp_path: Path, stored: str) -> None:
    path = tmp_path / "a.safetensors"
    save(path, nn.Linear(2, 2), Architecture(stored, 10, 3, "none"), classes=[], extra={})
    with pytest.raises(ValueError, match="has no network"):
        read_checkpoint(path)


# published weights


def published_here(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, library: str, model: nn.Module
) -> None:
    """The library's download of weights, which gives a file of the test."""
    if library == "timm":
        publish(model, tmp_path, monkeypatch)
    else:
        weights = type(torchvision.models.get_model_weights("resnet18").DEFAULT)
        monkeypatch.setattr(weights, "get_state_dict", lambda *_, **__: model.state_dict())


@pytest.mark.parametrize("library", ["timm", "torchvision"])
def test_published_weights_all_but_the_head(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, library: str
) -> None:
    name = f"{library}:resnet18"
    theirs = built(Architecture(name, 1000, 3, "none"), seed=5)
    published_here(monkeypatch, tmp_path, library, theirs)
    torch.manual_seed(1)
    network, new = library_net(name).published(7, 3)
    assert new == ["fc.weight", "fc.bias"]
    state, given = network.state_dict(), theirs.state_dict()
    assert all(torch.equal(state[key], given[key]) for key in given if key not in new)
    assert state["fc.weight"].shape == (7, 512)
    torch.manual_seed(1)
    again, _ = library_net(name).published(7, 3)
    assert same(network, again)
    whole, new = library_net(name).published(1000, 3)
    assert new == [] and same(whole, theirs)


def test_published_weights_of_a_vit_are_resampled(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    name = "timm:vit_tiny_patch16_224"
    theirs = built(Architecture.of(name, normalize="none"))
    published_here(monkeypatch, tmp_path, "timm", theirs)
    network, new = library_net(name).published(5, 3, input_size=32)
    assert new == ["head.weight", "head.bias"]
    state, given = network.state_dict(), theirs.state_dict()
    assert state["pos_embed"].shape == (1, 1 + 4, 192)
    assert torch.equal(state["blocks.3.mlp.fc1.weight"], given["blocks.3.mlp.fc1.weight"])


def test_published_weights_without_a_classifier(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    name = "vit_tiny_patch16_224"
    theirs = timm.create_model(name, num_classes=0)
    file, create = tmp_path / "published.safetensors", timm.create_model
    save_file(theirs.state_dict(), file)
    about = {**timm.get_pretrained_cfg(name).to_dict(), "num_classes": 0, "file": str(file)}
    here = SimpleNamespace(to_dict=lambda: about)
    monkeypatch.setattr(timm, "get_pretrained_cfg", lambda _: here)
    overlay = {"file": str(file), "num_classes": 0}
    monkeypatch.setattr(
        timm, "create_model", lambda *a, **more: create(*a, pretrained_cfg_overlay=overlay, **more)
    )
    found = library_net(f"timm:{name}")
    assert found.headless and found.num_classes == 1000
    # 1,000 is what is built where no number is asked for, and none of theirs.
    for classes in (5, 1000):
        network, new = found.published(classes, 3)
        assert new == ["head.weight", "head.bias"]
        state, given = network.state_dict(), theirs.state_dict()
        assert all(torch.equal(state[key], given[key]) for key in given)
        assert state["head.weight"].shape == (classes, 192)


@pytest.mark.parametrize(
    ("name", "side"), [("googlenet", ("aux1", "aux2")), ("inception_v3", ("AuxLogits",))]
)
def test_published_weights_leave_the_side_branches_out(
    monkeypatch: pytest.MonkeyPatch, name: str, side: tuple[str, ...]
) -> None:
    weights = torchvision.models.get_model_weights(name)
    with torch.device("meta"):
        theirs = torchvision.models.get_model(name, init_weights=False).state_dict()
        assert {key.split(".")[0] for key in theirs} >= set(side)
        monkeypatch.setattr(weights, "get_state_dict", lambda *_, **__: theirs)
        network, new = library_net(f"torchvision:{name}").published(5, 3)
    assert new == ["fc.weight", "fc.bias"] and network.get_submodule("fc").out_features == 5
    assert not any(key.startswith(side) for key in network.state_dict())


def test_published_weights_of_a_size_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    library = library_net("torchvision:vit_h_14")
    weights = torchvision.models.get_model_weights("vit_h_14")
    with torch.device("meta"):
        theirs = torchvision.models.vit_h_14(image_size=518).state_dict()
        monkeypatch.setattr(weights, "get_state_dict", lambda *_, **__: theirs)
        network, new = library.published(5, 3)
        again = library(num_classes=5, in_channels=3)
    assert new == ["heads.head.weight", "heads.head.bias"]
    for made in (network, again):
        assert made.state_dict()["encoder.pos_embedding"].shape == (1, 1 + 37**2, 1280)


@pytest.mark.parametrize("classes", [5, 1000])
def test_published_weights_that_do_not_fit(monkeypatch: pytest.MonkeyPatch, classes: int) -> None:
    get = torchvision.models.get_model

    def other(name: str, *, weights: Any = None, **more: Any) -> nn.Module:
        return get(name, width_per_group=128) if weights else get(name, weights=None, **more)

    monkeypatch.setattr(torchvision.models, "get_model", other)
    with pytest.raises(
        ValueError, match=r"they do not fit the network in layer1\.0\.conv1"
    ) as error:
        library_net("torchvision:resnet50").published(classes, 3)
    assert "fc." not in str(error.value) and "\n" not in str(error.value)


def test_published_weights_that_cannot_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_internet(*_: Any, **__: Any) -> None:
        raise OSError("Name or service not known\nand more")

    monkeypatch.setattr(timm, "create_model", no_internet)
    with pytest.raises(
        ValueError,
        match=r"of timm:resnet18 cannot be loaded \(Name or service not known\): without",
    ) as error:
        library_net("timm:resnet18").published(5, 3)
    assert "\n" not in str(error.value)


def test_published_weights_of_another_shape() -> None:
    with pytest.raises(ValueError, match="of 3 channels, not 1: use --channels 3"):
        library_net("torchvision:resnet18").published(5, 1)
    with pytest.raises(ValueError, match="224×224: use --input-size 224"):
        library_net("torchvision:vit_b_16").published(5, 3, input_size=32)


# libraries that are not there


def failing(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def fail(_: str) -> ModuleType:
        raise error

    monkeypatch.setattr(importlib, "import_module", fail)


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ModuleNotFoundError("No module", name="timm"), r"package timm: pip install 'hardy\[vis"),
        (ModuleNotFoundError("No module named 'yaml'", name="yaml"), "imported: No module named"),
        (RuntimeError("operator torchvision::nms does not exist"), "whl/cpu"),
        (AttributeError("module 'torchvision' has no attribute 'extension'"), "whl/cpu"),
        (OSError("libjpeg.so"), "timm cannot be imported: libjpeg.so"),
    ],
)
def test_a_library_that_cannot_be_imported(
    monkeypatch: pytest.MonkeyPatch, error: Exception, line: str
) -> None:
    failing(monkeypatch, error)
    with pytest.raises(ValueError, match=line) as told:
        imported("timm")
    assert "\n" not in str(told.value)


def test_libraries_are_imported_when_they_are_named() -> None:
    code = (
        "import sys, hardy\n"
        "from hardy.models.architecture import Architecture\n"
        "Architecture.of('resnet18').build()\n"
        "assert not {'timm', 'torchvision'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env=os.environ)


def test_every_library_gives_its_kind() -> None:
    for name in libraries.LIBRARIES:
        assert isinstance(factory(f"{name}:resnet18"), LibraryNet)
