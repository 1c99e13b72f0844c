"""The official counterpart of a port: what the settings, its state file and its tests say it is.

Asked in this order, the first that answers decides: `[oracles]` in the settings; the component matrix
of the port's state file (the official definition in the row whose target is the port); its parity
tests (the template's `OFFICIAL_MODULE` and `OFFICIAL_CLASS`, or the official class that they or their
helpers import); a diffusers class of the same name that any test imports; what any other test that
names the class imports.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass

from analyzers.facts.model import ClassFacts, Constant, FileFacts, Import, Placed
from analyzers.findings import START_OF_FILE, Location, Span
from analyzers.project.names import Names
from analyzers.project.port_status import Component, said, status_of
from analyzers.project.profile import Profile
from analyzers.project.settings import Settings
from analyzers.project.sources import Sources
from analyzers.project.tests import module_beside

_QUOTED = re.compile(r"`([^`]+)`")
_SOURCE = re.compile(r"[\w./~-]+\.py(::[\w.]+)?$")
_DOTTED = re.compile(r"[A-Za-z_]\w*(\.\w+)+(::?\w+)?$")
_MODEL = re.compile(
    r"(Transformer|DiT|DIT|Diffusion)(?!.*(Config|Pipeline|Scheduler|Loader|Wrapper|Block|Args|Params)$)"
)
_IMPORTED = re.compile(r"\b(?:import_module|importorskip)\(\s*[\"']([\w.]+)")
_OTHER_PART = re.compile(r"Scheduler|Config\b|VAE|Autoencoder|Encoder|Tokenizer|Processor", re.IGNORECASE)
"""Names of what is no diffusion model: that a test takes it from elsewhere says nothing about the port."""

_NEUTRAL = frozenset(sys.stdlib_module_names) | frozenset(
    {
        "torch",
        "torchvision",
        "torchaudio",
        "numpy",
        "pytest",
        "safetensors",
        "huggingface_hub",
        "einops",
        "PIL",
        "tqdm",
        "transformers",
        "accelerate",
        "yaml",
        "omegaconf",
        "cv2",
        "imageio",
        "scipy",
        "modal",
        "ray",
        "lpips",
        "mlx",
        "triton",
        "flash_attn",
        "packaging",
        "requests",
        "av",
        "matplotlib",
        "hypothesis",
    }
)
"""Packages that are tools, not originals."""


@dataclass(frozen=True)
class Oracle:
    """The official counterpart: `ref` as a user would write it (`package:Class` or
    `path/in/clone.py::Class`), who says so (`settings`, `port-status`, `parity-test` or `diffusers`),
    and where."""

    ref: str
    source: str
    location: Location


class OracleSearch:
    """Looks for the official counterparts of ports in one snapshot of the tree."""

    def __init__(self, sources: Sources, names: Names, profile: Profile, settings: Settings) -> None:
        self.sources = sources
        self.names = names
        self.profile = profile
        self.settings = settings

    def of(
        self, cls: Placed[ClassFacts], family: str, tests: tuple[str, ...], status_file: str | None
    ) -> tuple[Oracle, ...]:
        """The counterparts that the best source names, each once; empty where none is known.

        `tests`: the parity tests that name the class.
        """
        name = cls.fact.name
        stated = self.settings.oracles.get(name)
        if stated is not None:
            source = self.settings.source or "pyproject.toml"
            return (Oracle(stated, "settings", Location(source, START_OF_FILE)),)
        for found in (
            self._in_status(cls, status_file),
            (oracle for path in tests for oracle in self._in_test(path, name)),
            self._in_diffusers(name),
            (oracle for path in self._other_tests(name, tests) for oracle in self._in_test(path, name)),
        ):
            unique = {oracle.ref: oracle for oracle in reversed(list(found))}
            if unique:
                return tuple(reversed(unique.values()))
        return ()

    # ------------------------------------------------------------------ the state file

    def _in_status(self, cls: Placed[ClassFacts], status_file: str | None) -> Iterator[Oracle]:
        status = status_of(self.sources, status_file) if status_file is not None else None
        if status is None:
            return
        rows = [c for c in status.components if c.definition is not None and self._is_about(c, cls)]
        named = [c for c in rows if re.search(rf"\b{cls.fact.name}\b", f"{c.name} {c.target}")]
        for component in named or rows:
            ref = definition_in(component.definition or "")
            if ref is not None:
                yield Oracle(ref, "port-status", status.at(component.line))

    def _is_about(self, component: Component, cls: Placed[ClassFacts]) -> bool:
        """Whether a row's target is the class: by its name, file or module."""
        text = f"{component.name} {component.target or ''}"
        module = self.names.module_name(cls.path)
        return (
            re.search(rf"\b{cls.fact.name}\b", text) is not None
            or re.search(rf"{re.escape(cls.path)}\b", text) is not None
            or re.search(rf"\b{re.escape(module)}\b", text) is not None
        )

    # ------------------------------------------------------------------ tests

    def _in_test(self, path: str, name: str) -> Iterator[Oracle]:
        facts = self.sources.facts(path)
        if facts is None:
            return
        constant = _template_constants(facts, self.profile.parity.oracle_constants)
        if constant is not None:
            yield constant
            return
        imported = list(self._official_imports(facts))
        for helper in self._helpers(facts):
            imported += self._official_imports(helper)
        same = [i for i in imported if i.fact.name == name]
        same = same or [
            i for i in imported if len(i.fact.name or "") > 4 and name.startswith(i.fact.name or "?")
        ]
        models = [i for i in imported if _MODEL.search(i.fact.name or "")]
        chosen = same or (models if len({i.fact.name for i in models}) == 1 else [])
        for item in chosen:
            yield Oracle(_ref(item.fact), "parity-test", item.at(item.fact.span))

    def _official_imports(self, facts: FileFacts) -> Iterator[Placed[Import]]:
        """Imports of classes from packages that are neither tools nor the code base."""
        for item in facts.imports:
            package = item.fact.module.partition(".")[0]
            if item.fact.level or item.fact.name is None or not item.fact.name[:1].isupper():
                continue
            if package in _NEUTRAL or self.profile.owns(item.fact.module) or package == "tests":
                continue
            if module_beside(self.sources, facts.path, package) is None:
                yield item

    def _helpers(self, facts: FileFacts) -> Iterator[FileFacts]:
        """The helper modules below the test roots that a test imports."""
        roots = tuple(root + "/" for root in self.profile.test_roots)
        seen: set[str] = set()
        for item in facts.imports:
            target = self.names.absolute(facts.path, "." * item.fact.level + item.fact.module)
            path = self.names.module_path(target) if target else None
            if path is None and not item.fact.level:
                path = module_beside(self.sources, facts.path, item.fact.module)
            if path is not None and path.startswith(roots) and path not in seen:
                seen.add(path)
                helper = self.sources.facts(path)
                if helper is not None:
                    yield helper

    def _other_tests(self, name: str, tests: tuple[str, ...]) -> Iterator[str]:
        """Tests that name the class without being parity tests by name or place."""
        for root in self.profile.test_roots:
            for path in sorted(self.sources.walk(root)):
                if path not in tests and self.profile.is_test(path) and name in self.sources.words(path):
                    yield path

    def _in_diffusers(self, name: str) -> Iterator[Oracle]:
        for root in self.profile.test_roots:
            for path in sorted(self.sources.walk(root)):
                words = self.sources.words(path)
                if name not in words or "diffusers" not in words:
                    continue
                facts = self.sources.facts(path)
                found = [
                    item.at(item.fact.span)
                    for item in (facts.imports if facts is not None else ())
                    if item.fact.name == name and item.fact.module.partition(".")[0] == "diffusers"
                ] or list(_attributes(path, self.sources.text(path) or "", name))
                yield from (Oracle(f"diffusers:{name}", "diffusers", place) for place in found[:1])


def takes_an_original(facts: FileFacts, text: str, sources: Sources, profile: Profile) -> bool:
    """Whether a test takes something from another package that may be the original: a factory, a builder,
    a pipeline. Then it is known which original counts, although nothing names its class."""
    for item in facts.imports:
        module, name = item.fact.module, item.fact.name or ""
        package = module.partition(".")[0]
        if item.fact.level or not package or package in _NEUTRAL or package == "tests":
            continue
        if module_beside(sources, facts.path, package) is not None:
            continue
        if not profile.owns(module) and not _OTHER_PART.search(name):
            return True
    for module in _IMPORTED.findall(text):
        if module.partition(".")[0] not in _NEUTRAL and not profile.owns(module):
            return True
    return False


def _attributes(path: str, text: str, name: str) -> Iterator[Location]:
    """Where a text takes the class from the package: `diffusers.Name`, `getattr(diffusers, "Name")`."""
    pattern = re.compile(rf"\bdiffusers(?:[\w.]*\.|,\s*[\"'])({re.escape(name)})\b")
    for number, line in enumerate(text.split("\n")):
        match = pattern.search(line)
        if match is not None:
            start, end = (len(line[: match.start()].encode()), len(line[: match.end()].encode()))
            yield Location(path, Span(number, start, number, end))


def definition_in(cell: str) -> str | None:
    """The official definition that a cell of the component matrix names, None where it says nothing.

    The first source file or dotted name in backticks, else the text as it stands.
    """
    if said(cell) in {"", "-", "?", "tbd", "todo", "none", "n/a", "unknown"}:
        return None
    quoted = [q.strip() for q in _QUOTED.findall(cell)]
    named = [text for pattern in (_SOURCE, _DOTTED) for text in quoted if pattern.match(text)]
    if named:
        return str(named[0])
    return cell.replace("`", "").strip() or None


def _template_constants(facts: FileFacts, names: tuple[str, str]) -> Oracle | None:
    """What the template's constants name, where they are filled in."""
    values = []
    for name in names:
        assigned = facts.assignment_of(name)
        value = assigned.fact.value if assigned is not None else None
        if not isinstance(value, Constant) or not isinstance(value.value, str) or "<" in value.value:
            return None
        values.append((value.value, assigned))
    (module, placed), (name, _) = values
    if placed is None or not module or not name:
        return None
    return Oracle(f"{module}:{name}", "parity-test", placed.at(placed.fact.span))


def _ref(item: Import) -> str:
    package = item.module.partition(".")[0]
    return f"{package if package == 'diffusers' else item.module}:{item.name}"
