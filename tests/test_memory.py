"""A command keeps memory that is free again; a program that imports refnet does not."""

from __future__ import annotations

import subprocess
import sys

import pytest

from refnet import child

FAULTS = """
import resource, sys
import numpy as np
import refnet
if "keep" in sys.argv:
    from refnet.memory import keep_freed_memory
    keep_freed_memory()
for _ in range(10):
    made = [np.ones(1 << 19) for _ in range(8)]  # 4 MiB each
    del made
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
"""


def faults(*words: str) -> int:
    done = subprocess.run(
        [sys.executable, "-c", FAULTS, *words], env=child.environment(), capture_output=True, text=True, check=True
    )
    return int(done.stdout)


def kept() -> bool:
    code = "from refnet.memory import keep_freed_memory; print(keep_freed_memory())"
    command = [sys.executable, "-c", code]
    return (
        subprocess.run(command, env=child.environment(), capture_output=True, text=True, check=True).stdout == "True\n"
    )


@pytest.mark.skipif(sys.platform != "linux", reason="another C library")
def test_arrays_that_follow_each_other_take_the_same_pages():
    if not kept():
        pytest.skip("another C library than that of GNU")
    assert faults("keep") < 0.5 * faults()
