"""A network of your own, a plain `flax.linen` module: PPO trains it, it is distilled, and it guides a search.

python examples/own_network.py
"""

from __future__ import annotations

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxrl_suite import distill, envs, rl, search
from jaxrl_suite.rl.learners.ppo_config import PENDULUM, PPOConfig


class ActorCritic(nn.Module):
    """Two perceptrons; nothing in it knows of this package."""

    actions: int
    width: int = 64
    gain: float = 0.01  # of the policy's last layer

    @nn.compact
    def __call__(self, x):
        def perceptron(outputs, gain):
            hidden = x
            for _ in range(2):
                hidden = nn.tanh(nn.Dense(self.width, kernel_init=nn.initializers.orthogonal(np.sqrt(2)))(hidden))
            return nn.Dense(outputs, kernel_init=nn.initializers.orthogonal(gain))(hidden)

        log_std = self.param("log_std", nn.initializers.zeros, (self.actions,))
        return perceptron(self.actions, self.gain), log_std, perceptron(1, 1.0)[..., 0]


def train(config: PPOConfig = PENDULUM):
    """PPO on the pendulum: the learner, and the parameters of the best policy."""
    ppo = rl.PPO(envs.make("pendulum"), config, ActorCritic(1))
    state, update = ppo.init(jax.random.key(0)), jax.jit(ppo.update)
    for _ in range(config.updates):
        state, metrics = update(state)
        print(f"PPO: return {float(metrics.score):.0f}")
    return ppo, state.best.params


def distil(ppo: rl.PPO, best, pairs: int = 16, outer_steps: int = 600):
    """Normalised scores of students with this network, trained on a few distilled pairs and on as many real ones."""
    env, student = ppo.env, distill.Imitation(rl.Policy(ActorCritic(1, gain=1.0), (3,), 1))
    reference = rl.references(env, jax.random.key(1), actor=ppo.actor, params=best, episodes=16)
    behaviour = rl.Behaviour("ppo", ppo.actor, best, 16, (0.0, 0.5))
    data = rl.collect_data(env, [behaviour], jax.random.key(2), name="pendulum", reference=reference)
    answer = jax.jit(jax.vmap(lambda x: jnp.clip(ppo.actor(best, x, jax.random.key(0)), -1, 1)))  # as the torque is
    teacher = distill.make_teacher(answer)
    keys = jax.random.split(jax.random.key(3))
    task = distill.make_task(data, env, teacher, keys=keys, imitation=student, reference=reference)
    real, held_out = task.answered(), task.answered(held_out=True)
    start = distill.start_from(real, np.arange(pairs), student.policy)
    # Orthogonal weights with gain sqrt(2) before tanh diverge at the steps of 0.1 that the package's own students take.
    inner, recipe = rl.Recipe("sgd", 0.03, 60), rl.Recipe("sgd", 0.03, 100)
    objective = distill.Unrolled(student, inner)
    driver = distill.Driver(objective, students=6, anneal=outer_steps, recipes=(recipe,))
    state = distill.distill(driver, jax.random.key(4), start, real, held_out, outer_steps, chunk=min(100, outer_steps))
    scores = []
    for syn in (state.best, start):
        found = distill.student_scores(
            env, student, recipe, student.pairs(syn), jax.random.key(5), reference, scaling=task.scaling
        )
        scores.append(float(found.mean()))
    return tuple(scores)


def look_ahead(games: int = 4):
    """Strategies of a search of GOPS with 4 cards whose leaves the network evaluates: float32[games, 2, 4]."""
    game = envs.make("gops-4")
    network = ActorCritic(2 * game.num_actions)  # a logit for each player and card
    states = jax.vmap(game.init)(jax.random.split(jax.random.key(0), games))
    params = network.init(jax.random.key(1), jax.vmap(lambda state: game.observe(state, 0))(states))["params"]
    searching = search.SimultaneousSearch(game, search.Network(game, network), num_simulations=32)
    return search.SearchPolicy(searching, params=params)(jax.random.split(jax.random.key(2), games), states)


if __name__ == "__main__":
    learner, policy = train(dataclasses.replace(PENDULUM, iterations=100))
    few, random = distil(learner, policy)
    print(f"students of 16 distilled pairs: {few:.0f}; of 16 real pairs: {random:.0f} (PPO is 100)")
    print(look_ahead())
