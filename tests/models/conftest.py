from collections.abc import Iterator
from pathlib import Path

import pytest
import torch


@pytest.fixture(scope="session")
def checkpoints() -> Path:
    """The robust checkpoints that lie beside a development checkout, not in the repository."""
    folder = Path(__file__).resolve().parents[3] / "shared" / "checkpoints"
    if not folder.is_dir():
        pytest.skip("needs the folder shared/checkpoints beside the repository")
    return folder


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Networks this small are slower on many threads, far slower on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
