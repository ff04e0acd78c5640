"""The ground that methods learn on: policies, behaviour cloning, PPO, offline learners and offline data.

Names are imported when they are first used. `episodes`, `transitions` and `offline_fit` are modules.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from jaxrl_suite.envs.lazy import lazy_names

if TYPE_CHECKING:
    from jaxrl_suite.rl.actors import Actor as Actor
    from jaxrl_suite.rl.actors import Ensemble as Ensemble
    from jaxrl_suite.rl.actors import Expert as Expert
    from jaxrl_suite.rl.actors import Greedy as Greedy
    from jaxrl_suite.rl.actors import Noisy as Noisy
    from jaxrl_suite.rl.actors import Sampled as Sampled
    from jaxrl_suite.rl.actors import Scaled as Scaled
    from jaxrl_suite.rl.actors import ScaledActor as ScaledActor
    from jaxrl_suite.rl.actors import Uniform as Uniform
    from jaxrl_suite.rl.cloning import RECIPES as RECIPES
    from jaxrl_suite.rl.cloning import Recipe as Recipe
    from jaxrl_suite.rl.cloning import cloning_loss as cloning_loss
    from jaxrl_suite.rl.cloning import fit_recipe as fit_recipe
    from jaxrl_suite.rl.cloning import recipe as recipe
    from jaxrl_suite.rl.collection import Behaviour as Behaviour
    from jaxrl_suite.rl.collection import Teachers as Teachers
    from jaxrl_suite.rl.collection import collect_data as collect_data
    from jaxrl_suite.rl.collection import level_behaviours as level_behaviours
    from jaxrl_suite.rl.collection import medium_checkpoint as medium_checkpoint
    from jaxrl_suite.rl.collection import noisy_expert_data as noisy_expert_data
    from jaxrl_suite.rl.collection import references as references
    from jaxrl_suite.rl.d4rl_file import read_d4rl as read_d4rl
    from jaxrl_suite.rl.d4rl_file import write_d4rl as write_d4rl
    from jaxrl_suite.rl.episodes import episode_returns as episode_returns
    from jaxrl_suite.rl.episodes import returns_to_go as returns_to_go
    from jaxrl_suite.rl.episodes import split_episodes as split_episodes
    from jaxrl_suite.rl.episodes import take_episodes as take_episodes
    from jaxrl_suite.rl.iql import IQL as IQL
    from jaxrl_suite.rl.minari_file import read_minari as read_minari
    from jaxrl_suite.rl.minari_file import write_minari as write_minari
    from jaxrl_suite.rl.offline import Metadata as Metadata
    from jaxrl_suite.rl.offline import OfflineData as OfflineData
    from jaxrl_suite.rl.offline import make_data as make_data
    from jaxrl_suite.rl.percentile import episode_scores as episode_scores
    from jaxrl_suite.rl.percentile import percentile_rows as percentile_rows
    from jaxrl_suite.rl.policies import CNN as CNN
    from jaxrl_suite.rl.policies import MLP as MLP
    from jaxrl_suite.rl.policies import Policy as Policy
    from jaxrl_suite.rl.ppo import PPO as PPO
    from jaxrl_suite.rl.ppo_config import PPOConfig as PPOConfig
    from jaxrl_suite.rl.rollout import Trajectories as Trajectories
    from jaxrl_suite.rl.rollout import collect as collect
    from jaxrl_suite.rl.rollout import evaluate as evaluate
    from jaxrl_suite.rl.rollout import flatten as flatten
    from jaxrl_suite.rl.rollout import observation_spec as observation_spec
    from jaxrl_suite.rl.scores import Reference as Reference
    from jaxrl_suite.rl.scores import normalised_score as normalised_score
    from jaxrl_suite.rl.scores import reference_scores as reference_scores
    from jaxrl_suite.rl.td3_bc import TD3BC as TD3BC
    from jaxrl_suite.rl.transitions import Scaling as Scaling
    from jaxrl_suite.rl.transitions import Transitions as Transitions
    from jaxrl_suite.rl.transitions import rescale_actions as rescale_actions
    from jaxrl_suite.rl.transitions import scaling as scaling

_HOME = {
    "Actor": "actors",
    "Behaviour": "collection",
    "CNN": "policies",
    "Expert": "actors",
    "Ensemble": "actors",
    "Greedy": "actors",
    "IQL": "iql",
    "MLP": "policies",
    "Metadata": "offline",
    "Noisy": "actors",
    "OfflineData": "offline",
    "PPO": "ppo",
    "PPOConfig": "ppo_config",
    "Policy": "policies",
    "RECIPES": "cloning",
    "Recipe": "cloning",
    "Reference": "scores",
    "Sampled": "actors",
    "Scaled": "actors",
    "ScaledActor": "actors",
    "Scaling": "transitions",
    "TD3BC": "td3_bc",
    "Teachers": "collection",
    "Trajectories": "rollout",
    "Transitions": "transitions",
    "Uniform": "actors",
    "cloning_loss": "cloning",
    "collect": "rollout",
    "collect_data": "collection",
    "episode_returns": "episodes",
    "episode_scores": "percentile",
    "evaluate": "rollout",
    "fit_recipe": "cloning",
    "flatten": "rollout",
    "level_behaviours": "collection",
    "make_data": "offline",
    "medium_checkpoint": "collection",
    "noisy_expert_data": "collection",
    "normalised_score": "scores",
    "observation_spec": "rollout",
    "percentile_rows": "percentile",
    "read_d4rl": "d4rl_file",
    "read_minari": "minari_file",
    "recipe": "cloning",
    "reference_scores": "scores",
    "references": "collection",
    "rescale_actions": "transitions",
    "returns_to_go": "episodes",
    "scaling": "transitions",
    "split_episodes": "episodes",
    "take_episodes": "episodes",
    "write_d4rl": "d4rl_file",
    "write_minari": "minari_file",
}

__all__ = [
    "CNN",
    "IQL",
    "MLP",
    "PPO",
    "RECIPES",
    "TD3BC",
    "Actor",
    "Behaviour",
    "Ensemble",
    "Expert",
    "Greedy",
    "Metadata",
    "Noisy",
    "OfflineData",
    "PPOConfig",
    "Policy",
    "Recipe",
    "Reference",
    "Sampled",
    "Scaled",
    "ScaledActor",
    "Scaling",
    "Teachers",
    "Trajectories",
    "Transitions",
    "Uniform",
    "cloning_loss",
    "collect",
    "collect_data",
    "episode_returns",
    "episode_scores",
    "evaluate",
    "fit_recipe",
    "flatten",
    "level_behaviours",
    "make_data",
    "medium_checkpoint",
    "noisy_expert_data",
    "normalised_score",
    "observation_spec",
    "percentile_rows",
    "read_d4rl",
    "read_minari",
    "recipe",
    "reference_scores",
    "references",
    "rescale_actions",
    "returns_to_go",
    "scaling",
    "split_episodes",
    "take_episodes",
    "write_d4rl",
    "write_minari",
]

__getattr__ = lazy_names(__name__, _HOME)
