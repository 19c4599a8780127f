"""20,000 problems in one run, one in fifty failing: memory flat after the first thousand, open files bounded."""

import gc
import itertools
import json
import os
from pathlib import Path

import pytest

from cord_distill.decode.generate import generate
from cord_distill.decode.model import Model
from cord_distill.decode.pipelines import Ensemble
from cord_distill.decode.replay import Meter
from cord_distill.engines.base import EngineError, Generation, Sampling, stop_of
from cord_distill.prompts.thought import Thought
from cord_distill.recipe.file import load_recipe
from cord_distill.run_folder.journal import Journal
from cord_distill.run_folder.paths import RunFolder
from cord_distill.search.seeds import keyed_seed
from cord_distill.types import Stop

pytestmark = pytest.mark.slow
PROBLEMS = 20_000
# One in so many fails: 2 %.
FAILING = 50


class Letters:
    """A renderer whose tokens are characters, and its own tokenizer: what it costs is no part of the measurement."""

    end_of_turn_id, eos_token_id = 0, 0
    control_tokens: dict[str, int] = {}
    num_ids = 0x110000
    thought = Thought()

    def __init__(self):
        self.tokenizer = self

    def get_added_vocab(self):
        return {}

    def foreign(self, text):
        return text

    step = written = foreign

    def encode(self, text):
        return [ord(c) for c in text]

    def decode(self, ids):
        return "".join(map(chr, ids))

    def prompt_ids(self, question):
        return self.encode(question + "\n")

    def encode_with_offsets(self, text):
        return self.encode(text), [(i, i + 1) for i in range(len(text))]


class Quick:
    """Three steps and an answer, decided by the request's seed."""

    max_model_len = kv_tokens = None

    async def generate(self, ids, sampling):
        number = "".join(map(chr, ids[8:16])).partition("?")[0]
        if int(number) % FAILING == 7 and len(ids) > 40:
            raise EngineError("the engine fell over in the middle of it")
        if not sampling.stop:
            text, matched = "\n\\boxed{1}", None
        elif keyed_seed(sampling.seed) % 3 or ids.count(ord("#")) < 9:
            text, matched = f" about {sampling.seed % 1000}.\n\n### Step", "### Step"
        else:
            text, matched = " done.\n</think>", "</think>"
        made = [ord(c) for c in text]
        if matched is None:
            return Generation((*made, 0), text, Stop.EOS)
        return Generation(tuple(made), text.removesuffix(matched), stop_of(matched, ended_by_eos=False), matched)

    async def logprobs(self, ids, target_ids):
        return [-(keyed_seed(ids[-60:]) % 1000) / 500] * len(target_ids)

    async def close(self):
        pass


@pytest.fixture
def recipe(tmp_path, monkeypatch):
    rows = (json.dumps({"id": f"p{i}", "question": f"What is {i}?", "answer": 1}) for i in range(PROBLEMS))
    (tmp_path / "problems.jsonl").write_text("\n".join(rows))
    (tmp_path / "recipe.yaml").write_text(
        "output_dir: run\nteachers: [{model: ./none, name: quick}]\nmeta_prover: {same_as: quick}\n"
        "problems: {path: problems.jsonl, grader: exact}\n"
        "decode: {beam_size: 2, budgets: {reasoning_tokens: 400, max_steps: 5}}\n"
    )

    async def start_ensemble(recipe, problems, pool):
        pool.meters["quick"] = Meter()
        model = Model("quick", "letters", Quick(), Letters(), Sampling(0, 0), None, {"quick": "letters"})
        return Ensemble((model,), model, recipe.decode, recipe.seed)

    monkeypatch.setattr("cord_distill.decode.generate.start_ensemble", start_ensemble)
    return load_recipe(tmp_path / "recipe.yaml")


def moved_bytes() -> int:
    """Bytes that this process read and wrote so far, pages of the cache included."""
    counts = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(counts["rchar"]) + int(counts["wchar"])


def test_memory_is_flat_and_files_and_bytes_are_bounded(recipe, monkeypatch):
    """Fails the version that keeps tasks, answers or rows of finished problems, or reads the journal again."""
    marks = []
    finish, done = Journal.finish, [0]

    def marked(self, problem, row):
        finish(self, problem, row)
        done[0] += 1
        if done[0] % 1000 == 0:
            gc.collect()
            pages = int(Path("/proc/self/statm").read_text().split()[1])
            files = len(os.listdir("/proc/self/fd"))
            marks.append((pages * os.sysconf("SC_PAGE_SIZE") / 2**20, files, moved_bytes()))

    monkeypatch.setattr(Journal, "finish", marked)
    generate([recipe])
    megabytes, files, moved = zip(*marks, strict=True)
    each = [later - earlier for earlier, later in itertools.pairwise(moved)]
    print("MiB", [round(x) for x in megabytes], "files", files, "bytes per 1000", each)
    rows = RunFolder.of(recipe).trajectories.read_text().splitlines()
    assert [json.loads(line)["id"] for line in rows] == [f"p{i}" for i in range(PROBLEMS)]
    failed = [i for i, line in enumerate(rows) if json.loads(line)["error"]]
    assert failed == [i for i in range(PROBLEMS) if i % FAILING == 7]
    # What stays per finished problem is its id, its place in the journal and the hash of what it says: about 300 bytes.
    # A failed one keeps its calls, which the next run goes on from.
    assert megabytes[-1] - megabytes[0] < 16
    assert max(files) - files[0] <= 2
    # An id that grows by a digit is a byte or two more in each line.
    assert max(each) < 1.2 * min(each)
