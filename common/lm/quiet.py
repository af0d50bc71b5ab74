"""What transformers' trainers are told so that a notebook hears from them what it asks for."""

from __future__ import annotations

from typing import Any

QUIET: dict[str, Any] = {
    "report_to": "none",
    "disable_tqdm": True,
    "dataloader_pin_memory": False,
}
"""Options of `transformers.TrainingArguments` that change no number."""
