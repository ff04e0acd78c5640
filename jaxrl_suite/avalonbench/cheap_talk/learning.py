"""Learning to talk and to listen on the channel of claims: policy gradient for speakers, likelihood for listeners.

Good players are paid for what the Servants come to believe of the sides, less what the Assassin comes to believe of
the true Merlin; evil players are paid the opposite. Listeners fit how each role talks to the claims that they hear,
once the roles are known: their loss is a proper score, so that they can only gain by being calibrated.

    learner = TalkLearner(game)
    state = learner.init()
    for step in range(200):
        state, metrics = update(state, jax.random.fold_in(key, step))      # update = jax.jit(learner.update)

Shapes: `B` deals, `P` players, `K` assignments.

Reference: Williams, "Simple statistical gradient-following algorithms", Machine Learning 8 (1992); babbling and
informative equilibria of cheap talk: Crawford and Sobel, "Strategic information transmission", Econometrica 50 (1982).
"""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxrl_suite.avalonbench import beliefs
from jaxrl_suite.avalonbench.assignments import OUTSIDER, index_of
from jaxrl_suite.avalonbench.beliefs import Belief
from jaxrl_suite.avalonbench.cheap_talk import game as cheap_talk
from jaxrl_suite.avalonbench.cheap_talk.game import Deduction
from jaxrl_suite.avalonbench.cheap_talk.policies import ClaimPolicy, babbling
from jaxrl_suite.avalonbench.observation_models import FailCounts
from jaxrl_suite.core.config import check_ranges
from jaxrl_suite.envs.avalon.game import Avalon
from jaxrl_suite.envs.avalon.roles import EVIL_ROLES, ROLE_NAMES

_IS_EVIL = np.isin(np.arange(len(ROLE_NAMES)), EVIL_ROLES)


class Params(NamedTuple):
    speaking: ClaimPolicy  # each role's own way to talk
    hearing: ClaimPolicy  # what listeners take it to be


class TalkLearnerState(NamedTuple):
    params: Params
    memory: Any  # of the optimiser
    baseline: jax.Array  # float32[], running mean of the return


class TalkMetrics(NamedTuple):
    good_return: jax.Array  # float32[], mean over deals
    deduction: Deduction  # means over deals
    surprise: jax.Array  # float32[], the listeners' mean -ln posterior of the true roles


@dataclasses.dataclass(frozen=True)
class TalkLearner:
    """Talk at the start of a game, before any event, with all roles' policies trained side by side.

    Args:
      game: the rules.
      rounds: times that everybody speaks.
      batch: B, deals an update.
      learning_rate: of Adam.
      merlin_weight: what the Assassin's certainty of Merlin, from 0 to 1, costs good against a nat of log loss a seat.
      train_evil: whether evil learns too; else it keeps the policy that it starts with.
      candour: initial preference of Merlin for the truth, in log-odds; from 0, a babbling equilibrium, nothing pulls
        speakers and listeners in either direction but the noise of sampling.
      scrambled: a negative control, in which the players talk about another deal than the one that is judged: nothing
        can be learned from what they say. Both switches may be bool[] arrays, for instance under `vmap`.

    Raises:
      UserError: if a number is out of range.
    """

    game: Avalon = Avalon(5)  # noqa: RUF009 (it is frozen)
    rounds: int = 1
    batch: int = 256
    learning_rate: float = 0.05
    merlin_weight: float = 0.5
    train_evil: bool | jax.Array = True
    candour: float = 0.3
    scrambled: bool | jax.Array = False

    def __post_init__(self):
        check_ranges(self, rounds=(1, 100), batch=(2, 2**20), learning_rate=(1e-6, 10), merlin_weight=(0, 100))

    @property
    def _optimiser(self) -> optax.GradientTransformation:
        return optax.adam(self.learning_rate)

    def init(self) -> TalkLearnerState:
        """Everybody babbles, but for a slight candour of Merlin; listeners start where speakers do."""
        policy = babbling()
        logits = np.array(policy.logits)
        logits[0, 2], logits[0, 4] = self.candour, -self.candour
        policy = ClaimPolicy(
            jnp.asarray(logits), jnp.full(len(ROLE_NAMES), -3.0, jnp.float32)
        )  # finite, so that it can be learned
        params = Params(policy, policy)
        return TalkLearnerState(params, self._optimiser.init(params), jnp.float32(0))

    def update(self, state: TalkLearnerState, key: jax.Array) -> tuple[TalkLearnerState, TalkMetrics]:
        """One step on a fresh batch; `key` is consumed."""

        def loss(params: Params):
            good, metrics = self._surrogate(params, state.baseline, key)
            return good + metrics.surprise, metrics

        grads, metrics = jax.grad(loss, has_aux=True)(state.params)
        updates, memory = self._optimiser.update(grads, state.memory, state.params)
        params: Any = optax.apply_updates(state.params, updates)
        baseline = 0.9 * state.baseline + 0.1 * metrics.good_return
        return TalkLearnerState(params, memory, baseline), metrics

    def evaluate(self, params: Params, key: jax.Array) -> TalkMetrics:
        """Means over a batch of deals, and no learning; `key` is consumed."""
        return self._surrogate(params, jnp.float32(0), key)[1]

    def returns(self, params: Params, key: jax.Array) -> jax.Array:
        """float32[B]: what the good side gets on each deal; `key` is consumed."""
        return jax.vmap(lambda key: self._episode(params, key)[0])(jax.random.split(key, self.batch))

    def _surrogate(self, params: Params, baseline: jax.Array, key: jax.Array) -> tuple[jax.Array, TalkMetrics]:
        """A loss whose gradient is the policy gradient of each side for its own return; and what happened."""
        keys = jax.random.split(key, self.batch)
        good, log_chance, deductions, surprise = jax.vmap(lambda key: self._episode(params, key))(keys)
        advantage = jax.lax.stop_gradient(good - baseline)
        by_good, by_evil = log_chance  # float32[B] each
        evil_part = jnp.where(self.train_evil, jnp.mean(advantage * by_evil), 0.0)
        metrics = TalkMetrics(jnp.mean(good), jax.tree.map(jnp.mean, deductions), jnp.mean(surprise))
        return evil_part - jnp.mean(advantage * by_good), metrics

    def _episode(self, params: Params, key: jax.Array):
        """One deal: good's return, the log-probabilities of the claims of good and of evil, deduction, and surprise."""
        game = self.game
        deal_key, talk_key = jax.random.split(key)
        state = game.init(deal_key)
        roles, leader = state.roles, state.leader
        truth = index_of(game, roles)
        # Whom the players on the seats take themselves to be.
        other_key = jax.random.fold_in(talk_key, self.rounds * game.num_players)
        talking = jnp.where(self.scrambled, game.init(other_key).roles, roles)
        told = index_of(game, talking)
        start = beliefs.prior(game, roles, OUTSIDER, FailCounts())

        def claim(carry, index):
            belief, log_good, log_evil = carry
            speaker = (leader + index) % game.num_players
            weights = jax.lax.stop_gradient(beliefs.posterior(belief))
            chances = cheap_talk.claim_probabilities(game, params.speaking, weights, speaker)[told]
            said = jax.random.categorical(jax.random.fold_in(talk_key, index), jnp.log(chances))
            evil = jnp.asarray(_IS_EVIL)[talking[speaker]]
            log_chance = jnp.log(chances[said])
            heard = cheap_talk.hear(game, params.hearing, belief, speaker, said)
            carry = heard, log_good + jnp.where(evil, 0.0, log_chance), log_evil + jnp.where(evil, log_chance, 0.0)
            return carry, None

        order = jnp.arange(self.rounds * game.num_players, dtype=jnp.int32)
        (belief, log_good, log_evil), _ = jax.lax.scan(claim, (start, jnp.float32(0), jnp.float32(0)), order)
        surprise = -jnp.log(jnp.maximum(beliefs.posterior(belief)[truth], 1e-12))
        frozen: Belief = jax.lax.stop_gradient(belief)
        found = cheap_talk.deduction(game, frozen, roles)
        good = -found.log_loss - self.merlin_weight * found.merlin_found
        return good, (log_good, log_evil), found, surprise
