"""Learning how common each type is from the periods after which buyers stop.

A buyer's type is private, but types stop at different times, and the law of that is known exactly (`stopping`). What is
learned are the weights of a mixture of known laws. The published update moves the estimate a step towards the mean
posterior of a batch, which is stochastic EM; with all observations kept as counts, EM itself costs no more.

Identical laws cannot be told apart, only the sum of their weights; `identifiability` says how well the others can.

Shapes: `H` types, `X` price curves in use, `Y` outcomes that are told apart, `N` buyers a batch.

Reference: arXiv 2310.17843, algorithm 1; EM for mixture weights: Dempster, Laird, Rubin (1977).
"""

from __future__ import annotations

import functools
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl_suite.datamarket import stopping
from jaxrl_suite.datamarket.market import Market, check_laws, check_prices
from jaxrl_suite.errors import UserError, suggest

Schedule = Literal["half", "harmonic", "sqrt", "em"]
SCHEDULES = ("half", "harmonic", "sqrt", "em")  # step 1/2, 1/(t+1), 1/sqrt t; and EM on all that was seen
FLOOR = 1e-12  # keeps an estimate from reaching 0, which it could not leave


class PriorLearner(NamedTuple):
    """An estimate of the prior and what it rests on."""

    prior: jax.Array  # float[H]
    rounds: jax.Array  # int32[]
    counts: jax.Array  # float[X, Y], all that was seen


class Identifiability(NamedTuple):
    """Measures of how well a prior can be told from outcomes."""

    information: float  # least eigenvalue of an observation's Fisher information, over directions that sum to 0
    alike: tuple[tuple[int, ...], ...]  # groups of types whose laws are equal


def likelihoods(market: Market, prices: np.ndarray, *, items: bool = False) -> jax.Array:
    """float[X, Y, H]: how likely each outcome is for each type at each curve.

    Args:
      market: its prior is not used.
      prices: float[X, Q], or float[Q] for one curve.
      items: tell apart pairs of a period and what was bought in it; else only the period, as published.
    """
    curves = jnp.atleast_2d(jnp.asarray(check_prices(prices, market.num_metrics), jnp.float32))
    found = _laws(stopping.chain_of(market), jnp.asarray(market.valuations, jnp.float32), curves)
    law = found.joint.reshape(*found.stop_law.shape[:2], -1) if items else found.stop_law  # [X, H, Y]
    return jnp.swapaxes(law, 1, 2)


@jax.jit
def _laws(chain, valuations, curves):
    return stopping.outcomes(chain, valuations, curves)


def init(num_types: int, num_outcomes: int, num_curves: int = 1) -> PriorLearner:
    """A learner that starts from the uniform prior."""
    return PriorLearner(jnp.full(num_types, 1 / num_types), jnp.int32(0), jnp.zeros((num_curves, num_outcomes)))


def update(
    learner: PriorLearner,
    likelihood: jax.Array,
    seen: jax.Array,
    schedule: Schedule = "sqrt",
    *,
    pseudo: float = 1.0,
    em_steps: int = 20,
) -> PriorLearner:
    """Learns from one batch.

    Args:
      learner: what is known so far.
      likelihood: float[X, Y, H].
      seen: float[X, Y], how often each outcome occurred at each curve in this batch.
      schedule: a published step size, or "em" for EM on all counts.
      pseudo: of "em": buyers of each type that count as seen before (Dirichlet parameter - 1); 0 is maximum likelihood.
      em_steps: of "em": steps a batch, each over all that was seen.

    Returns:
      The learner after it; a batch that shows nothing, or nothing that is possible, leaves the estimate as it is.
    """
    if schedule not in SCHEDULES:
        raise UserError(f"unknown schedule {schedule!r}{suggest(schedule, SCHEDULES)}")
    rounds, counts = learner.rounds + 1, learner.counts + seen
    if schedule == "em":

        def step(_, prior):
            mass = _posterior_mass(prior, likelihood, counts) + pseudo
            return _normalised(mass, prior)

        prior = jax.lax.fori_loop(0, em_steps, step, learner.prior)
    else:
        t = rounds.astype(jnp.float32)
        size = {"half": jnp.float32(0.5), "harmonic": 1 / (t + 1), "sqrt": 1 / jnp.sqrt(t)}[schedule]
        mass = _posterior_mass(learner.prior, likelihood, seen)
        prior = (1 - size) * learner.prior + size * _normalised(mass, learner.prior)
    prior = jnp.maximum(prior, FLOOR)
    return PriorLearner(prior / jnp.sum(prior), rounds, counts)


def posterior(prior: jax.Array, likelihood: jax.Array) -> jax.Array:
    """float[X, Y, H]: what each outcome says about the type of the buyer that showed it."""
    joint = likelihood * prior[None, None]
    return joint / jnp.maximum(jnp.sum(joint, -1, keepdims=True), 1e-30)


def _normalised(mass: jax.Array, otherwise: jax.Array) -> jax.Array:
    total = jnp.sum(mass)
    return jnp.where(total > 0, mass / jnp.where(total > 0, total, 1.0), otherwise)


def _posterior_mass(prior: jax.Array, likelihood: jax.Array, counts: jax.Array) -> jax.Array:
    return jnp.einsum("xy,xyh->h", counts, posterior(prior, likelihood))


def divergence(truth: jax.Array, estimate: jax.Array) -> jax.Array:
    """float[]: Kullback-Leibler divergence of an estimate float[H] from the truth, in nats."""
    return jnp.sum(jnp.where(truth > 0, truth * (jnp.log(jnp.maximum(truth, 1e-30)) - jnp.log(estimate)), 0.0))


@functools.partial(jax.jit, static_argnames=("batch", "rounds", "schedule"))
def learn(
    key: jax.Array, likelihood: jax.Array, truth: jax.Array, *, batch: int, rounds: int, schedule: Schedule
) -> tuple[PriorLearner, jax.Array]:
    """Learns from simulated buyers at the first price curve.

    Args:
      key: consumed.
      likelihood: float[1, Y, H].
      truth: float[H], the prior that buyers are drawn from.
      batch: N, buyers a round.
      rounds: how many.
      schedule: as in `update`.

    Returns:
      The learner, and float[rounds], its divergence from the truth after each round.

    Raises:
      UserError: if there is no buyer or no round, or `truth` does not fit the types.
    """
    if batch < 1 or rounds < 1:
        raise UserError(f"batch and rounds must be at least 1, got {batch} and {rounds}")
    if truth.shape != likelihood.shape[-1:]:
        raise UserError(f"truth must have shape {list(likelihood.shape[-1:])} here, got {list(truth.shape)}")
    law = likelihood[0] @ truth

    def one(learner, key):
        drawn = jax.random.categorical(key, jnp.log(law), shape=(batch,))
        seen = jnp.zeros(law.shape).at[drawn].add(1.0)[None]
        learner = update(learner, likelihood, seen, schedule)
        return learner, divergence(truth, learner.prior)

    start = init(truth.shape[0], law.shape[0])
    return jax.lax.scan(one, start, jax.random.split(key, rounds))


def identifiability(likelihood: jax.Array, prior: np.ndarray) -> Identifiability:
    """Identifiability of the types from outcomes.

    Args:
      likelihood: float[X, Y, H]; curves count as equally often in use.
      prior: float[H], where the information is measured; every type must have some weight.

    Raises:
      UserError: if `prior` is no law of positive weights.
    """
    table = np.asarray(likelihood, np.float64).reshape(-1, likelihood.shape[-1]) / likelihood.shape[0]
    prior = np.asarray(prior, np.float64)
    check_laws(prior, "prior")
    if (prior <= 0).any():
        raise UserError(f"prior[{int(np.argmin(prior))}] is 0: information is measured where every type has weight")
    law = table @ prior
    shown = law > 1e-12
    matrix = (table[shown] / law[shown, None]).T @ table[shown]
    basis = np.linalg.svd(np.ones((1, prior.size)))[2][1:]  # directions that sum to 0
    least = float(np.linalg.eigvalsh(basis @ matrix @ basis.T)[0]) if prior.size > 1 else np.inf
    apart = np.abs(table[:, :, None] - table[:, None]).max(0) > 1e-6
    groups = {tuple(int(j) for j in np.flatnonzero(~row)) for row in apart}
    return Identifiability(max(least, 0.0), tuple(sorted(group for group in groups if len(group) > 1)))
