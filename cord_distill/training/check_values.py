"""What the keys of a training say together, and of the student: LoRA's targets, the attention, the loader's workers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from cord_distill.common.suggest import nearest
from cord_distill.model_files.tensors import module_names

# Keys that only LoRA reads: without it every weight would be trained, and nothing would say so.
OF_LORA = ("lora_", "use_rslora")
# The packages of which one has to be there. transformers takes `kernels` where it lacks the first.
ATTENTION_PACKAGES = {
    "flash_attention_2": ("flash_attn", "kernels"),
    "flash_attention_3": ("flash_attn_interface", "kernels"),
    "flash_attention_4": ("flash_attn", "kernels"),
}


def value_faults(section: Mapping[str, Any], stage: str, folder: Path | None, *, trains_here: bool) -> list[str]:
    """Every mistake in the section of one stage, one sentence each. folder: of the student, where it is a local one.
    trains_here: this machine's packages count."""
    found = [*_adapter_faults(section, stage, folder), *_worker_faults(section, stage)]
    wanted = str(section.get("attn_implementation") or "").removeprefix("paged|")
    packages = ATTENTION_PACKAGES.get(wanted, ())
    if trains_here and packages and not any(map(find_spec, packages)):
        found.append(
            f"{stage}.attn_implementation: {wanted} needs the package {packages[0]}, which is not installed; install "
            f"it, or write {stage}.attn_implementation=sdpa"
        )
    return found


def _adapter_faults(section: Mapping[str, Any], stage: str, folder: Path | None) -> list[str]:
    if not section.get("use_peft"):
        alone = sorted(key for key, value in section.items() if key.startswith(OF_LORA) and value is not None)
        if not alone or "use_peft" in section:  # `use_peft: false` switches LoRA off on purpose
            return []
        return [
            f"{stage}.{alone[0]}: without {stage}.use_peft=true every weight would be trained, and LoRA's keys would "
            "be left aside; add it, or remove the key"
        ]
    modules = module_names(folder) if folder else frozenset()
    if not modules:
        return []
    return [
        fault
        for key in ("lora_target_modules", "lora_modules_to_save")
        for fault in _missing_modules(section.get(key), modules, f"{stage}.{key}")
    ]


def _missing_modules(wanted: Any, modules: frozenset[str], key: str) -> list[str]:
    """PEFT takes `[all-linear]`, or the ends of modules' names. TRL makes one text of a list of one target, and PEFT
    reads that as a regular expression of the whole name."""
    names = [wanted] if isinstance(wanted, str) else [str(name) for name in wanted or []]
    if not names or names == ["all-linear"]:
        return []
    ends = sorted({module.rpartition(".")[2] for module in modules})
    gone = [name for name in names if not any(f".{module}".endswith(f".{name}") for module in modules)]
    if len(names) == 1 and key.endswith("target_modules"):
        try:
            matches = any(map(re.compile(names[0]).fullmatch, modules))
        except re.error as error:
            return [f"{key}: {names[0]!r} is no regular expression ({error}); name modules, e.g. [q_proj, v_proj]"]
        if matches:
            return []
        if not gone:
            one = rf".*\.{names[0]}"
            return [f"{key}: one name alone is a regular expression of the modules' whole names: write ['{one}']"]
    if not gone:
        return []
    near = nearest(gone[0], ends)
    hint = f"did you mean {near!r}? There are" if near else "there are"
    return [f"{key}: the student has no module {gone[0]!r}; {hint}: {', '.join(ends)}, or write [all-linear]"]


def _worker_faults(section: Mapping[str, Any], stage: str) -> list[str]:
    if section.get("dataloader_num_workers"):
        return []
    return [
        f"{stage}.{key}: only workers of the data loader take it; set {stage}.dataloader_num_workers, or remove the key"
        for key in ("dataloader_prefetch_factor", "dataloader_persistent_workers")
        if section.get(key)
    ]
