"""What a code base calls its things and where it keeps them: data, and a handful of predicates."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, TypeAlias

MappingSemantics: TypeAlias = Literal["first-match", "chained"]
"""`first-match`: the first rule whose pattern matches a name rewrites it, once. `chained`: the rules
are asked again with every new name; each is used once, and one that changes nothing is passed over."""


@dataclass(frozen=True)
class Discovery:
    """How the model registry finds its classes in the folders below the models folder.

    Every registry reads the last plain `EntryClass = ...` of a file that defines a class.
    """

    nested: bool = True
    """Whether it looks below the component's own folder, and so names a package by its folder."""

    skips_dunder_folders: bool = False
    """Whether a component's folder may not begin with `__`."""

    tables_first: bool = False
    """Whether the legacy tables are there before discovery (and so keep their place) or after it."""

    aliases: str | None = None
    """The class attribute whose strings are further names of a registered class."""


@dataclass(frozen=True)
class Loader:
    """The method that builds a port from a checkpoint's folder, with `init_params`."""

    module: str
    cls: str
    method: str


@dataclass(frozen=True)
class Loading:
    """What the loader of weights leaves out, and leaves empty, by design."""

    skipped: tuple[str, ...] = ()
    """Ends of names, after the mapping, that are no parameters and are passed over."""

    may_be_absent: tuple[str, ...] = ()
    """Parts of the names of parameters that a checkpoint may lack."""

    lenient: tuple[str, ...] = ()
    """Beginnings of the names of classes for which names without a place are passed over."""

    by_index: bool = False
    """Whether of a folder with an index the files are read that it names, and no others."""


@dataclass(frozen=True)
class Registrations:
    """Where pipelines are, and how one module registers their configs and presets by name."""

    folder: str
    """The folder with a folder for each family."""

    registry: str
    """The file of the pipeline registry."""

    register: str
    """The function of the registry that files a pipeline config."""

    configs: str
    """The folder of the pipeline configs."""

    config_base: str
    files: frozenset[str]
    """Names of the files in a family's folder that hold pipeline configs and presets."""

    preset_class: str
    preset_group: str
    """The name under which a family's presets are listed for the registry."""

    def holds(self, path: str) -> bool:
        """Whether a file is the registry or holds pipeline configs or presets."""
        return (
            path == self.registry
            or (path.startswith(f"{self.configs}/") and path.endswith(".py"))
            or (path.startswith(f"{self.folder}/") and path.rpartition("/")[2] in self.files)
        )


@dataclass(frozen=True)
class ConfigBucket:
    """A folder of model configs and the bases that its classes derive from, by full dotted name.

    The first base of each kind is the one to name in a message. `only`: a class there may not derive
    from the plain model config bases either, since what serves the folder asks for the bases' fields.
    """

    folder: str
    arch_bases: tuple[str, ...]
    config_bases: tuple[str, ...]
    only: bool = False

    @property
    def name(self) -> str:
        """The folder's own name."""
        return self.folder.rpartition("/")[2]

    @property
    def bases(self) -> tuple[str, ...]:
        """The bases of both kinds."""
        return self.arch_bases + self.config_bases


@dataclass(frozen=True)
class Serving:
    """Where it can be read which pipelines run a port, and with which arguments."""

    pipelines: str
    """The folder with a folder for each family."""

    configs: str
    """The folder of the pipeline configs."""

    config_field: str
    """The field of a pipeline config that holds the DiT's config."""

    config_attribute: str
    """The class attribute of a pipeline that names its pipeline config."""

    argument: str
    """The keyword by which a pipeline hands the DiT to a stage, and the stage's attribute for it."""

    tuple_switch: str = "return_dict"
    """The keyword by which a stage that gives False asks for a tuple instead of an output object."""


@dataclass(frozen=True)
class DistributedWrapper:
    """A function of the code base that answers exactly what one of `torch.distributed` does.

    `asks`: its name there; `group`: the function whose group it is asked about (called without
    arguments, then `.device_group` or `.cpu_group`), None for the group of all ranks.
    """

    asks: str
    group: str | None
    wrapper: str


@dataclass(frozen=True)
class ParityConventions:
    """How a code base writes its parity tests and keeps a port's state, beside where they lie."""

    state_file: str = "PORT_STATUS.md"
    """The name of a port's state file, in its folder."""

    shared_folders: frozenset[str] = frozenset()
    """Folders below the parity folders that are named after components, not after ports."""

    pipeline_entries: frozenset[str] = frozenset()
    """What tests of whole pipelines start them with."""

    scope_constant: str | None = None
    """The module constant in which a component's parity test says what it covers; None where tests
    need not say so."""

    scopes: tuple[str, ...] = ()
    """What it may say."""

    oracle_constants: tuple[str, str] = ("OFFICIAL_MODULE", "OFFICIAL_CLASS")
    """The module constants in which a parity test names the official module and class."""

    template_marks: frozenset[str] = frozenset()
    """Placeholders of the templates for tests and state files."""

    template_comments: frozenset[str] = frozenset()
    """Comments of these templates that ask for something to be filled in, without `#`."""


@dataclass(frozen=True)
class Profile:
    """The layout and the names of one code base. All paths are relative to the root, with `/`."""

    name: str
    title: str
    """What people call it, for messages."""
    package: str
    """The dotted name of the package that every other name lies in."""
    models: str
    dits: str
    dit_configs: str
    registry: str
    legacy_table: str
    test_roots: tuple[str, ...]
    base_dit: str
    model_config_base: str
    dit_config_base: str
    dit_arch_config_base: str
    tuple_linears: frozenset[str]
    """Linear layers whose forward returns `(output, bias)`."""
    replicated_linear: str
    """The one of them that stands for a plain `nn.Linear`."""
    loader: Loader
    logger_factory: str | None = None
    """The full name of the function that makes a module's logger; None where any logger will do."""
    stacking_attentions: frozenset[str] = frozenset()
    """Attention layers that put query, key and value into one tensor, so that their heads must agree."""
    discovery: Discovery = field(default_factory=Discovery)
    roots: tuple[str, ...] = ("",)
    """Where the root lies, counted from the folder that people call the checkout; the first one wins."""
    document_roots: tuple[str, ...] = ()
    """Folders in which a port's state files and the configurations of local checkpoints lie."""
    parity_folders: tuple[str, ...] = ()
    """Folders all of whose tests compare a port with its original."""
    parity: ParityConventions = field(default_factory=ParityConventions)
    status_folders: tuple[str, ...] = ()
    """Folders of a port's state files, with `{family}` in the place of its name."""
    transparent_configs: frozenset[str] = frozenset()
    """Config bases whose `__setattr__` sets fields as if it were not there."""
    mapping_semantics: MappingSemantics = "first-match"
    """How `get_param_names_mapping` applies the rules of a mapping."""
    loading: Loading = field(default_factory=Loading)
    mapping_suffix: str = "param_names_mapping"
    """How the names of mappings end, in lower case."""
    mappings_of_names: tuple[str, ...] = ()
    """Mappings of that kind that hold names and no patterns: nothing compiles what stands there."""
    arch_config_base: str = ""
    config_buckets: tuple[ConfigBucket, ...] = ()
    pipeline_folders: tuple[str, ...] = ()
    """Where pipelines, their stages and their configs live."""
    loader_folders: tuple[str, ...] = ()
    """Where checkpoints are loaded: no model imports from there to build itself."""
    sampling_configs: tuple[str, ...] = ()
    """Classes whose fields are sampling and run-time settings, by full dotted name."""
    metadata_in_arch: bool = False
    """Whether an arch config holds all of a checkpoint's metadata, read or not, by intent."""
    registry_fallback: str | None = None
    """The architecture that the model registry takes where it does not know a name."""
    component_loaders: Loader | None = None
    """The method that gives each component of a checkpoint its loader."""
    registry_components: frozenset[str] = frozenset()
    """Components whose `_class_name` the model registry resolves, where the loaders cannot be read."""
    original_weights: tuple[str, ...] = ()
    """Those of the document roots that hold checkpoints as published, before any conversion."""
    key_dumps: str = ""
    """Where the names of a prototype's state dicts are kept, with `{family}`, `{component}` and `{side}`
    (`official`, or the profile's name); empty where no such place is agreed on."""
    registrations: Registrations | None = None
    """None where nothing registers pipelines by name."""
    lora_reads_config: bool = False
    """Whether LoRA renames an adapter's keys by the config's mapping, not by the class's."""
    serving: Serving | None = None
    """None where stages choose the arguments at run time."""
    output_heads: str = (
        r"(?!to_)(\w+_)?(head|heads|out|out_proj|out_layers?|output(_\w+)?|final(_\w+)?|unembed\w*)"
        r"|(head|heads|proj_out|norm_out)_\w+"
    )
    """What the modules are called that make a model's outputs: a pattern for the whole attribute name."""
    output_shapers: str = r"unpatchif|depatchif|unpack|unpad|gather|unshard|postprocess|crop"
    """What functions are called that only bring an output into shape: a pattern to search a name for."""
    distributed: str | None = None
    """The module through which the code base reaches `torch.distributed`; None where there is no such
    rule."""
    distributed_wrappers: tuple[DistributedWrapper, ...] = ()
    """What that module offers in place of single functions of `torch.distributed`."""
    rules_off: tuple[tuple[str, str], ...] = ()
    """Rules that make no sense in this code base, each with the reason why."""

    @property
    def folder(self) -> str:
        """The folder of the package."""
        return self.package.replace(".", "/")

    def owns(self, dotted: str) -> bool:
        """Whether a dotted name lies in the package: only there does absence mean anything."""
        return dotted == self.package or dotted.startswith(self.package + ".")

    def off(self, code: str) -> str | None:
        """Why a rule is switched off here; None where it is not."""
        return dict(self.rules_off).get(code)

    def bucket_of(self, path: str) -> ConfigBucket | None:
        """The bucket of configs that a file lies in, or None."""
        return next((b for b in self.config_buckets if path.startswith(b.folder + "/")), None)

    def is_checked(self, path: str) -> bool:
        """Whether rules look at a file: models, configs, the registry, parity tests and what
        serves them, documents."""
        if not path.endswith(".py"):
            return self.is_document(path)
        return (
            path.startswith((f"{self.dits}/", f"{self.dit_configs}/"))
            or path == self.registry
            or (self.registrations is not None and self.registrations.holds(path))
            or self.bucket_of(path) is not None
            or self.is_parity_test(path)
            or self.is_parity_helper(path)
        )

    def is_document(self, path: str) -> bool:
        """Whether rules look at a file that is no Python: a port's state file, a checkpoint's config, a
        dump of weight names."""
        name = path.rpartition("/")[2]
        known = name in (self.parity.state_file, "config.json", "model_index.json")
        return (known or self.is_key_dump(path)) and path.startswith(
            tuple(root + "/" for root in self.document_roots)
        )

    def is_key_dump(self, path: str) -> bool:
        """Whether a file is by its name a dump of the names of one side of a port (see `key_dumps`)."""
        ends = self.key_dumps.rpartition("{side}")[2]
        return bool(ends) and path.endswith(tuple(f"_{side}{ends}" for side in ("official", self.name)))

    def is_test(self, path: str) -> bool:
        """Whether pytest would collect the file, below one of the test roots."""
        name = path.rpartition("/")[2]
        return (
            path.startswith(tuple(root + "/" for root in self.test_roots))
            and name.endswith(".py")
            and (name.startswith("test_") or name.endswith("_test.py"))
        )

    def is_parity_test(self, path: str) -> bool:
        """Whether a test file claims, by its name or place, to compare a port with its original."""
        return self.is_test(path) and ("parity" in path.rpartition("/")[2] or self._lies_with_parity(path))

    def claims_parity(self, path: str) -> bool:
        """Whether a test file says by its name that it compares numbers with the original."""
        return self.is_test(path) and "parity" in path.rpartition("/")[2]

    def declares_scope(self, path: str) -> bool:
        """Whether a file is a component's parity test, which says what it covers."""
        return self.claims_parity(path) and self._lies_with_parity(path) and "pipeline" not in path

    def is_parity_helper(self, path: str) -> bool:
        """Whether a file that is no test serves parity tests: what lies beside them."""
        return path.endswith(".py") and self._lies_with_parity(path) and not self.is_test(path)

    def port_folder(self, path: str) -> str | None:
        """The folder of one port's tests that a file lies in, None for shared folders."""
        for folder in self.parity_folders:
            name, slash, _ = path.removeprefix(folder + "/").partition("/")
            if path.startswith(folder + "/") and slash and name not in self.parity.shared_folders:
                return f"{folder}/{name}"
        return None

    def _lies_with_parity(self, path: str) -> bool:
        return path.startswith(tuple(folder + "/" for folder in self.parity_folders))
