"""Situations of Avalon with public beliefs, drawn as games leave them: what DeepRole's network learns from.

A stage is a quest and the number of proposals that were rejected for it. What a round leads to is a later stage, so
that a learner who goes through the stages from the last to the first makes its targets with what it has just learned.

Shapes: `K` = 60 assignments, `P` = 5 players, `Q` = 4 quests before the last.

Reference: Serrino, Kleiman-Weiner, Parkes and Tenenbaum, "Finding friend and foe in multi-agent games", NeurIPS 2019.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl_suite.avalonbench.assignments import tables
from jaxrl_suite.envs.avalon.game import Avalon
from jaxrl_suite.envs.avalon.roles import MAX_ROUNDS, NUM_QUESTS, QUESTS_TO_WIN
from jaxrl_suite.strategist.learners.deeprole.round import Situation

NUM_STAGES = NUM_QUESTS * MAX_ROUNDS
_SUSPICION, _NOISE = (2.0, 1.5), 1.0  # largest deviations of log-weights: of evil and of Merlin by seat; of assignments
_SUCCESS, _ONE_FAIL = 2.5, 2.0  # largest penalties: each evil member where a team succeeded; both where one failed


def backwards(count: jax.Array) -> jax.Array:
    """int32[]: the stage to learn after `count` int32[] others, from the last to the first over and over."""
    return NUM_STAGES - 1 - count % NUM_STAGES


def random_situation(game: Avalon, key: jax.Array, stage: jax.Array) -> tuple[Situation, jax.Array]:
    """A situation of a stage, with a belief float32[K] as play could have led to.

    Each seat is more or less suspected of being evil, and of being Merlin; each failed quest had evil on its team,
    seldom all of it, and each successful quest rather not; beyond that, log-weights are noise. How much all this says
    is drawn too.

    Args:
      game: five players, the basic roles.
      key: consumed.
      stage: int32[], 5 quest + rejected proposals.
    """
    keys = jax.random.split(key, 9)
    quest = stage // MAX_ROUNDS
    most = QUESTS_TO_WIN - 1
    lost = jax.random.randint(keys[0], (), jnp.maximum(quest - most, 0), jnp.minimum(quest, most) + 1)
    leader = jax.random.randint(keys[1], (), 0, game.num_players)
    situation = Situation(quest - lost, lost, stage % MAX_ROUNDS, leader)

    masks, seats = tables(game), np.arange(game.num_players)
    by_seat = np.stack([(masks.evil[:, None] >> seats) & 1, (masks.merlin[:, None] >> seats) & 1]).astype(np.float32)
    scales = jax.random.uniform(keys[2], (3,)) * jnp.array([*_SUSPICION, _NOISE])
    suspicion = scales[:2, None] * jax.random.normal(keys[3], (2, game.num_players))
    logits = jnp.einsum("fkp,fp->k", by_seat, suspicion) + scales[2] * jax.random.normal(keys[4], masks.evil.shape)

    success, one_fail = jax.random.uniform(keys[5], (2,)) * jnp.array([_SUCCESS, _ONE_FAIL])
    before = NUM_QUESTS - 1
    played = jnp.arange(before) < quest
    rank = jnp.argsort(jnp.argsort(jnp.where(played, jax.random.uniform(keys[6], (before,)), 2.0)))
    draws = jax.random.uniform(keys[7], (before,))
    for number in range(before):
        teams = game.teams()[number]
        teams = teams[teams > 0]
        team = jnp.asarray(teams)[(draws[number] * len(teams)).astype(jnp.int32)]
        members = jax.lax.population_count(jnp.asarray(masks.evil) & team)
        failed = jnp.where(members == 0, -jnp.inf, jnp.where(members == game.num_evil, -one_fail, 0.0))
        said = jnp.where(rank[number] < lost, failed, -success * members)
        logits = logits + jnp.where(played[number], said, 0.0)
    return situation, jax.nn.softmax(logits)
