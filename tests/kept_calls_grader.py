"""A grader as users may write one: it needs the main thread for its alarm. Importing it keeps the answers of finished
problems, in a process that a test does not start itself, such as a driver on a cluster."""

from __future__ import annotations

import signal

from journals import keep_calls

from cord_distill.grading import load_grader

keep_calls()
exact = load_grader("exact")


def grade(text, problem):
    before = signal.signal(signal.SIGALRM, signal.SIG_IGN)
    try:
        return exact(text, problem)
    finally:
        signal.signal(signal.SIGALRM, before)
