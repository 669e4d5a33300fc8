"""Random streams depend on names and numbers alone."""

import torch

from contrastbench.training.seeds import generator_for, seed_for, seed_globally

CPU = torch.device("cpu")


def test_a_seed_is_the_same_for_ever():
    """These numbers must never change: every committed row depends on them."""
    assert seed_for("order", 0, 0) == 2639891785492693593
    assert seed_for("init", 1) == 8589851229162487040


def test_seeds_fit_every_generator_and_differ():
    seeds = {seed_for(name, seed, step) for name in ("order", "step") for seed in range(20) for step in range(50)}
    assert len(seeds) == 2000 and all(0 <= seed < 2**63 for seed in seeds)


def test_parts_do_not_run_into_one_another():
    assert len({seed_for("step", 1, 11), seed_for("step", 11, 1), seed_for("step", 111), seed_for("step1", 11)}) == 4


def test_streams_do_not_depend_on_the_order_in_which_they_are_used():
    def draw(*parts):
        return torch.rand(3, generator=generator_for(CPU, *parts)).tolist()

    first, second = draw("step", 0, 1), draw("step", 0, 2)
    torch.manual_seed(5)
    assert draw("step", 0, 2) == second and draw("step", 0, 1) == first and first != second


def test_libraries_see_the_stream_that_torch_itself_would_give_them():
    seed_globally(CPU, "global", 0, 3)
    ours = torch.rand(3)
    torch.manual_seed(seed_for("global", 0, 3))
    assert torch.equal(ours, torch.rand(3))
