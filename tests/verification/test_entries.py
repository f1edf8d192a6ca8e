"""A checkpoint with a running average beside its weights: the other file may hold the one that was passed over."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from refnet import build, random_params, write_weights
from refnet.errors import FormatError
from refnet.files.checkpoint import identify
from refnet.files.containers import pth
from refnet.files.identify.notes import Note
from refnet.report.verdict import sentence
from refnet.report.verification import verification_document
from refnet.verification import entries
from refnet.verification.verify import verify

GRAPH = build("timm/mobilenetv1_100", width=0.1, size=(32, 32), classes=4)
RAW = random_params(GRAPH)
AVERAGE = {name: y * np.float32(1.01) for name, y in RAW.items()}


@pytest.fixture
def checkpoint(tmp_path, monkeypatch):
    """A checkpoint from which the raw weights were taken, and a file with its running average."""
    for name, params in (("raw", RAW), ("average", {name: noisy(y) for name, y in AVERAGE.items()})):
        write_weights(GRAPH, params, tmp_path / f"{name}.pth")
    read = pth.read

    def of_entry(path, entry=None):
        if entry == "epoch":
            raise FormatError("is no network")
        return read(path if entry is None else tmp_path / "average.pth")

    monkeypatch.setattr(entries.pth, "read", of_entry)
    found = identify(tmp_path / "raw.pth")
    return replace(found, notes=(*found.notes, Note("beside", ("epoch", "state_dict_ema")))), tmp_path / "average.pth"


def noisy(y):
    moved = 0.01 * np.abs(y).mean() * np.random.default_rng(3).random(y.shape)
    return (y + moved).astype(np.float32)


def test_the_entry_that_the_other_file_holds_is_told(checkpoint):
    raw, average = checkpoint
    for found in (verify(raw, average), verify(average, raw)):
        assert (found.entry.entry, found.entry.other) == ("state_dict_ema", str(average))
        assert f"{average} holds entry 'state_dict_ema' of {raw.path}" in sentence(found)
        assert verification_document(found)["entry"]["entry"] == "state_dict_ema"


def test_the_entry_that_a_folded_export_holds_is_told(checkpoint, tmp_path):
    raw, average = checkpoint
    held = identify(average)
    write_weights(held.graph, held.params, tmp_path / "export.npz", fold=True)
    assert verify(raw, tmp_path / "export.npz").entry.entry == "state_dict_ema"


def test_an_entry_that_holds_other_weights_is_not_told(checkpoint, tmp_path):
    write_weights(GRAPH, {name: noisy(noisy(y)) for name, y in AVERAGE.items()}, tmp_path / "later.pth")
    assert verify(checkpoint[0], tmp_path / "later.pth").entry is None


def test_files_that_agree_are_not_asked_for_their_entries(checkpoint):
    assert verify(checkpoint[0], checkpoint[0]).entry is None
