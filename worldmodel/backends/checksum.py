"""The hash of a pipeline's weights, and whether the card beside them states it. Needs no other package."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

CARD = "README.md"
STATED = re.compile(r"^- weights: SHA-256 `([0-9a-f]{64})`$", re.MULTILINE)
SHIPPED = {name: Path(__file__).parent / name for name in ("tiny", "tiny-128")}  # with their cards


def weights_hash(files: list[Path]) -> str:
    """SHA-256 over the weight files in the given order."""
    digest = hashlib.sha256()
    for file in files:
        with file.open("rb") as stream:
            while block := stream.read(1 << 24):
                digest.update(block)
    return digest.hexdigest()


def stated_hash(folder: Path) -> str | None:
    """The hash of the weights that the folder's card is about; None without a card, or one that says none."""
    card = folder / CARD
    found = STATED.search(card.read_text(encoding="utf-8", errors="replace")) if card.is_file() else None
    return found[1] if found else None


def checked_hash(folder: Path, files: list[Path]) -> str:
    """The hash of a pipeline's weight files, which are refused as :func:`check_card` does."""
    found = weights_hash(files)
    check_card(folder, found)
    return found


def check_card(folder: Path, found: str, *, required: bool = False) -> None:
    """Refuse weights whose hash is not the one that the folder's card states.

    Args:
        folder: of the pipeline.
        found: hash of its weights.
        required: refuse a folder whose card states none, too; those of the shipped models are always refused then.

    Raises:
        ValueError: so.
    """
    stated = stated_hash(folder)
    if stated is None and (required or folder.resolve() in [each.resolve() for each in SHIPPED.values()]):
        raise ValueError(
            f"{folder}: got no hash of the weights in {CARD}, expected one as in the release; install worldmodel again"
        )
    if stated is not None and stated != found:
        raise ValueError(
            f"{folder}: got weights of SHA-256 {found[:12]}..., expected {stated[:12]}..., which {CARD} describes; "
            f"fetch them again, or delete {CARD} if they are your own"
        )
