"""DIT107 registry-unresolved: a checkpoint's configuration names a class that the registry does not know."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from difflib import SequenceMatcher

from analyzers.facts.json_text import JsonNode, read_json
from analyzers.findings import Applicability, Finding, Fix, Location, Severity
from analyzers.project.loaders import RegistryComponents, registry_components, required_modules, resolves
from analyzers.project.registry import Spec
from analyzers.rules.base import Context, Example, Expected, Rule, Tier

_CONFIG = "config.json"
_INDEX = "model_index.json"
_KEY = "_class_name"
_MODEL = re.compile(r"Transformer|DiT|Model$")
_SUFFIX = re.compile(r"(?:Transformer(?:[23]D)?)?(?:Model)?$")


def check(context: Context) -> Iterator[Finding]:
    """Looks at a component's own configuration; at the index only where that is not in the tree."""
    name = context.file.path.rpartition("/")[2]
    if name not in (_CONFIG, _INDEX) or _is_converted(context):
        return
    document = read_json(context.text)
    if document is None:
        return
    components = registry_components(context.project)
    if not components.all:
        return
    for component, node in (_config if name == _CONFIG else _index)(context, document, components):
        if node.text and resolves(context.project, node.text) is False:
            yield _finding(context, component, node, components)


def _config(
    context: Context, document: JsonNode, components: RegistryComponents
) -> Iterator[tuple[str, JsonNode]]:
    """The `_class_name` of a component's `config.json`."""
    node = document.members.get(_KEY)
    folder = context.file.path.rpartition("/")[0]
    component = folder.rpartition("/")[2]
    if node is None or node.text is None:
        return
    if component in components.all:
        if _read_by_loader(component) == _CONFIG:
            yield component, node
        return
    exists = context.project.sources.exists
    if exists(f"{folder}/{_INDEX}") or exists(f"{folder.rpartition('/')[0]}/{_INDEX}"):
        return  # the checkpoint as a whole, or a component that another library loads
    if not _is_original(context) and _MODEL.search(node.text) and "Pipeline" not in node.text:
        # A DiT converted by itself, for the loader to be pointed at.
        yield next(iter(sorted(components.dits)), component), node


def _read_by_loader(component: str) -> str:
    """The file that a component is configured by (`get_diffusers_config`)."""
    return "scheduler_config.json" if "scheduler" in component else _CONFIG


def _index(
    context: Context, document: JsonNode, components: RegistryComponents
) -> Iterator[tuple[str, JsonNode]]:
    """The rows of `model_index.json` (`"transformer": [library, class]`) that are loaded natively."""
    folder = context.file.path.rpartition("/")[0]
    pipeline = document.members.get(_KEY)
    required: frozenset[str] | None = None
    if pipeline is not None and pipeline.text:
        required = required_modules(context.project, pipeline.text)
    for component, row in document.members.items():
        if component not in components.all or len(row.items) < 2:
            continue
        library = row.items[0].text
        if library != "diffusers" and not context.profile.owns(library or ""):
            continue
        if context.project.sources.exists(f"{folder}/{component}/{_read_by_loader(component)}"):
            continue  # which is what the loader reads
        if required is not None and component not in required and "boundary_ratio" not in document.members:
            continue
        if required is None and component not in components.dits:
            continue
        yield component, row.items[1]


def _finding(context: Context, component: str, node: JsonNode, components: RegistryComponents) -> Finding:
    name = node.text or ""
    target = _target(context, name, component in components.dits)
    hint = f"; did you mean '{target}'?" if target is not None else ""
    return context.finding(
        Location(context.file.path, node.span),
        f"the model registry does not know '{name}': no EntryClass and no legacy row has that name, so "
        f"loading the {component} fails{hint}",
        symbol=name,
        fix=_fix(context, name, target) if target is not None else None,
    )


# ------------------------------------------------------------------ checkpoints


def _is_original(context: Context) -> bool:
    return context.file.path.startswith(tuple(f"{root}/" for root in context.profile.original_weights))


def _is_converted(context: Context) -> bool:
    """Whether a published checkpoint has a converted one beside it, which is what is loaded."""
    path, profile = context.file.path, context.profile
    root = next((r for r in profile.original_weights if path.startswith(f"{r}/")), None)
    if root is None:
        return False
    family = path[len(root) + 1 :].partition("/")[0]
    return any(
        context.project.sources.documents(f"{other}/{family}")
        for other in profile.document_roots
        if other not in profile.original_weights and other not in _test_folders(context)
    )


def _test_folders(context: Context) -> tuple[str, ...]:
    roots = context.profile.test_roots
    return tuple(r for r in context.profile.document_roots if r.startswith(tuple(f"{t}/" for t in roots)))


# ------------------------------------------------------------------ the alias


def _target(context: Context, name: str, is_dit: bool) -> str | None:
    """The registered class that the name means: the only close one, or the family's only port."""
    dits = context.profile.dits.rpartition("/")[2]
    models = {n: spec for n, spec in context.project.registry.models.items() if spec[2] == n}
    known = [n for n, spec in models.items() if not is_dit or spec[0] == dits]
    close = [other for other in known if _alike(name, other)]
    if len(close) == 1:
        return close[0]
    if not is_dit or close:
        return None
    parts = set(context.file.path.split("/")[:-1])
    family = [p.name for p in context.project.ports if p.family in parts and p.name in models]
    return family[0] if len(family) == 1 else None


def _alike(name: str, other: str) -> bool:
    """Whether two architecture names differ by little, what most of them end in left aside."""
    first, second = _SUFFIX.sub("", name).lower(), _SUFFIX.sub("", other).lower()
    if not first or not second:
        return False
    return first == second or SequenceMatcher(None, first, second).ratio() >= 0.85


def _fix(context: Context, name: str, target: str) -> Fix | None:
    registry = context.project.registry
    spec: Spec = registry.models[target]
    tables = [row.table for row in registry.rows if row.spec == spec]
    if not tables:
        counted = Counter(row.table for row in registry.rows if row.spec[0] == spec[0])
        tables = [table for table, _ in counted.most_common(1)]
    if not tables:
        return None
    return Fix(
        f"Register '{name}' as another name of {target}",
        "add-registry-row",
        {
            "path": context.profile.registry,
            "table": tables[-1],
            "architecture": name,
            "spec": list(spec),
        },
        Applicability.UNSAFE,
    )


_REGISTRY = "fastvideo/models/registry.py"
_DIT = "converted_weights/sound/transformer/config.json"
_ROWS = "converted_weights/sound/model_index.json"
_TABLE = """\
_TEXT_TO_VIDEO_DIT_MODELS = {
    "SoundTransformer3DModel": ("dits", "sound", "SoundTransformer3DModel"),
%s}

_LEGACY_FAST_VIDEO_MODELS = {
    **_TEXT_TO_VIDEO_DIT_MODELS,
}
"""
_LOADER = """\
class ComponentLoader:

    @classmethod
    def for_module_type(cls, module_type, library):
        module_loaders = {
            "transformer": (TransformerLoader, "diffusers"),
            "vae": (VAELoader, "diffusers"),
            "text_encoder": (TextEncoderLoader, "transformers"),
        }
        return module_loaders[module_type][0]()


class TransformerLoader(ComponentLoader):

    def load(self, model_path, args):
        config = get_diffusers_config(model_path)
        model_cls, _ = ModelRegistry.resolve_model_cls(config.pop("_class_name"))
        return model_cls


class VAELoader(ComponentLoader):

    def load(self, model_path, args):
        return AutoencoderKL.from_pretrained(model_path)


class TextEncoderLoader(ComponentLoader):

    def load(self, model_path, args):
        return None
"""


def _json(name: str) -> str:
    return f'{{\n  "_class_name": "{name}",\n  "_diffusers_version": "0.33.0",\n  "num_layers": 2\n}}\n'


def _rows(*rows: str, pipeline: str = "SoundPipeline") -> str:
    listed = ",\n".join(f"  {row}" for row in rows)
    return f'{{\n  "_class_name": "{pipeline}",\n{listed}\n}}\n'


RULE = Rule(
    code="DIT107",
    name="registry-unresolved",
    severity=Severity.ERROR,
    tier=Tier.PROJECT,
    summary="a checkpoint's configuration names a class that the model registry does not know",
    what=(
        "Reports the `_class_name` of a local `config.json`, or the class in a row of a local "
        "`model_index.json`, that the model registry resolves to nothing: discovery finds no such "
        "`EntryClass`, and no legacy table has such a row. Which components go through the registry is read "
        "from the workspace's own loaders."
    ),
    why=(
        "`TransformerLoader` takes the class from `_class_name` and asks the registry. An unknown name "
        'becomes `"TransformersModel"`, which is not registered either: the load fails with a list of every '
        "supported architecture, after the checkpoint was downloaded and converted."
    ),
    how=(
        "Let the converter write the name that the port registers; where published checkpoints carry the "
        'other name, add it to a legacy table: `"Old": ("dits", "sound", "SoundTransformer3DModel")`. The '
        "fix adds that row, where one registered name is close or the family has one port."
    ),
    exceptions=(
        "The pipeline's own `_class_name` in `model_index.json`; components that other libraries load (text "
        "encoders, tokenizers); rows of components that the pipeline does not load; a row whose component "
        "has its `config.json` in the tree, since that is what is read; published checkpoints beside which "
        "a converted one lies; malformed JSON; names that are registered at run time, or in a file that "
        "does not parse."
    ),
    source=(
        "`fastvideo/models/loader/component_loader.py`, `TransformerLoader.load`; "
        "`fastvideo/models/registry.py`, `_ModelRegistry._normalize_archs`"
    ),
    fixable=Applicability.UNSAFE,
    suffixes=(".json",),
    check=check,
    valid=(
        Example("no checkpoint in the tree", {}),
        Example("a discovered name", {_DIT: _json("SoundTransformer3DModel")}),
        Example(
            "an alias in a legacy table",
            {
                _DIT: _json("Sound"),
                _REGISTRY: _TABLE % '    "Sound": ("dits", "sound", "SoundTransformer3DModel"),\n',
            },
        ),
        Example(
            "the pipeline's class, a text encoder, a row that is off",
            {
                _ROWS: _rows(
                    '"text_encoder": ["transformers", "OddEncoderModel"]',
                    '"transformer": ["diffusers", "SoundTransformer3DModel"]',
                    '"transformer_2": [null, null]',
                )
            },
        ),
        Example(
            "the component's own configuration decides",
            {
                _ROWS: _rows('"transformer": ["diffusers", "OldTransformer3DModel"]'),
                _DIT: _json("SoundTransformer3DModel"),
            },
        ),
        Example(
            "loaded by another library, as the loader says",
            {
                "fastvideo/models/loader/__init__.py": "",
                "fastvideo/models/loader/component_loader.py": _LOADER,
                "converted_weights/sound/vae/config.json": _json("OddVAE"),
            },
        ),
        Example(
            "a published checkpoint beside its conversion",
            {
                "official_weights/sound/transformer/config.json": _json("OfficialSoundModel"),
                _DIT: _json("SoundTransformer3DModel"),
            },
        ),
        Example(
            "the original's own root configuration",
            {"official_weights/sound/config.json": _json("SoundTransformerOfficial")},
        ),
        Example("malformed", {_DIT: '{"_class_name": "Nothing",}\n'}),
        Example(
            "tables that are computed",
            {_DIT: _json("Nothing"), _REGISTRY: "_LEGACY_FAST_VIDEO_MODELS = build_tables()\n"},
        ),
    ),
    invalid=(
        Example(
            "a converter that wrote another name",
            {_DIT: _json("SoundTransformer2DModel")},
            findings=(Expected(_DIT, 2, "did you mean 'SoundTransformer3DModel'?", Severity.ERROR),),
            fixed={
                _REGISTRY: _TABLE
                % '    "SoundTransformer2DModel": ("dits", "sound", "SoundTransformer3DModel"),\n'
            },
        ),
        Example(
            "an old name, in the only checkpoint of the family",
            {_DIT: _json("AudioDiT")},
            findings=(Expected(_DIT, 2, "does not know 'AudioDiT'"),),
            fixed={_REGISTRY: _TABLE % '    "AudioDiT": ("dits", "sound", "SoundTransformer3DModel"),\n'},
        ),
        Example(
            "a row without the component's configuration",
            {
                "tests/local_tests/echo/model_index.json": _rows(
                    '"transformer": ["diffusers", "EchoTransformer3DModel"]',
                    '"vae": ["diffusers", "AutoencoderKLEcho"]',
                )
            },
            findings=(
                Expected("tests/local_tests/echo/model_index.json", 3, "loading the transformer fails"),
            ),
        ),
        Example(
            "what the pipeline requires",
            {
                "fastvideo/pipelines/basic/echo/echo_pipeline.py": """\
class EchoPipeline:
    _required_config_modules = ["vae", "transformer"]


EntryClass = EchoPipeline
""",
                "official_weights/echo/model_index.json": _rows(
                    '"scheduler": ["diffusers", "EchoScheduler"]',
                    '"transformer": ["diffusers", "SoundTransformer3DModel"]',
                    '"vae": ["diffusers", "AutoencoderKLEcho"]',
                    pipeline="EchoPipeline",
                ),
            },
            findings=(
                Expected("official_weights/echo/model_index.json", 5, "does not know 'AutoencoderKLEcho'"),
            ),
        ),
        Example(
            "a DiT converted by itself",
            {"converted_weights/echo/config.json": _json("EchoTransformer3DModel")},
            findings=(Expected("converted_weights/echo/config.json", 2, "does not know"),),
        ),
        Example(
            "the port's file does not say EntryClass",
            {
                "converted_weights/echo/vae/config.json": _json("AutoencoderKLÉcho"),
                "fastvideo/models/vaes/echo.py": "class AutoencoderKLÉcho:\n    pass\n",
            },
            findings=(Expected("converted_weights/echo/vae/config.json", 2, "loading the vae fails"),),
        ),
    ),
)
