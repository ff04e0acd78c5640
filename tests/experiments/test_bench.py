"""Benchmarks: what runs in a process of its own is found there."""

import numpy as np
import pytest

from jaxrl_suite.experiments.bench import distill, values
from jaxrl_suite.tabular import datasets


def test_data_values_are_measured_in_a_process_of_their_own():
    split = datasets.split_table(datasets.load_table("iris"), (20, 20, 20), 0)
    masks = np.arange(20)[None] < np.array([[5], [20]])
    answer = values.ask(values.OURS, split, masks)
    assert np.shape(answer["scores"]) == (2,)
    assert answer["logistic"] > 0
    assert answer["ridge"] > 0


@pytest.mark.tier2
def test_distillation_is_measured_in_a_process_of_its_own():
    assert float(distill.rows()[0]["per second"].replace(",", "")) > 0
