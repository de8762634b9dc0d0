"""Pictures that the network resizes itself: the radius stays in the pixels that it is given."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from torch import Tensor, nn

from hardy.attacks.pgd import PGD
from hardy.draws import Draws
from hardy.evaluation.footprint import forward_operations
from hardy.finetuning.suffix import Suffixes
from hardy.models.architecture import Architecture
from hardy.models.exported import FORMATS, program_of
from hardy.models.folded import folded
from hardy.models.load import load, read_checkpoint, save
from hardy.models.normalize import Normalized
from hardy.models.resized import Resize, fronted, resized
from hardy.modes import autocast
from hardy.threat import L2, Linf, Threat

SPEC = Architecture("small_resnet", 5, 1, "0.5/0.25", input_size=16)


@pytest.fixture(scope="module")
def net() -> nn.Module:
    torch.manual_seed(0)
    return SPEC.build().eval()


def of_line(values: list[float]) -> Tensor:
    """A square picture whose rows are all the same."""
    return torch.tensor(values).expand(1, 1, len(values), len(values))


def test_enlarged_between_the_centres_of_pixels() -> None:
    # New centres lie at -0.25, 0.25, 0.75, 1.25 of the old, and outside of them the edge goes on.
    out = resized(of_line([0.0, 1.0]), 4)
    assert torch.allclose(out, of_line([0.0, 0.25, 0.75, 1.0]))


def test_shrunk_to_means_over_all_that_is_covered() -> None:
    # Old pixels at distances 0.5 and 1.5 of a new centre weigh 3 and 1; the third has no fourth.
    line = [0.8, 0.0, 0.4, 1.0]
    left, right = (3 * 0.8 + 3 * 0.0 + 0.4) / 7, (0.0 + 3 * 0.4 + 3 * 1.0) / 7
    assert torch.allclose(resized(of_line(line), 2), of_line([left, right]))


def test_the_same_size_is_the_same_picture() -> None:
    x = torch.rand(2, 3, 8, 8)
    assert resized(x, 8) is x
    assert resized(torch.rand(2, 3, 8, 6), 8).shape == (2, 3, 8, 8)


@pytest.mark.parametrize("kind", [torch.float64, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("size", [4, 16])
def test_types_are_kept(kind: torch.dtype, size: int) -> None:
    x = torch.rand(1, 1, 8, 8)
    assert resized(x.to(kind), size).dtype == kind
    assert torch.allclose(resized(x.to(kind), size).float(), resized(x, size), atol=0.01)


@pytest.mark.parametrize("size", [3, 12])
@pytest.mark.parametrize("threat", [Linf(0.125), L2(0.5)], ids=repr)
def test_the_radius_is_in_the_pixels_of_the_picture(size: int, threat: Threat) -> None:
    """A linear network behind a resizing is linear in the picture, and PGD finds the worst point
    of the ball around that."""
    torch.manual_seed(1)
    last = nn.Linear(size * size, 2).double()
    model = fronted(nn.Sequential(nn.Flatten(), last), 1, input_size=size)
    x, y = torch.full((1, 1, 6, 6), 0.5).double(), torch.tensor([0])
    # The resizing as a matrix, from pictures of one white pixel each.
    columns = resized(torch.eye(36).double().view(36, 1, 6, 6), size).flatten(1)
    uphill = (columns @ (last.weight[1] - last.weight[0])).view(1, 1, 6, 6)
    best = uphill.sign() if isinstance(threat, Linf) else uphill / uphill.norm()
    x_adv = PGD(threat, steps=10, random_start=False)(model, x, y, Draws(0, 0, torch.zeros(1)))
    torch.testing.assert_close(x_adv, x + threat.eps * best, rtol=0, atol=1e-6)


def test_resized_first_and_normalised_then(net: nn.Module) -> None:
    inner = Architecture("small_resnet", 5, 1, "none").build().eval()
    inner.load_state_dict(net.get_submodule("model").state_dict())
    x = torch.rand(2, 1, 8, 8)
    assert torch.equal(net(x), inner((resized(x, 16) - 0.5) / 0.25))


def test_a_network_that_knows_no_normalisation_has_one_front(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "hardy_test_front.py").write_text(
        "from torch import nn\n"
        "def make(): return nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten(), nn.Linear(784, 5))\n"
    )
    monkeypatch.chdir(tmp_path)
    model = Architecture("hardy_test_front:make", 5, 1, "0.5/0.25", 16).build()
    assert isinstance(model, Normalized) and isinstance(model.model, nn.Sequential)
    x = torch.rand(2, 1, 8, 8)
    assert torch.equal(model(x), model.model((resized(x, 16) - 0.5) / 0.25))
    assert all(key.startswith("model.") for key in model.state_dict())
    plain = fronted(model.model, 1)
    assert plain is model.model


def test_our_files_bring_the_size_back_and_others_say_nothing_of_it(
    tmp_path: Path, net: nn.Module
) -> None:
    path = tmp_path / "a.safetensors"
    save(path, net, SPEC, classes=[], extra={})
    found = read_checkpoint(path)
    assert found.architecture == SPEC
    assert found.notes == []
    x = torch.rand(2, 1, 8, 8)
    assert torch.equal(found.model(x), net(x))
    assert isinstance(load(path, input_size=12).get_submodule("normalize"), Resize)
    assert torch.equal(load(path, input_size=8)(x), net.get_submodule("model")(x))

    without = Architecture("small_resnet", 5, 1, "none")
    save(path, without.build(), without, classes=[], extra={})
    with safe_open(path, framework="pt") as file:
        about = file.metadata()["hardy"]
    spec = '{"model": "small_resnet", "num_classes": 5, "in_channels": 1, "normalize": "none"}'
    assert about == f'{{"architecture": {spec}, "classes": [], "extra": {{}}}}'
    assert read_checkpoint(path).architecture == without


def test_a_file_from_elsewhere_and_a_module_are_put_behind_it(
    tmp_path: Path, net: nn.Module
) -> None:
    path = tmp_path / "a.pt"
    torch.save(net.get_submodule("model").state_dict(), path)
    x = torch.rand(2, 1, 8, 8)
    found = read_checkpoint(path, normalize="0.5/0.25", input_size=16)
    assert found.architecture == SPEC
    assert torch.equal(found.model(x), net(x))
    own = Architecture("small_resnet", 5, 1, "none").build()
    found = read_checkpoint(path, model=own, normalize="0.5/0.25", input_size=16)
    assert found.model.get_submodule("model") is own
    assert torch.equal(found.model(x), net(x))
    # One that resizes by itself is not put behind another.
    again = SPEC.build()
    found = read_checkpoint(path, model=again, input_size=16)
    assert found.model is again and found.architecture.input_size == 16
    assert torch.equal(found.model(x), net(x))


@pytest.mark.parametrize("size", [0, -1])
def test_sizes_that_are_none(size: int) -> None:
    with pytest.raises(ValueError, match="at least 1 pixel"):
        Architecture("small_resnet", 5, 1, "none", size)


@pytest.mark.parametrize("size", [6, 16])
def test_everything_that_takes_a_network_apart_takes_this_one(
    size: int, tmp_path: Path, net: nn.Module
) -> None:
    model = Architecture("small_resnet", 5, 1, "0.5/0.25", size).build().eval()
    model.load_state_dict(net.state_dict())
    x = torch.rand(12, 1, 8, 8)
    notes: list[str] = []
    suffixes = Suffixes(model, x, ["model.conv1", "model.linear"], note=notes.append)
    for name in suffixes.order:
        assert torch.allclose(suffixes.cut(name)(slice(0, 4)), model(x[:4]), atol=1e-5)
    assert notes == []  # nothing had to be run in full
    assert folded(model, x) is not model
    inner = model.get_submodule("model")
    counted = forward_operations(model, x[:1])
    assert counted == forward_operations(inner, torch.rand(1, 1, size, size))
    with autocast("cpu", "bf16"):
        halves = model(x)
    assert torch.allclose(halves.float(), model(x), atol=0.1)
    last = x.contiguous(memory_format=torch.channels_last)
    assert torch.allclose(model(last), model(x), atol=1e-5)
    program = program_of(model, (1, 8, 8))
    for kind in ("onnx", "torch"):
        if kind == "onnx":
            pytest.importorskip("onnxruntime")
            pytest.importorskip("onnxscript")
        path = tmp_path / kind
        FORMATS[kind].write(path, program, {})
        forward, _ = FORMATS[kind].read(path)
        assert torch.allclose(forward(x), model(x), atol=1e-5)
