"""The pipeline registry as its text says: order, arguments, what is not followed."""

from __future__ import annotations

from pathlib import Path

from analyzers.project.index import Project
from analyzers.project.pipeline_registry import PipelineRegistry
from analyzers.project.profile import FASTVIDEO
from analyzers.project.settings import Settings
from analyzers.project.sources import Sources
from analyzers.rules.examples import write_tree

_HEAD = """\
_DETECTORS = []


def register_configs(sampling_param_cls, pipeline_config_cls, workload_types=(), hf_model_paths=None,
                     model_detectors=None, model_family=None):
    pass


"""
_RESOLVE = """\
def resolve(model_path, config):
    name = config["_class_name"].lower()
    matched = []
    for model_id, detector in _DETECTORS:
        if detector(model_path.lower()) or detector(name):
            matched.append(model_id)
    return matched[0]
"""


def read(root: Path, text: str) -> PipelineRegistry:
    write_tree(root, {"fastvideo/registry.py": text})
    registry = Project(Sources(root), FASTVIDEO, Settings()).pipeline_registry
    assert registry is not None
    return registry


def test_registrations_come_in_the_order_in_which_they_run(tmp_path: Path) -> None:
    registry = read(
        tmp_path,
        _HEAD
        + """\
PATHS = ["org/B"]


def _is_a(path: str) -> bool:
    return path.startswith("org/a")


def _register_second():
    register_configs(None, B, hf_model_paths=PATHS, model_detectors=[lambda p: "b" in p])


def _register_first():
    is_a = _is_a
    register_configs(None, A, (), ["org/A"], [is_a, lambda p: undefined(p)], model_family="a")


_register_first()
_register_second()
register_configs(None, pipeline_config_cls=C, hf_model_paths=[f"org/{v}" for v in ("C", "D")])
""",
    )
    assert [r.config for r in registry.registrations] == ["A", "B", "C"]
    assert [r.paths for r in registry.registrations] == [("org/A",), ("org/B",), ("org/C", "org/D")]
    assert registry.complete
    first = registry.registrations[0].detectors
    assert first is not None
    assert [d.accepts("org/a-large") for d in first] == [True, None]
    assert dict(registry.registrations[0].info)["model_family"] == "'a'"


def test_what_is_not_followed_makes_it_incomplete(tmp_path: Path) -> None:
    registry = read(
        tmp_path,
        _HEAD
        + """\
def _register_configs():
    register_configs(None, A, hf_model_paths=download())
    for config in (B, C):
        register_configs(None, config)
    register_configs(None, D, **options)


_register_configs()
""",
    )
    assert [(r.config, r.paths) for r in registry.registrations] == [("A", None)]
    assert not registry.complete
    assert {"B", "C", "D"} <= registry.mentioned


def test_how_the_resolver_asks(tmp_path: Path) -> None:
    usual = read(tmp_path / "usual", _HEAD + _RESOLVE)
    assert (usual.lowers, usual.first_wins) == (True, True)
    as_given = read(tmp_path / "as_given", _HEAD + _RESOLVE.replace("model_path.lower()", "model_path"))
    assert not as_given.lowers
    ranked = read(
        tmp_path / "ranked", _HEAD + _RESOLVE.replace("return matched[0]", "return max(matched, key=len)")
    )
    assert not ranked.first_wins


def test_no_registry_or_one_that_does_not_parse(tmp_path: Path) -> None:
    write_tree(tmp_path, {"fastvideo/registry.py": "def broken(:\n"})
    assert Project(Sources(tmp_path), FASTVIDEO, Settings()).pipeline_registry is None
    (tmp_path / "fastvideo/registry.py").unlink()
    assert Project(Sources(tmp_path), FASTVIDEO, Settings()).pipeline_registry is None
