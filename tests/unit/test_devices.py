"""Which GPU a run gets."""

from __future__ import annotations

import pytest

from lsp_server.checks.devices import CPU, Gpu, chosen_device, gpus

FIRST = Gpu(0, "GPU-aaaa-1", "H200", 10 << 30, 80 << 30)
SECOND = Gpu(1, "GPU-bbbb-2", "H200", 70 << 30, 80 << 30)
THIRD = Gpu(2, "GPU-bbbb-3", "H200", 70 << 30, 80 << 30)


@pytest.mark.parametrize(
    ("visible", "device"),
    [
        (None, SECOND.uuid),
        ("0", FIRST.uuid),
        ("0, 2", THIRD.uuid),
        ("GPU-aaaa", FIRST.uuid),
        ("GPU-bbbb-3", THIRD.uuid),
        ("", CPU),
        ("-1", CPU),
        ("7", CPU),
    ],
)
def test_the_freest_of_those_that_may_be_seen(visible: str | None, device: str) -> None:
    environment = {} if visible is None else {"CUDA_VISIBLE_DEVICES": visible}
    assert chosen_device([FIRST, SECOND, THIRD], environment) == device


def test_without_a_device_it_is_the_cpu() -> None:
    assert chosen_device([], {}) == CPU


def test_asking_needs_no_driver() -> None:
    assert all(gpu.free <= gpu.total for gpu in gpus())
