"""Networks as files: what is read back is what was written, of any batch, and nothing besides."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from hardy.models.architecture import ZOO, Architecture
from hardy.models.exported import FORMATS, program_of, texts
from hardy.models.normalize import Normalize, Normalized

ABOUT = {"model": "by hand", "classes": ["äpfel", "1"], "eps": 0.5}
BOTH = pytest.mark.parametrize("name", FORMATS)


def by_hand() -> nn.Module:
    """Logits (a + b, 2a − c) of two pixels' z = (x − 0.5) / 0.25, here a, b and of c = 1."""
    linear = nn.Linear(2, 2)
    with torch.no_grad():
        linear.weight.copy_(torch.tensor([[1.0, 1.0], [2.0, 0.0]]))
        linear.bias.copy_(torch.tensor([0.0, -1.0]))
    net = nn.Sequential(nn.Flatten(), nn.Dropout(0.9), linear)
    return Normalized(Normalize([0.5], [0.25]), net)


def written(name: str, folder: Path, model: nn.Module, shape: tuple[int, int, int]) -> Path:
    path = folder / f"{FORMATS[name].file}.part"  # as it is called until it is whole
    FORMATS[name].write(path, program_of(model, shape), ABOUT)
    return path


@BOTH
def test_a_file_gives_the_logits_worked_out_by_hand_of_any_number_of_pictures(
    name: str, tmp_path: Path
) -> None:
    forward, about = FORMATS[name].read(written(name, tmp_path, by_hand().train(), (1, 1, 2)))
    assert about == texts(ABOUT)
    assert json.loads(about["classes"]) == ["äpfel", "1"] and float(about["eps"]) == 0.5
    x = torch.tensor([[0.75, 0.0], [0.5, 1.0], [0.0, 0.25]]).view(3, 1, 1, 2)
    # z = (1, −2), (0, 2), (−2, −1); no dropout, though the network came in train mode
    logits = torch.tensor([[-1.0, 1.0], [2.0, -1.0], [-3.0, -5.0]])
    assert torch.allclose(forward(x).detach(), logits, atol=1e-6)
    for count in (1, 64):
        found = forward(x[:1].expand(count, -1, -1, -1).contiguous()).detach()
        assert torch.allclose(found, logits[:1].expand(count, -1), atol=1e-6)


@BOTH
def test_a_file_names_its_ends_and_holds_no_source_and_no_path(name: str, tmp_path: Path) -> None:
    content = written(name, tmp_path, by_hand(), (1, 1, 2)).read_bytes()
    for trace in (b"stack_trace", b"normalize.py", str(Path(__file__).parents[2]).encode()):
        assert trace not in content
    if name == "onnx":
        import onnx

        graph = onnx.load_from_string(content).graph
        ends = [(v.name, v.type.tensor_type.shape.dim) for v in (*graph.input, *graph.output)]
        assert [(end, dim[0].dim_param) for end, dim in ends] == [
            ("pixels", "batch"),
            ("logits", "batch"),
        ]
        assert [each.dim_value for each in ends[0][1][1:]] == [1, 1, 2]


def test_pixels_can_be_attacked_through_a_pt2(tmp_path: Path) -> None:
    forward, _ = FORMATS["torch"].read(written("torch", tmp_path, by_hand(), (1, 1, 2)))
    x = torch.full((3, 1, 1, 2), 0.5, requires_grad=True)
    (grad,) = torch.autograd.grad(forward(x)[:, 1].sum(), x)
    assert torch.allclose(grad.flatten(1), torch.tensor([[8.0, 0.0]]).expand(3, -1))


def test_the_network_stays_as_it_was() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(64, 2))
    model = model.to(memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    model[1].eval()
    modes = [module.training for module in model.modules()]
    before = [(p.data_ptr(), p.stride(), p.requires_grad, p.clone()) for p in model.parameters()]
    program_of(model, (3, 6, 6))
    assert [module.training for module in model.modules()] == modes
    for p, (pointer, stride, required, value) in zip(model.parameters(), before, strict=True):
        assert (p.data_ptr(), p.stride(), p.requires_grad) == (pointer, stride, required)
        assert torch.equal(p, value)


class Branching(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1) if x.mean() > 0.1 else -x.flatten(1)


class OfTwo(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.view(2, -1)


@pytest.mark.parametrize("model", [Branching(), OfTwo()], ids=lambda model: type(model).__name__)
def test_what_cannot_be_followed_is_named_in_one_line(model: nn.Module) -> None:
    with pytest.raises(ValueError, match=r"torch.export cannot follow this network") as error:
        program_of(model, (1, 2, 2))
    assert "\n" not in str(error.value) and "branch on the values" in str(error.value)


def test_weights_that_onnx_cannot_hold_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Four weights, two biases, a mean and a std, of four bytes each.
    monkeypatch.setattr("hardy.models.exported.LARGEST", 4 * 8 - 1)
    with pytest.raises(ValueError, match=r"at most 2 GB, .*: --format torch"):
        written("onnx", tmp_path, by_hand(), (1, 1, 2))


@pytest.mark.parametrize("package", FORMATS["onnx"].needs)
def test_a_missing_package_names_the_extra(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ValueError, match=rf"the package {package}: pip install 'hardy\[export\]'"):
        FORMATS["onnx"].must_be_installed()
    FORMATS["torch"].must_be_installed()


@pytest.mark.slow
@pytest.mark.parametrize("model", ZOO)
def test_every_network_is_the_same_in_every_format(model: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    known = Architecture.of(model)
    side = {"small_resnet": 8, "mnist_cnn": 28}.get(model, 32)
    spec = "cifar10" if known.in_channels == 3 else "0.2/0.3"
    net = Architecture(model, 10, known.in_channels, spec).build().eval()
    shape = (known.in_channels, side, side)
    program = program_of(net, shape)
    for kind in FORMATS.values():
        path = tmp_path / kind.file
        kind.write(path, program, ABOUT)
        forward, _ = kind.read(path)
        for count in (1, 3):
            x = torch.rand(count, *shape)
            with torch.no_grad():
                logits = net(x)
                assert (forward(x) - logits).abs().max() <= 1e-4 * logits.std()
        path.unlink()
