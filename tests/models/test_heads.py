"""The classifier layer: found whatever it is called, and made anew without touching the rest."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from hardy.models.architecture import Architecture, available
from hardy.models.heads import head_of, named_head, new_head


class Scaled(nn.Module):
    """Logits that are scaled, shifted and divided after the layer that makes them. Another layer
    has as many numbers and runs later, but the logits do not come from it."""

    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Linear(12, 5)
        self.unused = nn.Linear(5, 5)

    def forward(self, x: Tensor) -> Tensor:
        logits = self.last(x.flatten(1))
        self.unused(x.flatten(1)[:, :5])
        logits *= 3
        return (logits - logits.mean(1, keepdim=True)) / 2


class Convolutional(nn.Module):
    """A 1x1 convolution as the classifier, then a ReLU and the mean over all positions."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Conv2d(3, 8, 3)
        self.classifier = nn.Conv2d(8, 5, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x)).relu().mean((2, 3))


class Supervised(nn.Module):
    """Two heads whose logits are added."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(12, 5)
        self.early = nn.Linear(12, 5)
        self.late = nn.Linear(5, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.early(x.flatten(1)) + self.late(self.body(x.flatten(1)))


class Cosine(nn.Module):
    """A classifier whose weight is no layer's."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(12, 7)
        self.weight = nn.Parameter(torch.rand(5, 7))

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x.flatten(1)) @ self.weight.T


NAMES = {"resnet2b": "linear2", "mnist_cnn": "classifier.fc3", "wrn28_10": "fc", "wrn34_10": "fc"}


@pytest.mark.parametrize("name", [name for name in available() if "wrn" not in name])
def test_the_heads_of_our_networks(name: str) -> None:
    assert head_of(Architecture.of(name).build()) == NAMES.get(name, "linear")


@pytest.mark.parametrize(
    ("name", "size", "head"),
    [
        ("timm:resnet18", 32, "fc"),
        ("timm:convnext_atto", 32, "head.fc"),
        ("timm:mobilenetv3_small_050", 32, "classifier"),
        ("timm:densenet121", 32, "classifier"),
        ("timm:vit_tiny_patch16_224", 224, "head"),
        ("torchvision:squeezenet1_1", 32, "classifier.1"),
        ("torchvision:mobilenet_v2", 32, "classifier.1"),
    ],
)
def test_the_heads_of_other_libraries(name: str, size: int, head: str) -> None:
    pytest.importorskip("vision_ops")
    model = Architecture(name, 7, 3, "none").build()
    assert head_of(model, torch.rand(1, 3, size, size)) == head


@pytest.mark.parametrize(
    ("model", "head"), [(Scaled(), "last"), (Convolutional(), "classifier")], ids=["scaled", "1x1"]
)
def test_what_follows_the_layer_does_not_matter(model: nn.Module, head: str) -> None:
    picture = torch.rand(1, 3, 2, 2) if head == "last" else None
    assert head_of(model, picture) == head


def test_looking_leaves_everything_as_it_is() -> None:
    model = Architecture.of("small_resnet").build().train()
    model.get_submodule("layer1").eval()
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    modes = [module.training for module in model.modules()]
    picture, state = torch.rand(1, 1, 8, 8), torch.get_rng_state()
    assert head_of(model, picture) == "linear"
    assert torch.equal(torch.get_rng_state(), state)
    assert not picture.requires_grad
    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    assert not any(parameter.requires_grad for parameter in model.parameters())
    assert not any(module._forward_hooks for module in model.modules())


def test_several_heads_are_refused_by_their_names() -> None:
    with pytest.raises(ValueError, match=r"several layers together \(early, late\)"):
        head_of(Supervised(), torch.rand(1, 3, 2, 2))


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (Cosine(), r"5 logits of Cosine was not found \(layers of 5 numbers: none.*last are body"),
        (nn.Sequential(nn.Flatten(), nn.Linear(12, 10), nn.GLU()), "5 logits .* are 1"),
        (nn.Conv2d(3, 5, 1), r"not shape \(1, 5, 2, 2\)"),
        (nn.Sequential(nn.Flatten(), nn.LSTM(12, 5)), "not tuple"),
    ],
)
def test_what_has_no_classifier_layer(model: nn.Module, said: str) -> None:
    with pytest.raises(ValueError, match=said) as error:
        head_of(model, torch.rand(1, 3, 2, 2))
    assert "\n" not in str(error.value)


def test_a_network_that_takes_no_usual_picture() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 5))
    with pytest.raises(ValueError, match="give head_of a picture that it takes"):
        head_of(model)
    assert head_of(model, torch.rand(1, 3, 2, 2)) == "1"


@pytest.mark.parametrize(("model", "bias"), [(Scaled(), True), (Convolutional(), False)])
def test_a_new_head_is_a_fresh_layer_and_the_rest_is_not_touched(
    model: nn.Module, bias: bool
) -> None:
    name = head_of(model, torch.rand(1, 3, 2 if bias else 8, 2 if bias else 8))
    before = {key: value.clone() for key, value in model.state_dict().items()}
    state = torch.get_rng_state()
    new = new_head(model, name, 3, seed=4)
    assert torch.equal(torch.get_rng_state(), state)
    assert new == [f"{name}.weight", f"{name}.bias"][: 1 + bias]
    after = model.state_dict()
    assert after.keys() == before.keys()
    for key in before.keys() - set(new):
        assert torch.equal(after[key], before[key])
    layer = model.get_submodule(name)
    torch.manual_seed(4)  # as the class itself makes one
    fresh = nn.Linear(12, 3) if bias else nn.Conv2d(8, 3, 1, bias=False)
    assert type(layer) is type(fresh)
    assert repr(layer) == repr(fresh)
    assert torch.equal(layer.weight, fresh.weight)  # type: ignore[arg-type]
    assert (layer.bias is None) != bias
    assert all(parameter.requires_grad for parameter in layer.parameters())
    pictures = torch.rand(2, 3, 2, 2) if bias else torch.rand(2, 3, 8, 8)
    assert model(pictures).shape == (2, 3)


def test_other_seeds_give_other_heads() -> None:
    made = []
    for seed in (0, 0, 1):
        model = Scaled()
        new_head(model, "last", 3, seed)
        made.append(model.last.weight)
    assert torch.equal(made[0], made[1])
    assert not torch.equal(made[0], made[2])


def test_a_layer_with_two_names_is_replaced_under_both() -> None:
    model = Scaled()
    model.add_module("again", model.last)
    new_head(model, "last", 3, 0)
    assert model.get_submodule("again") is model.last
    assert model.last.out_features == 3


def test_a_double_head_stays_double() -> None:
    model = Scaled().double()
    new_head(model, "last", 3, 0)
    assert model.last.weight.dtype == torch.float64


def test_a_parametrised_head_is_refused() -> None:
    model = Scaled()
    nn.utils.parametrizations.weight_norm(model.last)
    with pytest.raises(ValueError, match="the weight of last is computed from others"):
        new_head(model, "last", 3, 0)


def test_names_may_leave_out_the_front_of_a_network() -> None:
    plain = Architecture.of("small_resnet").build()
    behind = Architecture("small_resnet", 10, 1, "none", input_size=16).build()
    assert named_head(plain, "linear") == "linear"
    assert named_head(behind, "linear") == named_head(behind, "model.linear") == "model.linear"
    for model in (plain, behind):
        with pytest.raises(ValueError, match=r"no linear map or convolution 'linaer': .*linear"):
            named_head(model, "linaer")
        with pytest.raises(ValueError, match="'bn1'"):
            named_head(model, "bn1")
