"""A command keeps memory that is free again; a program that imports refnet does not, and can return it."""

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


RESIDENT = """
import resource, sys
import numpy as np
from refnet.memory import keep_freed_memory, return_freed_memory
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize() >> 20
if "keep" in sys.argv:
    keep_freed_memory()
made = [np.ones(12_000) for _ in range(400)]  # 36 MiB, of sizes that come from the heap
last = np.ones(12_000)  # what lies below it is not returned by itself
full = resident()
del made
return_freed_memory()
print(full - resident())
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


@pytest.mark.skipif(sys.platform != "linux", reason="another C library")
def test_what_is_free_can_be_returned_where_it_is_not_kept():
    """MiB of 36."""
    if not kept():
        pytest.skip("another C library than that of GNU")

    def returned(*words: str) -> int:
        command = [sys.executable, "-c", RESIDENT, *words]
        return int(subprocess.run(command, env=child.environment(), capture_output=True, check=True).stdout)

    assert returned("keep") < 5 < 30 < returned()
