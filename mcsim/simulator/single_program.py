"""A recorded program by itself: placed in the order in which it was recorded, or simulated without timing noise."""

from __future__ import annotations

from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from mcsim.errors import UserError
from mcsim.kernels.boot import program as flat
from mcsim.kernels.boot.boot import RESULT_ROW, RESULT_WRONG, place_boot
from mcsim.kernels.boot.sched import (
    EXEC_DELAY_RECORDED,
    STREAM_LENGTH,
    STREAM_RCU_QS,
    STREAM_RCU_RUN,
    STREAM_STACK_FREE,
    STREAM_TASK_FREE,
    WRONG,
    WRONG_ROW,
    Sched,
    Timing,
    make_sched,
    run_boot,
)
from mcsim.model.board import Board
from mcsim.model.release import Policies
from mcsim.simulator.machine import machine_of
from mcsim.simulator.simulator import lognormal_factors, make_memory, why_wrong
from mcsim.workload.program import RecordedProgram, mix


def without_noise(program: RecordedProgram) -> Timing:
    """Gaps, artificial delays and the phase of the clock as they were recorded."""
    as_it_was = lognormal_factors(0.0)
    return Timing(as_it_was, as_it_was, EXEC_DELAY_RECORDED, program.first_tick)


class SingleProgram:
    """One recorded program on the machines it is to be placed on.

    Free lists are int64[max_order], free blocks of each order; streams are int64 rows of the program's `op`, with
    STREAM_TASK_FREE where a dead task goes back and STREAM_STACK_FREE - lane where its kernel stack does.
    """

    def __init__(self, program: RecordedProgram, board: Board) -> None:
        """`program` must have lanes; `board` is that of the recording."""
        self.program = program
        self.arrays = mix([program])
        self.board = board
        self.sched: Sched = make_sched(self.arrays, machine_of(board, program.ram_mb << 20))

    @cached_property
    def recorded_stream(self) -> NDArray[np.int64]:
        """Page requests, and what RCU gave back, in recorded order, up to the login prompt and with it."""
        program = self.program
        kinds = program.op[:, flat.KIND]
        login = int(np.flatnonzero(kinds == flat.OP_LOGIN)[0])
        rows = np.flatnonzero(kinds <= flat.LAST_PAGE_OP)
        stacks = STREAM_STACK_FREE - program.stack_free[:, 1].astype(np.int64)
        tasks = np.full(len(program.task_free), STREAM_TASK_FREE)
        what = np.concatenate([rows, stacks, tasks])
        when = np.concatenate([program.record[rows], program.stack_free[:, 0], program.task_free])
        order = np.argsort(when, kind="stable")
        before = order[when[order] < program.record[login]]
        return np.append(what[before], login)

    def place_recorded(self, policies: Policies, ram_mb: int) -> tuple[bool, NDArray[np.int64]]:
        """Place the recorded order after the program's own pre-init phase: whether it reaches login, and free lists."""
        stream = self.recorded_stream
        # Tree nodes go back after every request: the recorded kernels had run these callbacks when they mapped again.
        passed = np.column_stack(
            [stream, np.full(len(stream), STREAM_RCU_QS), np.full(len(stream), STREAM_RCU_RUN)]
        ).ravel()
        self.sched.stream[: len(passed)] = passed
        self.sched.clock[STREAM_LENGTH] = len(passed)
        return self._place(policies, ram_mb)

    def run_without_noise(self) -> NDArray[np.int64]:
        """The simulated order without timing noise, as a stream."""
        if not run_boot(self.arrays, without_noise(self.program), self.sched, np.uint64(0), np.uint64(0), 0):
            clock = self.sched.clock
            raise UserError(why_wrong(int(clock[WRONG]), int(clock[WRONG_ROW])), file=self.program.name)
        return self.sched.stream[: self.sched.clock[STREAM_LENGTH]].astype(np.int64)

    def place_simulated(self, policies: Policies, ram_mb: int) -> tuple[bool, NDArray[np.int64]]:
        """Place what `run_without_noise` gave last: whether it reaches login, and free lists."""
        return self._place(policies, ram_mb)

    def _place(self, policies: Policies, ram_mb: int) -> tuple[bool, NDArray[np.int64]]:
        boot = make_memory(self.arrays, self.board, ram_mb << 20, policies.on(self.board))
        booted = place_boot(boot, self.arrays, self.sched, 0, 0)
        if boot.result[RESULT_WRONG] != flat.RIGHT:
            why, row = int(boot.result[RESULT_WRONG]), int(boot.result[RESULT_ROW])
            raise UserError(why_wrong(why, row), file=self.program.name)
        return bool(booted), boot.memory.zone.nr_free[: self.board.machine.max_order].copy()
