import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from scipy.linalg import expm

from acreg.layers import ComposeDisplacements, IntegrateVelocity

SHAPES = [(36, 40), (24, 26, 28)]


@pytest.mark.parametrize("shape", SHAPES)
def test_of_zero_is_the_identity(shape):
    assert not np.any(IntegrateVelocity(5)(np.zeros((1, *shape, len(shape)), np.float32)))


@pytest.mark.parametrize("shape", SHAPES)
def test_of_a_constant_is_that_shift_exactly(shape):
    velocity = np.broadcast_to(np.float32([2.7, -1.3, 0.4][: len(shape)]), (1, *shape, len(shape)))
    np.testing.assert_array_equal(IntegrateVelocity(7)(velocity), velocity)


def test_without_steps_is_the_velocity(smooth_field):
    velocity = smooth_field((36, 40), 3.0)
    np.testing.assert_array_equal(IntegrateVelocity(0)(velocity), velocity)


@pytest.mark.parametrize("shape", SHAPES)
def test_of_a_linear_field_is_the_matrix_exponential(identity, shape):
    rank = len(shape)
    matrix = np.random.default_rng(0).uniform(-0.2, 0.2, size=(rank, rank))
    centred = identity(shape).astype(np.float64) - (np.array(shape) - 1) / 2
    velocity = (centred @ matrix.T).astype(np.float32)[None]
    core = (slice(8, -8),) * rank  # what starts here never leaves the grid
    exact = (centred @ (expm(matrix) - np.eye(rank)).T)[core]
    errors = []
    for steps in (2, 4, 6):
        result = np.asarray(IntegrateVelocity(steps)(velocity))[0][core]
        squared = np.linalg.matrix_power(np.eye(rank) + matrix / 2**steps, 2**steps) - np.eye(rank)
        np.testing.assert_allclose(result, (centred @ squared.T)[core], atol=1e-5)
        errors.append(np.abs(result - exact).max())
    # The first step is an Euler step: an error of first order, a quarter with two more squarings.
    assert errors[1] < errors[0] / 3 and errors[2] < errors[1] / 3
    assert errors[2] < 0.01


@settings(max_examples=5, deadline=None, derandomize=True, phases=[Phase.generate])
@given(seed=st.integers(0, 2**16), amplitude=st.floats(0.1, 2.0), rank=st.sampled_from([2, 3]))
def test_the_negated_velocity_gives_the_inverse(smooth_field, seed, amplitude, rank):
    velocity = smooth_field(SHAPES[rank - 2], amplitude, seed)
    there, back = IntegrateVelocity(7)(velocity), IntegrateVelocity(7)(-velocity)
    assert np.abs(there).max() > amplitude / 2
    for first, second in ((there, back), (back, there)):
        rest = ComposeDisplacements()(first, second)
        assert np.abs(rest).max() < 0.04 * amplitude


def test_errors():
    for steps in (-1, 2.5):
        with pytest.raises(ValueError, match=f"whole number of at least 0. Received: steps={steps}"):
            IntegrateVelocity(steps)
    with pytest.raises(ValueError, match=r"`velocity` must have shape .*Received: velocity.shape=\(1, 4, 4, 3\)"):
        IntegrateVelocity()(np.zeros((1, 4, 4, 3), np.float32))
