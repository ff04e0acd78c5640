"""Policies of talk on a channel of claims: a few numbers for each role.

A claim is silence, "seat i is evil" or "seat i is good". How likely a player makes each depends on its role and on how
evil it holds each seat to be. Any informed player may instead speak exactly as a Servant in its seat would, who knows
nothing: that is what evil does to blend in, and Merlin to hide.

Shapes: `P` players, `C` = 2 P + 1 claims, `F` = 7 numbers a role.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl_suite.envs.avalon.roles import EVIL_ROLES, GOOD_ROLES, ROLE_NAMES, SERVANT
from jaxrl_suite.errors import UserError

NUM_FEATURES = 7
SILENCE = 0  # the claim that says nothing
_SILENT, _ACCUSE, _ACCUSE_SLOPE, _VOUCH, _VOUCH_SLOPE, _ACCUSE_SELF, _VOUCH_SELF = range(NUM_FEATURES)


class ClaimPolicy(NamedTuple):
    """A row for each role id.

    The log-odds of the claims of a role, up to a constant: silence has number 0; accusing another seat that is evil
    with probability e has number 1 plus e times number 2; vouching for it number 3 plus e times number 4; accusing
    and vouching for oneself numbers 5 and 6.
    """

    logits: jax.Array | np.ndarray  # float32[8, F]
    imitation: jax.Array | np.ndarray  # float32[8], log-odds of speaking as a Servant would; of a Servant, unused


def accuse(seat: int) -> int:
    """The claim that `seat` is evil."""
    return 1 + 2 * seat


def vouch(seat: int) -> int:
    """The claim that `seat` is good."""
    return 2 + 2 * seat


def babbling() -> ClaimPolicy:
    """All claims are equally likely, whoever speaks: nothing can be learned from them."""
    return ClaimPolicy(
        np.zeros((len(ROLE_NAMES), NUM_FEATURES), np.float32), np.full(len(ROLE_NAMES), -np.inf, np.float32)
    )


def simple(
    candour: float = 2.0, lies: float = 2.0, evil_imitates: float = 0.0, merlin_imitates: float = 0.0
) -> ClaimPolicy:
    """Good players say what they believe, evil players the opposite, unless they speak as a Servant would.

    Args:
      candour: how much more a good player prefers to accuse a seat that it knows to be evil over one that it knows to
        be good, in log-odds; the same for vouching.
      lies: the same for an evil player, with the sides exchanged.
      evil_imitates: probability that an evil player's claim is drawn as a Servant's in its seat.
      merlin_imitates: the same for Merlin.

    Raises:
      UserError: if a probability is not one.
    """
    for name, value in (("evil_imitates", evil_imitates), ("merlin_imitates", merlin_imitates)):
        if not 0 <= value <= 1:
            raise UserError(f"{name} is a probability and must lie in [0, 1], got {value}")
    policy = babbling()
    logits, imitation = np.array(policy.logits), np.array(policy.imitation)
    for roles, slope in ((GOOD_ROLES, candour), (EVIL_ROLES, -lies)):
        for role in roles:
            logits[role, _ACCUSE_SLOPE], logits[role, _VOUCH_SLOPE] = slope, -slope
    logits[:, _ACCUSE] -= 1.0
    logits[:, _ACCUSE_SELF] -= 4.0
    with np.errstate(divide="ignore"):
        imitation[list(EVIL_ROLES)] = np.log(evil_imitates) - np.log1p(-evil_imitates)
        imitation[0] = np.log(merlin_imitates) - np.log1p(-merlin_imitates)
    return ClaimPolicy(logits, imitation)


def claim_distribution(
    policy: ClaimPolicy, role: jax.Array, suspicion: jax.Array, speaker: jax.Array | int
) -> jax.Array:
    """float32[C]: how likely each claim is, before any imitation.

    Args:
      policy: of all roles.
      role: int32[], of the speaker.
      suspicion: float32[P], how likely it holds each seat to be evil.
      speaker: int32[], its seat.
    """
    row = jnp.asarray(policy.logits)[role]
    own = jnp.arange(suspicion.shape[0]) == speaker
    accusing = jnp.where(own, row[_ACCUSE_SELF], row[_ACCUSE] + row[_ACCUSE_SLOPE] * suspicion)
    vouching = jnp.where(own, row[_VOUCH_SELF], row[_VOUCH] + row[_VOUCH_SLOPE] * suspicion)
    claims = jnp.stack([accusing, vouching], axis=1).ravel()
    return jax.nn.softmax(jnp.concatenate([row[_SILENT][None], claims]))


def mix_in(policy: ClaimPolicy, role: jax.Array, own: jax.Array, as_servant: jax.Array) -> jax.Array:
    """float32[C]: `own` claims, or with the role's probability of imitation those of a Servant."""
    hidden = jnp.where(role == SERVANT, 0.0, jax.nn.sigmoid(jnp.asarray(policy.imitation)[role]))
    return own + hidden * (as_servant - own)  # exactly `own` where the two agree
