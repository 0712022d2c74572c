"""The door to boots: work space is kept from chunk to chunk, and no outcome depends on it."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np

from mcsim.simulator.simulator import Simulator, load_workload, simulator_of
from tests.machines import BOARD
from tests.test_explain import SOURCE, task


def test_outcomes_do_not_depend_on_what_the_work_space_was_used_for() -> None:
    cell, workload = task("maple-naive", "33M"), load_workload(SOURCE, BOARD)
    fresh = Simulator(cell, workload).outcomes(0, 20)
    used = Simulator(cell, workload)
    used.outcomes(50, 10)
    used.blame(np.arange(5))
    pieces = [used.outcomes(first, 5) for first in (15, 0, 10, 5)]
    assert np.array_equal(np.sort(np.concatenate(pieces), order="boot"), fresh)


def test_a_thread_keeps_the_work_space_of_its_last_task() -> None:
    one, other = task("maple-naive", "33M"), task("tail-free", "33M")
    kept = simulator_of(one, SOURCE)
    assert simulator_of(one, SOURCE) is kept
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(simulator_of, one, SOURCE).result() is not kept
    assert simulator_of(other, SOURCE).task == other
    assert simulator_of(one, SOURCE) is not kept
