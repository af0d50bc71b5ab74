"""Two textbook problems as exact SSPs: Blackjack and the slippery cliff walk.

Both follow the environments of gymnasium (Farama Foundation), which take them from Sutton and
Barto, *Reinforcement Learning: An Introduction* (2nd edition, 2018), examples 5.1 and 6.6.
"""

import functools
import itertools
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from common.tabular.outcomes import Outcome, OutcomeModel, from_outcomes
from common.tabular.ssp import FloatArray

STICK, HIT = 0, 1
# An infinite deck: aces are 1; tens, jacks, queens and kings are 10.
CARDS = {card: 4 / 13 if card == 10 else 1 / 13 for card in range(1, 11)}


@dataclass(frozen=True, eq=False)
class ClassicProblem(OutcomeModel):
    """A known problem with the distribution that exploring starts draw from.

    Attributes:
        ssp: the problem; states from `n_decision_states` on are transit states.
        labels: the keys of the decision states, in order.
        start: float64[S, A], the probability that an episode starts with this pair.
    """

    start: FloatArray


class BlackjackState(NamedTuple):
    """What the player knows; the first three are gymnasium's observation.

    Attributes:
        player_sum: 12..21, a usable ace counted as 11.
        dealer_card: 1..10, the card that is face up; 1 is an ace.
        usable_ace: whether an ace is counted as 11.
        natural: whether the hand is an ace and a ten, as dealt.
    """

    player_sum: int
    dealer_card: int
    usable_ace: bool
    natural: bool


def blackjack() -> ClassicProblem:
    """Blackjack-v1 of gymnasium with `sab=True`; actions are 0 (stick) and 1 (hit).

    The player draws from an infinite deck and loses with more than 21. On sticking, the dealer
    draws up to 17 or more, soft or hard. The episode then pays 1, 0 or -1; a natural beats all
    but a natural, while the dealer's natural counts as any 21 against other hands. Below 12 one
    always hits, so these sums are left out.

    The 210 decision states are the 200 of Sutton and Barto, ordered by sum, dealer's card and
    usable ace, and 10 naturals, in which episodes can only start. The labels are
    `BlackjackState`. Starts are uniform over the pairs of 200 states: a start with soft 21 has
    two cards and is the natural, so the 10 soft 21s that are drawn to have weight 0, as do the
    transit states.
    """
    dealt = itertools.product(range(12, 22), range(1, 11), (False, True))
    states = [BlackjackState(*hand, natural=False) for hand in dealt]
    states += [BlackjackState(21, card, usable_ace=True, natural=True) for card in range(1, 11)]
    model = from_outcomes(
        {state: {STICK: _stick(state), HIT: _hit(state)} for state in states}, start=states
    )
    startable = [s.natural or not (s.usable_ace and s.player_sum == 21) for s in states]
    return _with_uniform_start(model, np.array(startable))


def cliff_walking(termination: float = 0.01) -> ClassicProblem:
    """CliffWalking-v1 of gymnasium with `is_slippery=True`, ending at random as well.

    Actions are 0 (up), 1 (right), 2 (down) and 3 (left); one moves there or to either side, each
    with probability 1/3. A step pays -1, or -100 if it falls off the cliff, back to state 36.
    Against a wall one could stay for ever, which an SSP must not allow: hence `termination`,
    the probability that the episode ends after a step (see `outcomes.from_outcomes`).

    The 37 decision states are the cells in which one can stand; the labels are gymnasium's, 12
    times the row plus the column. Starts are uniform over their pairs.

    Raises:
        ValueError: if `termination` is 0 (the SSP is improper) or not in [0, 1).
    """
    import gymnasium  # slow to import

    env = gymnasium.make("CliffWalking-v1", is_slippery=True)
    start = np.flatnonzero(env.get_wrapper_attr("initial_state_distrib")).tolist()
    model = from_outcomes(env.get_wrapper_attr("P"), start=start, termination=termination)
    return _with_uniform_start(model, np.ones(model.n_decision_states, dtype=bool))


def _with_uniform_start(model: OutcomeModel, startable: NDArray[np.bool_]) -> ClassicProblem:
    """Starts are uniform over the pairs of the decision states in bool[n_decision_states]."""
    start = np.zeros_like(model.ssp.rewards)
    start[np.flatnonzero(startable)] = 1.0 / (startable.sum() * model.ssp.n_actions)
    start.flags.writeable = False
    return ClassicProblem(model.ssp, model.labels, start)


def _stick(state: BlackjackState) -> list[Outcome[BlackjackState]]:
    if state.natural:
        draw = CARDS[11 - state.dealer_card] if state.dealer_card in (1, 10) else 0.0
        return [(draw, state, 0.0, True), (1.0 - draw, state, 1.0, True)]
    ends = _dealer_totals(*_add_card(0, False, state.dealer_card))
    return [
        (chance, state, float(np.sign(state.player_sum - total)), True)
        for total, chance in ends.items()
    ]


def _hit(state: BlackjackState) -> list[Outcome[BlackjackState]]:
    outcomes: list[Outcome[BlackjackState]] = []
    for card, chance in CARDS.items():
        total, usable = _add_card(state.player_sum, state.usable_ace, card)
        if total > 21:
            outcomes.append((chance, state, -1.0, True))
        else:
            following = BlackjackState(total, state.dealer_card, usable, natural=False)
            outcomes.append((chance, following, 0.0, False))
    return outcomes


@functools.cache
def _dealer_totals(total: int, usable_ace: bool) -> dict[int, float]:
    """How a dealer ends who holds this: {17..21, or 0 for too much: probability}."""
    if total >= 17:
        return {total if total <= 21 else 0: 1.0}
    ends: dict[int, float] = {}
    for card, chance in CARDS.items():
        for end, rest in _dealer_totals(*_add_card(total, usable_ace, card)).items():
            ends[end] = ends.get(end, 0.0) + chance * rest
    return ends


def _add_card(total: int, usable_ace: bool, card: int) -> tuple[int, bool]:
    """The new (sum, usable ace): an ace counts 11 unless that exceeds 21."""
    least = total - 10 * usable_ace + card
    usable = (usable_ace or card == 1) and least <= 11
    return least + 10 * usable, usable
