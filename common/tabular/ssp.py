"""The stochastic shortest path (SSP) problem on finitely many states and actions.

Notation follows Bertsekas and Tsitsiklis, *Neuro-Dynamic Programming* (1996), chapter 2, with
rewards to be maximised instead of costs to be minimised. The terminal state is implicit: it is
absorbing, pays nothing, and is entered with whatever probability a row leaves over.
"""

from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

# Rows are sums of rounded floats: a total this close to 1 means "never terminates".
PROBABILITY_TOLERANCE = 1e-12


@dataclass(frozen=True, eq=False)
class SSP:
    """An undiscounted SSP in which *every* deterministic policy terminates.

    Attributes:
        successors: int32[S, A, b], the states that a pair (s, a) can lead to. A state may be
            listed twice (its probabilities add up); unused places hold any state with
            probability 0.
        probabilities: float64[S, A, b], sub-stochastic over b; `1 - sum` is the probability
            that the episode ends with this step.
        rewards: float64[S, A], paid for the step itself, terminating or not.

    The arrays are checked, converted to these types and made read-only on construction.

    Raises:
        ValueError: on wrong shapes, NaN or infinite numbers, successors out of range,
            probabilities that are negative or sum to more than 1, or when some deterministic
            policy can stay among non-terminal states for ever (the states are named).
        TypeError: if `successors` are not integers.

    >>> two_steps = SSP([[[1]], [[0]]], [[[1.0]], [[0.0]]], [[-1.0], [-2.0]])
    >>> two_steps.termination_probabilities.tolist()
    [[0.0], [1.0]]
    """

    successors: NDArray[np.int32]
    probabilities: FloatArray
    rewards: FloatArray

    def __post_init__(self) -> None:
        successors = np.asarray(self.successors)
        if not np.issubdtype(successors.dtype, np.integer):
            raise TypeError(f"successors must be integers, not {successors.dtype}")
        probabilities = np.array(self.probabilities, dtype=np.float64, order="C")
        rewards = np.array(self.rewards, dtype=np.float64, order="C")
        _check_shapes(successors, probabilities, rewards)
        _check_numbers(successors, probabilities, rewards)
        for name, array in (
            ("successors", np.array(successors, dtype=np.int32, order="C")),
            ("probabilities", probabilities),
            ("rewards", rewards),
        ):
            array.flags.writeable = False
            object.__setattr__(self, name, array)
        self._check_proper()

    @property
    def n_states(self) -> int:
        """S, the number of non-terminal states."""
        return self.rewards.shape[0]

    @property
    def n_actions(self) -> int:
        """A, the number of actions, the same in every state."""
        return self.rewards.shape[1]

    @property
    def branching(self) -> int:
        """b, the number of listed successors per state-action pair."""
        return self.successors.shape[2]

    @property
    def reward_bound(self) -> float:
        """R, the largest absolute reward of one step."""
        return float(np.abs(self.rewards).max())

    @property
    def one_signed(self) -> bool:
        """Whether no two rewards have opposite signs (all costs, or all gains)."""
        return bool((self.rewards <= 0).all() or (self.rewards >= 0).all())

    @property
    def termination_probabilities(self) -> FloatArray:
        """float64[S, A]: the probability that the episode ends with this step."""
        return np.clip(1.0 - self.probabilities.sum(axis=2), 0.0, 1.0)

    def check_policy(self, policy: ArrayLike) -> IntArray:
        """Return the deterministic policy as int64[S], or say what is wrong with it.

        Raises:
            ValueError: on a wrong shape or an action outside 0..A-1.
            TypeError: if the actions are not integers.
        """
        actions = np.asarray(policy)
        if not np.issubdtype(actions.dtype, np.integer):
            raise TypeError(f"a policy holds integer actions, not {actions.dtype}")
        if actions.shape != (self.n_states,):
            raise ValueError(f"policy has shape {actions.shape}, expected ({self.n_states},)")
        if actions.min() < 0 or actions.max() >= self.n_actions:
            raise ValueError(f"policy actions must lie in 0..{self.n_actions - 1}")
        return actions.astype(np.int64)

    def expected_next(self, values: FloatArray) -> FloatArray:
        """float64[S, A]: the expected value of the next state; the terminal state counts 0."""
        return np.einsum("sab,sab->sa", self.probabilities, values[self.successors])

    def transition_matrix(self, policy: ArrayLike) -> sparse.csr_array:
        """The sub-stochastic [S, S] matrix of the non-terminal states under `policy`.

        Call `.toarray()` for the dense matrix; a successor that is listed twice is summed.
        """
        actions = self.check_policy(policy)
        states = np.arange(self.n_states)
        entries = self.probabilities[states, actions].ravel()
        columns = self.successors[states, actions].ravel()
        rows = np.repeat(states, self.branching)
        shape = (self.n_states, self.n_states)
        return sparse.coo_array((entries, (rows, columns)), shape=shape).tocsr()

    def _check_proper(self) -> None:
        trapped = trapped_states(self)
        if trapped.size:
            shown = ", ".join(map(str, trapped[:10])) + (", ..." if trapped.size > 10 else "")
            raise ValueError(
                f"improper SSP: some deterministic policy never terminates from {trapped.size} "
                f"state(s): {shown}. Give one action of such a loop a termination probability."
            )


def trapped_states(ssp: SSP) -> IntArray:
    """States in which some deterministic policy can remain for ever, in increasing order.

    This is the largest set of states each of which has an action that surely stays in the set.
    States without such an action are peeled off until nothing changes, in time linear in the
    number of transitions. The set is empty exactly if all policies are proper (Bertsekas and
    Tsitsiklis 1996, section 2.2), which is what makes the longest expected episode finite.
    """
    staying = ssp.termination_probabilities <= PROBABILITY_TOLERANCE
    choices = staying.sum(axis=1)
    predecessors = _staying_predecessors(ssp, staying)
    leaving = deque(np.flatnonzero(choices == 0).tolist())
    trapped = choices > 0
    while leaving:
        for state, action in predecessors.get(leaving.popleft(), ()):
            if trapped[state] and staying[state, action]:
                staying[state, action] = False
                choices[state] -= 1
                if choices[state] == 0:
                    trapped[state] = False
                    leaving.append(state)
    return np.flatnonzero(trapped)


def _staying_predecessors(ssp: SSP, staying: NDArray[np.bool_]) -> dict[int, list[tuple[int, int]]]:
    """For each state the pairs (s, a) that never terminate at once and can lead to it."""
    possible = staying[:, :, None] & (ssp.probabilities > 0)
    predecessors: dict[int, list[tuple[int, int]]] = {}
    for state, action, place in np.argwhere(possible).tolist():
        successor = int(ssp.successors[state, action, place])
        predecessors.setdefault(successor, []).append((state, action))
    return predecessors


def _check_shapes(
    successors: NDArray[np.integer], probabilities: FloatArray, rewards: FloatArray
) -> None:
    if successors.ndim != 3 or successors.size == 0:
        raise ValueError(f"successors must be a non-empty [S, A, b], got {successors.shape}")
    if probabilities.shape != successors.shape:
        raise ValueError(
            f"probabilities have shape {probabilities.shape}, successors {successors.shape}"
        )
    if rewards.shape != successors.shape[:2]:
        raise ValueError(f"rewards have shape {rewards.shape}, expected {successors.shape[:2]}")


def _check_numbers(
    successors: NDArray[np.integer], probabilities: FloatArray, rewards: FloatArray
) -> None:
    n_states = len(rewards)
    if not np.isfinite(rewards).all():
        raise ValueError(f"reward of {_first(~np.isfinite(rewards))} is not finite")
    if not np.isfinite(probabilities).all():
        raise ValueError(f"probability of {_first(~np.isfinite(probabilities))} is not finite")
    if (probabilities < 0).any():
        raise ValueError(f"probability of {_first(probabilities < 0)} is negative")
    totals = probabilities.sum(axis=2)
    excess = totals > 1.0 + PROBABILITY_TOLERANCE
    if excess.any():
        raise ValueError(f"probabilities of {_first(excess)} sum to {totals[excess][0]:.6g} > 1")
    outside = (successors < 0) | (successors >= n_states)
    if outside.any():
        raise ValueError(f"successor of {_first(outside)} lies outside 0..{n_states - 1}")


def _first(bad: NDArray[np.bool_]) -> str:
    """Name the first offending entry of a [S, A] or [S, A, b] mask."""
    place = [int(index) for index in np.argwhere(bad)[0]]
    names = ("state", "action", "successor place")
    return ", ".join(f"{name} {index}" for name, index in zip(names, place, strict=False))
