"""DIT109 pipeline-detector: a detector that another one always overrules, or that misses its own paths."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from analyzers.facts.predicates import tokens
from analyzers.findings import Finding, Related, Severity
from analyzers.project.pipeline_registry import Detector, PipelineRegistry, Registration
from analyzers.rules.base import Context, Example, Expected, Rule, Tier


def check(context: Context) -> Iterator[Finding]:
    """Asks the detectors about registered paths, in registration order, as the resolver does."""
    pipelines = context.profile.registrations
    if pipelines is None or context.file.path != pipelines.registry or context.file.broken:
        return
    registry = context.project.pipeline_registry
    if registry is None or not registry.lowers:
        return
    classes = tuple(dict.fromkeys(name.lower() for name in context.project.pipeline_classes))
    for index, registration in enumerate(registry.registrations):
        if registration.detectors is None or not registration.detectors:
            continue
        earlier = registry.registrations[:index]
        shadowed = False
        for detector in registration.detectors if registry.first_wins else ():
            for finding in _shadowed(context, registration, detector, earlier, classes):
                shadowed = True
                yield finding
        if not shadowed:
            yield from _misses(context, registry, registration, classes)


# ------------------------------------------------------------------ shadowed


def _shadowed(
    context: Context,
    registration: Registration,
    detector: Detector,
    earlier: Sequence[Registration],
    classes: Sequence[str],
) -> Iterator[Finding]:
    """Whether everything that the detector accepts of its own is decided by an earlier registration."""
    own = [(path, forms) for path in registration.paths or () if (forms := _accepted(detector, _forms(path)))]
    if not own:
        if _may_name_others(registration, classes):
            return
        own = [(name, [name]) for name in _accepted(detector, classes)]
    family = _classes_of_family(context, registration)
    deciders: dict[Detector, Registration] = {}
    by_class = False
    for _, forms in own:
        for form in forms:
            decides = _first(earlier, form, registration)
            if decides is None and family:
                # The resolver asks for the class as well, so an earlier one may take it by that.
                taken = [_first(earlier, name, registration) for name in family]
                decides = taken[0] if all(taken) else None
                by_class = decides is not None
            if decides is None:
                return
            deciders[decides[1]] = decides[0]
    if not deciders:
        return
    said = _listed([path for path, _ in own])
    first, winner = next(iter(deciders.items()))
    others = " and others" if len(deciders) > 1 else ""
    how = f", which accepts the class '{family[0]}' of their model_index.json" if by_class else ""
    yield context.finding(
        detector.location,
        f"this detector never decides: whatever it accepts of its own ({said}) is accepted first by the "
        f"detector of {_name(winner)} in line {first.location.span.line + 1}{others}{how}",
        symbol=registration.config,
        related=tuple(
            Related(d.location, f"accepts first, for {_name(r)}") for d, r in list(deciders.items())[:3]
        ),
    )


def _classes_of_family(context: Context, registration: Registration) -> list[str]:
    """The lowercased classes of the pipelines in the folder of a registration's family."""
    pipelines = context.profile.registrations
    family = next((value for name, value in registration.info if name == "model_family"), "None").strip("\"'")
    if pipelines is None or not family.isidentifier():
        return []
    found = context.project.pipelines_below(f"{pipelines.folder}/{family}")
    return list(dict.fromkeys(name.lower() for name in found))


def _first(
    earlier: Sequence[Registration], text: str, registration: Registration
) -> tuple[Registration, Detector] | None:
    """The earlier registration that decides on a text, where it leads to something else; else None."""
    for other in earlier:
        for detector in other.detectors or ():
            answer = detector.accepts(text)
            if answer is None and other.info == registration.info:
                return None
            if answer:
                return (other, detector) if other.info != registration.info else None
        if other.detectors is None and other.info == registration.info:
            return None
    return None


# ------------------------------------------------------------------ misses


def _misses(
    context: Context, registry: PipelineRegistry, registration: Registration, classes: Sequence[str]
) -> Iterator[Finding]:
    """Whether no detector of a registration accepts any of its paths, nor a pipeline by its class."""
    detectors = registration.detectors or ()
    if not registration.paths or _may_name_others(registration, classes):
        return
    asked = [*(form for path in registration.paths for form in _forms(path)), *classes]
    if any(detector.accepts(text) is not False for detector in detectors for text in asked):
        return
    fate = "a copy of the checkpoint in another folder is not recognised"
    taken = _taken(registry, registration)
    if taken is not None:
        fate = f"a copy of the checkpoint in another folder is taken for {_name(taken[0])}"
    yield context.finding(
        detectors[0].location,
        f"no detector of {_name(registration)} accepts {_listed(registration.paths)} "
        f"(they are asked with the path in lower case): {fate}",
        symbol=registration.config,
        related=(Related(taken[1].location, "accepts it instead"),) if taken is not None else (),
    )


def _taken(registry: PipelineRegistry, registration: Registration) -> tuple[Registration, Detector] | None:
    """Who accepts the first path of a registration instead of itself."""
    path = (registration.paths or ("",))[0]
    for other in registry.registrations:
        for detector in other.detectors or ():
            if other is not registration and detector.accepts(path.lower()):
                return other, detector
    return None


# ------------------------------------------------------------------ texts


def _forms(path: str) -> tuple[str, str]:
    """A published path as a detector meets it: by itself, and within Hugging Face's cache."""
    lowered = path.lower()
    return lowered, f"models--{lowered.replace('/', '--')}"


def _accepted(detector: Detector, texts: Sequence[str]) -> list[str]:
    return [text for text in texts if detector.accepts(text)]


def _may_name_others(registration: Registration, classes: Sequence[str]) -> bool:
    """Whether a detector looks for the class of a pipeline that this tree does not have."""
    return any(
        "pipeline" in token.lower() and not any(token.lower() in name for name in classes)
        for detector in registration.detectors or ()
        if detector.function is not None
        for token in tokens(detector.function)
    )


def _name(registration: Registration) -> str:
    preset = next((v for n, v in registration.info if n == "default_preset"), "None").strip("\"'")
    config = registration.config or "a registration"
    return f"{config} ({preset})" if preset != "None" else config


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(f"'{name}'" for name in names[:2])
    return f"{shown} and {len(names) - 2} more" if len(names) > 2 else shown


_FILE = "fastvideo/registry.py"
_HEAD = """\
from fastvideo.configs.pipelines.sound import SoundConfig, SoundProConfig, SoundXLConfig

_PATHS = {}
_DETECTORS = []


def register_configs(pipeline_config_cls, hf_model_paths=None, model_detectors=None, default_preset=None,
                     model_family=None):
    for path in hf_model_paths or []:
        _PATHS[path] = pipeline_config_cls
    for detector in model_detectors or []:
        _DETECTORS.append((pipeline_config_cls, detector))


def resolve(model_path, config):
    if model_path in _PATHS:
        return _PATHS[model_path]
    pipeline_name = config.get("_class_name", "").lower()
    for found, detector in _DETECTORS:
        if detector(model_path.lower()) or detector(pipeline_name):
            return found
    return None


"""
_PIPELINES: dict[str, str | None] = {
    "fastvideo/pipelines/basic/sound/__init__.py": "",
    "fastvideo/pipelines/basic/sound/sound_pipeline.py": """\
class SoundPipeline:
    pass


class SoundProPipeline(SoundPipeline):
    pass


EntryClass = [SoundPipeline, SoundProPipeline]
""",
}


def _registered(*calls: str, before: str = "") -> dict[str, str | None]:
    body = "".join(f"    register_configs(\n{call}    )\n" for call in calls)
    text = f"{_HEAD}def _register_configs():\n{before}{body}\n\n_register_configs()\n"
    return {**_PIPELINES, _FILE: text}


def _call(config: str, paths: str, detectors: str) -> str:
    return (
        f"        pipeline_config_cls={config},\n        hf_model_paths=[{paths}],\n"
        f"        model_detectors=[{detectors}],\n"
    )


_BASE = _call("SoundConfig", '"org/Sound"', 'lambda path: "sound" in path.lower()')
_NARROW = _call("SoundConfig", '"org/Sound"', 'lambda path: "sound" in path and "pro" not in path')
_PRO = _call("SoundProConfig", '"org/Sound-Pro"', 'lambda path: "sound-pro" in path.lower()')
_FACTORY = """\
    def detector(require=(), exclude=()):

        def detect(path: str) -> bool:
            lowered = path.lower()
            if "sound" not in lowered:
                return False
            return all(t in lowered for t in require) and not any(t in lowered for t in exclude)

        return detect

    is_pro = detector(require=("pro",))
    is_any = detector()

"""

RULE = Rule(
    code="DIT109",
    name="pipeline-detector",
    severity=Severity.WARNING,
    tier=Tier.PROJECT,
    summary="a detector that another one always overrules, or that misses its own paths",
    what=(
        "Evaluates the `model_detectors` of the pipeline registry over the registered paths, in the order "
        "of registration, by an interpreter of its own (no code is run). Reports a detector whose own paths "
        "(for one that looks for pipeline classes: whose classes) are all accepted by an earlier "
        "registration that leads to something else (also by the class of the family's pipeline, since the "
        "resolver asks for both), and a registration of which no detector accepts any of "
        "its own paths or any pipeline class of the tree."
    ),
    why=(
        "An exact path resolves without detectors. A folder in the Hugging Face cache, a fine-tune, a copy "
        "under another name are resolved by the first detector that accepts: they get another model's "
        "pipeline config and preset, with a warning at most, or are not recognised at all."
    ),
    how=(
        "Register the narrower detector before the wider one, or make the wider one exclude it "
        '(`and "distilled" not in path`). Write the tokens in lower case, as they stand in the path.'
    ),
    exceptions=(
        "Detectors that cannot be decided (regular expressions, calls that lead out of the file); "
        "registrations in loops or under conditions; detectors that look for a pipeline class that the tree "
        "does not have; earlier registrations that lead to the same config, family and preset. Some of "
        "several paths missed is no finding."
    ),
    source="`fastvideo/registry.py`, `_get_config_info`, `register_configs`",
    check=check,
    valid=(
        Example("no pipeline registry", {}),
        Example("the narrower one first", _registered(_PRO, _BASE)),
        Example("the wider one excludes", _registered(_NARROW, _PRO)),
        Example(
            "a detector for the class of the pipeline",
            _registered(
                _call("SoundConfig", '"org/Audio-1B"', 'lambda path: "soundpipeline" in path.lower()')
            ),
        ),
        Example(
            "the class of a pipeline that lives elsewhere",
            _registered(_call("SoundConfig", '"org/Audio-1B"', 'lambda path: "audiopipeline" in path')),
        ),
        Example(
            "a factory of detectors",
            _registered(
                _call("SoundProConfig", '"org/Sound-Pro"', "is_pro"),
                _call("SoundConfig", '"org/Sound"', "is_any"),
                before=_FACTORY,
            ),
        ),
        Example(
            "a detector that cannot be decided",
            _registered(_call("SoundConfig", '"org/Audio"', 'lambda path: re.search("sound", path)'), _PRO),
        ),
        Example(
            "an earlier one for the same config",
            _registered(_BASE, _call("SoundConfig", '"org/Sound-v2"', 'lambda path: "sound-v2" in path')),
        ),
        Example(
            "several detectors that together accept the path",
            _registered(
                _call(
                    "SoundConfig", '"org/Sound.1"', 'lambda p: "soundpipeline" in p, lambda p: "sound.1" in p'
                )
            ),
        ),
        Example(
            "the narrower one first, and a wider one that takes the class",
            {
                **_registered(
                    _call("SoundConfig", '"org/Echo-Fast"', 'lambda p: "echo" in p and "fast" in p')
                    + '        model_family="echo",\n        default_preset="echo_fast",\n',
                    _call("SoundConfig", '"org/Echo"', 'lambda p: "echo" in p and "fast" not in p')
                    + '        model_family="echo",\n        default_preset="echo",\n',
                ),
                "fastvideo/pipelines/basic/echo/echo_pipeline.py": (
                    "class EchoPipeline:\n    pass\n\n\nEntryClass = EchoPipeline\n"
                ),
            },
        ),
        Example(
            "only fallbacks, without paths", _registered(_PRO, _call("SoundConfig", "", "lambda p: True"))
        ),
    ),
    invalid=(
        Example(
            "the wider one first",
            _registered(_BASE, _PRO),
            findings=(Expected(_FILE, 34, "accepted first by the detector of SoundConfig in line 29"),),
        ),
        Example(
            "the narrower one made by a factory",
            _registered(
                _call("SoundConfig", '"org/Sound"', "is_any"),
                _call("SoundProConfig", '"org/Sound-Pro"', "is_pro"),
                before=_FACTORY,
            ),
            findings=(Expected(_FILE, 47, "this detector never decides", Severity.WARNING),),
        ),
        Example(
            "the class of the pipeline is taken by a wider one",
            _registered(
                _BASE,
                _call("SoundProConfig", '"org/Audio-Pro"', 'lambda path: "soundpropipeline" in path'),
            ),
            findings=(Expected(_FILE, 34, "('soundpropipeline') is accepted first"),),
        ),
        Example(
            "a wider one takes it by the class of the family's only pipeline",
            {
                **_registered(
                    _call("SoundConfig", '"org/Echo"', 'lambda p: "echo" in p and "fast" not in p')
                    + '        model_family="echo",\n        default_preset="echo",\n',
                    _call("SoundConfig", '"org/Echo-Fast"', 'lambda p: "echo" in p and "fast" in p')
                    + '        model_family="echo",\n        default_preset="echo_fast",\n',
                ),
                "fastvideo/pipelines/basic/echo/echo_pipeline.py": (
                    "class EchoPipeline:\n    pass\n\n\nEntryClass = EchoPipeline\n"
                ),
            },
            findings=(Expected(_FILE, 36, "which accepts the class 'echopipeline'"),),
        ),
        Example(
            "tokens of another name",
            _registered(
                _call(
                    "SoundXLConfig", '"org/Sound-XL-14B"', 'lambda path: "soundxl" in path and "14b" in path'
                ),
                _BASE,
            ),
            findings=(Expected(_FILE, 29, "is taken for SoundConfig"),),
        ),
        Example(
            "upper case",
            _registered(_call("SoundConfig", '"org/Sound"', 'lambda path: "Sound" in path')),
            findings=(Expected(_FILE, 29, "is not recognised"),),
        ),
        Example(
            "a path that excludes itself",
            _registered(
                _call(
                    "SoundConfig",
                    '"org/Sound-Pro"',
                    'lambda path: "sound" in path and "pro" not in path and "pipeline" not in path',
                )
            ),
            findings=(Expected(_FILE, 29, "no detector of SoundConfig accepts 'org/Sound-Pro'"),),
        ),
    ),
)
