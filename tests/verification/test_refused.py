"""Files that strict loading refuses, beside one that tells which network they should be: findings, not refusals."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from exporting import network
from safetensors.numpy import save_file

import refnet
from refnet.cli import main
from refnet.errors import FormatError
from refnet.files.checkpoint import identify, settled
from refnet.files.schemes import entries
from refnet.verification.verify import verify


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """By name, a whole file of torchvision's names and one with batch norm folded."""
    folder = tmp_path_factory.mktemp("refused")
    graph, params = network("v2")
    np.savez(folder / "folded.npz", **refnet.Network(graph, params).fold().params)
    return {"whole": written(folder / "whole.safetensors", arrays()), "folded": str(folder / "folded.npz")}


@pytest.fixture(scope="module")
def opened(files):
    """The same files, read once."""
    return {name: identify(path, size=(48, 40)) for name, path in files.items()}


@cache
def keys() -> dict[str, str]:
    return {name: entry.key for name, entry in entries(network("v2")[0]).items()}


def arrays() -> dict[str, np.ndarray]:
    graph, params = network("v2")
    return {entry.key: entry.theirs(params[name]).astype(np.float32) for name, entry in entries(graph).items()}


def key(name: str) -> str:
    return keys()[name]


def written(path, made) -> str:
    save_file({name: np.ascontiguousarray(array) for name, array in made.items()}, path)
    return str(path)


def without(name):
    return {each: array for each, array in arrays().items() if each != key(name)}


def having(name, change):
    return {**arrays(), key(name): change(arrays()[key(name)])}


REFUSED = {
    "a gamma gone": (without("block3.project.bn.gamma"), "block3.project.bn.gamma", "lost"),
    "a variance gone": (without("stem.bn.var"), "stem.bn.var", "lost"),
    "weights gone": (without("block3.project.w"), "block3.project.w", "lost"),
    "the last bias gone": (without("head.logits.b"), "head.logits.b", "lost"),
    "weights transposed": (having("block3.project.w", lambda w: w.swapaxes(0, 1)), "block3.project.w", "transposed"),
    "the last weights transposed": (having("head.logits.w", np.transpose), "head.logits.w", "transposed"),
    "a filter gone": (having("block3.project.w", lambda w: w[:-1]), "block3.project.w", "shape"),
    "an array too many": ({**arrays(), "ema.decay": np.ones(1, np.float32)}, "ema.decay", "extra"),
}


@pytest.mark.parametrize(
    ("what", "other", "first"),
    [*((what, "whole", True) for what in REFUSED), ("a gamma gone", "folded", False)],
)
def test_what_strict_loading_refuses_is_one_finding_beside_another_file(what, other, first, opened, tmp_path):
    made, name, kind = REFUSED[what]
    path = written(tmp_path / "refused.safetensors", made)
    with pytest.raises(FormatError):
        settled(identify(path))
    pair = (path, opened[other]) if first else (opened[other], path)
    found = verify(*pair, size=(48, 40))
    assert [(value.name, value.kind) for value in found.faults] == [(name, kind)]
    assert found.sides.copy.path == path
    assert not found.holds


def test_a_file_that_lacks_weights_is_exit_1_against_another_and_exit_2_alone(files, tmp_path, capsys):
    path = written(tmp_path / "refused.safetensors", without("stem.bn.var"))
    assert main(["verify", path, "--against", files["whole"]]) == 1
    assert "stem.bn.var is lost" in capsys.readouterr().out.splitlines()[-1]
    assert main(["verify", path]) == 2
    assert f"{key('stem.bn.var')!r} is missing" in capsys.readouterr().err


def test_a_file_of_other_things_is_refused_beside_a_network_too(files, tmp_path, capsys):
    path = written(tmp_path / "other.safetensors", {"embedding": np.ones((3, 4), np.float32)})
    assert main(["verify", path, "--against", files["whole"]]) == 2
    assert "other.safetensors" in capsys.readouterr().err


def test_two_files_that_lack_weights_are_refused_in_the_words_of_the_first(tmp_path, capsys):
    first = written(tmp_path / "first.safetensors", without("stem.bn.var"))
    second = written(tmp_path / "second.safetensors", without("stem.bn.mean"))
    assert main(["verify", first, "--against", second]) == 2
    assert "first.safetensors" in capsys.readouterr().err
