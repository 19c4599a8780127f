"""A script for `engine: scripted`: teachers that write arithmetic-looking steps, all decided by text and seed."""

import hashlib
import random


class Script:
    def __init__(self, renderer) -> None:
        self.renderer = renderer

    def generate(self, text: str, sampling) -> str:
        rng = random.Random(f"{sampling.seed}{text[-40:]}")
        if not sampling.stop:
            return f"\n\nThe answer is \\boxed{{{rng.randrange(3)}}}"
        if text.count("### Step") >= 3 and rng.random() < 0.5:
            return " so we are done.\n</think>"
        return f" take {rng.randrange(1000)} and 数 $x^{rng.randrange(9)}$.\n\n### Step"

    def logprobs(self, text: str, target: str) -> float:
        digest = hashlib.sha256((text + target).encode()).digest()
        return -3 * digest[0] / 255


def script(renderer) -> Script:
    return Script(renderer)


class Broken(Script):
    """Fails on every problem whose question holds `bad`."""

    def generate(self, text: str, sampling) -> str:
        from cord_distill.engines.base import EngineError

        if "bad" in text:
            raise EngineError("the engine fell over")
        return super().generate(text, sampling)


def broken(renderer) -> Broken:
    return Broken(renderer)


class Dying(Script):
    """The engine is gone as soon as a question holds `bad`, for every request that comes later too."""

    dead = False

    def generate(self, text: str, sampling) -> str:
        from cord_distill.engines.base import EngineDead

        self.dead = self.dead or "bad" in text
        if self.dead:
            raise EngineDead("out of memory")
        return super().generate(text, sampling)


def dying(renderer) -> Dying:
    return Dying(renderer)
