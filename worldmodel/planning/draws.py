"""The noise of planners: one stream for each (seed, step, iteration, candidate), whatever the number of candidates."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from worldmodel.counts import check_count


@dataclass(frozen=True)
class Draws:
    """Standard normal noise of one iteration of one search.

    Attributes:
        seed: of the search.
        step: index of the search in a control loop.
        iteration: of the search.
    """

    seed: int
    step: int = 0
    iteration: int = 0

    def __post_init__(self) -> None:
        for name in ("seed", "step", "iteration"):
            check_count(name, getattr(self, name), least=0)

    def __call__(self, count: int, shape: tuple[int, int], beta: float = 0.0) -> np.ndarray:
        """Noise (count, M, A) of unit variance whose spectrum along M falls as f^-beta; 0 is white."""
        white = np.stack([self._stream(k).standard_normal(shape) for k in range(count)])
        return white if beta == 0.0 else coloured(white, beta)

    def _stream(self, candidate: int) -> np.random.Generator:
        key = [self.seed, self.step, self.iteration, candidate]
        return np.random.Generator(np.random.Philox(np.random.SeedSequence(key)))


def coloured(white: np.ndarray, beta: float) -> np.ndarray:
    """White noise (K, M, A) filtered along M to a power spectrum f^-beta of unit mean variance.

    As Timmer and Koenig (1995), used by iCEM (Pinneri et al. 2020, arXiv 2008.06389); the mean of a sequence takes
    the power of its lowest frequency.
    """
    steps = white.shape[1]
    if steps == 1:
        return white
    frequency = np.fft.rfftfreq(steps)
    frequency[0] = frequency[1]
    gain = frequency ** (-beta / 2.0)
    # Every frequency but the mean and, of even lengths, the highest stands for two.
    weight = np.full(len(gain), 2.0)
    weight[0] = 1.0
    if steps % 2 == 0:
        weight[-1] = 1.0
    gain /= np.sqrt((weight * gain**2).sum() / steps)
    return np.fft.irfft(np.fft.rfft(white, axis=1) * gain[:, None], n=steps, axis=1)
