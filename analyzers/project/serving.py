"""Which calls in which stages run a port, as far as the pipelines of the tree prove it.

A pipeline belongs to a port where its config (named by a class attribute, or the only ones of the
family's folder) holds that port's DiT config and no other port has it. Its stages are those that it
hands the DiT to.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from analyzers.facts.kept_calls import kept_calls
from analyzers.facts.model import Call, ClassFacts, Constant, Expr, Lambda, Placed, Reference, Subscript
from analyzers.facts.model_calls import ModelCall, model_calls
from analyzers.findings import Location
from analyzers.project.idioms import is_field
from analyzers.project.index import Project
from analyzers.project.ports import Port
from analyzers.project.profiles.base import Serving


@dataclass(frozen=True)
class StageCall:
    """A call of a port's DiT: `stage` and `pipeline` are class names. `shared`: pipelines of several
    families run the stage, which then has to call every DiT alike.
    """

    pipeline: str
    stage: str
    call: ModelCall
    shared: bool
    location: Location


@dataclass(frozen=True)
class _Stage:
    pipeline: Placed[ClassFacts]
    stage: Placed[ClassFacts]


def stage_calls(project: Project, port: Port) -> tuple[StageCall, ...]:
    """The calls that provably run a port; empty where none is known."""
    serving = project.profile.serving
    if serving is None or port.config is None:
        return ()
    wanted = project.names.qualified_class(port.config)
    if sum(p.config is not None and _same(project, p, wanted) for p in project.ports) != 1:
        return ()
    found: dict[Location, StageCall] = {}
    families: dict[str, set[str]] = {}
    for used in _stages(project, serving):
        stage = project.names.qualified_class(used.stage)
        families.setdefault(stage, set()).add(_folder(serving, used.pipeline.path))
    for used in _stages(project, serving):
        pipeline = used.pipeline
        key = ("DiT configs run", pipeline.path, pipeline.fact.name, pipeline.line)
        ask = partial(_dit_configs, project, serving, pipeline)
        if project.sources.memory.about(pipeline.path, pipeline.fact, key, ask) != {wanted}:
            continue
        shared = len(families[project.names.qualified_class(used.stage)]) > 1
        for call, location in _calls(project, serving, used.stage):
            served = StageCall(used.pipeline.fact.name, used.stage.fact.name, call, shared, location)
            found.setdefault(location, served)
    return tuple(found.values())


def _folder(serving: Serving, path: str) -> str:
    return path[len(serving.pipelines) + 1 :].partition("/")[0]


def is_mentioned(project: Project, port: Port) -> bool:
    """Whether the pipelines or their configs know the port at all: its family, class or config."""
    serving = project.profile.serving
    if serving is None:
        return True
    words = {port.family, port.name}
    if port.config is not None:
        words.add(port.config.fact.name)
    if port.arch_config is not None:
        words.add(port.arch_config.fact.name)
    root = serving.pipelines.rpartition("/")[0]
    for path in (*project.sources.walk(root), *project.sources.walk(serving.configs)):
        if not words.isdisjoint(path.removesuffix(".py").split("/")):
            return True
        if not words.isdisjoint(project.sources.words(path)):
            return True
    return False


def _same(project: Project, port: Port, config: str) -> bool:
    return port.config is not None and project.names.qualified_class(port.config) == config


def _stages(project: Project, serving: Serving) -> tuple[_Stage, ...]:
    return tuple(
        stage
        for path in project.sources.walk(serving.pipelines)
        for stage in project.sources.memory.get(("stages", path), partial(_stages_in, project, serving, path))
    )


def _stages_in(project: Project, serving: Serving, path: str) -> tuple[_Stage, ...]:
    if not _may_give(project.sources.text(path) or "", serving.argument):
        return ()
    facts = project.file(path)
    found = []
    for cls in facts.classes if facts is not None else ():
        for method in cls.fact.methods:
            for fact in method.calls:
                given = fact.call.keyword(serving.argument)
                if given is None or fact.call.callee is None:
                    continue
                if isinstance(given, Reference):
                    kept = project.derived("kept calls", Placed(method, path, cls.line), kept_calls) or ()
                    given = next((k.value for k in kept if k.name == given.dotted), given)
                if not _is_module(given, serving.argument):
                    continue
                stage = project.names.class_of(path, fact.call.callee)
                if stage is not None:
                    found.append(_Stage(cls, stage))
    return tuple(found)


def _may_give(text: str, name: str) -> bool:
    """Whether some call of a text may have an argument of that name; asked before its facts, which cost."""
    return re.search(rf"\b{re.escape(name)}\s*[=\\#]", text) is not None


def _is_module(given: Expr, name: str) -> bool:
    """`self.get_module("transformer")` or `self.modules["transformer"]`."""
    if isinstance(given, Call):
        key = given.arguments[0] if given.arguments else None
    else:
        key = given.index if isinstance(given, Subscript) else None
    return isinstance(key, Constant) and key.value == name


def _calls(
    project: Project, serving: Serving, stage: Placed[ClassFacts]
) -> Iterator[tuple[ModelCall, Location]]:
    """The calls that a stage makes on every run, in its own methods and those of its bases."""
    seen: set[str] = set()
    for owner in project.names.ancestry(stage).classes:
        for method in owner.fact.methods:
            if method.name in seen:
                continue
            seen.add(method.name)
            placed = Placed(method, owner.path, owner.line)
            ask = partial(model_calls, attribute=serving.argument)
            calls = project.derived(("model calls", serving.argument), placed, ask)
            start = project.sources.bodies.start(placed)
            for call in calls or ():
                if not call.guarded:
                    yield call, Location(owner.path, call.span.shifted(start))


def _dit_configs(project: Project, serving: Serving, pipeline: Placed[ClassFacts]) -> frozenset[str]:
    """Full names of the DiT configs that a pipeline may run with."""
    stated = pipeline.fact.attribute(serving.config_attribute)
    if stated is not None:
        value = stated.value
        config = project.names.class_of(pipeline.path, value.dotted) if isinstance(value, Reference) else None
        held = _held(project, serving, config) if config is not None else None
        return frozenset({held}) if held is not None else frozenset()
    folder = _folder(serving, pipeline.path)
    beside = f"{serving.pipelines}/{folder}/"
    paths = [path for path in project.sources.walk(serving.pipelines) if path.startswith(beside)]
    # `cosmos/cosmos2_5_pipeline.py` belongs to the configs of `cosmos2_5`, not to those of `cosmos`.
    stem = pipeline.path.rpartition("/")[2]
    named = [folder] if project.sources.exists(f"{serving.configs}/{folder}.py") else []
    for path in project.sources.walk(serving.configs):
        other = path.rpartition("/")[2].removesuffix(".py")
        if stem.startswith(other + "_") and len(other) > len(named[0] if named else ""):
            named = [other]
    paths += [f"{serving.configs}/{name}.py" for name in named]
    found: set[str] = set()
    for path in paths:
        facts = project.file(path)
        for cls in facts.classes if facts is not None else ():
            if cls.fact.attribute(serving.config_field) is not None:
                held = _held(project, serving, cls)
                found.add(held if held is not None else "?")
    return frozenset(found)


def _held(project: Project, serving: Serving, config: Placed[ClassFacts]) -> str | None:
    """The full name of the DiT config that a pipeline config holds by default."""
    for owner in project.names.ancestry(config).classes:
        stored = owner.fact.attribute(serving.config_field)
        if stored is None:
            continue
        value = stored.value
        if value is not None and is_field(value):
            value = value.keyword("default_factory")
        if isinstance(value, Lambda):
            value = value.body
        if isinstance(value, Call):
            value = value.function
        found = project.names.class_of(owner.path, value.dotted) if isinstance(value, Reference) else None
        return project.names.qualified_class(found) if found is not None else None
    return None
