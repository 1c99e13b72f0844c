"""Pipeline configs and presets: where they stand, and whether anything reaches them."""

from __future__ import annotations

from dataclasses import dataclass

from analyzers.facts.model import (
    Assignment,
    Call,
    ClassFacts,
    Collection,
    Constant,
    Lambda,
    Placed,
    Reference,
    Starred,
)
from analyzers.project.idioms import is_field
from analyzers.project.index import Project
from analyzers.project.mentions import used_in
from analyzers.project.pipeline_registry import Registration

_COMPUTED = frozenset({"import_module", "iter_modules", "walk_packages", "__import__"})
"""Names that find modules at run time: what is registered cannot be read off the registry then."""


@dataclass(frozen=True)
class Preset:
    """A module-level preset; `name` is the variable's."""

    name: str
    assignment: Placed[Assignment]
    call: Call

    def text(self, keyword: str) -> str | None:
        """A string that the preset is made with."""
        value = self.call.keyword(keyword)
        return value.value if isinstance(value, Constant) and isinstance(value.value, str) else None


def pipeline_configs(project: Project) -> tuple[Placed[ClassFacts], ...]:
    """The classes of pipeline config files that derive from the pipeline config base, itself left out."""
    return tuple(cls for path in project.pipeline_files for cls in configs_in(project, path))


def configs_in(project: Project, path: str) -> tuple[Placed[ClassFacts], ...]:
    """The pipeline configs of one file."""
    pipelines = project.profile.registrations
    if pipelines is None or path == pipelines.registry:
        return ()
    base = pipelines.config_base
    return project.sources.memory.get(("pipeline configs", path), lambda: _configs_in(project, path, base))


def _configs_in(project: Project, path: str, base: str) -> tuple[Placed[ClassFacts], ...]:
    facts = project.file(path)
    names = project.names
    return tuple(
        cls
        for cls in (facts.classes if facts is not None else ())
        if names.qualified_class(cls) != base and names.derives_from(cls, base)
    )


def is_base(project: Project, config: Placed[ClassFacts]) -> bool:
    """Whether another pipeline config derives from it."""
    names = project.names
    qualified = names.qualified_class(config)
    return any(
        isinstance(base, Placed) and names.qualified_class(base) == qualified
        for other in pipeline_configs(project)
        for base in names.bases(other)
    )


def is_used(project: Project, name: str) -> bool:
    """Whether any file of the package (its tests apart) uses a name, beyond importing and exporting it."""
    profile, sources = project.profile, project.sources
    tests = tuple(f"{root}/" for root in profile.test_roots)
    return any(
        used_in(sources, path, name) for path in sources.walk(profile.folder) if not path.startswith(tests)
    )


def dit_config_of(project: Project, config: Placed[ClassFacts]) -> Placed[ClassFacts] | None:
    """The DiT config that a pipeline config is made with by default; None where it cannot be told."""
    for cls in project.names.ancestry(config).classes:
        assigned = cls.fact.attribute("dit_config")
        if assigned is None:
            continue
        value = assigned.value
        if value is not None and is_field(value):
            value = value.keyword("default_factory") or value.keyword("default")
        if isinstance(value, Lambda):
            value = value.body
        if isinstance(value, Call):
            value = value.function
        return project.names.class_of(cls.path, value.dotted) if isinstance(value, Reference) else None
    return None


def serves_a_port(project: Project, config: Placed[ClassFacts]) -> bool:
    """Whether the DiT that a pipeline config is made for is a port of this tree."""
    dit = dit_config_of(project, config)
    if dit is None or not project.names.derives_from(dit, project.profile.dit_config_base):
        return False
    qualified = project.names.qualified_class
    related = {qualified(cls) for cls in project.names.ancestry(dit).classes}
    related.discard(project.profile.dit_config_base)
    return any(
        (port.config is not None and qualified(port.config) in related)
        or dit.fact.name in project.sources.words(port.cls.path)
        for port in project.ports
    )


# --------------------------------------------------------------------------- presets


def presets_in(project: Project, path: str) -> tuple[Preset, ...]:
    """The presets that a file makes at module level."""
    facts, pipelines = project.file(path), project.profile.registrations
    if pipelines is None:
        return ()
    found = []
    for placed in facts.assignments if facts is not None else ():
        value = placed.fact.value
        if placed.fact.augmented or placed.fact.conditional or len(placed.fact.names) != 1:
            continue
        if not isinstance(value, Call) or value.callee is None:
            continue
        if project.names.qualified(path, value.callee) == pipelines.preset_class:
            found.append(Preset(placed.fact.names[0], placed, value))
    return tuple(found)


def grouped(project: Project, path: str) -> tuple[Placed[Assignment], frozenset[str]] | None:
    """The file's list of presets and the names in it; None where it is missing or computed."""
    facts, pipelines = project.file(path), project.profile.registrations
    if facts is None or facts.broken or pipelines is None:
        return None
    group = pipelines.preset_group
    assignments = [a for a in facts.assignments if group in a.fact.names]
    if len(assignments) != 1 or assignments[0].fact.conditional or assignments[0].fact.augmented:
        return None
    value = assignments[0].fact.value
    if not isinstance(value, Collection) or any(isinstance(i, Starred) for i in value.items):
        return None
    names = [i.dotted for i in value.items if isinstance(i, Reference)]
    return (assignments[0], frozenset(names)) if len(names) == len(value.items) else None


def registered_groups(project: Project) -> dict[str, bool] | None:
    """File -> whether its list of presets is used by the pipeline registry, for those it imports.

    None where the registry finds its presets in a way that is not followed, or registers none.
    """
    pipelines, names = project.profile.registrations, project.names
    if pipelines is None:
        return None
    registry = project.pipeline_registry
    facts = project.file(pipelines.registry)
    if registry is None or facts is None or _COMPUTED & registry.mentioned:
        return None
    found: dict[str, bool] = {}
    for item in (i.fact for i in facts.imports):
        dotted = names.absolute(facts.path, "." * item.level + item.module)
        if dotted is None or item.name == "*":
            continue
        whole = dotted if item.name is None else f"{dotted}.{item.name}"
        module = names.module_path(whole)
        if module is not None:
            # The module itself: what it lists is taken from it by attribute.
            bound = item.bound.partition(".")[0]
            if {bound, pipelines.preset_group} <= registry.mentioned:
                found[module] = True
            continue
        meant = names.by_qualified(whole)
        if not isinstance(meant, Placed) or not isinstance(meant.fact, Assignment):
            continue
        if pipelines.preset_group in meant.fact.names:
            found[meant.path] = found.get(meant.path, False) or item.bound in registry.mentioned
    return found or None


def family_folder(project: Project, path: str) -> str | None:
    """The pipeline folder that a file of pipeline configs or presets belongs to."""
    pipelines = project.profile.registrations
    if pipelines is None:
        return None
    if path.startswith(f"{pipelines.folder}/"):
        family = path[len(pipelines.folder) + 1 :].partition("/")[0]
    else:
        family = path.rpartition("/")[2].removesuffix(".py")
    folder = f"{pipelines.folder}/{family}"
    return folder if project.sources.walk(folder) else None


def is_claimed(registrations: tuple[Registration, ...], pipeline: str) -> bool:
    """Whether a registration pins a pipeline class, or a detector accepts (or may accept) it."""
    return any(
        r.pinned == pipeline
        or r.detectors is None
        or any(d.accepts(pipeline.lower()) is not False for d in r.detectors)
        for r in registrations
    )
