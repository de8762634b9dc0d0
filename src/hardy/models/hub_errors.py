"""What the Hugging Face Hub has against a request, in words. Needs the extra hardy[hub]."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


def library() -> Any:
    """huggingface_hub, which is an extra. Raises ValueError where it is missing."""
    try:
        importlib.import_module("huggingface_hub.errors")
        return importlib.import_module("huggingface_hub")
    except ImportError:
        raise ValueError(
            "hub: names need the package huggingface_hub: pip install 'hardy[hub]'"
        ) from None


@contextmanager
def in_words(what: object) -> Iterator[None]:
    """Whatever the hub has against it as a ValueError of one line that says what to do."""
    errors = library().errors
    try:
        yield
    except errors.GatedRepoError:
        said = (
            "only those whom its owner has accepted may read it: ask on its page, and set HF_TOKEN"
        )
    except errors.RepositoryNotFoundError:
        said = (
            "there is no such repository on the hub, or it is private: check the name; to read "
            "or write your own, set HF_TOKEN or run hf auth login"
        )
    except errors.RevisionNotFoundError:
        said = "the repository has no such branch, tag or commit: check what stands after the @"
    except errors.EntryNotFoundError:
        said = "the file is not there, or its download broke off: try again"
    except errors.HfHubHTTPError as error:
        status = error.response.status_code
        advice = {401: ": your token is not valid, set HF_TOKEN", 403: ": your token may not do it"}
        said = f"the hub refused ({status}{one_line(error.server_message)}){advice.get(status, '')}"
    except ValueError:
        raise
    except Exception as error:  # those of its transport, which differ by version
        kind = type(error).__name__
        said = f"the exchange with the hub failed ({kind}{one_line(error)}): connect, and try again"
    else:
        return
    raise ValueError(f"{what}: {said}")


def one_line(said: object) -> str:
    """': what was said', the first of it, or nothing where nothing was."""
    text = " ".join(str(said or "").split())
    return f": {text[:160]}" if text else ""
