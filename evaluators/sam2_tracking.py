"""SAM 2 as a tracker: for objects and videos that no colour tells apart; needs weights, which this package lacks.

The video model of Ravi et al. (arXiv 2408.00714), through transformers. It is seeded with the given mask in the given
first frame, and its own score says whether the object is there. Pictures are prepared here as its processor does,
which would need torchvision.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from worldmodel.evaluators.tracking import Soft, Tracks, check_first, check_labels, collect

if TYPE_CHECKING:
    from torch import Tensor

DEFAULT = "facebook/sam2.1-hiera-large"
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, which SAM 2 was trained with


class Sam2Tracker:
    """A :class:`~worldmodel.evaluators.tracking.Tracker`.

    Args:
        name: hub name, or a folder laid out as the hub's.
        device: torch device.

    Raises:
        ValueError: the weights, or a package, are not at hand.
    """

    def __init__(self, name: str = DEFAULT, device: str = "cpu") -> None:
        try:
            from transformers import Sam2VideoModel
        except ImportError as error:
            raise ValueError(
                f"tracker: got no {error.name}, expected it for SAM 2; pip install 'worldmodel[models]'"
            ) from None
        try:
            self._model = Sam2VideoModel.from_pretrained(name).to(device).eval()
        except (OSError, ValueError) as error:
            raise ValueError(
                f"tracker: got no SAM 2 at {name} ({str(error).splitlines()[0][:90]}), expected its weights on "
                "disk or a hub in reach; download them and pass sam2:FOLDER, or choose another tracker"
            ) from None
        self._device = device

    def __call__(
        self,
        video: np.ndarray,
        segmentation: np.ndarray,
        first_frame: np.ndarray | None = None,
        labels: Sequence[int] | None = None,
    ) -> tuple[Tracks, ...]:
        """See :func:`~worldmodel.evaluators.tracking.track_objects`.

        An object is lost in a frame where its object score is below 0, or no pixel's mask logit is above 0.
        """
        wanted = check_labels(segmentation, labels)
        first = check_first("segmentation", video, np.asarray(segmentation) > 0, first_frame)
        masks = [np.asarray(segmentation == label) for label in wanted]
        found: list[list[Soft | None]] = [[] for _ in wanted]
        # The frame that the masks belong to goes before the clip.
        for logits, scores in self._follow(np.concatenate([first[None], video]), masks):
            for softs, logit, score in zip(found, logits, scores, strict=True):
                softs.append(_soft(logit) if score >= 0 else None)
        return tuple(collect(softs[1:], first.shape[:2]) for softs in found)

    def _follow(self, clip: np.ndarray, masks: Sequence[np.ndarray]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Mask logits (K, H, W) and object scores (K,) of K objects in each frame of a clip (T, H, W, 3)."""
        import torch
        from transformers import Sam2VideoInferenceSession

        height, width = clip.shape[1:3]
        session = Sam2VideoInferenceSession(
            video=self._pictures(clip),
            video_height=height,
            video_width=width,
            inference_device=self._device,
            dtype=torch.float32,
        )
        numbers = list(range(len(masks)))
        for number, mask in zip(numbers, masks, strict=True):
            given = self._resized(torch.from_numpy(mask[None, None]).float().to(self._device))
            session.add_mask_inputs(session.obj_id_to_idx(number), 0, (given >= 0.5).float())
        session.obj_with_new_inputs = numbers
        for t in range(len(clip)):
            with torch.inference_mode():
                output = self._model(inference_session=session, frame_idx=t)
                logits = torch.nn.functional.interpolate(
                    output.pred_masks.float(), (height, width), mode="bilinear", align_corners=False
                )
            yield logits[:, 0].cpu().numpy(), output.object_score_logits.float().cpu().numpy().reshape(len(masks))

    def _pictures(self, clip: np.ndarray) -> Tensor:
        """A clip (T, H, W, 3) uint8 as the network sees it, (T, 3, S, S)."""
        import torch

        mean, deviation = (torch.tensor(value, device=self._device)[:, None, None] for value in (MEAN, DEVIATION))
        pixels = torch.from_numpy(clip).to(self._device).permute(0, 3, 1, 2).float() / 255
        return (self._resized(pixels) - mean) / deviation

    def _resized(self, pictures: Tensor) -> Tensor:
        import torch

        side = self._model.config.image_size
        return torch.nn.functional.interpolate(
            pictures, (side, side), mode="bilinear", align_corners=False, antialias=True
        )


def _soft(logits: np.ndarray) -> Soft | None:
    """Share of each pixel (H, W) that is object: its probability inside the mask, so that the rim counts in part."""
    solid = logits > 0
    if not solid.any():
        return None
    return Soft(0, 0, np.where(solid, 1.0 / (1.0 + np.exp(-logits)), 0.0).astype(np.float32))
