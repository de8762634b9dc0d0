"""Files as they are published elsewhere, for the networks that they are published with."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from hardy.models.fitting import RESNETS
from hardy.models.load import Checkpoint, read_checkpoint
from vision_ops import timm, torchvision

State = dict[str, Tensor]
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
X = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def lively(network: nn.Module) -> nn.Module:
    """With statistics that no two channels share: a mistaken name would show."""
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.train()
        network(torch.rand(4, 3, 32, 32))
    return network.eval()


@pytest.fixture(scope="module")
def resnet() -> nn.Module:
    torch.manual_seed(3)
    return lively(timm.create_model("resnet18", num_classes=6))


def per_channel(values: tuple[float, ...]) -> Tensor:
    return torch.tensor(values).view(1, 3, 1, 1)


def logits(network: nn.Module, x: Tensor, *, normalized: bool) -> Tensor:
    with torch.no_grad():
        return network((x - per_channel(MEAN)) / per_channel(STD) if normalized else x)


def under(prefix: str, state: State) -> State:
    return {prefix + key: value for key, value in state.items()}


def robustbench(state: State) -> Any:
    """robustbench: normalisation and network as a Sequential of ordered names."""
    front = {"normalize.mean": per_channel(MEAN), "normalize.std": per_channel(STD)}
    return front | under("model.", state)


def robustbench_numbered(state: State) -> Any:
    return {
        "state_dict": {"module.0.mean": torch.tensor(MEAN), "module.0.std": torch.tensor(STD)}
        | under("module.1.", state)
    }


def mu_sigma(state: State) -> Any:
    return {"mu": per_channel(MEAN), "sigma": per_channel(STD), **under("model.", state)}


def robustness(state: State) -> Any:
    """The library robustness: an AttackerModel in DataParallel, with the network in it twice."""
    front = {
        "module.normalizer.new_mean": torch.tensor(MEAN).view(3, 1, 1),
        "module.normalizer.new_std": torch.tensor(STD).view(3, 1, 1),
        "module.attacker.normalize.new_mean": torch.tensor(MEAN).view(3, 1, 1),
        "module.attacker.normalize.new_std": torch.tensor(STD).view(3, 1, 1),
    }
    twice = under("module.model.", state) | under("module.attacker.model.", state)
    momentum = {"state": {0: {"momentum_buffer": torch.zeros(3)}}, "param_groups": [{"lr": 0.1}]}
    return {
        "model": front | twice,
        "optimizer": momentum,
        "schedule": None,
        "epoch": 90,
        "amp": None,
        "nat_prec1": torch.tensor(0.6),
        "adv_prec1": torch.tensor(0.4),
    }


LAYOUTS: dict[str, Callable[[State], Any]] = {
    "robustbench": robustbench,
    "robustbench, numbered": robustbench_numbered,
    "mu and sigma": mu_sigma,
    "robustness": robustness,
}


def written(path: Path, value: Any) -> Path:
    torch.save(value, path)
    return path


def assert_same(found: Checkpoint, network: nn.Module) -> None:
    inner = found.model.get_submodule("model")
    left, right = inner.state_dict(), network.state_dict()
    assert left.keys() == right.keys()
    assert all(torch.equal(left[key], right[key]) for key in left)
    assert not found.ours and not found.model.training


@pytest.mark.parametrize("model", ["timm:resnet18", "torchvision:resnet18"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_robust_checkpoint_with_its_normalisation(
    tmp_path: Path, resnet: nn.Module, layout: str, model: str
) -> None:
    path = written(tmp_path / "a.pt", LAYOUTS[layout](resnet.state_dict()))
    found = read_checkpoint(path, model=model)
    assert_same(found, resnet)
    assert found.architecture.normalize == "imagenet" and found.architecture.num_classes == 6
    with torch.no_grad():
        torch.testing.assert_close(found.model(X), logits(resnet, X, normalized=True))
    (told,) = [note for note in found.notes if "normalisation" in note]
    assert told.startswith("normalisation imagenet taken from the file's ")
    assert not any("fit as well" in note or "other normalisation" in note for note in found.notes)


def test_the_copy_of_the_attacker_is_told_once(tmp_path: Path, resnet: nn.Module) -> None:
    path = written(tmp_path / "a.pt", robustness(resnet.state_dict()))
    assert read_checkpoint(path, model="timm:resnet18").notes == [
        "dropped the prefix 'module.model.'",
        "left out 'module.attacker.model.', a copy of the same weights",
        "normalisation imagenet taken from the file's module.normalizer.new_mean and "
        "module.normalizer.new_std",
    ]


def test_an_attacker_that_differs_is_told(tmp_path: Path, resnet: nn.Module) -> None:
    value = robustness(resnet.state_dict())
    value["model"]["module.attacker.model.fc.bias"] = torch.ones(6)
    found = read_checkpoint(written(tmp_path / "a.pt", value), model="timm:resnet18")
    assert_same(found, resnet)
    assert any("'module.attacker.model.' fit as well and differ" in note for note in found.notes)


def test_a_file_of_one_library_is_read_into_the_other(tmp_path: Path) -> None:
    torch.manual_seed(0)
    theirs = lively(torchvision.models.resnet50(num_classes=4))
    written(tmp_path / "torchvision.pth", theirs.state_dict())
    save_file(theirs.state_dict(), tmp_path / "timm.safetensors")
    for name in ("torchvision.pth", "timm.safetensors"):
        found = read_checkpoint(tmp_path / name, model="timm:resnet50")
        assert_same(found, theirs)
        assert any("holds no normalisation: imagenet is used" in note for note in found.notes)
        with torch.no_grad():
            torch.testing.assert_close(found.model(X), logits(theirs, X, normalized=True))


def test_statistics_of_pixels_from_0_to_255(tmp_path: Path, resnet: nn.Module) -> None:
    front = {"mean": 255 * per_channel(MEAN), "std": 255 * per_channel(STD)}
    path = written(tmp_path / "a.pt", front | under("model.", resnet.state_dict()))
    found = read_checkpoint(path, model="timm:resnet18")
    assert found.architecture.normalize == "imagenet"
    assert "mean and std are of pixels from 0 to 255: both were divided by 255" in found.notes
    with torch.no_grad():
        torch.testing.assert_close(found.model(X), logits(resnet, X, normalized=True))
    # A std says nothing of that.
    front = {"mean": torch.tensor([0.5, 0.5, 1.0]), "std": torch.tensor([255.0, 2.0, 1.0])}
    path = written(tmp_path / "a.pt", front | under("model.", resnet.state_dict()))
    found = read_checkpoint(path, model="timm:resnet18")
    assert found.architecture.normalize == "0.5,0.5,1.0/255.0,2.0,1.0"
    assert not any("0 to 255" in note for note in found.notes)


@pytest.mark.parametrize("prefix", ["", "module."])
def test_side_branches_in_a_file_are_left_out(tmp_path: Path, prefix: str) -> None:
    with torch.device("meta"):
        make = torchvision.models.googlenet
        shapes = make(num_classes=4, aux_logits=True, init_weights=False).state_dict()
    # One number for each tensor: a file of its true size would say no more.
    state = {key: torch.ones(()).expand(value.shape) for key, value in shapes.items()}
    many = sum(key.startswith("aux1.") for key in state)
    path = written(tmp_path / "a.pth", under(prefix, state))
    found = read_checkpoint(path, model="torchvision:googlenet")
    assert found.architecture.num_classes == 4
    for part in ("aux1", "aux2"):
        note = f"left out {many} entries of {part}, which the network does not use"
        assert note in found.notes
    # Only those, and only there.
    path = written(tmp_path / "a.pth", under(prefix, state | {"aux3.bias": torch.ones(2)}))
    with pytest.raises(ValueError, match=r"unexpected: .*aux3\.bias"):
        read_checkpoint(path, model="torchvision:googlenet")
    bare = timm.create_model("resnet18", num_classes=6).state_dict() | {"aux1.bias": torch.ones(2)}
    with pytest.raises(ValueError, match=r"unexpected: aux1\.bias"):
        read_checkpoint(written(tmp_path / "a.pth", bare), model="timm:resnet18")


def as_its_authors_name_it(name: str) -> str:
    """A weight of timm's ConvNeXt under the name that it has in the authors' code."""
    for ours, theirs in (
        (r"^stem\.", "downsample_layers.0."),
        (r"^stages\.(\d)\.downsample", r"downsample_layers.\1"),
        (r"blocks\.", ""),
        ("conv_dw", "dwconv"),
        (r"mlp\.fc", "pwconv"),
        (r"^head\.norm", "norm"),
        (r"^head\.fc", "head"),
    ):
        name = re.sub(ours, theirs, name)
    return name


@pytest.mark.parametrize("prefix", ["", "module."])
def test_a_file_in_its_authors_names(tmp_path: Path, prefix: str) -> None:
    torch.manual_seed(0)
    network = timm.create_model("convnext_atto", num_classes=7).eval()
    state = {prefix + as_its_authors_name_it(k): v for k, v in network.state_dict().items()}
    assert f"{prefix}stages.2.5.pwconv1.weight" in state
    path = written(tmp_path / "a.pth", {"model": state})
    found = read_checkpoint(path, model="timm:convnext_atto")
    assert_same(found, network)
    assert found.architecture.num_classes == 7
    assert "the file's names were converted to its own by timm" in found.notes
    del state[f"{prefix}norm.weight"]
    with pytest.raises(ValueError, match="do not fit timm:convnext_atto: missing: "):
        read_checkpoint(written(path, {"model": state}), model="timm:convnext_atto")


def test_a_vit_of_another_size_is_resampled_by_timm(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = timm.create_model("vit_tiny_patch16_224", num_classes=7).eval()
    path = written(tmp_path / "a.pth", network.state_dict())
    found = read_checkpoint(path, model="timm:vit_tiny_patch16_224", input_size=64)
    inner, given = found.model.get_submodule("model").state_dict(), network.state_dict()
    assert inner["pos_embed"].shape == (1, 1 + 16, 192)
    assert all(torch.equal(inner[key], given[key]) for key in given if key != "pos_embed")
    # The class token's own is no place in the picture.
    assert torch.equal(inner["pos_embed"][:, 0], given["pos_embed"][:, 0])


def test_the_averaged_weights_of_a_timm_run(tmp_path: Path, resnet: nn.Module) -> None:
    value = {
        "epoch": 3,
        "arch": "resnet18",
        "state_dict": {key: value + 1 for key, value in resnet.state_dict().items()},
        "state_dict_ema": resnet.state_dict(),
        "metric": 71.5,
    }
    path = written(tmp_path / "a.pth.tar", value)
    found = read_checkpoint(path, model="timm:resnet18", normalize="none")
    assert any("took 'state_dict'; the file also holds state_dict_ema" in n for n in found.notes)
    left, right = found.model.state_dict(), resnet.state_dict()
    assert all(torch.equal(left[key], right[key] + 1) for key in left)
    only = {key: value[key] for key in ("epoch", "state_dict_ema")}
    found = read_checkpoint(
        written(tmp_path / "b.pt", only), model="timm:resnet18", normalize="none"
    )
    left = found.model.state_dict()
    assert all(torch.equal(left[key], right[key]) for key in left)


@pytest.mark.parametrize("name", RESNETS)
def test_a_resnet_of_a_library_is_recognised(tmp_path: Path, name: str) -> None:
    with torch.device("meta"):
        shapes = torchvision.models.get_model(name, num_classes=9).state_dict()
    # One number for each tensor: a file of hundreds of megabytes would say no more.
    state = {key: torch.zeros(()).expand(value.shape) for key, value in shapes.items()}
    line = f"it fits timm:{name}: pass --model timm:{name}"
    with pytest.raises(ValueError, match=line) as error:
        read_checkpoint(written(tmp_path / "a.pth", {"state_dict": under("module.", state)}))
    assert "\n" not in str(error.value)


def test_without_the_library_it_is_said_which_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, resnet: nn.Module
) -> None:
    path = written(tmp_path / "a.pth", resnet.state_dict())
    monkeypatch.setitem(sys.modules, "timm", None)
    line = (
        r"fits none of .* names are those of a ResNet of timm \(.*'hardy\[vision\]'\); pass --model"
    )
    with pytest.raises(ValueError, match=line):
        read_checkpoint(path)


def test_a_network_that_is_no_plain_resnet_is_not_guessed(tmp_path: Path) -> None:
    state = timm.create_model("resnet18d", num_classes=9).state_dict()
    with pytest.raises(ValueError, match="fits none of") as error:
        read_checkpoint(written(tmp_path / "a.pth", state))
    assert "timm:" not in str(error.value)


def test_a_misfit_says_what_fits(tmp_path: Path, resnet: nn.Module) -> None:
    path = written(tmp_path / "a.pth", resnet.state_dict())
    with pytest.raises(ValueError, match=r"missing: .*; it fits timm:resnet18: pass --model"):
        read_checkpoint(path, model="timm:resnet50")
    with pytest.raises(ValueError, match=r"it fits timm:resnet18 with 6 classes and 3 channels"):
        read_checkpoint(path, model="timm:resnet18", num_classes=5)
