"""SSPs from lists of outcomes, the form in which gymnasium writes its toy-text problems.

There a reward may depend on the outcome of a step, whereas an `SSP` pays the same for every
outcome of a state-action pair. Paying the expectation would give the right values but returns of
the wrong variance. Instead a pair pays its most probable reward, and an outcome that pays
something else passes through a *transit* state, which pays the difference (derived here).
"""

import math
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from common.tabular.exact import policy_iteration
from common.tabular.ssp import PROBABILITY_TOLERANCE, SSP, FloatArray

State = TypeVar("State", bound=Hashable)
# (probability, next state, reward, terminated)
Outcome = tuple[float, State, float, bool]
# (next state's index, or None for the end; reward still due)
_Transit = tuple[int | None, float]


@dataclass(frozen=True, eq=False)
class OutcomeModel:
    """An SSP whose first states are those of a problem, and whose others are transit states.

    Attributes:
        ssp: the problem. In transit states all actions are the same.
        labels: the keys of the decision states; `labels[s]` is state s of `ssp`.
    """

    ssp: SSP
    labels: tuple[Hashable, ...]

    @property
    def n_decision_states(self) -> int:
        """The number of states that are no transit states."""
        return len(self.labels)


def from_outcomes(
    outcomes: Mapping[State, Mapping[int, Sequence[Outcome[State]]]],
    *,
    start: Iterable[State],
    termination: float = 0.0,
) -> OutcomeModel:
    """The SSP with exactly the return distributions of a model given by its outcomes.

    Kept are the states that can be reached from `start`, in the order of `outcomes`. If the
    outcomes of a pair pay differently, the pair pays the most probable reward (the one listed
    first if several are), and every other outcome costs one more step: it leads to a transit
    state, one for each (next state, difference of rewards), that pays the difference and moves
    on. Thus episodes get longer, but the returns keep their distribution.

    Args:
        outcomes: `outcomes[state][action]` lists (probability, next state, reward, terminated),
            as `env.unwrapped.P` of gymnasium's toy-text environments does. Actions are
            0..A-1 in every state; the next state of an outcome that terminates is ignored.
        start: states from which the problem is explored.
        termination: in [0, 1), the probability with which the episode ends after each step
            that would not have ended it. The outcome of the step is paid in full, with its
            transit state, so values are those of the problem with discount factor
            1 - termination. A positive one makes every policy proper.

    Raises:
        ValueError: if there is no start state, a state is unknown, states differ in their
            actions, the probabilities of a pair are negative or do not sum to 1, a reward is
            not finite, `termination` is out of range, or the result is improper (see `SSP`).

    >>> toss = [(0.5, "heads", 1.0, True), (0.5, "tails", -1.0, True)]
    >>> model = from_outcomes({"coin": {0: toss}}, start=["coin"])
    >>> model.labels, model.ssp.rewards.tolist()
    (('coin',), [[1.0], [-2.0]])
    """
    if not 0 <= termination < 1:
        raise ValueError(f"termination must lie in [0, 1), got {termination}")
    labels = _reachable(outcomes, start)
    index = {label: place for place, label in enumerate(labels)}
    transits: dict[_Transit, int] = {}
    pairs = [
        [_split(outcomes[label][action], index, transits) for action in range(len(outcomes[label]))]
        for label in labels
    ]
    n_actions = len(pairs[0])
    for following, due in transits:
        pairs.append([(due, {} if following is None else {following: 1.0})] * n_actions)
    return OutcomeModel(_ssp(pairs, len(labels), termination), labels)


def decision_gaps(model: OutcomeModel) -> FloatArray:
    """float64[n_decision_states]: how much Q* of the best action exceeds that of the second best.

    It is 0 where two actions are equally good (up to rounding), and inf if there is but one.
    """
    q = policy_iteration(model.ssp).action_values[: model.n_decision_states]
    if model.ssp.n_actions == 1:
        return np.full(len(q), math.inf)
    second, best = np.sort(q, axis=1)[:, -2:].T
    return best - second


def _reachable(
    outcomes: Mapping[State, Mapping[int, Sequence[Outcome[State]]]], start: Iterable[State]
) -> tuple[State, ...]:
    """The states that can be reached, in the order of `outcomes`; checks their rows."""
    waiting = list(start)
    if not waiting:
        raise ValueError("from_outcomes needs at least one start state")
    for state in waiting:
        if state not in outcomes:
            raise ValueError(f"unknown start state {state!r}")
    n_actions = len(outcomes[waiting[0]])
    found: set[State] = set()
    while waiting:
        state = waiting.pop()
        if state in found:
            continue
        found.add(state)
        actions = outcomes[state]
        if n_actions == 0 or set(actions) != set(range(n_actions)):
            raise ValueError(
                f"state {state!r} has actions {list(actions)}; every state needs the same "
                "0..A-1, at least one"
            )
        for action, row in actions.items():
            waiting += _checked_successors(row, f"state {state!r}, action {action}", outcomes)
    return tuple(state for state in outcomes if state in found)


def _checked_successors(
    row: Sequence[Outcome[State]], name: str, known: Mapping[State, object]
) -> list[State]:
    """The states in which the episode can go on."""
    total = math.fsum(outcome[0] for outcome in row)
    if any(outcome[0] < 0 for outcome in row):
        raise ValueError(f"a probability of {name} is negative")
    if not abs(total - 1) <= PROBABILITY_TOLERANCE:  # so that NaN is refused, too
        raise ValueError(f"probabilities of {name} sum to {total:.6g}, not to 1")
    if not all(math.isfinite(outcome[2]) for outcome in row):
        raise ValueError(f"a reward of {name} is not finite")
    following = [state for chance, state, _, terminated in row if chance > 0 and not terminated]
    for state in following:
        if state not in known:
            raise ValueError(f"unknown next state {state!r} of {name}")
    return following


def _split(
    row: Sequence[Outcome[State]], index: Mapping[State, int], transits: dict[_Transit, int]
) -> tuple[float, dict[int, float]]:
    """(reward, {successor: probability}) of a pair; new transit states are added to `transits`."""
    possible = [(chance, state, float(pay), end) for chance, state, pay, end in row if chance > 0]
    chances: dict[float, float] = {}
    for chance, _, reward, _ in possible:
        chances[reward] = chances.get(reward, 0.0) + chance
    base = max(chances, key=lambda reward: chances[reward])
    successors: dict[int, float] = {}
    for chance, state, reward, terminated in possible:
        following = None if terminated else index[state]
        if reward != base:
            due = (following, reward - base)
            following = transits.setdefault(due, len(index) + len(transits))
        if following is not None:
            successors[following] = successors.get(following, 0.0) + chance
    return base, successors


def _ssp(
    pairs: list[list[tuple[float, dict[int, float]]]], n_decision_states: int, termination: float
) -> SSP:
    branching = max(1, max(len(successors) for row in pairs for _, successors in row))
    shape = (len(pairs), len(pairs[0]), branching)
    successors, probabilities = np.zeros(shape, dtype=np.int32), np.zeros(shape)
    for state, row in enumerate(pairs):
        for action, (_, chances) in enumerate(row):
            successors[state, action, : len(chances)] = list(chances)
            probabilities[state, action, : len(chances)] = list(chances.values())
    # A step is over on arrival in a decision state, not in a transit state.
    probabilities[successors < n_decision_states] *= 1.0 - termination
    return SSP(successors, probabilities, np.array([[pay for pay, _ in row] for row in pairs]))
