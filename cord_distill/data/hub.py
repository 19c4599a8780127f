"""Uploading a finished data set to the Hugging Face hub: only when `data.push_to_hub` asks for it, and privately."""

from __future__ import annotations

import os
from pathlib import Path

from cord_distill.common.errors import CordError


def push_dataset(folder: Path, repo: str) -> str:
    """Uploads train.jsonl, stats.json and README.md to the data set `repo` (`user/name`), made private where it is new.

    Returns its address. The key is the user's own (HF_TOKEN or `hf auth login`). Raises CordError with the fix.
    """
    if os.environ.get("HF_HUB_OFFLINE", "0") not in ("", "0"):
        raise CordError("data.push_to_hub: HF_HUB_OFFLINE is set; unset it, or remove data.push_to_hub")
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, LocalTokenNotFoundError

    api = HfApi()
    try:
        api.create_repo(repo, repo_type="dataset", private=True, exist_ok=True)
        names = ["train.jsonl", "stats.json", "README.md"]
        return str(api.upload_folder(repo_id=repo, repo_type="dataset", folder_path=folder, allow_patterns=names))
    except (HfHubHTTPError, LocalTokenNotFoundError, OSError, ValueError) as error:
        raise CordError(
            f"data.push_to_hub: {repo}: {str(error).splitlines()[0]}; the data set itself is done in {folder}: give "
            "a key that may write (HF_TOKEN) and run cord data again, or remove data.push_to_hub"
        ) from None
