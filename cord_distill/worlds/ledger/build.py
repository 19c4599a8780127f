"""Build the ledger's models: `build_models(folder)` trains the base, then everything else from it.

Call it from a recipe (`models.builder: cord_distill.worlds.ledger.build:build_models`) or by hand.
"""

from __future__ import annotations

import fcntl
import multiprocessing
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from multiprocessing.connection import Connection, wait
from pathlib import Path

from cord_distill.common.errors import CordError
from cord_distill.common.files import lock_folder
from cord_distill.common.progress import Progress, progress
from cord_distill.worlds.ledger.plan import BASE, MODELS, REWARD, STAMP, VERSION, Plan

Job = tuple[str, Path, Plan, int | None]  # model, folder, plan, rank of two that train it together

__all__ = ["VERSION", "build_models"]


def build_models(
    folder: str | os.PathLike[str],
    *,
    seed: int = 0,
    scale: float = 1.0,
    workers: int = 2,
    reward_model: bool = False,
    tails: bool = False,
) -> dict[str, Path]:
    """Train teacher_a, teacher_b, teacher_c, prover and student into folders of these names; return their paths.

    reward_model: train `reward` too, a process reward model: a reward head that says at the end of a step whether it is
    right (`decode.process_reward`). It takes 50 CPU-seconds more. With the other defaults it tells right from wrong
    steps of test problems at AUC 0.90: a wrong result at 0.997, a misread operation at 0.69 and operand at 0.84, which
    `judged` makes often and the teachers hardly ever; on steps that the teachers proposed in a CoRD run, at AUC 0.998.

    tails: the teachers go on when every box is made: they check, correct themselves and sum up, and change nothing.

    scale: multiplies the numbers of training examples. workers: processes of one thread each; their number does not
    change the result. Models that are there already are kept, so a build that was killed goes on where it stood, and
    gives the same bytes. Two builds of one folder take turns. Raises CordError on bad arguments, on a folder of that
    name that this builder did not write, and when a training process fails.
    """
    if scale <= 0 or workers < 1:
        raise CordError(f"ledger: scale {scale} and workers {workers} must be positive")
    if tails and reward_model:
        raise CordError("ledger: reward_model judges boxes alone and does not go with tails: leave one of the two out")
    root = Path(folder).resolve()
    plan = Plan(seed, scale, tails)
    with ExitStack() as stack:
        stack.callback(os.close, lock_folder(root, how=fcntl.LOCK_EX))
        names = (*MODELS, REWARD) if reward_model else MODELS
        missing = [name for name in names if not plan.is_done(root / name)]
        for name in missing:
            if (root / name).exists() and not (root / name / STAMP).is_file():
                raise CordError(f"ledger: {root / name} was not written by this builder: move it away")
        for stale in root.glob(".tmp-*"):
            shutil.rmtree(stale)
        if missing:
            _train_all(root, plan, missing, workers)
    return {name: root / name for name in sorted(names)}


def _train_all(root: Path, plan: Plan, missing: list[str], workers: int) -> None:
    needs_base = not plan.is_done(root / BASE)
    with ExitStack() as stack:
        total = sum(plan.examples(name) for name in ([BASE] if needs_base else []) + missing)
        display = stack.enter_context(progress("ledger models", total))
        pipes = stack.enter_context(_workers(max(min(workers, len(missing)), 2 if needs_base and workers > 1 else 1)))
        if needs_base:
            ranks: list[int | None] = [0, 1] if len(pipes) > 1 else [None]
            _run({pipe: [(BASE, root, plan, rank)] for pipe, rank in zip(pipes, ranks, strict=False)}, display)
        shared: list[Job] = [(name, root, plan, None) for name in missing]
        _run({pipe: shared for pipe in pipes}, display)


def _run(queues: dict[Connection, list[Job]], display: Progress) -> None:
    """Hand each worker the next job of its queue (workers may share one) until all are done."""
    busy: list[Connection] = []

    def hand_over(pipe: Connection) -> None:
        if queues[pipe]:
            pipe.send(queues[pipe].pop(0))
            busy.append(pipe)

    try:
        for pipe in queues:
            hand_over(pipe)
        while busy:
            ready = wait(busy)
            for pipe in [pipe for pipe in busy if pipe in ready]:
                name, news = pipe.recv()
                if isinstance(news, int):
                    display.advance(news, name.lstrip("."))
                    continue
                if news != "done":
                    raise CordError(f"ledger: training {name} failed:\n{news}")
                busy.remove(pipe)
                hand_over(pipe)
    except (EOFError, ConnectionResetError, BrokenPipeError):
        raise CordError("ledger: a training process was killed; run again to go on where it stood") from None


@contextmanager
def _workers(count: int) -> Iterator[list[Connection]]:
    """Start the training processes; the first two share a pipe for their gradients. They end with the block.

    Plain subprocesses, not multiprocessing's: those would import the caller's main module again.
    """
    package_root = str(Path(__file__).resolve().parents[3])
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [package_root, os.environ.get("PYTHONPATH")]))}
    env |= {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "-m", "cord_distill.worlds.ledger.worker"]
    peers = list(multiprocessing.Pipe()) if count > 1 else []
    pipes: list[Connection] = []
    processes: list[subprocess.Popen[bytes]] = []
    try:
        for i in range(count):
            ours, theirs = multiprocessing.Pipe()
            pipes.append(ours)
            given = [theirs.fileno(), *(peer.fileno() for peer in peers[i : i + 1])]
            processes.append(subprocess.Popen([*command, *map(str, given)], pass_fds=given, env=env))
            theirs.close()
        for peer in peers:
            peer.close()
        yield pipes
        for pipe in pipes:
            pipe.send(None)
    except BaseException:
        for process in processes:
            process.kill()
        raise
    finally:
        for pipe in pipes:
            pipe.close()
        for process in processes:
            process.wait()
