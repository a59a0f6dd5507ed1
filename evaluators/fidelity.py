"""How much a picture differs from the true one: PSNR, SSIM and mean absolute error over a region."""

from __future__ import annotations

import cv2
import numpy as np

ROUNDING = 1 / 12  # squared grey levels that rounding to 8 bits costs: below, two pictures are the same
WINDOW = 7  # px, scikit-image's default
K1, K2 = 0.01, 0.03


def psnr_db(image: np.ndarray, reference: np.ndarray, region: np.ndarray | None = None) -> float:
    """10 log10(255^2 / MSE) in dB of two images (H, W, 3) uint8 over a region (H, W) bool.

    The error is at least what rounding costs, so equal pictures have 58.9 dB and not infinitely many.
    """
    mask = None if region is None else region.view(np.uint8)
    count = image.size if region is None else 3 * int(region.sum())
    if count == 0:
        return float("nan")
    mse = cv2.norm(image, reference, cv2.NORM_L2SQR, mask=mask) / count
    return float(10 * np.log10(255.0**2 / max(mse, ROUNDING)))


def mean_absolute_error(video: np.ndarray, reference: np.ndarray, region: np.ndarray) -> float:
    """Mean over the pixels of a region (T, H, W) bool, and RGB, of |video - reference| in grey levels."""
    count = 3 * int(region.sum())
    if count == 0:
        return float("nan")
    total = sum(
        cv2.norm(image, other, cv2.NORM_L1, mask=mask.view(np.uint8))
        for image, other, mask in zip(video, reference, region, strict=True)
    )
    return float(total / count)


def ssim_map(image: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Structural similarity (H - 6, W - 6) of two grey images (H, W) uint8 (Wang et al. 2004).

    The number of ``skimage.metrics.structural_similarity`` with its defaults, a uniform window of
    7 x 7 px and sample covariances, in a tenth of its time. Windows reach over no border.
    """
    x, y = image.astype(np.float32), reference.astype(np.float32)
    sample = WINDOW**2 / (WINDOW**2 - 1)
    mean_x, mean_y = _mean(x), _mean(y)
    var_x = sample * (_mean(x * x) - mean_x * mean_x)
    var_y = sample * (_mean(y * y) - mean_y * mean_y)
    covariance = sample * (_mean(x * y) - mean_x * mean_y)
    c1, c2 = (K1 * 255) ** 2, (K2 * 255) ** 2
    above = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
    return above / ((mean_x * mean_x + mean_y * mean_y + c1) * (var_x + var_y + c2))


def _mean(image: np.ndarray) -> np.ndarray:
    border = WINDOW // 2
    return cv2.blur(image, (WINDOW, WINDOW))[border:-border, border:-border]
