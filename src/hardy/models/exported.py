"""Networks as files that run without this project: ONNX, and torch.export's .pt2.

    >>> program = program_of(model, (3, 32, 32))
    >>> FORMATS["onnx"].write(Path("network.onnx"), program, {"classes": ["cat", "dog"]})
    >>> forward, about = FORMATS["onnx"].read(Path("network.onnx"))

A file holds the network in eval mode with its normalisation: `pixels`, float32 (B, C, H, W) in
[0, 1], to `logits` (B, K), for any B. It holds no picture and no path of the machine that wrote
it. ONNX needs the extra hardy[export].
"""

from __future__ import annotations

import copy
import importlib
import json
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from hardy.modes import Forward

About = Mapping[str, Any]

ABOUT = "hardy.json"  # what a .pt2 says of itself
INPUT, OUTPUT, BATCH = "pixels", "logits", "batch"
# The oldest that torch's exporter writes without converting: most runtimes read it.
OPSET = 18
LARGEST = 2**31 - 2**20  # protobuf ends at 2 GiB; the graph around the weights needs little


def program_of(model: nn.Module, shape: tuple[int, int, int]) -> ExportedProgram:
    """What the network computes in eval mode of pictures (B, *shape), for any B; the network
    stays as it is.

    Raises ValueError where torch.export cannot follow it.
    """
    plain = copy.deepcopy(model).cpu().eval()
    for tensor in plain.parameters():
        # Plain strides: those that are fastest here need not be where the file is read.
        tensor.data = tensor.detach().contiguous()
        tensor.requires_grad_(False)
    # Sizes 0 and 1 are taken for constants; and a file keeps its example, so it is no picture.
    example = torch.full((2, *shape), 0.5)
    try:
        with _quiet(), torch.no_grad():
            program = torch.export.export(
                plain, (example,), dynamic_shapes=({0: Dim(BATCH)},), strict=False
            )
    except Exception as error:  # as many kinds as there are reasons
        raise ValueError(
            f"torch.export cannot follow this network ({_first_line(error)}): its forward must "
            "not branch on the values of pixels, nor take a fixed number of pictures"
        ) from error
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)
    return program


@dataclass(frozen=True)
class Format:
    """A kind of file. write(path, program, about): about is what the file says of itself, JSON
    values by name. read(path): the network in it, on the CPU, and `texts(about)`. needs: the
    packages."""

    file: str
    write: Callable[[Path, ExportedProgram, About], None]
    read: Callable[[Path], tuple[Forward, dict[str, str]]]
    needs: tuple[str, ...] = ()

    def must_be_installed(self) -> None:
        """Raises ValueError where a package is missing."""
        for name in self.needs:
            try:
                importlib.import_module(name)
            except ImportError:
                raise ValueError(
                    f"--format onnx needs the package {name}: pip install 'hardy[export]'"
                ) from None


def _write_onnx(path: Path, program: ExportedProgram, about: About) -> None:
    import onnx

    kept = [*program.state_dict.values(), *program.constants.values()]
    size = sum(t.numel() * t.element_size() for t in kept if isinstance(t, Tensor))
    if size > LARGEST:
        raise ValueError(
            f"an ONNX file holds at most 2 GB, the weights are {size / 1e9:.1f} GB: --format torch"
        )
    try:
        with _quiet():
            found = torch.onnx.export(
                program,
                dynamo=True,
                input_names=[INPUT],
                output_names=[OUTPUT],
                opset_version=OPSET,
                verbose=False,
            )
    except Exception as error:
        raise ValueError(
            f"torch.onnx cannot write this network ({_first_line(error)}): --format torch may"
        ) from error
    assert found is not None, "the exporter of dynamo=True returns what it made"
    proto: Any = found.model_proto
    graph = proto.graph
    for value in (*graph.input, *graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = BATCH
    del graph.value_info[:]  # shapes in the tracer's own symbols
    for part in (*graph.input, *graph.output, *graph.node, *graph.initializer, graph):
        del part.metadata_props[:]  # the tracer's notes, with lines of source and their paths
    onnx.helper.set_model_props(proto, texts(about))
    onnx.checker.check_model(proto)
    onnx.save(proto, path)


def _read_onnx(path: Path) -> tuple[Forward, dict[str, str]]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    providers = ["CPUExecutionProvider"]
    session = onnxruntime.InferenceSession(path, options, providers=providers)

    def forward(x: Tensor) -> Tensor:
        (logits,) = session.run([OUTPUT], {INPUT: x.detach().numpy()})
        return torch.from_numpy(logits)

    return forward, dict(session.get_modelmeta().custom_metadata_map)


def _write_torch(path: Path, program: ExportedProgram, about: About) -> None:
    # To an open file: of a path, torch wants the ending.
    with path.open("wb") as file, _quiet():
        torch.export.save(program, file, extra_files={ABOUT: _json(dict(about))})


def _read_torch(path: Path) -> tuple[Forward, dict[str, str]]:
    kept: dict[str, Any] = {ABOUT: ""}
    with path.open("rb") as file, _quiet():
        forward = torch.export.load(file, extra_files=kept).module()
    return forward, texts(json.loads(kept[ABOUT]))


FORMATS = {
    "onnx": Format("network.onnx", _write_onnx, _read_onnx, ("onnx", "onnxscript", "onnxruntime")),
    "torch": Format("network.pt2", _write_torch, _read_torch),
}


def texts(about: About) -> dict[str, str]:
    """As ONNX can hold it: what is no text as JSON."""
    return {k: v if isinstance(v, str) else _json(v) for k, v in about.items()}


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


@contextmanager
def _quiet() -> Iterator[None]:
    """The exporters warn about packages that are not needed and about their own insides."""
    logger = logging.getLogger("torch")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(before)
