"""The README's Python runs as printed."""

import re
from pathlib import Path

import torch

README = Path(__file__).parents[1] / "README.md"


def test_every_snippet_runs():
    snippets = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    assert len(snippets) == 4
    names = {"denoise": lambda x, sigma: 0.5 * x, "x": torch.randn(2, 4, 3, 4, 4)}
    for snippet in snippets:
        exec(snippet, names)
    assert names["rollout"].video.shape == (1, 17, 64, 64, 3)
    assert names["ways"].video.shape == (3, 16, 64, 64, 3)
    assert names["long"].video.shape == (1, 29, 64, 64, 3)
    assert names["z"].shape == (2, 4, 3, 4, 4)
