"""DIT503 secret: a literal access token."""

from __future__ import annotations

import re
from collections.abc import Iterator

from analyzers.facts.positions import LineIndex
from analyzers.findings import Finding, Location, Severity, Span
from analyzers.rules.base import Context, Example, Expected, Rule, Tier

_ISSUED = re.compile(
    r"(?<![A-Za-z0-9_])(?:"
    r"(?P<hugging_face>hf_[A-Za-z0-9]{34}|api_org_[A-Za-z0-9]{34})"
    r"|(?P<github>gh[pousr]_[A-Za-z0-9]{36}|github_pat_[A-Za-z0-9]{22}_[A-Za-z0-9]{59})"
    r"|(?P<gitlab>glpat-[A-Za-z0-9_-]{20})"
    r"|(?P<openai>sk-(?:proj-|svcacct-)?[A-Za-z0-9_-]{20,}T3BlbkFJ[A-Za-z0-9_-]{20,})"
    r"|(?P<anthropic>sk-ant-[a-z]+\d\d-[A-Za-z0-9_-]{80,})"
    r"|(?P<aws>A(?:KIA|SIA)[A-Z2-7]{16})"
    r"|(?P<slack>xox[abprs]-[0-9]{8,}-[A-Za-z0-9-]{10,})"
    r"|(?P<google>AIza[A-Za-z0-9_-]{35})"
    r"|(?P<pypi>pypi-AgEIcHlwaS5vcmc[A-Za-z0-9_-]{50,})"
    r"|(?P<replicate>r8_[A-Za-z0-9]{37})"
    r")(?![A-Za-z0-9_])"
)
"""Forms that services document for secret scanners: nothing else looks like them."""

_ASSIGNED = re.compile(
    r"(?i)(?:^|[\s\"'(,{.])(?P<name>wandb\.login\(\s*key"
    r"|[\w-]*(?:api[_-]?key|access[_-]?key|secret(?:[_-]?key)?"
    r"|(?:auth|access|hf|hub|wandb|github|api)[_-]?token))(?:[\"']?\]?\s*(?::\s*\w+\s*)?[=:]|[\"']\s*,)\s*"
    r"[rbf]?[\"'](?P<value>[A-Za-z0-9+/_=-]{32,})[\"']"
)
"""A long literal under a name that can only mean a credential."""

_PLACEHOLDER = re.compile(
    r"(?i)x{4,}|\*{3,}|your|example|placeholder|dummy|redacted|changeme|<|\.\.\.|1234567|abcdef"
)
_FEWEST_LETTERS = 12
"""Different characters of a random text of 32; `0000...` and `aaaa...` have fewer."""


_BEGINS = (
    *("hf_", "api_org_", "ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_", "glpat-", "sk-"),
    *("AKIA", "ASIA", "xoxa", "xoxb", "xoxp", "xoxr", "xoxs", "AIza", "pypi-", "r8_"),
)
"""What the issued forms begin with: finding these first is many times faster than trying at each place."""

_LONG_LITERAL = re.compile(r"[\"'][A-Za-z0-9+/_=-]{32,}(?=[\"'])")
_WINDOW = 400
"""Characters before a literal within which its name begins."""


def check(context: Context) -> Iterator[Finding]:
    """Looks at the whole text: a token in a comment is as public as one in a string."""
    text = context.text
    lines: LineIndex | None = None
    seen: set[int] = set()
    for pattern, matches in ((_ISSUED, _issued(text)), (_ASSIGNED, _assigned(text))):
        for match in matches:
            group = "value" if pattern is _ASSIGNED else match.lastgroup or ""
            value = match[group]
            if match.start(group) in seen or not _is_random(value):
                continue
            seen.add(match.start(group))
            lines = lines or LineIndex(text)
            what = (
                f"the literal assigned to '{match['name'].partition('(')[0]}'"
                if pattern is _ASSIGNED
                else f"an access token of {_SERVICES[group]}"
            )
            yield context.finding(
                Location(context.file.path, _span(text, match.start(group), match.end(group))),
                f"{what} is in the source: whoever reads the repository or its history can use it; "
                "revoke it and read it from the environment",
            )


def _issued(text: str) -> Iterator[re.Match[str]]:
    """The matches of `_ISSUED`."""
    places: set[int] = set()
    for begin in _BEGINS:
        place = text.find(begin)
        while place >= 0:
            places.add(place)
            place = text.find(begin, place + 1)
    end = 0
    for place in sorted(places):
        match = _ISSUED.match(text, place) if place >= end else None
        if match is not None:
            end = match.end()
            yield match


def _assigned(text: str) -> Iterator[re.Match[str]]:
    """The matches of `_ASSIGNED`: only what stands before a long literal can be one."""
    for literal in _LONG_LITERAL.finditer(text):
        begin = max(literal.start() - _WINDOW, 0)
        yield from _ASSIGNED.finditer(text, begin, literal.end() + 1)


_SERVICES = {
    "hugging_face": "Hugging Face",
    "github": "GitHub",
    "gitlab": "GitLab",
    "openai": "OpenAI",
    "anthropic": "Anthropic",
    "aws": "AWS",
    "slack": "Slack",
    "google": "Google",
    "pypi": "PyPI",
    "replicate": "Replicate",
}


def _is_random(value: str) -> bool:
    """Whether nobody would write the text by hand as a stand-in."""
    if _PLACEHOLDER.search(value):
        return False
    if len(set(value)) < _FEWEST_LETTERS:
        return False
    return any(c.isdigit() for c in value) or value != value.lower()


def _span(text: str, begin: int, end: int) -> Span:
    """A stretch without a line end in it; lines are counted as editors count them."""
    head = text[:begin].removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    line = head.count("\n")
    column = len(head[head.rfind("\n") + 1 :].encode("utf-8"))
    return Span(line, column, line, column + len(text[begin:end].encode("utf-8")))


_FILE = "fastvideo/models/dits/sound_weights.py"
_HEX = "7c1f93e2" + "b04d58a6" + "9e27c3f1" + "5a80d46b" + "e3972c10"
_HUB = "hf_" + "QmZkTbWvYcRxJnDfGhLpSaEuOiVtKwXyBq"

RULE = Rule(
    code="DIT503",
    name="secret",
    severity=Severity.ERROR,
    tier=Tier.FILE,
    summary="a literal access token in the source",
    what=(
        "Reports texts in the documented form of an access token (Hugging Face, GitHub, GitLab, OpenAI, "
        "Anthropic, AWS, Slack, Google, PyPI, Replicate), in code and in comments, and long random literals "
        "under a name that can only be a credential (`api_key`, `secret`, `hf_token`, ...). The message "
        "never repeats the token."
    ),
    why=(
        "A token in a repository is public as soon as the repository is, and stays in its history after it "
        "has been deleted. Gated weights and paid services are downloaded with it by others."
    ),
    how=(
        "Revoke the token first. Then read it from the environment (`os.environ['HF_TOKEN']`), or let "
        "`huggingface_hub` find the one that `hf auth login` stored."
    ),
    exceptions=(
        "Stand-ins (`hf_xxxx...`, `your-token`, `<token>`), repeated characters, names of environment "
        "variables, special tokens of tokenizers."
    ),
    source="`.agents/skills/add-model/SKILL.md`: tokens come from the environment and are never written down",
    check=check,
    suffixes=(".py", ".md", ".json"),
    valid=(
        Example(
            "from the environment, and stand-ins",
            {
                _FILE: f"""\
import os

HF_TOKEN = os.environ["HF_TOKEN"]
API_KEY_VARIABLE = "WANDB_API_KEY"
EXAMPLE_TOKEN = "hf_{"x" * 34}"
pad_token = "<|endoftext|>"
access_token = "{"0" * 40}"
"""
            },
        ),
        Example(
            "hashes and names that are no credentials",
            {_FILE: f'REVISION = "{_HEX}"\nconfig = {{"tokenizer": "google/umt5-xxl-encoder-only-model"}}\n'},
        ),
    ),
    invalid=(
        Example(
            "a key under its name",
            {_FILE: f'import os\n\nos.environ["WANDB_API_KEY"] = "{_HEX}"\n'},
            findings=(Expected(_FILE, 3, "the literal assigned to 'WANDB_API_KEY'"),),
        ),
        Example(
            "a default of the environment, and a login",
            {
                _FILE: f'import os\n\nos.environ.setdefault("WANDB_API_KEY", "{_HEX}")\n'
                f'wandb.login(key="{_HEX[::-1]}")\n'
            },
            findings=(Expected(_FILE, 3, "'WANDB_API_KEY'"), Expected(_FILE, 4, "'wandb.login'")),
        ),
        Example(
            "a keyword argument and a dictionary",
            {_FILE: f'client = Client(api_key="{_HEX}")\nsettings = {{"secret_key": "{_HEX[::-1]}"}}\n'},
            findings=(Expected(_FILE, 1, "'api_key'"), Expected(_FILE, 2, "'secret_key'")),
        ),
        Example(
            "a token in a comment",
            {_FILE: f"# download with {_HUB}\nWEIGHTS = None\n"},
            findings=(Expected(_FILE, 1, "an access token of Hugging Face"),),
        ),
    ),
)
