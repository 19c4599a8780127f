"""The machine that `cord check` is asked about: `--gpus`, `--gpu-memory` and the flags beside them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Machine:
    """What decoding and training may use: GPUs in all and per host; GiB of one GPU and of one host, None = not asked.

    tokens_per_second: of all engines together; gpu_hour_price: what a GPU costs an hour, in any currency.
    """

    gpus: int
    gpu_memory: float | None = None
    host_memory: float | None = None
    per_node: int = 8
    tokens_per_second: float | None = None
    gpu_hour_price: float | None = None

    def spent(self, seconds: float) -> str:
        """What all its GPUs cost for so long: `, 16.0 GPU-hours, 40.00 at 2.5 an hour`."""
        hours, price = seconds / 3600 * self.gpus, self.gpu_hour_price
        return f", {hours:,.1f} GPU-hours" + (f", {hours * price:,.2f} at {price:g} an hour" if price else "")
