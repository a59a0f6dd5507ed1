import pytest
import torch


@pytest.fixture(autouse=True)
def without_compiling():
    """Compiling takes longer than these tests; the maths is the same."""
    torch.compiler.set_stance("force_eager")
    yield
    torch.compiler.set_stance("default")
