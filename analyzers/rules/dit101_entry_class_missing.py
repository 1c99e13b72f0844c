"""DIT101 entry-class-missing: a port that registry discovery cannot reach."""

from __future__ import annotations

from collections.abc import Iterator

from analyzers.facts.model import ClassFacts, Placed, Reference
from analyzers.findings import Applicability, Finding, Fix, Related, Severity
from analyzers.project.discovery import annotated_entries, can_register, changed_entries, hides, in_component
from analyzers.project.index import Project
from analyzers.project.ports import Port
from analyzers.project.registry import LegacyRow, entry_names
from analyzers.rules.base import Context, Example, Expected, Rule, Tier


def check(context: Context) -> Iterator[Finding]:
    """Looks at the ports of the file; silent while the file, and so discovery, does not parse."""
    project = context.project
    if context.file.broken:
        return
    missing = [p for p in project.ports if p.cls.path == context.file.path and _is_missing(project, p)]
    missing.sort(key=lambda port: port.location)
    fix = _fix(context, [p.cls for p in missing])
    for port in missing:
        row = _row(project, port.cls)
        related: tuple[Related, ...] = ()
        severity = Severity.ERROR
        if row is not None:
            severity = Severity.INFORMATION
            related = (Related(row.location, "the row that still reaches it"),)
            message = (
                f"discovery does not find '{port.name}': only the legacy row '{row.architecture}' of "
                f"{context.profile.registry} reaches it"
            )
        elif not project.registry.legacy_known:
            severity = Severity.INFORMATION
            message = f"discovery does not find '{port.name}', and the legacy tables cannot be read"
        else:
            message = (
                f"the model registry cannot reach '{port.name}': no EntryClass names it and no legacy row "
                "leads to it, so loading a checkpoint that names it fails"
            )
        yield context.finding(
            port.location,
            message,
            severity=severity,
            symbol=port.name,
            port=port.name,
            related=related,
            fix=fix,
        )


def _is_missing(project: Project, port: Port) -> bool:
    if port.reachable == "discovered" or port.cls.fact.partial or _is_abstract(project, port.cls):
        return False
    found = project.registry.discovered.get(port.name)
    if found is not None and found.path == port.cls.path:
        return False  # which of the definitions of that name the module ends up with is not told
    if port.reachable == "unreachable":
        if project.names.qualified_class(port.cls) in project.subclassed:
            return False
        if _is_part(project, port.cls):
            return False
        if _is_overwritten(project, port.cls):
            return False
    return not hides(project, port.cls)


def _is_overwritten(project: Project, cls: Placed[ClassFacts]) -> bool:
    """Whether an `EntryClass` names the class, and another file takes the name (`registry-duplicate`)."""
    qualified = project.names.qualified_class(cls)
    return any(
        (named := project.names.class_of(entry.path, entry.name)) is not None
        and project.names.qualified_class(named) == qualified
        for entry, _ in project.registry.duplicates
    )


def _is_abstract(project: Project, cls: Placed[ClassFacts]) -> bool:
    """Whether the class says that it is a base, or leaves an abstract method open."""
    for base in cls.fact.bases:
        if isinstance(base, Reference) and base.tail == "ABC":
            return True
    if any(k.name == "metaclass" for k in cls.fact.keywords):
        return True
    defined: set[str] = set()
    for owner in project.names.ancestry(cls).classes:
        for method in owner.fact.methods:
            if method.name not in defined and method.decorated_with("abstractmethod"):
                return True
        defined.update(m.name for m in owner.fact.methods)
    return False


def _is_part(project: Project, cls: Placed[ClassFacts]) -> bool:
    """Whether another DiT file, or another class of this one, builds the class: then it is a part of it."""
    name = cls.fact.name
    qualified = project.names.qualified_class(cls)
    for path in project.sources.walk(project.profile.dits):
        if name not in (project.sources.text(path) or ""):
            continue
        facts = project.file(path)
        for owner, function in facts.all_functions() if facts is not None else ():
            if path == cls.path and (owner is None or owner.fact.name == name):
                continue  # a factory (`def tiny(): return Model(...)`) makes no part of what it builds
            for item in function.fact.calls:
                callee = item.call.callee
                if callee is not None and callee.rpartition(".")[2] == name:
                    built = project.names.class_of(path, callee)
                    if built is not None and project.names.qualified_class(built) == qualified:
                        return True
    return False


def _row(project: Project, cls: Placed[ClassFacts]) -> LegacyRow | None:
    """The row that serves the class: the one under its own name, else the first that is in force."""
    qualified = project.names.qualified_class(cls)
    rows = [
        row
        for row in project.registry.rows
        if row.architecture not in project.registry.discovered
        and project.registry.models.get(row.architecture) == row.spec
        and (found := project.port_index.class_of_spec(row.spec)) is not None
        and project.names.qualified_class(found) == qualified
    ]
    return next((r for r in rows if r.architecture == cls.fact.name), rows[0] if rows else None)


def _fix(context: Context, classes: list[Placed[ClassFacts]]) -> Fix | None:
    """One edit for all of a file's ports, since a file has one `EntryClass`."""
    facts, project = context.file, context.project
    free = [c for c in classes if can_register(project, c) and facts.class_named(c.fact.name) == c]
    names = [c.fact.name for c in free]
    if not names or len(names) != len(classes) or len(set(names)) != len(names):
        return None
    if not in_component(context.profile, facts.path):
        return None  # discovery would not read it there
    if annotated_entries(facts) or changed_entries(facts) or len(facts.entries) > 1:
        return None
    if facts.entries:
        entry = facts.entries[0]
        known = [name for name, _ in entry_names(entry)]
        items = getattr(entry.fact.value, "items", (entry.fact.value,))
        if len(known) != len(items) or any(facts.class_named(name) is None for name in known):
            return None  # what stands there wants repair first (DIT102, DIT103)
        title = f"Add {' and '.join(names)} to EntryClass"
    else:
        value = names[0] if len(names) == 1 else f"[{', '.join(names)}]"
        title = f"Append 'EntryClass = {value}'"
    return Fix(title, "append-entry-class", {"path": facts.path, "names": list(names)}, Applicability.SAFE)


_NEW = "fastvideo/models/dits/vivid.py"
_SOURCE = """\
from fastvideo.configs.models.dits import SoundConfig
from fastvideo.models.dits.base import BaseDiT


class VividTransformer3DModel(BaseDiT):
    param_names_mapping = SoundConfig().param_names_mapping

    def forward(self, hidden_states, encoder_hidden_states, timestep, guidance=None, **kwargs):
        return hidden_states
"""
_CAUSAL = """

class CausalVividTransformer3DModel(BaseDiT):
    param_names_mapping = SoundConfig().param_names_mapping

    def forward(self, hidden_states, encoder_hidden_states, timestep, guidance=None, **kwargs):
        return hidden_states
"""
_ROW = """\
_TEXT_TO_VIDEO_DIT_MODELS = {
    "SoundTransformer3DModel": ("dits", "sound", "SoundTransformer3DModel"),
    "VividTransformer3DModel": ("dits", "vivid", "VividTransformer3DModel"),
}

_LEGACY_FAST_VIDEO_MODELS = {
    **_TEXT_TO_VIDEO_DIT_MODELS,
}
"""

RULE = Rule(
    code="DIT101",
    name="entry-class-missing",
    severity=Severity.ERROR,
    tier=Tier.PROJECT,
    summary="registry discovery cannot reach a DiT class",
    what=(
        "Reports a concrete DiT class that the model registry's own algorithm cannot reach: no `EntryClass` "
        "that discovery reads names it. It is an error where nothing else leads to the class, information "
        "where a row of the legacy tables still does."
    ),
    why=(
        "`TransformerLoader` resolves `_class_name` of `transformer/config.json` through `ModelRegistry`. An "
        "unknown name falls back to `TransformersModel` and fails with a list of every supported "
        "architecture: the port is complete and cannot be loaded. A class that only a legacy row reaches "
        "loads, but moving the file or the row breaks it silently."
    ),
    how="Add `EntryClass = X` at the end of the file that defines the class; a list for several.",
    exceptions=(
        "Abstract bases, classes with a leading underscore, classes that another port derives from and that "
        "no row names, and classes that another DiT module builds as a part of itself. A class whose own "
        "`EntryClass` another file overrides is a matter of `registry-duplicate`. A file that does not parse "
        "is left alone. No fix is offered where the registry already loads another class under the "
        "same name, or where an `EntryClass` stands in the file that discovery cannot read (see "
        "`entry-class-undiscoverable` and `entry-class-unknown`)."
    ),
    source="`fastvideo/models/registry.py`, `_discover_and_register_models`",
    fixable=Applicability.SAFE,
    check=check,
    reports_missing=True,
    valid=(
        Example("discovered", {}),
        Example(
            "a base that another port derives from",
            {
                _NEW: _SOURCE.replace("class Vivid", "class VividBase")
                + "\n\nclass VividTransformer3DModel(VividBaseTransformer3DModel):\n    pass\n\n\n"
                + "EntryClass = VividTransformer3DModel\n"
            },
        ),
        Example(
            "an abstract base",
            {
                _NEW: "from abc import abstractmethod\n\nfrom fastvideo.models.dits.base import BaseDiT\n\n\n"
                "class VividBase(BaseDiT):\n    param_names_mapping = {}\n\n    @abstractmethod\n"
                "    def rope(self):\n        pass\n\n    def forward(self, *args, **kwargs):\n        pass\n"
            },
        ),
        Example(
            "a part of another port",
            {
                _NEW: _SOURCE.replace("VividTransformer3DModel", "VividBackbone")
                + "\n\nclass VividTransformer3DModel(BaseDiT):\n    param_names_mapping = {}\n\n"
                "    def __init__(self, config, hf_config):\n        super().__init__(config, hf_config)\n"
                "        self.backbone = VividBackbone(config, hf_config)\n\n"
                "    def forward(self, *args, **kwargs):\n        return self.backbone(*args, **kwargs)\n\n\n"
                "EntryClass = VividTransformer3DModel\n"
            },
        ),
        Example(
            "another file's EntryClass takes the name",
            {
                _NEW: _SOURCE + "\n\nEntryClass = VividTransformer3DModel\n",
                "fastvideo/models/dits/vivid_copy.py": _SOURCE + "\n\nEntryClass = VividTransformer3DModel\n",
            },
        ),
        Example(
            "an alias that is discovered",
            {_NEW: _SOURCE + "\n\nVivid = VividTransformer3DModel\nEntryClass = Vivid\n"},
        ),
        Example(
            "a name that is one of two classes",
            {
                _NEW: _SOURCE
                + "\n\ntry:\n    import kernels\n\n    class Fast(VividTransformer3DModel):\n        pass\n"
                "except ImportError:\n    Fast = VividTransformer3DModel\n\n"
                "EntryClass = [VividTransformer3DModel, Fast]\n"
            },
        ),
    ),
    invalid=(
        Example(
            "nothing leads to the class",
            {_NEW: _SOURCE},
            findings=(Expected(_NEW, 5, "the model registry cannot reach", Severity.ERROR),),
            fixed={_NEW: _SOURCE + "\n\nEntryClass = VividTransformer3DModel\n"},
        ),
        Example(
            "only a legacy row leads to the class",
            {_NEW: _SOURCE, "fastvideo/models/registry.py": _ROW},
            findings=(Expected(_NEW, 5, "only the legacy row", Severity.INFORMATION),),
            fixed={_NEW: _SOURCE + "\n\nEntryClass = VividTransformer3DModel\n"},
        ),
        Example(
            "two ports in one file",
            {_NEW: _SOURCE + _CAUSAL},
            findings=(
                Expected(_NEW, 5, "'VividTransformer3DModel'", Severity.ERROR),
                Expected(_NEW, 12, "'CausalVividTransformer3DModel'", Severity.ERROR),
            ),
            fixed={
                _NEW: _SOURCE
                + _CAUSAL
                + "\n\nEntryClass = [VividTransformer3DModel, CausalVividTransformer3DModel]\n"
            },
        ),
        Example(
            "a second port that EntryClass forgets",
            {_NEW: _SOURCE + _CAUSAL + "\n\nEntryClass = VividTransformer3DModel  # the registry's\n"},
            findings=(Expected(_NEW, 12, "'CausalVividTransformer3DModel'", Severity.ERROR),),
            fixed={
                _NEW: _SOURCE
                + _CAUSAL
                + "\n\nEntryClass = [VividTransformer3DModel, CausalVividTransformer3DModel]"
                + "  # the registry's\n"
            },
        ),
        Example(
            "a factory beside the class makes no part of it",
            {_NEW: _SOURCE + "\n\ndef vivid_xl(config):\n    return VividTransformer3DModel(config, {})\n"},
            findings=(Expected(_NEW, 5, "the model registry cannot reach", Severity.ERROR),),
        ),
    ),
)
