"""When progress bars are drawn."""

from __future__ import annotations


def hidden_unless(shown: bool) -> dict[str, bool]:
    """Options of tqdm: no bar unless ``shown``; then its own TQDM_DISABLE decides, which ``disable`` would override."""
    return {} if shown else {"disable": True}
