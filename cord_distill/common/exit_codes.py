"""The exit codes of `cord`, for scripts and job schedulers; docs/faq.md explains them."""

from __future__ import annotations

FINE = 0
# A mistake that the message explains, or a stage that stopped.
MISTAKE = 2
# Finished, but some problems failed: no more than `decode.max_failed_share`.
SOME_FAILED = 3
# More than `decode.max_failed_share` of the problems failed: `cord run` goes no further.
TOO_MANY_FAILED = 4
# An engine in this process hangs (EX_SOFTWARE of sysexits.h).
ENGINE_HANGS = 70


def of_signal(number: int) -> int:
    """What a shell calls the end by this signal: 130 after Ctrl-C, 143 after SIGTERM, 129 after SIGHUP."""
    return 128 + number
