import pytest
import torch
import torch.fx
from torch import nn

from hardy.models.architecture import ZOO, Architecture, available
from hardy.models.wide_resnet import wide_resnet

# At 10 classes. Published: ResNet-18 and -34 of the CIFAR code, WRN-34-10 and WRN-28-10
# without the unused stage, PreActResNet-18 with its final BatchNorm.
PARAMETERS = {
    "small_resnet": 77_754,
    "resnet18": 11_173_962,
    "resnet34": 21_282_122,
    "thin_resnet18": 701_466,
    "slim_resnet18": 176_402,
    "preact_resnet18": 11_172_170,
    "wrn28_10": 36_479_194,
    "wrn34_10": 46_160_474,
    "mobilenetv2": 2_296_922,
    "resnet2b": 112_006,
    "mnist_cnn": 312_202,
}
SIDES = {"small_resnet": (8, 28), "resnet2b": (32,), "mnist_cnn": (28,)}


def shell(name: str) -> nn.Module:
    with torch.device("meta"):
        return Architecture.of(name).build()


def candidates(model: nn.Module) -> list[str]:
    return [
        name for name, module in model.named_modules() if isinstance(module, nn.Conv2d | nn.Linear)
    ]


def test_every_network_is_counted():
    assert set(PARAMETERS) == set(available())


@pytest.mark.parametrize("name", available())
def test_parameter_count(name):
    assert sum(p.numel() for p in shell(name).parameters()) == PARAMETERS[name]


@pytest.mark.parametrize("name", available())
def test_shapes(name):
    for side in SIDES.get(name, (32, 64)):
        architecture = Architecture.of(name, num_classes=7)
        with torch.device("meta"):
            model = architecture.build()
            logits = model(torch.empty(2, architecture.in_channels, side, side))
        assert logits.shape == (2, 7)


@pytest.mark.parametrize("name", available())
def test_can_be_traced(name):
    with torch.device("meta"):
        traced = torch.fx.symbolic_trace(ZOO[name]())
    assert any("normalize" in str(node.target) for node in traced.graph.nodes)


def test_traced_network_computes_the_same():
    for name in ("small_resnet", "resnet2b", "thin_resnet18"):
        model = Architecture.of(name).build().eval()
        x = torch.rand(2, 1 if name == "small_resnet" else 3, 32, 32)
        assert torch.equal(torch.fx.symbolic_trace(model)(x), model(x))


@pytest.mark.parametrize("name", available())
def test_normalisation_is_the_first_child_and_not_in_the_state_dict(name):
    model = shell(name)
    assert next(iter(model.named_children()))[0] == "normalize"
    assert not [key for key in model.state_dict() if "normalize" in key]


def test_normalisation_is_used():
    torch.manual_seed(0)
    bare = Architecture("thin_resnet18", 10, 3, "none").build().eval()
    torch.manual_seed(0)
    behind = Architecture("thin_resnet18", 10, 3, "0.5,0.5,0.5/0.25,0.25,0.25").build().eval()
    x = torch.rand(2, 3, 32, 32)
    assert torch.equal(behind(x), bare((x - 0.5) / 0.25))


def test_resnet18_has_the_21_candidates_of_rift():
    blocks = [f"layer{s}.{b}.conv{c}" for s in (1, 2, 3, 4) for b in (0, 1) for c in (1, 2)]
    shortcuts = [f"layer{s}.0.shortcut.0" for s in (2, 3, 4)]
    assert sorted(candidates(shell("resnet18"))) == sorted(["conv1", *blocks, *shortcuts, "linear"])


def test_wrn34_10_has_the_35_candidates_of_rift():
    blocks = [f"block{s}.layer.{b}.conv{c}" for s in (1, 2, 3) for b in range(5) for c in (1, 2)]
    shortcuts = [f"block{s}.layer.0.convShortcut" for s in (1, 2, 3)]
    found = candidates(shell("wrn34_10"))
    assert sorted(found) == sorted(["conv1", *blocks, *shortcuts, "fc"])
    assert len(found) == 35


def test_wide_resnet_refuses_an_odd_depth():
    with pytest.raises(ValueError, match="not 30"):
        wide_resnet(30, 2)


def test_the_shortcut_of_a_wide_block_reads_what_the_published_one_reads():
    model = wide_resnet(10, 1)
    # 16 -> 16 channels: the raw input comes through where the convolutions are zero.
    same = model.get_submodule("block1.layer.0")
    nn.init.zeros_(same.get_parameter("conv2.weight"))
    x = torch.randn(1, 16, 4, 4)
    assert torch.equal(same(x), x)
    # 16 -> 32 channels: the projection reads relu(bn1(x)).
    wider = model.get_submodule("block2.layer.0").eval()
    nn.init.zeros_(wider.get_parameter("conv2.weight"))
    active = torch.relu(wider.get_submodule("bn1")(x))
    assert torch.equal(wider(x), wider.get_submodule("convShortcut")(active))


def test_the_same_seed_gives_the_same_weights():
    states = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        states.append(Architecture.of("small_resnet").build().state_dict()["linear.weight"])
    assert torch.equal(states[0], states[1])
    assert not torch.equal(states[0], states[2])


def test_defaults_are_the_networks_own():
    assert Architecture.of("resnet2b") == Architecture("resnet2b", 10, 3, "cifar10")
    assert Architecture.of("mnist_cnn") == Architecture("mnist_cnn", 10, 1, "none")
    given = Architecture.of("resnet18", num_classes=200, in_channels=1, normalize="0/2")
    assert given == Architecture("resnet18", 200, 1, "0/2")


NETS = """
from torch import nn
def make(num_classes, in_channels=1, normalize="none"):
    from hardy.models.small import small_resnet
    return small_resnet(num_classes, in_channels, normalize)
def plain():
    return nn.Sequential(nn.Conv2d(3, 4, 1), nn.Flatten(), nn.Linear(16, 10))
def deep(depth): return nn.Identity()
def nothing(): return 3
"""


@pytest.fixture
def nets(tmp_path, monkeypatch):
    (tmp_path / "hardy_test_nets.py").write_text(NETS)
    (tmp_path / "hardy_test_broken.py").write_text("import hardy_test_absent\n")
    monkeypatch.chdir(tmp_path)
    return "hardy_test_nets"


def test_import_path_relative_to_the_current_directory(nets):
    model = Architecture.of(f"{nets}:make", num_classes=4, normalize="0.5/0.5").build()
    assert model(torch.rand(2, 1, 8, 8)).shape == (2, 4)
    assert next(iter(model.named_children()))[0] == "normalize"


def test_a_network_that_takes_no_normalisation_is_put_behind_it(nets):
    torch.manual_seed(0)
    bare = Architecture.of(f"{nets}:plain").build()
    torch.manual_seed(0)
    behind = Architecture.of(f"{nets}:plain", normalize="0,0,0/2,2,2").build()
    x = torch.rand(2, 3, 2, 2)
    assert torch.equal(behind(x), bare(x / 2))


@pytest.mark.parametrize(
    ("model", "says"),
    [
        ("resnt18", "nearest: resnet18"),
        ("timm-resnet18", "must be one of"),
        ("hardy_test_net:make", "no module .* .nearest: hardy_test_nets"),
        ("hardy_test_nets:mke", "no function 'mke' .nearest: make"),
        ("hardy_test_nets:deep", "missing a required argument: 'depth'"),
        ("hardy_test_nets:nothing", "must return a torch.nn.Module, not int"),
        ("hardy_test_broken:make", "cannot be imported: No module named 'hardy_test_absent'"),
        (":make", "not the name of a module"),
        ("../nets.py:make", "not the name of a module"),
    ],
)
def test_a_wrong_name_is_an_error_that_helps(nets, model, says):
    with pytest.raises(ValueError, match=says):
        Architecture.of(model).build()


def test_small_resnet_learns_the_digits():
    from sklearn.datasets import load_digits

    pictures, labels = load_digits(return_X_y=True)
    x = torch.tensor(pictures, dtype=torch.float32).view(-1, 1, 8, 8) / 16
    y = torch.tensor(labels)
    torch.manual_seed(0)
    order = torch.randperm(len(y))
    train, test = order[:1400], order[1400:]
    model = Architecture.of("small_resnet").build()
    epochs, batch = 5, 64
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4)
    steps = epochs * (len(train) // batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.2, total_steps=steps)
    for _ in range(epochs):
        for rows in train[torch.randperm(len(train))].split(batch)[: len(train) // batch]:
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x[rows]), y[rows]).backward()
            optimizer.step()
            schedule.step()
    with torch.no_grad():
        right = model.eval()(x[test]).argmax(1) == y[test]
    assert right.float().mean() > 0.97
