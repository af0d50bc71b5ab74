"""The SSP model accepts what the theory needs and says clearly what is wrong with the rest."""

import numpy as np
import pytest

from common.tabular.ssp import SSP


def two_state(loop: float = 0.5) -> SSP:
    """0 -> 1 surely; 1 -> 0 with probability `loop`, else the end. One action."""
    return SSP([[[1]], [[0]]], [[[1.0]], [[loop]]], [[-1.0], [2.0]])


def test_sizes_and_bounds() -> None:
    ssp = two_state()
    assert (ssp.n_states, ssp.n_actions, ssp.branching) == (2, 1, 1)
    assert ssp.reward_bound == 2.0
    assert not ssp.one_signed
    assert SSP([[[0]]], [[[0.0]]], [[-1.0]]).one_signed
    np.testing.assert_allclose(ssp.termination_probabilities, [[0.0], [0.5]])


def test_arrays_are_converted_and_cannot_be_changed() -> None:
    source = np.array([[[0.5]]])
    ssp = SSP([[[0]]], source, [[1]])
    assert (ssp.successors.dtype, ssp.rewards.dtype) == (np.int32, np.float64)
    source[:] = 0.9
    assert ssp.probabilities[0, 0, 0] == 0.5
    with pytest.raises(ValueError, match="read-only"):
        ssp.rewards[0, 0] = 3.0


def test_transition_matrix_sums_successors_that_are_listed_twice() -> None:
    ssp = SSP(
        [[[1, 1], [0, 1]], [[0, 0], [0, 0]]], [[[0.25, 0.5], [0, 0.1]], [[0, 0]] * 2], [[1, 1]] * 2
    )
    np.testing.assert_allclose(ssp.transition_matrix([0, 0]).toarray(), [[0, 0.75], [0, 0]])
    np.testing.assert_allclose(ssp.transition_matrix([1, 0]).toarray(), [[0, 0.1], [0, 0]])
    np.testing.assert_allclose(ssp.expected_next(np.array([10.0, 4.0])), [[3.0, 0.4], [0, 0]])


@pytest.mark.parametrize(
    ("successors", "probabilities", "rewards", "message"),
    [
        ([[0]], [[[0.5]]], [[1.0]], "non-empty"),
        (np.zeros((0, 1, 1), int), np.zeros((0, 1, 1)), np.zeros((0, 1)), "non-empty"),
        ([[[0]]], [[[0.5, 0.1]]], [[1.0]], "probabilities have shape"),
        ([[[0]]], [[[0.5]]], [1.0], "rewards have shape"),
        ([[[1]]], [[[0.5]]], [[1.0]], "successor of state 0, action 0, .* outside 0..0"),
        ([[[-1]]], [[[0.5]]], [[1.0]], "outside"),
        ([[[2**40]]], [[[0.5]]], [[1.0]], "outside"),
        ([[[0]]], [[[-0.1]]], [[1.0]], "negative"),
        ([[[0, 0]]], [[[0.6, 0.5]]], [[1.0]], "state 0, action 0 sum to 1.1"),
        ([[[0]]], [[[np.nan]]], [[1.0]], "probability .* not finite"),
        ([[[0]]], [[[0.5]]], [[np.inf]], "reward .* not finite"),
    ],
)
def test_bad_arrays_are_refused(successors, probabilities, rewards, message) -> None:
    with pytest.raises(ValueError, match=message):
        SSP(successors, probabilities, rewards)


def test_successors_must_be_integers() -> None:
    with pytest.raises(TypeError, match="integers"):
        SSP([[[0.0]]], [[[0.5]]], [[1.0]])


def test_an_absorbing_state_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"never terminates from 1 state\(s\): 1\."):
        SSP([[[1]], [[1]]], [[[0.5]], [[1.0]]], [[0.0], [0.0]])


def test_a_loop_that_only_one_policy_enters_is_refused() -> None:
    # Action 0 ends everywhere; action 1 goes round 0 -> 1 -> 2 -> 0.
    successors = [[[0], [1]], [[0], [2]], [[0], [0]]]
    with pytest.raises(ValueError, match=r"from 3 state.*: 0, 1, 2"):
        SSP(successors, [[[0.0], [1.0]]] * 3, np.zeros((3, 2)))


def test_rounding_does_not_hide_a_loop() -> None:
    tenths = [0.1] * 10  # they add up to 1 - 1.1e-16
    with pytest.raises(ValueError, match="improper"):
        SSP([[[0] * 10]], [[tenths]], [[0.0]])


def test_a_loop_with_a_way_out_is_accepted() -> None:
    assert two_state(loop=0.999).n_states == 2


def test_long_paths_are_proper_however_long() -> None:
    n = 20_000
    successors = np.minimum(np.arange(n) + 1, n - 1)[:, None, None]
    probabilities = np.ones((n, 1, 1))
    probabilities[-1] = 0.0
    assert SSP(successors, probabilities, np.zeros((n, 1))).n_states == n


@pytest.mark.parametrize("policy", [[0], [0, 1], [-1, 0], [[0, 0]]])
def test_bad_policies_are_refused(policy) -> None:
    with pytest.raises(ValueError, match="policy"):
        two_state().check_policy(policy)
    with pytest.raises(TypeError, match="integer"):
        two_state().check_policy([0.0, 0.0])
