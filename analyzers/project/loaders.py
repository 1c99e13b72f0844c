"""Which parts of a checkpoint are loaded through the model registry, as the workspace's loaders say.

Source: `fastvideo/models/loader/component_loader.py`. `ComponentLoader.for_module_type` maps a key of
`model_index.json` to a loader; most loaders take `_class_name` out of the component's own
`config.json` and ask `ModelRegistry.resolve_model_cls`, some load through transformers.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass

from analyzers.facts.bodies import Body
from analyzers.facts.model import ClassFacts, Collection, Constant, FunctionFacts, Placed
from analyzers.project.bindings import may_bind
from analyzers.project.index import Project
from analyzers.project.names import Resolved

_KEY = "_class_name"


@dataclass(frozen=True)
class RegistryComponents:
    """Components whose `_class_name` the registry resolves; `dits`: those that are DiTs."""

    all: frozenset[str]
    dits: frozenset[str]


def registry_components(project: Project) -> RegistryComponents:
    """Read from the workspace's loaders; the profile's own list where they cannot be read."""
    return project.sources.memory.get(("registry components",), lambda: _components(project))


def _components(project: Project) -> RegistryComponents:
    names = project.names
    source = project.profile.component_loaders
    path = names.module_path(source.module) if source is not None else None
    factory = names.class_of(path, source.cls) if path is not None and source is not None else None
    method = factory.fact.method(source.method) if factory is not None and source is not None else None
    if path is None or factory is None or method is None:
        return _of(project.profile.registry_components)
    table = project.derived("component loaders", Placed(method, factory.path, factory.line), _table)
    if not table:
        return _of(project.profile.registry_components)
    resolving = {
        loader
        for loader in {loader for _, loader in table}
        if (cls := names.class_of(path, loader)) is not None and _asks_registry(project, cls)
    }
    found = frozenset(key for key, loader in table if loader in resolving)
    dits = frozenset(key for key, loader in table if loader == project.profile.loader.cls)
    return RegistryComponents(found, found & dits)


def _of(components: frozenset[str]) -> RegistryComponents:
    return RegistryComponents(components, frozenset(c for c in components if "transformer" in c))


def _table(body: Body) -> tuple[tuple[str, str], ...]:
    """(component, loader) of the dict displays of a function: `"vae": (VAELoader, "diffusers")`."""
    found: list[tuple[str, str]] = []
    for node in body.nodes:
        for key, value in zip(node.keys, node.values, strict=True) if isinstance(node, ast.Dict) else ():
            loader = value.elts[0] if isinstance(value, ast.Tuple) and value.elts else value
            if isinstance(key, ast.Constant) and isinstance(key.value, str) and isinstance(loader, ast.Name):
                found.append((key.value, loader.id))
    return tuple(found)


def _asks_registry(project: Project, loader: Placed[ClassFacts]) -> bool:
    """Whether a loader's `load` takes `_class_name` and resolves a class through the registry."""
    for cls in project.names.ancestry(loader).classes:
        load = cls.fact.method("load")
        if load is not None:
            return _takes_class_name(load) and any(
                (item.call.callee or "").endswith(".resolve_model_cls") for item in load.calls
            )
    return False


def _takes_class_name(load: FunctionFacts) -> bool:
    return any(
        isinstance(argument, Constant) and argument.value == _KEY
        for item in load.calls
        for argument in item.call.arguments[:1]
    )


# --------------------------------------------------------------------------- pipelines


def required_modules(project: Project, pipeline: str) -> frozenset[str] | None:
    """The components that a pipeline class loads; None where it is not known or loads its own way."""
    pipelines = project.profile.registrations
    cls = _pipeline(project, pipelines.folder, pipeline) if pipelines is not None else None
    if cls is None or pipelines is None:
        return None
    for owner in project.names.ancestry(cls).classes:
        if owner.path.startswith(f"{pipelines.folder}/") and owner.fact.method("load_modules"):
            return None
    outcome = project.names.class_attribute(cls, "_required_config_modules")
    if not isinstance(outcome, Resolved) or not isinstance(outcome.value, Collection):
        return None
    items = [i.value for i in outcome.value.items if isinstance(i, Constant) and isinstance(i.value, str)]
    return frozenset(items) if items and len(items) == len(outcome.value.items) else None


def _pipeline(project: Project, folder: str, name: str) -> Placed[ClassFacts] | None:
    for path in project.sources.walk(folder):
        if name in (project.sources.text(path) or ""):
            cls = project.names.class_of(path, name)
            if cls is not None:
                return cls
    return None


# --------------------------------------------------------------------------- the registry


def resolves(project: Project, name: str) -> bool | None:
    """Whether the model registry finds a class for a name; None where that cannot be told."""
    registry, profile = project.registry, project.profile
    if name in registry.models or profile.registry_fallback in registry.models:
        return True
    if not registry.legacy_known or not registry.models:
        return None
    for path in project.sources.walk(profile.folder):
        text = project.sources.text(path) or ""
        if name not in text:
            continue
        facts = project.file(path)
        if facts is None:
            continue
        if path.startswith(profile.models + "/") and facts.broken:
            return None  # it may register the name once it parses
        if "register_model" in text and path != profile.registry:
            return None  # registered at run time
        if path == profile.registry and may_bind(facts, name):
            return None
    return False
