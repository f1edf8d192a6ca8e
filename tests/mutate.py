"""Mutation testing: small mistakes made in refnet's source, one at a time, and whether the tests see them.

    python tests/mutate.py readings
    python tests/mutate.py readings/bounds --sample 40 --seed 1 --seconds 600

Works in a copy of the checkout, which is left as it is. Each mutant is tested by the test files that `TESTS` names,
until the first one fails. A mutant is

    killed      a test failed
    survived    all passed: a test is missing, or the mutant is equivalent
    equivalent  it survives, and tests/mutants.txt says why no test can see it
    undecided   the tests took more than three times as long as without it, or waited in vain

Prints every survivor and every undecided one with its place, and a table at the end. Exit status: 0 if none survived,
1 if some did, 2 if the request is bad.
"""

from __future__ import annotations

import argparse
import compileall
import contextlib
import multiprocessing
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import NamedTuple

import pytest
from mutations import Mutant, mutants

__all__ = ["Trial", "equivalents", "main", "tests_of"]

CHECKOUT = Path(__file__).resolve().parent.parent
OUTCOMES = ("killed", "survived", "equivalent", "undecided")
GRACE = 5  # seconds beyond three times the unmutated run
MEMORY = 8 << 30  # bytes that a mutant may claim

# A process that has imported what all tests need, and nothing of refnet: what it forks has it at once.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
_SERVER = multiprocessing.get_context("forkserver")
_SERVER.set_forkserver_preload(["pytest", "hypothesis.strategies", "numpy", "scipy.ndimage"])

# The test files, or folders of them, that cover a module; those come first that are quick and see much. The longest
# beginning of a module's path counts. What is not here has the file of its own name, and then all those of its room.
TESTS = {
    "readings/bounds": (
        *(f"readings/test_bounds_{what}.py" for what in ("sums", "others", "tight")),
        "readings/test_carried.py",
        "readings/test_bounds.py",
        "readings/test_bounds_sound.py",
    ),
    "readings/carried": ("readings/test_carried.py", "readings/test_bounds_sums.py", "readings/test_bounds_tight.py"),
    "readings/cost": ("readings/test_cost.py", "networks/test_models.py"),
    "readings/shapes": ("readings/test_shapes.py", "test_graph.py", "networks/test_models.py"),
    "readings/precision": (
        "readings/test_precision.py",
        "readings/test_bounds_sums.py",
        "readings/test_bounds_tight.py",
    ),
    "readings/orders": ("readings/test_orders.py", "readings/test_bounds_tight.py", "readings/test_bounds_sound.py"),
    "readings": ("readings/test_loops.py", "readings/test_fast.py"),
    "judge/compare": ("judge/test_compare.py", "cli/test_compare.py"),
    "judge/describe": ("judge/test_describe.py",),
    "judge/budget": ("judge/test_search.py", "judge/test_diagnose.py"),
    "judge/diagnose": (
        "judge/test_search.py",
        "bugs/test_sampling.py",
        "judge/test_diagnose.py",
        "judge/test_pairs.py",
    ),
    "judge/replays": ("judge/test_search.py", "judge/test_diagnose.py"),
    "judge/search": ("judge/test_search.py", "judge/test_diagnose.py"),
    "judge/sweep": ("judge/test_search.py", "judge/test_diagnose.py"),
    "judge/ways": ("judge/test_search.py", "judge/test_diagnose.py"),
    "judge/saved": ("judge/test_saved.py",),
    "judge/scorecard": ("judge/test_scorecard.py", "judge/test_diagnose.py"),
    "judge/spread": ("judge/test_spread.py", "judge/test_saved.py"),
    "judge/tensors": ("judge/test_tensors.py", "judge/test_compare.py"),
    "judge/verdicts": ("judge/test_verdicts.py",),
    "judge/yardstick": ("judge/test_tensors.py", "judge/test_yardstick.py"),
    "session/steps": ("session/test_steps.py", "session/test_program.py", "session"),
    "session/worker": ("session/test_workers.py", "session"),
    "session/workers": ("session/test_workers.py", "session"),
    "session": ("session/test_program.py", "session/test_session.py", "session"),
    **dict.fromkeys(
        (
            "files/quantised",
            "files/integers_npz",
            *(f"files/importers/{which}integers" for which in ("", "onnx_", "tflite_")),
        ),
        ("test_quantised.py",),
    ),
    "readings/integer": ("readings/integer",),
    "readings/quantised": ("test_quantised.py",),
    "verification": tuple(
        f"verification/test_{what}.py" for what in ("values", "planted", "honest", "health", "files", "refused")
    ),
    "alignment": ("alignment", "verification/test_planted.py", "files/test_identify.py"),
    "bugs": ("bugs", "verification/test_planted.py", "judge/test_diagnose.py"),
    "graph": ("test_graph.py", "session/test_any_graph.py"),
}

# The same of `files`: by test files of its own folder, the modules that they cover. All begin with its small rules.
_OF_FILES = {
    "npz pth": "containers/archive",
    "atomic convert": "containers/atomic",
    "tensorflow_files deployed onnx": "containers/beside",
    "tensorflow_files tensorflow": (
        "containers/bundle containers/graphdef containers/sstable containers/tensorflow "
        "containers/tensorflow_values containers/tfjs"
    ),
    "tflite importers exports": "containers/flatbuffer containers/tflite",
    "hdf5 convert": "containers/hdf5 containers/hdf5_process",
    "hdf5 tensorflow_files deployed": "containers/json_text",
    "hdf5 keras_nested importers": "containers/keras_config",
    "deployed": "containers/ncnn containers/openvino",
    "npz": "containers/npy containers/npz",
    "onnx importers": "containers/onnx",
    "onnx tensorflow_files": "containers/protobuf containers/wire",
    "pickles pth pth_modules": "containers/pickles containers/torch_objects",
    "pth pth_modules": "containers/pth",
    "convert pth": "containers/pth_write",
    "safetensors convert": "containers/safetensors",
    "importers onnx tflite": "containers/structure",
    "pth_modules pth own_networks": "containers/torch_modules containers/torch_wrappers",
    "containers npz pth onnx tflite": "containers",
    "export_onnx": "exporters",
    "own_networks pth_modules": "identify/heads identify/notes identify/prefixes identify/told",
    "identify own_networks checkpoint": "identify/names identify/reading",
    "identify any_network importers": "identify",
    "keras_nested importers exports": "importers/keras",
    "deployed importers": "importers/ncnn importers/openvino",
    "importers tensorflow": (
        "importers/tensorflow importers/tensorflow_constants importers/tensorflow_norms importers/tensorflow_shapes"
    ),
    "importers exports deployed": "importers",
    "any_network checkpoint own_networks": "checkpoint graph_text importers/stored",
    "schemes checkpoint": "schemes",
    "labels": "labels",
    "convert export_onnx": "write",
}
TESTS |= {
    f"files/{module}": tuple(f"files/test_{name}.py" for name in ("small_rules", *names.split()))
    for names, modules in _OF_FILES.items()
    for module in modules.split()
}


class Outcome(NamedTuple):
    """What the tests said of a mutant, and how long they took."""

    what: str
    seconds: float


class Trial:
    """A copy of the checkout in which mutants are tested.

    Parameters
    ----------
    checkout : has the folders of `package` and of the tests
    folder : an empty one, for the copy and for what the tests write
    """

    def __init__(self, checkout: Path, folder: Path) -> None:
        self.copy, self.home = folder / "checkout", folder / "home"
        self.home.mkdir()
        unwanted = shutil.ignore_patterns(".*", "__pycache__", "build", "dist", "*.egg-info")
        shutil.copytree(checkout, self.copy, ignore=unwanted)
        compileall.compile_dir(self.copy, quiet=2)
        self._unmutated: dict[tuple[str, ...], float] = {}

    def tested(self, mutant: Mutant, tests: Sequence[str]) -> Outcome:
        """Run the tests on one mutant."""
        limit = self.unmutated(tests)
        path = self.copy / mutant.file
        original = path.read_bytes()
        for stale in (path.parent / "__pycache__").glob(f"{path.stem}.*.pyc"):
            stale.unlink()
        path.write_text(mutant.source)
        try:
            started = time.monotonic()
            code, _ = self._run(tests, limit)
            return Outcome(_meaning(code), time.monotonic() - started)
        finally:
            path.write_bytes(original)

    def unmutated(self, tests: Sequence[str]) -> float:
        """Seconds of processor time of the tests without a mutant; they must pass.

        Raises
        ------
        SystemExit : they do not
        """
        key = tuple(tests)
        if key not in self._unmutated:
            code, used = self._run(tests, 3600)
            if code != 0:
                raise SystemExit(f"the tests fail without a mutant (pytest's status {code}): {' '.join(tests)}")
            self._unmutated[key] = used
        return self._unmutated[key]

    def _run(self, tests: Sequence[str], seconds: float) -> tuple[int | None, float]:
        """pytest's exit status, a signal's number below zero, or None after a wait in vain; and processor time."""
        answer, asked = _SERVER.Pipe(duplex=False)
        child = _SERVER.Process(target=_pytest, args=(self.copy, self.home, tests, 3 * seconds + GRACE, asked))
        child.start()
        asked.close()
        try:
            patience = 8 * seconds + 30  # on the clock: a busy machine is no finding
            if answer in wait([answer, child.sentinel], patience):
                with contextlib.suppress(EOFError):
                    return answer.recv()
            child.join(1)
            return child.exitcode, seconds
        finally:
            _ended(child.pid)
            child.join()


def _pytest(copy: Path, home: Path, tests: Sequence[str], seconds: float, answer: Connection) -> None:
    """Run tests in this process, which has been forked for that."""
    os.setsid()  # so that `_ended` knows what it leaves behind
    resource.setrlimit(resource.RLIMIT_CPU, (int(seconds) + 1, int(seconds) + 2))  # of its children, too, each
    _, most = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, most))  # its children may set their own
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.chdir(copy)
    os.environ |= {
        "PYTHONPATH": str(copy),
        "PYTHONDONTWRITEBYTECODE": "1",
        "HYPOTHESIS_PROFILE": "mutants",
        "HOME": str(home),
        "TMPDIR": str(home),
    }
    tempfile.tempdir = None
    sys.dont_write_bytecode = True
    sys.path[:] = [
        str(copy),
        *(path for path in sys.path if Path(path).resolve() not in (CHECKOUT, CHECKOUT / "tests")),
    ]
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nothing, descriptor)
    code = pytest.main(["-x", "-q", "-p", "no:cacheprovider", *tests])
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    answer.send((int(code), sum(each.ru_utime + each.ru_stime for each in used)))
    os._exit(0)  # whatever threads the tests have left


def _ended(leader: int | None) -> None:
    """End the processes of a session: a child, whatever it started and left behind."""
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if os.getsid(int(entry.name)) == leader:
                os.kill(int(entry.name), signal.SIGKILL)


def _meaning(code: int | None) -> str:
    if code is None or -code in (signal.SIGXCPU, signal.SIGKILL):
        return "undecided"
    return "survived" if code == 0 else "killed"


# -------------------------------------------------------------------------------------------- modules, tests, the list


def modules(place: str, checkout: Path) -> list[str]:
    """The files of a room or a module, beneath the checkout.

    Raises
    ------
    SystemExit : there is none
    """
    room = checkout / "refnet" / place.removeprefix("refnet/").removesuffix(".py")
    found = [room.with_suffix(".py")] if room.with_suffix(".py").is_file() else sorted(room.rglob("*.py"))
    if not found:
        print(f"{place}: neither a folder nor a module of refnet", file=sys.stderr)
        raise SystemExit(2)
    return [path.relative_to(checkout).as_posix() for path in found]


def tests_of(module: str, checkout: Path) -> list[str]:
    """The test files that cover a module, see `TESTS`."""
    path = module.removeprefix("refnet/").removesuffix(".py").removesuffix("/__init__")
    listed = max((key for key in TESTS if f"{path}/".startswith(f"{key}/")), key=len, default="")
    own = f"test_{path.rpartition('/')[2]}.py"
    room = path.split("/")[0]
    found: list[str] = []
    for place in TESTS.get(listed, (own, f"{room}/{own}", room)):
        at = checkout / "tests" / place
        found += [
            path.relative_to(checkout).as_posix() for path in (sorted(at.rglob("test_*.py")) if at.is_dir() else [at])
        ]
    return [test for test in dict.fromkeys(found) if (checkout / test).is_file()]


def equivalents(path: Path) -> dict[tuple[str, str, str, str], str]:
    """The mutants that no test can see, and why.

    An entry is four lines: '# the reason', 'file scope', '- before', '+ after'; a reason counts until the next one.
    """
    found: dict[tuple[str, str, str, str], str] = {}
    reason = file = scope = before = ""
    for line in path.read_text().splitlines() if path.is_file() else ():
        mark, _, text = line.partition(" ")
        if mark == "#":
            reason = text
        elif mark == "-":
            before = text
        elif mark == "+":
            found[file, scope, before, text] = reason
        elif line:
            file, scope = mark, text
    return found


# ------------------------------------------------------------------------------------------------------------ command


def main(argv: Sequence[str] | None = None, checkout: Path = CHECKOUT) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("place", help="a folder of refnet, 'readings', or a module, 'readings/bounds'")
    parser.add_argument("--sample", type=int, help="so many mutants, drawn at random; by default all")
    parser.add_argument("--seed", type=int, default=0, help="of the draw")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="begin no mutant after so many seconds")
    parser.add_argument("--list", action="store_true", help="print the mutants, test none")
    asked = parser.parse_args(argv)
    every = [
        mutant for file in modules(asked.place, checkout) for mutant in mutants((checkout / file).read_text(), file)
    ]
    chosen = every
    if asked.sample is not None and asked.sample < len(every):
        chosen = [every[i] for i in sorted(random.Random(asked.seed).sample(range(len(every)), asked.sample))]
    if asked.list:
        print("\n".join(_shown(mutant) for mutant in chosen))
        return 0
    known = equivalents(checkout / "tests" / "mutants.txt")
    for key in known.keys() - {mutant.key for mutant in every}:
        if key[0] in {mutant.file for mutant in every}:
            print(f"tests/mutants.txt names a mutant that is no more: {' '.join(key[:2])}: {key[2]}")
    counts: dict[str, Counter[str]] = {}
    with tempfile.TemporaryDirectory(prefix="refnet-mutate-") as folder:
        for mutant, outcome in _outcomes(Trial(checkout, Path(folder)), chosen, asked.seconds):
            what = "equivalent" if outcome.what == "survived" and mutant.key in known else outcome.what
            row = counts.setdefault(mutant.file, Counter())
            row[what] += 1
            row["seconds"] += round(outcome.seconds)
            if what in ("survived", "undecided"):
                print(f"{what} {_shown(mutant)}", flush=True)
    _table(counts, len(chosen), len(every))
    return int(any(row["survived"] for row in counts.values()))


def _outcomes(trial: Trial, chosen: Sequence[Mutant], seconds: float) -> Iterator[tuple[Mutant, Outcome]]:
    """Test one mutant after another, as long as there is time."""
    end = time.monotonic() + seconds
    for index, mutant in enumerate(chosen):
        if time.monotonic() > end:
            return
        if sys.stderr.isatty():
            print(f"\r{index + 1}/{len(chosen)} {mutant.file}:{mutant.line}\033[K", end="\r", file=sys.stderr)
        yield mutant, trial.tested(mutant, tests_of(mutant.file, trial.copy))


def _shown(mutant: Mutant) -> str:
    return f"{mutant.file}:{mutant.line} {mutant.scope}\n- {mutant.before}\n+ {mutant.after}"


def _table(counts: dict[str, Counter[str]], asked: int, every: int) -> None:
    rows = [*counts.items(), ("all", sum(counts.values(), Counter()))]
    width = max(len(name) for name, _ in rows)
    print(f"\n{'':{width}}  {'mutants':>8}" + "".join(f"{column:>11}" for column in (*OUTCOMES, "seconds")))
    for name, row in rows:
        tried = sum(row[what] for what in OUTCOMES)
        print(f"{name:{width}}  {tried:8}" + "".join(f"{row[column]:11}" for column in (*OUTCOMES, "seconds")))
    total = rows[-1][1]
    decided = total["killed"] + total["survived"]
    print(f"{sum(total[what] for what in OUTCOMES)} tested of {asked} chosen of {every}; ", end="")
    print(f"killed {total['killed']} of {decided} that change behaviour ({total['killed'] / max(decided, 1):.0%})")


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # ends the tests and removes the copy
    sys.exit(main())
