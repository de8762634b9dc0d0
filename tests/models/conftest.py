from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def checkpoints() -> Path:
    """The robust checkpoints that lie beside a development checkout, not in the repository."""
    folder = Path(__file__).resolve().parents[3] / "shared" / "checkpoints"
    if not folder.is_dir():
        pytest.skip("needs the folder shared/checkpoints beside the repository")
    return folder
