"""Removes what looks like a secret from text that came from a child."""

from __future__ import annotations

import re
from typing import Any

PLACEHOLDER = "[redacted]"

_TOKENS = re.compile(
    r"\b(?:"
    r"hf_[A-Za-z0-9]{20,}"  # Hugging Face; shorter ones are names of functions and folders
    r"|sk-[A-Za-z0-9_-]{16,}"  # OpenAI and others
    r"|gh[pousr]_[A-Za-z0-9]{16,}|github_pat_[A-Za-z0-9_]{20,}"
    r"|glpat-[A-Za-z0-9_-]{16,}"
    r"|(?:AKIA|ASIA)[0-9A-Z]{16}"  # AWS
    r"|AIza[0-9A-Za-z_-]{30,}"  # Google
    r"|xox[abeprs]-[A-Za-z0-9-]{10,}"  # Slack
    r"|eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{5,}"  # JWT
    r")"
)
_BEARER = re.compile(r"\b(bearer|authorization:\s*basic)(\s+)[A-Za-z0-9._~+/=-]{8,}", re.IGNORECASE)
_VALUE = r"s?\b['\"]?\s*[=:]\s*['\"]?)"
_ASSIGNED = re.compile(
    rf"(\b\w*(?:secret|passw(?:or)?d|api_?key|access_?key|credential){_VALUE}[^\s'\",;]{{8,}}"
    # "max_tokens=4096" and "token: torch.Tensor" are no secrets: letters and digits, mixed.
    rf"|(\b\w*token{_VALUE}(?=\S{{0,200}}?\d)(?=\S{{0,200}}?[A-Za-z])[^\s'\",;]{{8,}}",
    re.IGNORECASE,
)
# From every word on a scheme may begin: bounded, or a long line without a space would take seconds.
_IN_URL = re.compile(r"(\b[a-z][a-z0-9+.-]{0,20}://[^\s/:@]*:)[^\s/@]+(@)", re.IGNORECASE)


def redact(text: str) -> str:
    """The text with token-shaped parts replaced; everything else is unchanged."""
    text = _TOKENS.sub(PLACEHOLDER, text)
    text = _BEARER.sub(rf"\1\2{PLACEHOLDER}", text)
    text = _ASSIGNED.sub(lambda found: f"{found[1] or found[2]}{PLACEHOLDER}", text)
    return _IN_URL.sub(rf"\1{PLACEHOLDER}\2", text)


def redact_record(value: Any) -> Any:
    """The same for every string inside a decoded JSON value."""
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, list):
        return [redact_record(item) for item in value]
    if isinstance(value, dict):
        return {key: redact_record(item) for key, item in value.items()}
    return value
