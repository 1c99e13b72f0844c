"""DIT302 sampling-knob-in-arch: a sampling or run-time setting on an arch config."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from analyzers.facts.model import Assignment, ClassFacts, Placed
from analyzers.findings import Applicability, Finding, Fix, Related, Severity
from analyzers.project.readers import Read, own_fields
from analyzers.rules.base import Context, Example, Expected, Rule, Tier

KNOB: Final = re.compile(
    r"""(?x)
    (?:num_)?(?:inference|sampling|sample|denois(?:e|ing)|diffusion|dmd_denoising)_(?:time)?steps?(?:_list)?
    | num_(?:train_)?(?:time)?steps | timesteps(?:_index|_list)? | timestep_list | step_list
    | warp_denoising_step
    | \w*guidance_(?:scale|rescale|strength|interval)\w* | \w*cfg_(?:scale|strength|rescale|interval)\w*
    | (?:target_|sample_|output_|video_)?fps | frame_rate
    | \w*flow_shift\w* | sample_shift | timestep_shift | sigma_shift | shift
    | (?:scheduler|solver|sampler)(?:_\w+)? | sample_solver | noise_schedule
    | sigma_(?:min|max) | sigmas | eta | seed | negative_prompt | strength | context_noise
    | (?:num_)?chunk_(?:size|frames|overlap) | overlap_frames | sliding_window_num_frames
    | frames_per_chunk | num_frames | height | width | max_area | resolution | boundary_(?:ratio|timestep)
    | num_(?:videos|images)_per_prompt | batch_size | output_type | vae_(?:tiling|sp|precision)
    | dit_precision | \w*_cpu_offload | enable_teacache | teacache_\w+ | use_fsdp_inference
    | enable_torch_compile | (?:use|enable|do)_cfg | do_classifier_free_guidance | cfg_zero_steps
    | denoising_strength | num_output_frames | video_length | sampling_\w+
    """
)
"""Names that samplers, schedulers and pipelines use. No registered constructor of diffusers' transformers
has an argument of such a name."""


def check(context: Context) -> Iterator[Finding]:
    """Looks at the fields of the arch configs."""
    if not context.file.path.startswith(context.profile.dit_configs + "/"):
        return
    for cls in context.file.classes:
        if cls.fact.partial or not context.names.derives_from(cls, context.profile.dit_arch_config_base):
            continue
        for field in cls.fact.attributes:
            for name in field.names if not field.augmented else ():
                if is_knob(context, name) and not _is_inherited(context, cls, name):
                    yield from _judge(context, cls, name, field)


def is_knob(context: Context, name: str) -> bool:
    """Whether a field is called like a setting of sampling, by custom or in the tree's own words."""
    return KNOB.fullmatch(name) is not None or name in context.project.pipelines.sampling_fields()


def _is_inherited(context: Context, cls: Placed[ClassFacts], name: str) -> bool:
    """Whether a base declares the field: it is judged there."""
    return any(name in own_fields(base) for base in context.names.ancestry(cls).classes[1:])


def _judge(context: Context, cls: Placed[ClassFacts], name: str, field: Assignment) -> Iterator[Finding]:
    project, readers = context.project, context.project.readers
    ports = project.ports_of(cls)
    files = {path for port in ports for path in readers.model_files(port)}
    files = files or set(project.sources.walk(context.profile.dits))
    if readers.hands_on_whole(sorted(files)) or readers.reads_in_all(sorted(files), name):
        return
    archs = [port.arch_config for port in ports if port.arch_config is not None]
    configs = {c.path for arch in (cls, *archs) for c in context.names.ancestry(arch).classes}
    if readers.reads_in_all(sorted(configs), name):
        return  # another field is derived from it
    if any(name == known.name for port in ports for known in project.mirrors.of(port)):
        return
    outside = tuple(r for r in _outside(context, name) if r.of_model_config)
    helpers = {path for file in files for path in readers.imported(file)}
    if any(r.location.path in helpers for r in outside):
        return  # a layer that is given the config
    who = f"{_files(outside)} it, the model never does" if outside else "nothing reads it"
    yield context.finding(
        cls.at(field.span),
        f"'{name}' on '{cls.fact.name}' is a setting of sampling, not of the architecture ({who}): here a "
        "checkpoint's config.json overwrites it, and all pipelines of the model share one value",
        symbol=f"{cls.fact.name}.{name}",
        port=ports[0].name if len(ports) == 1 else None,
        related=tuple(Related(r.location, "read here") for r in outside[:3]),
        fix=_fix(context, cls, name, field, outside),
    )


def _files(reads: tuple[Read, ...]) -> str:
    paths = tuple(dict.fromkeys(r.location.path for r in reads))
    if len(paths) == 1:
        return f"{paths[0]} reads"
    return f"{paths[0]} and {len(paths) - 1} more read"


def _outside(context: Context, name: str) -> tuple[Read, ...]:
    """Reads by whatever is neither a model nor a model's config, pipelines first."""
    folders = tuple(f"{folder}/" for folder in context.profile.pipeline_folders)
    found = context.project.readers.reads_outside(name)
    return tuple(sorted(found, key=lambda r: (not r.location.path.startswith(folders), r.location)))


def _fix(
    context: Context, cls: Placed[ClassFacts], name: str, field: Assignment, outside: tuple[Read, ...]
) -> Fix | None:
    """None where the pipeline config to move to is not the only one, or where it has such a field."""
    project, names = context.project, context.names
    configs = [
        c
        for c in context.file.classes
        if (held := names.arch_config_class(c)) is not None
        and names.qualified_class(held) == names.qualified_class(cls)
        and names.derives_from(c, context.profile.dit_config_base)
    ]
    homes = [home for config in configs for home in project.pipelines.holding(config)]
    redeclared = [
        other
        for other in project.dit_arch_configs
        if name in own_fields(other) and names.qualified_class(other) != names.qualified_class(cls)
    ]
    if len(homes) != 1 or homes[0].fact.partial or redeclared or field.annotation is None:
        return None
    if any(name in own_fields(c) for c in names.ancestry(homes[0]).classes):
        return None
    return Fix(
        title=f"Move '{name}' to '{homes[0].fact.name}'",
        operation="move-field",
        arguments={
            "path": cls.path,
            "class": cls.fact.name,
            "field": name,
            "to": homes[0].path,
            "home": homes[0].fact.name,
            "readers": [*sorted({r.location.path for r in outside})],
        },
        applicability=Applicability.UNSAFE,
    )


_FILE = "fastvideo/configs/models/dits/echo.py"
_MODEL = "fastvideo/models/dits/echo.py"
_PIPELINE = "fastvideo/pipelines/basic/echo/echo_pipeline.py"
_HOME = "fastvideo/configs/pipelines/echo.py"


def _arch(fields: str) -> str:
    return f"""\
from dataclasses import dataclass, field

from fastvideo.configs.models.dits.base import DiTArchConfig, DiTConfig


@dataclass
class EchoArchConfig(DiTArchConfig):
    num_layers: int = 2
{fields}

@dataclass
class EchoConfig(DiTConfig):
    arch_config: DiTArchConfig = field(default_factory=EchoArchConfig)
"""


def _model(body: str = "        self.layers = config.num_layers\n") -> str:
    return f"""\
from fastvideo.configs.models.dits.echo import EchoConfig
from fastvideo.models.dits.base import BaseDiT


class EchoTransformer3DModel(BaseDiT):
    _fsdp_shard_conditions = EchoConfig()._fsdp_shard_conditions
    _compile_conditions = EchoConfig()._compile_conditions
    param_names_mapping = EchoConfig().param_names_mapping

    def __init__(self, config: EchoConfig, hf_config: dict) -> None:
        super().__init__(config=config, hf_config=hf_config)
{body}
    def forward(self, hidden_states, encoder_hidden_states, timestep, guidance=None, **kwargs):
        return hidden_states


EntryClass = EchoTransformer3DModel
"""


_HOME_TEXT = """\
from dataclasses import dataclass, field

from fastvideo.configs.models.dits.echo import EchoConfig


@dataclass
class PipelineConfig:
    flow_shift: float = 3.0


@dataclass
class EchoPipelineConfig(PipelineConfig):
    dit_config: EchoConfig = field(default_factory=EchoConfig)
    vae_tiling: bool = False

    def __post_init__(self) -> None:
        self.vae_tiling = True
"""
_READER = """\
class EchoPipeline:

    def forward(self, batch, fastvideo_args):
        cfg = fastvideo_args.pipeline_config.dit_config.arch_config
        steps = cfg.num_inference_steps  # cfg.num_inference_steps
        return steps, batch.fps, fastvideo_args.pipeline_config.dit_config.fps
"""


def _tree(fields: str, **files: str) -> dict[str, str | None]:
    named = {"model": _MODEL, "pipeline": _PIPELINE, "home": _HOME, "config": _CHECKPOINT}
    return {
        _FILE: _arch(fields),
        _MODEL: _model(),
        "fastvideo/configs/models/dits/__init__.py": """\
from fastvideo.configs.models.dits.echo import EchoConfig
from fastvideo.configs.models.dits.sound import SoundConfig

__all__ = ["EchoConfig", "SoundConfig"]
""",
        **{named[name]: text for name, text in files.items()},
    }


_CHECKPOINT = "converted_weights/echo/transformer/config.json"

RULE = Rule(
    code="DIT302",
    name="sampling-knob-in-arch",
    severity=Severity.WARNING,
    tier=Tier.PROJECT,
    summary="a sampling or run-time setting on an arch config",
    what=(
        "Reports a field of a DiT's arch config that is called like a setting of sampling or of the run "
        "(steps, timesteps, guidance or CFG scale, fps, flow shift, chunk size, frame count, area, "
        "scheduler, "
        "offloading, ... and whatever the tree's own `SamplingParam` has), where no file that builds the "
        "model "
        "reads it. Who reads a field is looked up in the whole tree; the message names the reader."
    ),
    why=(
        "The arch config holds what the weights fix. `update_model_arch` overwrites it from the checkpoint's "
        "`config.json`, it cannot be set for one request, and all pipelines that share the model share its "
        "value: a setting there is silently the wrong one for the second pipeline."
    ),
    how=(
        "Declare it on the pipeline's config (or in its presets) and read it from there. The fix moves the "
        "field to the one pipeline config that holds the model and rewrites the reads that it can follow."
    ),
    exceptions=(
        "A field that the model reads (also through `getattr`, `hf_config` or a config that it hands on "
        "whole), that another field is derived from, or that a local `config.json` of the port has. A field "
        "that a base declares is judged at the base."
    ),
    source=(
        "`fastvideo/configs/models/base.py`: the arch config holds the fields of the published config.json; "
        "`fastvideo/configs/models/dits/magi_human.py` spells the boundary out"
    ),
    fixable=Applicability.UNSAFE,
    check=check,
    valid=(
        Example(
            "The model reads it: as an attribute, by name, from hf_config",
            _tree(
                """\
    num_frames: int = 21
    chunk_size: int = 4
    fps: int = 24
""",
                model=_model("""\
        arch = config.arch_config
        self.frames = arch.num_frames
        self.chunk = getattr(config, "chunk_size", 4)
        self.fps = hf_config["fps"]
"""),
                pipeline=_READER,
            ),
        ),
        Example(
            "A helper of the model reads it, or a layer that is given the config",
            {
                **_tree(
                    "    num_frames: int = 21\n    chunk_size: int = 4\n",
                    model="from fastvideo.layers.echo_window import window\n"
                    "from fastvideo.models.dits.echo_rope import rope\n" + _model(),
                ),
                "fastvideo/layers/echo_window.py": (
                    "def window(config, x):\n    return x[: config.chunk_size]\n"
                ),
                "fastvideo/models/dits/echo_rope.py": (
                    "def rope(config):\n    return range(config.num_frames)\n"
                ),
            },
        ),
        Example(
            "The config is taken apart as a whole",
            _tree(
                "    num_frames: int = 21\n",
                model="from dataclasses import asdict\n\n" + _model("        self.all = asdict(config)\n"),
            ),
        ),
        Example(
            "Another field is derived from it; the published config has it; names that only look alike",
            _tree(
                """\
    fps: int = 24
    base_fps: float = 0.0
    num_inference_steps: int = 50
    guidance_embeds: bool = True
    frequency_shift: int = 1
    height_patches: int = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        self.base_fps = self.fps / 2
""",
                config='{"_class_name": "EchoTransformer3DModel", "num_inference_steps": 50}',
            ),
        ),
        Example(
            "A pipeline config may have them; so may a class that is no arch config",
            {
                **_tree("", home=_HOME_TEXT),
                "fastvideo/configs/models/dits/extra.py": (
                    "class Sampling:\n    num_inference_steps: int = 50\n"
                ),
            },
        ),
    ),
    invalid=(
        Example(
            "Only the pipeline reads them, through a local name and written out",
            _tree(
                """\

    # Steps of the distilled checkpoint.
    num_inference_steps: int = 8
    fps: int = 24
""",
                pipeline=_READER,
                home=_HOME_TEXT,
            ),
            (
                Expected(
                    _FILE,
                    11,
                    "'num_inference_steps' on 'EchoArchConfig' is a setting of sampling, not of the "
                    "architecture "
                    "(fastvideo/pipelines/basic/echo/echo_pipeline.py reads it, the model never does)",
                    Severity.WARNING,
                ),
                Expected(_FILE, 12, "'fps' on 'EchoArchConfig'"),
            ),
            fixed={
                _FILE: _arch(""),
                _HOME: _HOME_TEXT.replace(
                    "    vae_tiling: bool = False\n",
                    "    vae_tiling: bool = False\n    # Steps of the distilled checkpoint.\n"
                    "    num_inference_steps: int = 8\n    fps: int = 24\n",
                ),
                _PIPELINE: """\
class EchoPipeline:

    def forward(self, batch, fastvideo_args):
        cfg = fastvideo_args.pipeline_config.dit_config.arch_config
        steps = fastvideo_args.pipeline_config.num_inference_steps  # cfg.num_inference_steps
        return steps, batch.fps, fastvideo_args.pipeline_config.fps
""",
            },
        ),
        Example(
            "Nothing reads them; no pipeline config is there to move them to",
            _tree("""\
    guidance_scale: float = 5.0
    flow_shift: float | None = None
    timesteps: tuple[int, ...] = (0, 250)
    num_inference_steps = 50
"""),
            (
                Expected(_FILE, 9, "(nothing reads it)"),
                Expected(_FILE, 10, "'flow_shift'"),
                Expected(_FILE, 11, "'timesteps'"),
                Expected(_FILE, 12, "'num_inference_steps'"),
            ),
        ),
        Example(
            "In the tree's own words: a field of its sampling parameters, read with getattr by a stage",
            {
                **_tree("    motion_bucket: int = 127\n"),
                "fastvideo/api/__init__.py": "",
                "fastvideo/api/sampling_param.py": "class SamplingParam:\n    motion_bucket: int = 127\n",
                "fastvideo/pipelines/stages/denoising.py": """\
def bucket(args):
    return getattr(args.pipeline_config.dit_config, "motion_bucket", 127)
""",
            },
            (Expected(_FILE, 9, "fastvideo/pipelines/stages/denoising.py reads it"),),
        ),
        Example(
            "Judged where it is declared, not where a subclass sets it again",
            _tree("""\
    num_frames: int = 81


@dataclass
class LongEchoArchConfig(EchoArchConfig):
    num_frames: int = 161
"""),
            (Expected(_FILE, 9, "'num_frames' on 'EchoArchConfig'"),),
        ),
    ),
)
