"""recipes/ablations: each differs from the paper's recipe in what it ablates, and in nothing else."""

import pytest

from cord_distill.recipe.file import load_recipe

QWQ = {"name": "qwq", "model": "Qwen/QwQ-32B", "devices": list(range(8)), "tensor_parallel_size": 8}
ONE_ENGINE = {"max_model_len": 24576, "max_num_seqs": 256, "gpu_memory_utilization": 0.9}

ABLATIONS = {
    "line_break": {"decode": {"segmentation": "line_break"}},
    "prefix_phrases": {"decode": {"segmentation": "prefix_phrases"}},
    "greedy": {"decode": {"beam_size": 1}},
    "curation_8": {"decode": {"pipeline": "curation", "curation": {"traces_per_teacher": 8}}},
    "meta_prover_phi4": {"meta_prover": {"same_as": "phi4"}},
    "meta_prover_r1": {"meta_prover": {"same_as": "r1"}},
    "single_teacher": {"decode": {"pipeline": "single"}, "teachers": [QWQ | ONE_ENGINE]},
    "homogeneous": {
        "teachers": [QWQ | ONE_ENGINE | {"name": f"qwq-t{t}", "temperature": t} for t in (0.5, 0.6, 0.7)],
        "meta_prover": {"same_as": "qwq-t0.6"},
    },
}


@pytest.mark.parametrize("name", ABLATIONS)
def test_an_ablation_changes_one_thing(name):
    changed = ABLATIONS[name]
    base, ablation = load_recipe("r1_qwen_32b"), load_recipe(f"ablations/{name}")
    expected = base.model_dump()
    for section, values in changed.items():
        kept = expected[section] if isinstance(values, dict) else None
        expected[section] = {**kept, **values} if kept else values
    expected["name"] = name
    assert ablation == type(base).model_validate(expected)
