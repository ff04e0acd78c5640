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
class PendulumConfig:
    """The pendulum."""

    episodes: int = 128  # of data
    widths: tuple[int, ...] = (64, 64)  # hidden layers of students

    def __post_init__(self):
        check_ranges(self, episodes=(20, 10**6), widths=(1, 10**4))


@dataclasses.dataclass(frozen=True)
class MazeConfig:
    """Mazes; what is not here is as on the other tasks."""

    levels: int = 400  # of data, an episode in each
    images: int = 10  # of distilled sets, for each action
    widths: tuple[int, ...] = (64, 64)  # hidden layers of students
    cloning_steps: int = 1000  # on all pairs
    outer_steps: int = 300  # updates of the distilled set
    meta_students: int = 2  # fresh ones in an outer step
    meta_learning_rate: float = 3e-2  # of Adam; it falls to a tenth over the outer steps
    inner_steps: int = 100  # of a student that is unrolled

    def __post_init__(self):
        check_ranges(
            self,
            levels=(20, 10**6),
            images=(1, 10**4),
            widths=(1, 10**4),
            cloning_steps=(1, 10**8),
            outer_steps=(1, 10**8),
            meta_students=(1, 10**4),
            meta_learning_rate=(1e-9, 100),
            inner_steps=(1, 10**5),
        )


@dataclasses.dataclass(frozen=True)
class MuJoCoConfig:
    """MuJoCo's environments, by Brax."""

    datasets: tuple[Level, ...] = ("noisy-expert",)  # whose episodes the data are
    widths: tuple[int, ...] = (64, 64)  # hidden layers of students
    expert_iterations: int = 0  # of PPO; 0 takes those that are known to suffice

    def __post_init__(self):
        check_ranges(self, widths=(1, 10**4), expert_iterations=(0, 10**8))
        check_distinct(self, "datasets")


@dataclasses.dataclass(frozen=True)
class CloningConfig:
    """Students on all pairs."""

    steps: int = 2000
    learning_rate: float = 1e-3  # of Adam
    batch_size: int = 128  # pairs per step

    def __post_init__(self):
        check_ranges(self, steps=(1, 10**8), learning_rate=(1e-9, 1), batch_size=(1, 10**6))


@dataclasses.dataclass(frozen=True)
class DistillationConfig:
    """Distillation, on continuous tasks where mazes have settings of their own."""

    outer_steps: int = 800  # updates of the distilled set
    published_steps: int = 300  # outer steps of the published methods
    chunk: int = 100  # outer steps between two judgements by held-out loss
    meta_students: int = 8  # fresh ones in an outer step
    meta_learning_rate: float = 1e-2  # of Adam; it falls to a tenth over the outer steps
    clip: float = 0.1  # of the norm of each student's outer gradient
    inner_steps: int = 60  # of a student that is unrolled
    inner_learning_rate: float = 0.1  # of its SGD
    learn_inner_rate: bool = False  # the inner learning rate is learned too, and students use their own
    judges: int = 4  # students whose held-out loss decides which set is kept

    def __post_init__(self):
        check_ranges(
            self,
            outer_steps=(1, 10**8),
            published_steps=(1, 10**8),
            chunk=(1, 10**6),
            meta_students=(1, 10**4),
            meta_learning_rate=(1e-9, 100),
            clip=(1e-9, 1e9),
            inner_steps=(1, 10**5),
            inner_learning_rate=(1e-9, 100),
            judges=(1, 10**4),
        )
        for name in ("outer_steps", "published_steps"):
            if getattr(self, name) % self.chunk:
                raise UserError(f"chunk must divide the {getattr(self, name)} {name}, got {self.chunk}")


@dataclasses.dataclass(frozen=True)
class EvaluationConfig:
    """The judging of students."""

    students: int = 8  # trained on each set
    episodes: int = 64  # played by each, the same ones
    sample: bool = True  # students draw discrete actions from their probabilities

    def __post_init__(self):
        check_ranges(self, students=(2, 10**4), episodes=(1, 10**5))


@dataclasses.dataclass(frozen=True)
class ExtrasConfig:
    """Comparisons that cost more than they tell in a quick run."""

    curve_steps: tuple[int, ...] = ()  # student steps at which the smallest and the whole set are compared
    across: bool = False  # other architectures, optimisers and ensembles; other draws of the pendulum's data
    offline_updates: int = 0  # of TD3+BC and IQL; 0 leaves them out
    generations: int = 0  # of evolution strategies on the smallest set; 0 leaves them out

    def __post_init__(self):
        check_ranges(self, curve_steps=(1, 10**8), offline_updates=(0, 10**8), generations=(0, 10**8))


RENAMED = {
    "episodes_of_data": "pendulum.episodes",
    "levels_of_data": "maze.levels",
    "images": "maze.images",
    "widths": "pendulum.widths",
    "maze_widths": "maze.widths",
    "large_widths": "mujoco.widths",
    "levels": "mujoco.datasets",
    "expert_iterations": "mujoco.expert_iterations",
    "cloning_steps": "cloning.steps",
    "cloning_rate": "cloning.learning_rate",
    "cloning_batch": "cloning.batch_size",
    "maze_cloning_steps": "maze.cloning_steps",
    "outer_steps": "distillation.outer_steps",
    "published_steps": "distillation.published_steps",
    "chunk": "distillation.chunk",
    "meta_students": "distillation.meta_students",
    "meta_rate": "distillation.meta_learning_rate",
    "clip": "distillation.clip",
    "inner_steps": "distillation.inner_steps",
    "inner_rate": "distillation.inner_learning_rate",
    "learn_rate": "distillation.learn_inner_rate",
    "judges": "distillation.judges",
    "maze_outer_steps": "maze.outer_steps",
    "maze_meta_students": "maze.meta_students",
    "maze_meta_rate": "maze.meta_learning_rate",
    "maze_inner_steps": "maze.inner_steps",
    "students": "evaluation.students",
    "episodes": "evaluation.episodes",
    "sample": "evaluation.sample",
    "curve_steps": "extras.curve_steps",
    "across": "extras.across",
    "anchors": "extras.offline_updates",
    "polish": "extras.generations",
}


@dataclasses.dataclass(frozen=True)
class Config:
    """Config: all that decides the result. The first method is the one that verdicts speak of."""

    seeds: tuple[int, ...] = (0, 1, 2)  # of distillation and selection
    data_seed: int = 0  # of the data, the experts and the students, which all sets share
    environments: tuple[Environment, ...] = ("pendulum", "gridmaze")
    methods: tuple[Method, ...] = ("pbc", "paper-p2")
    sizes: tuple[int, ...] = (16, 64)  # pairs of continuous sets
    noise: float = 0.5  # share of random actions in the last episode of the data; it rises from 0
    published: bool = False  # students are trained as the published code trains them
    pendulum: PendulumConfig = PendulumConfig()
    maze: MazeConfig = MazeConfig()
    mujoco: MuJoCoConfig = MuJoCoConfig()
    cloning: CloningConfig = CloningConfig()
    distillation: DistillationConfig = DistillationConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    extras: ExtrasConfig = ExtrasConfig()

    def __post_init__(self):
        check_ranges(self, seeds=(0, 2**32 - 1), data_seed=(0, 2**32 - 1), sizes=(4, 10**5), noise=(0, 1))
        check_distinct(self, "seeds", "environments", "methods", "sizes")
        if self.maze.outer_steps % (chunk := self.distillation.chunk):
            raise UserError(f"distillation.chunk must divide the {self.maze.outer_steps} maze.outer_steps, got {chunk}")


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
        maze=MazeConfig(cloning_steps=3000, outer_steps=1000, meta_students=4),
        cloning=CloningConfig(steps=3000, batch_size=256),
        distillation=DistillationConfig(outer_steps=2000, published_steps=1000),
        extras=ExtrasConfig(curve_steps=(10, 30, 100, 300), across=True, offline_updates=10_000, generations=100),
    ),
    "accel": Config(
        seeds=(0, 1, 2, 3, 4),
        environments=LOCOMOTION,
        methods=("pbc", "av-pbc", "sdw", "dbc"),
        sizes=(256,),
        maze=MazeConfig(outer_steps=2000),
        mujoco=MuJoCoConfig(datasets=("medium-replay", "medium", "medium-expert"), widths=(256, 256, 256)),
        cloning=CloningConfig(steps=50_000, batch_size=256),
        distillation=DistillationConfig(outer_steps=20_000, published_steps=2000, chunk=500, inner_steps=100),
        evaluation=EvaluationConfig(students=10, episodes=10),
        extras=ExtrasConfig(across=True, offline_updates=500_000),
    ),
    "paper": Config(
        environments=("gridmaze",),
        methods=("paper-p1", "paper-p2", "pbc"),
        noise=0.0,
        published=True,
        maze=MazeConfig(levels=100),
        distillation=DistillationConfig(published_steps=1000),
        evaluation=EvaluationConfig(students=10, episodes=100),
    ),
}  # fmt: skip
