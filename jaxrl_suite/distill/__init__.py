"""Dataset distillation for offline reinforcement learning: tens of pairs that train a policy in a second.

Names are imported when they are first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from jaxrl_suite.envs.lazy import lazy_names

if TYPE_CHECKING:
    from jaxrl_suite.distill.baselines import Selection as Selection
    from jaxrl_suite.distill.baselines import choose_dual_ranking as choose_dual_ranking
    from jaxrl_suite.distill.baselines import choose_kmeans as choose_kmeans
    from jaxrl_suite.distill.baselines import choose_percentile as choose_percentile
    from jaxrl_suite.distill.baselines import choose_random as choose_random
    from jaxrl_suite.distill.baselines import choose_top as choose_top
    from jaxrl_suite.distill.baselines import relabel as relabel
    from jaxrl_suite.distill.distances import gradient_distance as gradient_distance
    from jaxrl_suite.distill.distilled_file import DistilledSet as DistilledSet
    from jaxrl_suite.distill.distilled_file import read_distilled as read_distilled
    from jaxrl_suite.distill.distilled_file import write_distilled as write_distilled
    from jaxrl_suite.distill.driver import Driver as Driver
    from jaxrl_suite.distill.driver import check_finite as check_finite
    from jaxrl_suite.distill.driver import distill as distill
    from jaxrl_suite.distill.driver import run_chunk as run_chunk
    from jaxrl_suite.distill.evaluation import Protocol as Protocol
    from jaxrl_suite.distill.evaluation import architectures as architectures
    from jaxrl_suite.distill.evaluation import score_table as score_table
    from jaxrl_suite.distill.evaluation import student_scores as student_scores
    from jaxrl_suite.distill.evaluation import summary as summary
    from jaxrl_suite.distill.evolution import Evolution as Evolution
    from jaxrl_suite.distill.evolution import mean_return as mean_return
    from jaxrl_suite.distill.gradient_matching import GradientMatching as GradientMatching
    from jaxrl_suite.distill.kernel_ridge import KernelRidge as KernelRidge
    from jaxrl_suite.distill.objective import Mean as Mean
    from jaxrl_suite.distill.objective import Objective as Objective
    from jaxrl_suite.distill.pairs import Distilled as Distilled
    from jaxrl_suite.distill.pairs import Imitation as Imitation
    from jaxrl_suite.distill.pairs import Pairs as Pairs
    from jaxrl_suite.distill.pairs import make_pairs as make_pairs
    from jaxrl_suite.distill.pairs import start_from as start_from
    from jaxrl_suite.distill.presets import METHODS as METHODS
    from jaxrl_suite.distill.presets import make_driver as make_driver
    from jaxrl_suite.distill.presets import paper_student as paper_student
    from jaxrl_suite.distill.presets import paper_teacher as paper_teacher
    from jaxrl_suite.distill.random_regressors import RandomRegressors as RandomRegressors
    from jaxrl_suite.distill.sampling import Buckets as Buckets
    from jaxrl_suite.distill.sampling import Uniform as Uniform
    from jaxrl_suite.distill.sampling import balanced_rows as balanced_rows
    from jaxrl_suite.distill.students import held_out_loss as held_out_loss
    from jaxrl_suite.distill.students import train_students as train_students
    from jaxrl_suite.distill.unrolled import Unrolled as Unrolled
    from jaxrl_suite.distill.weighting import density_weights as density_weights
    from jaxrl_suite.distill.weighting import teacher_targets as teacher_targets
    from jaxrl_suite.distill.weighting import value_weights as value_weights

_HOME = {
    "Buckets": "sampling",
    "Distilled": "pairs",
    "DistilledSet": "distilled_file",
    "Driver": "driver",
    "Evolution": "evolution",
    "GradientMatching": "gradient_matching",
    "Imitation": "pairs",
    "KernelRidge": "kernel_ridge",
    "METHODS": "presets",
    "Mean": "objective",
    "Objective": "objective",
    "Pairs": "pairs",
    "Protocol": "evaluation",
    "RandomRegressors": "random_regressors",
    "Selection": "baselines",
    "Uniform": "sampling",
    "Unrolled": "unrolled",
    "architectures": "evaluation",
    "balanced_rows": "sampling",
    "check_finite": "driver",
    "choose_dual_ranking": "baselines",
    "choose_kmeans": "baselines",
    "choose_percentile": "baselines",
    "choose_random": "baselines",
    "choose_top": "baselines",
    "density_weights": "weighting",
    "distill": "driver",
    "gradient_distance": "distances",
    "held_out_loss": "students",
    "make_driver": "presets",
    "make_pairs": "pairs",
    "mean_return": "evolution",
    "paper_student": "presets",
    "paper_teacher": "presets",
    "read_distilled": "distilled_file",
    "relabel": "baselines",
    "run_chunk": "driver",
    "score_table": "evaluation",
    "start_from": "pairs",
    "student_scores": "evaluation",
    "summary": "evaluation",
    "teacher_targets": "weighting",
    "train_students": "students",
    "value_weights": "weighting",
    "write_distilled": "distilled_file",
}

__all__ = [
    "METHODS",
    "Buckets",
    "Distilled",
    "DistilledSet",
    "Driver",
    "Evolution",
    "GradientMatching",
    "Imitation",
    "KernelRidge",
    "Mean",
    "Objective",
    "Pairs",
    "Protocol",
    "RandomRegressors",
    "Selection",
    "Uniform",
    "Unrolled",
    "architectures",
    "balanced_rows",
    "check_finite",
    "choose_dual_ranking",
    "choose_kmeans",
    "choose_percentile",
    "choose_random",
    "choose_top",
    "density_weights",
    "distill",
    "gradient_distance",
    "held_out_loss",
    "make_driver",
    "make_pairs",
    "mean_return",
    "paper_student",
    "paper_teacher",
    "read_distilled",
    "relabel",
    "run_chunk",
    "score_table",
    "start_from",
    "student_scores",
    "summary",
    "teacher_targets",
    "train_students",
    "value_weights",
    "write_distilled",
]

__getattr__ = lazy_names(__name__, _HOME)
