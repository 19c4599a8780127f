"""Starting the model that merges traces (`decode.integration`)."""

from __future__ import annotations
