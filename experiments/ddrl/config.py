"""The config of `ddrl` and its presets."""

from __future__ import annotations

import dataclasses
from typing import Literal

from jaxrl_suite.core.config import check_distinct, check_ranges
from jaxrl_suite.errors import UserError

Environment = Literal[
    "pendulum",
    "gridmaze",
    "mujoco/inverted_pendulum",
    "mujoco/halfcheetah",
    "mujoco/hopper",
    "mujoco/walker2d",
    "mujoco/ant",
]
Level = Literal["medium-replay", "medium", "medium-expert", "expert", "noisy-expert"]
Method = Literal[
    "pbc",
    "pbc-both",
    "dbc",
    "av-pbc",
    "sdw",
    "gm-l2",
    "gm-layer",
    "gm-cosine",
    "kernel-ridge",
    "random-regressors",
    "paper-p1",
    "paper-p2",
]


@dataclasses.dataclass(frozen=True)
class Config:
    """All that decides the result. The first method is the one that verdicts speak of."""

    seeds: tuple[int, ...] = (0, 1, 2)  # of distillation and selection
    data_seed: int = 0  # of the data, the experts and the students, which all sets share
    environments: tuple[Environment, ...] = ("pendulum", "gridmaze")
    levels: tuple[Level, ...] = ("noisy-expert",)  # of MuJoCo's data
    methods: tuple[Method, ...] = ("pbc", "paper-p2")
    sizes: tuple[int, ...] = (16, 64)  # pairs of continuous sets
    images: int = 10  # for each action of a maze
    students: int = 8  # trained on each set
    episodes: int = 64  # played by each, the same ones
    sample: bool = True  # students draw discrete actions from their probabilities
    published: bool = False  # students are trained as the published code trains them
    # Data.
    episodes_of_data: int = 128  # of the pendulum
    levels_of_data: int = 400  # episodes in mazes
    noise: float = 0.5  # share of random actions in the last episode; it rises from 0
    # Students.
    widths: tuple[int, ...] = (64, 64)  # hidden layers on the pendulum
    maze_widths: tuple[int, ...] = (64, 64)  # in mazes
    large_widths: tuple[int, ...] = (64, 64)  # in MuJoCo's environments
    cloning_steps: int = 2000  # on all pairs
    cloning_rate: float = 1e-3  # of Adam
    cloning_batch: int = 128  # pairs a step
    maze_cloning_steps: int = 1000  # on all pairs of mazes
    # Distillation.
    outer_steps: int = 800  # updates of the distilled set, on continuous tasks
    chunk: int = 100  # outer steps between two judgements by held-out loss
    meta_students: int = 8  # fresh ones in an outer step
    meta_rate: float = 1e-2  # of Adam; it falls to a tenth over the outer steps
    clip: float = 0.1  # of the norm of each student's outer gradient
    inner_steps: int = 60  # of a student that is unrolled
    inner_rate: float = 0.1  # of its SGD
    learn_rate: bool = False  # the inner step size is learned too, and students use their own
    judges: int = 4  # students whose held-out loss decides which set is kept
    published_steps: int = 300  # outer steps of the published methods
    maze_outer_steps: int = 300  # in mazes: as above
    maze_meta_students: int = 2  # as meta_students
    maze_meta_rate: float = 3e-2  # as meta_rate
    maze_inner_steps: int = 100  # as inner_steps
    # What costs more than it tells in a quick run.
    curve_steps: tuple[int, ...] = ()  # student steps at which the smallest and the whole set are compared
    across: bool = False  # other architectures, optimisers and ensembles; other draws of the pendulum's data
    anchors: int = 0  # updates of TD3+BC and IQL; 0 leaves them out
    polish: int = 0  # generations of evolution strategies on the smallest set; 0 leaves them out
    expert_iterations: int = 0  # of PPO; 0 takes those that are known to suffice

    def __post_init__(self):
        check_ranges(
            self,
            seeds=(0, 2**32 - 1),
            data_seed=(0, 2**32 - 1),
            sizes=(4, 10**5),
            images=(1, 10**4),
            students=(2, 10**4),
            episodes=(1, 10**5),
            episodes_of_data=(20, 10**6),
            levels_of_data=(20, 10**6),
            noise=(0, 1),
            widths=(1, 10**4),
            maze_widths=(1, 10**4),
            large_widths=(1, 10**4),
            cloning_steps=(1, 10**8),
            maze_cloning_steps=(1, 10**8),
            cloning_rate=(0, 1),
            cloning_batch=(1, 10**6),
            outer_steps=(1, 10**8),
            chunk=(1, 10**6),
            meta_students=(1, 10**4),
            meta_rate=(0, 100),
            clip=(1e-9, 1e9),
            inner_steps=(1, 10**5),
            inner_rate=(0, 100),
            judges=(1, 10**4),
            published_steps=(1, 10**8),
            maze_outer_steps=(1, 10**8),
            maze_meta_students=(1, 10**4),
            maze_meta_rate=(0, 100),
            maze_inner_steps=(1, 10**5),
            curve_steps=(1, 10**8),
            anchors=(0, 10**8),
            polish=(0, 10**8),
            expert_iterations=(0, 10**8),
        )
        check_distinct(self, "seeds", "environments", "levels", "methods", "sizes")
        for name in ("outer_steps", "published_steps", "maze_outer_steps"):
            if getattr(self, name) % self.chunk:
                raise UserError(f"chunk must divide the {getattr(self, name)} {name}, got {self.chunk}")


LOCOMOTION = ("mujoco/halfcheetah", "mujoco/hopper", "mujoco/walker2d", "mujoco/ant")
PRESETS = {
    "quick": Config(),
    "full": Config(
        environments=("pendulum", "gridmaze", "mujoco/inverted_pendulum"),
        methods=(
            "pbc", "pbc-both", "dbc", "av-pbc", "sdw", "gm-l2", "gm-layer", "gm-cosine", "kernel-ridge",
            "random-regressors", "paper-p1", "paper-p2",
        ),
        sizes=(4, 16, 64, 256),
        outer_steps=2000,
        published_steps=1000,
        cloning_steps=3000,
        cloning_batch=256,
        maze_cloning_steps=3000,
        maze_outer_steps=1000,
        maze_meta_students=4,
        curve_steps=(10, 30, 100, 300),
        across=True,
        anchors=10_000,
        polish=100,
    ),
    "accel": Config(
        seeds=(0, 1, 2, 3, 4),
        environments=LOCOMOTION,
        levels=("medium-replay", "medium", "medium-expert"),
        methods=("pbc", "av-pbc", "sdw", "dbc"),
        sizes=(256,),
        students=10,
        episodes=10,
        large_widths=(256, 256, 256),
        cloning_steps=50_000,
        cloning_batch=256,
        outer_steps=20_000,
        published_steps=2000,
        maze_outer_steps=2000,
        chunk=500,
        meta_students=8,
        inner_steps=100,
        across=True,
        anchors=500_000,
    ),
    "paper": Config(
        environments=("gridmaze",),
        methods=("paper-p1", "paper-p2", "pbc"),
        students=10,
        episodes=100,
        published=True,
        levels_of_data=100,
        noise=0.0,
        published_steps=1000,
    ),
}  # fmt: skip
