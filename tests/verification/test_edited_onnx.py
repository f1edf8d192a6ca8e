"""Faults planted in a vendor's own ONNX file: each is found at its node or tensor, against the PyTorch file."""

from __future__ import annotations

import numpy as np
import pytest

from refnet.report.differences import line
from refnet.verification.verify import verify


def nodes(model, op: str) -> list:
    return [node for node in model.graph.node if node.op_type == op]


def slope(model) -> None:
    (alpha,) = [each for each in nodes(model, "HardSigmoid")[3].attribute if each.name == "alpha"]
    alpha.f = 0.2


def stride(model) -> None:
    depthwise = [node for node in nodes(model, "Conv") if any(a.name == "group" and a.i > 1 for a in node.attribute)]
    (strides,) = [each for each in depthwise[1].attribute if each.name == "strides"]
    strides.ints[:] = [1, 1]


def activation(model) -> None:
    nodes(model, "Relu")[1].op_type = "Sigmoid"


def bias(model) -> None:
    from onnx import numpy_helper

    name = nodes(model, "Conv")[8].input[2]
    (array,) = [each for each in model.graph.initializer if each.name == name]
    array.CopyFrom(numpy_helper.from_array(np.zeros_like(numpy_helper.to_array(array)), name))


EDITS = {
    "slope": (slope, "structure", "slope 0.2"),
    "stride": (stride, "structure", "block2.depthwise has stride (1, 1), not (2, 2)"),
    "activation": (activation, "structure", "is sigmoid, not relu"),
    "bias": (bias, "values", "lost"),
}


@pytest.mark.parametrize("edit", EDITS)
def test_an_edited_file_is_told(exports, tmp_path, edit):
    import onnx

    change, level, words = EDITS[edit]
    model = onnx.load(exports / "v3_small-old20-folded.onnx")
    change(model)
    onnx.save(model, tmp_path / "edited.onnx")
    found = verify(exports / "v3_small.pth", tmp_path / "edited.onnx")
    assert not found.holds
    if level == "structure":
        assert [change for change in found.structure if words in line(change)]
        assert not found.faults
    else:
        assert not found.structure
        assert [value.kind for value in found.faults] == [words]


def ended(path, count: int):
    """The exported file with so many softmaxes behind its logits."""
    import onnx

    model = onnx.load(path)
    (end,) = model.graph.output
    for _ in range(count):
        model.graph.node.append(onnx.helper.make_node("Softmax", [end.name], [f"{end.name}.soft"], axis=-1))
        end.name = f"{end.name}.soft"
    return model


@pytest.mark.parametrize(("count", "holds"), [(1, True), (2, False)])
@pytest.mark.parametrize("copy", [True, False], ids=["of the copy", "of the original"])
def test_probabilities_beside_logits_are_meant_but_not_a_softmax_of_probabilities(
    exports, tmp_path, count, holds, copy
):
    import onnx

    made = tmp_path / "probabilities.onnx"
    onnx.save(ended(exports / "v3_small-old20-folded.onnx", count), made)
    files = [exports / "v3_small.pth", made] if copy else [made, exports / "v3_small.pth"]
    assert verify(*files).holds == holds
    assert not verify(*files, allow=("folded", "renamed")).holds
