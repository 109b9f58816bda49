import numpy as np
import pytest

from acreg.data.phantoms.chests import make_dataset
from acreg.geometry import Transform


class Shift:
    """Moves by a constant, and can fail on some calls (the first call is the warm-up)."""

    def __init__(self, name="shift", by=(1.0, 0.0), fail_on=()):
        self.name, self.by, self.fail_on, self.calls = name, by, fail_on, 0

    def register(self, fixed, moving):
        self.calls += 1
        if self.calls - 1 in self.fail_on:
            raise RuntimeError("did not\nconverge")
        return Transform.between_extents(fixed.grid, moving.grid, np.full((*fixed.grid.shape, 2), self.by, np.float32))


@pytest.fixture
def shift():
    return Shift


@pytest.fixture(scope="session")
def phantoms(tmp_path_factory):
    return make_dataset(tmp_path_factory.mktemp("phantoms"), subjects=20, shape=(48, 40), seed=1)
