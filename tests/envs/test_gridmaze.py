"""Gridmaze: levels and their expert beside a breadth-first search in plain Python, and levels that keep apart."""

import collections
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl_suite.envs import GridMaze, check_env, make
from jaxrl_suite.envs.gridmaze import env as module
from jaxrl_suite.envs.gridmaze.levels import MOVES, UNREACHABLE, distances, spanning_tree
from jaxrl_suite.rl import Uniform, evaluate

KEY = jax.random.key(0)
LEVELS = 200


def starts(env, levels):
    return jax.jit(jax.vmap(env.start))(jnp.asarray(levels))


@pytest.fixture(scope="module")
def maze():
    return GridMaze()


@pytest.fixture(scope="module")
def states(maze):
    return jax.tree.map(np.asarray, starts(maze, np.arange(LEVELS)))


def search(walls, goal):
    """{square: steps to the goal} by breadth-first search."""
    away, queue = {goal: 0}, collections.deque([goal])
    while queue:
        at = queue.popleft()
        for move in MOVES.tolist():
            there = (at[0] + move[0], at[1] + move[1])
            if not walls[there] and there not in away:
                away[there] = away[at] + 1
                queue.append(there)
    return away


@pytest.mark.parametrize("env", [make("gridmaze"), GridMaze(2, openings=0), GridMaze(3, levels=module.UNSEEN_LEVELS)])
def test_keeps_the_contract(env):
    check_env(env)


def test_distances_agree_with_breadth_first_search(maze, states):
    goals = jnp.zeros(states.walls.shape, bool).at[np.arange(LEVELS), states.goal[:, 0], states.goal[:, 1]].set(True)
    found = np.asarray(jax.jit(jax.vmap(distances))(jnp.asarray(states.walls), goals))
    for level in range(LEVELS):
        expected = np.full(states.walls.shape[1:], UNREACHABLE)
        for at, steps in search(states.walls[level], tuple(states.goal[level].tolist())).items():
            expected[at] = steps
        assert (found[level] == expected).all()


def test_every_room_can_be_reached_and_walls_stand_all_around(maze, states):
    for level in range(LEVELS):
        walls = states.walls[level]
        assert walls[[0, -1]].all()
        assert walls[:, [0, -1]].all()
        rooms = itertools.product(range(1, 2 * maze.cells, 2), repeat=2)
        assert set(rooms) <= search(walls, tuple(states.goal[level].tolist())).keys()


def test_without_openings_there_is_one_way_and_with_all_none_is_closed():
    inner = 4 * 3 * 2
    for openings, closed in ((0.0, inner - 15), (1.0, 0)):
        walls = starts(GridMaze(openings=openings), np.arange(20)).walls
        grid = np.asarray(walls)[:, 1:-1, 1:-1]
        assert (grid.sum(axis=(1, 2)) == closed + 9).all()  # and nine posts between the rooms


def test_the_tree_is_the_cheapest_of_all():
    cells, ends = 2, [(0, 1), (2, 3), (0, 2), (1, 3)]
    for seed in range(5):
        weights = np.asarray(jax.random.uniform(jax.random.key(seed), (4,)))
        chosen = np.flatnonzero(spanning_tree(jnp.asarray(weights), cells))
        trees = [t for t in itertools.combinations(range(4), 3) if len({r for e in t for r in ends[e]}) == 4]
        assert tuple(chosen) == min(trees, key=lambda tree: float(weights[list(tree)].sum()))


def test_the_goal_is_among_the_farther_half_of_the_rooms(maze, states):
    for level in range(LEVELS):
        away = search(states.walls[level], tuple(states.agent[level].tolist()))
        steps = [away[room] for room in itertools.product(range(1, 2 * maze.cells, 2), repeat=2)]
        assert away[tuple(states.goal[level].tolist())] >= np.sort(steps)[len(steps) // 2]


def test_the_expert_takes_a_shortest_way(maze, states):
    """And `optimal_actions` are those that come nearer by one, at every square of the level."""

    def play(state):
        def step(state, _):
            after = maze.step(state, maze.expert(maze.observe(state))[None], KEY)
            return after, after.reward[0]

        return jax.lax.scan(step, state, None, maze.max_turns)

    ends, rewards = jax.jit(jax.vmap(play))(jax.tree.map(jnp.asarray, states))
    assert ends.terminated.all()
    assert (rewards.sum(axis=1) == 1).all()
    optimal = jax.jit(lambda state, at: maze.optimal_actions(maze.observe(state._replace(agent=at))))
    for level in range(LEVELS):
        state = jax.tree.map(lambda leaf, level=level: leaf[level], states)
        away = search(state.walls, tuple(state.goal.tolist()))
        assert ends.turn[level] == away[tuple(state.agent.tolist())]
        if level < 10:
            for at, steps in away.items():
                nearer = [away.get((at[0] + m[0], at[1] + m[1])) == steps - 1 for m in MOVES.tolist()]
                assert optimal(state, jnp.array(at)).tolist() == (nearer if steps else [False] * 4)


def test_a_level_depends_on_its_number_alone(maze, states):
    other = GridMaze(levels=(3, 5), max_turns=40)
    again = jax.jit(other.start)(7)
    for name in ("walls", "agent", "goal"):
        assert (getattr(again, name) == getattr(states, name)[7]).all()
    drawn = jax.vmap(other.init)(jax.random.split(KEY, 300))
    assert sorted(set(drawn.level.tolist())) == [3, 4, 5, 6, 7]
    row = drawn.level.tolist().index(7)
    assert (drawn.walls[row] == states.walls[7]).all()


def test_training_and_unseen_levels_have_nothing_in_common(maze):
    first, count = module.TRAIN_LEVELS
    train = starts(maze, first + np.arange(count))
    start, amount = module.UNSEEN_LEVELS
    assert start >= first + count
    unseen = starts(maze, start + np.arange(0, amount, amount // 2000))
    images = [{image.tobytes() for image in np.asarray(jax.vmap(maze.observe)(s))} for s in (train, unseen)]
    assert len(images[0]) == count
    assert not images[0] & images[1]


def test_steps_into_walls_stay_and_the_limit_truncates(maze):
    start, step = jax.jit(maze.start)(0), jax.jit(maze.step)
    state = start
    wall = next(a for a, move in enumerate(MOVES) if state.walls[tuple(np.asarray(state.agent) + move)])
    for turn in range(maze.max_turns):
        assert not state.truncated
        state = step(state, jnp.array([wall]), KEY)
        assert state.turn == turn + 1
    assert state.truncated
    assert not state.terminated
    assert (state.agent == start.agent).all()


def test_reference_scores_hold(maze):
    returns = evaluate(maze, Uniform(maze), None, KEY, 32_768)
    random, expert = maze.reference_scores
    assert expert == 1
    assert abs(float(returns.mean()) - random) < 4 * np.sqrt(random * (1 - random) / 32_768)
    assert GridMaze(levels=module.UNSEEN_LEVELS).reference_scores == maze.reference_scores
    for other in (GridMaze(5), GridMaze(openings=0.2), GridMaze(max_turns=31)):
        assert not hasattr(other, "reference_scores")


@pytest.mark.parametrize(
    "bad",
    [
        dict(cells=1),
        dict(cells=4.0),
        dict(openings=1.5),
        dict(openings="many"),
        dict(levels=(-1, 5)),
        dict(levels=(0, 0)),
        dict(levels=(0, 2**31)),
        dict(levels=(0, 2.5)),
        dict(levels=7),
        dict(max_turns=29),
        dict(max_turns=40.5),
    ],
    ids=str,
)
def test_refuses_impossible_mazes(bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        GridMaze(**bad)
