"""Scripts for `engine: scripted`: a small model whose tries the question itself decides, and a judge."""

import re


class Student:
    """A question says `right=0110` (which seeds, modulo 4, lead to the answer 7) and `words=9` (of the thought)."""

    def generate(self, text: str, sampling) -> str:
        asked = re.findall(r"right=([01]{4}) words=(\d+)( endless| silent| broken)?", text)
        right, words, odd = asked[-1]
        if odd == " broken":
            from cord_distill.engines.base import EngineError

            raise EngineError("the engine fell over")
        if sampling.stop:
            thought = " word" * int(words)
            return thought if odd == " silent" else thought + " word" * 10_000 * (odd == " endless") + "\n</think>"
        # The answer is asked behind the thought: whether it is right, the number of words says.
        return f"\n\n\\boxed{{{7 if right[sampling.seed % 4] == '1' else 8}}}"

    def logprobs(self, text: str, target: str) -> float:
        return -1.0


def student(renderer) -> Student:
    return Student()


class Judge(Student):
    """Right is an answer that says 7; of one that says 8 no verdict comes."""

    def generate(self, text: str, sampling) -> str:
        answer = text.rpartition("Answer to judge:")[2]
        return "Verdict: correct" if "{7}" in answer else "I cannot say."


def judge(renderer) -> Judge:
    return Judge()
