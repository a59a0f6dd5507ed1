"""Under what terms each family's weights come, said when they are loaded, and NVIDIA's guardrail."""

from __future__ import annotations

import logging
from typing import Any, Literal, get_args

import numpy as np

logger = logging.getLogger(__name__)

Guardrails = Literal["nvidia", "none"]

LICENCES = {
    "Cosmos-Predict2.5": "NVIDIA Open Model License, "
    "https://www.nvidia.com/en-us/agreements/enterprise-software/nvidia-open-model-license",
    "Wan": "Apache-2.0, see the model's page",
    "Cosmos 3": "OpenMDW-1.1, see the model's page",
}


def state_licence(family: str, name: str) -> str:
    """The family's licence, which is logged."""
    logger.warning("%s: weights of the %s family come under %s", name, family, LICENCES[family])
    return LICENCES[family]


class Guardrail:
    """NVIDIA's checks of prompts and of decoded videos.

    Args:
        checker: a ``cosmos_guardrail.CosmosSafetyChecker`` or what has its two methods.
    """

    def __init__(self, checker: Any) -> None:
        self._checker = checker

    def check_prompt(self, prompt: str) -> None:
        """Refuse a prompt that it finds unsafe."""
        if not self._checker.check_text_safety(prompt):
            raise ValueError(f"prompt: got {prompt!r}, expected one that NVIDIA's guardrail finds safe; change it")

    def checked(self, videos: np.ndarray) -> np.ndarray:
        """The videos (B, T, H, W, 3) uint8 with faces blurred, as it does; refuses unsafe ones."""
        checked = [self._checker.check_video_safety(video) for video in videos]
        unsafe = [index for index, video in enumerate(checked) if video is None]
        if unsafe:
            raise ValueError(f"video: got unsafe samples {unsafe} by NVIDIA's guardrail, expected safe ones; drop them")
        return np.stack(checked)


def check_choice(choice: str) -> None:
    """Refuse what is no choice of a guardrail, also for models that have none."""
    if choice not in get_args(Guardrails):
        raise ValueError(f"guardrail: got {choice!r}, expected 'nvidia' or 'none'; choose one")


def find_guardrail(choice: Guardrails, device: str) -> Guardrail | None:
    """NVIDIA's guardrail, or None where the caller goes without.

    Raises:
        ValueError: it is wanted and not installed.
    """
    if choice == "none":
        logger.warning("guardrail: none, which NVIDIA's licence may not allow; rollouts record it")
        return None
    try:
        from cosmos_guardrail import CosmosSafetyChecker  # type: ignore[import-not-found, unused-ignore]
    except ImportError:
        raise ValueError(
            "guardrail: got no package cosmos_guardrail, expected it beside NVIDIA's weights; pip install "
            "cosmos_guardrail, or pass guardrail='none' where your licence allows it, which rollouts record"
        ) from None
    return Guardrail(CosmosSafetyChecker().to(device))
