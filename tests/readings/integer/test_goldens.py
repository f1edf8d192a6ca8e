"""Integers against those that other runtimes made: none different. tests/data/integers says where they are from."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest
from readings.integer import single_ops, tflite_file
from support import CHECKOUT, DATA

import refnet
from refnet.readings.integer import fast, loops

INTEGERS = DATA / "integers"
SHARED = CHECKOUT.parent / "shared"
EXECUTIONS = pytest.mark.parametrize("execution", [loops, fast], ids=["loops", "fast"])
LARGE = 20_000  # outputs of an operation that scalar loops are not asked for

# The kernels that the saved outputs of a TFLite file are of.
SETS = {"ref": "tflite", "opt": "tflite_optimised", "xnn": "xnnpack", "tflm": "tflite_micro"}
ENGINES = {"fbgemm": "fbgemm_avx2", "x86": "fbgemm_avx2", "qnnpack": "qnnpack"}


def shared(*names: str) -> Path:
    path = SHARED.joinpath(*names)
    if not path.exists():
        pytest.skip("needs the shared folder beside the repository")
    return path


def different(y, golden) -> int:
    """How many elements differ, by their bits."""
    assert y.shape == golden.shape
    assert y.dtype == golden.dtype
    bits = f"u{golden.itemsize}"
    return int((np.ascontiguousarray(y).view(bits) != np.ascontiguousarray(golden).view(bits)).sum())


def tflite_inputs(file, arrays):
    """Those of an archive; where it has none, all pairs of integers."""
    given = {}
    for place, index in enumerate(file.inputs):
        x = arrays.get(f"in{place}")
        if x is None:
            dtype = np.dtype(file.tensors[index].dtype)
            codes = np.arange(65536) // (256, 1)[place] % 256 + np.iinfo(dtype).min
            x = codes.astype(dtype).reshape(1, 256, 256, 1)
        given[index] = x
    return given


@cache
def operations_in(path):
    """The operations of an archive, read once for all executions and kernels."""
    with np.load(path, allow_pickle=False) as archive:
        return list(single_ops.operations(archive))


def wrong_tflite(execution, path, made_by):
    """Operations, and those of which an element differs, of an archive of TFLite files of one operation."""
    count, wrong = 0, []
    for tag, arrays in operations_in(path):
        golden = arrays.get(made_by, arrays["ref"])
        if made_by not in arrays["sets"] or (execution is loops and golden.size > LARGE):
            continue
        file = tflite_file.read(arrays["model"].tobytes())
        kernels = "tflite_hybrid" if "/hybrid" in tag else SETS[made_by]
        ((_, y),) = tflite_file.run(file, execution.KERNELS[kernels], tflite_inputs(file, arrays))
        count += 1
        wrong += [tag] if different(y, golden) else []
    return count, wrong


def wrong_onnx(execution, path):
    rules, ops = execution.KERNELS["onnxruntime_avx2"], operations_in(path)
    return len(ops), [tag for tag, g in ops if different(single_ops.onnx_op(rules, tag, g), g["y"])]


def wrong_torch(execution, path):
    ops = operations_in(path)
    rules = [execution.KERNELS[ENGINES[tag.split("/")[0]]] for tag, _ in ops]
    found = zip(rules, ops, strict=True)
    return len(ops), [tag for rule, (tag, g) in found if different(single_ops.torch_op(rule, tag, g), g["y"])]


@EXECUTIONS
@pytest.mark.parametrize("made_by", SETS)
def test_no_element_of_an_operation_of_tflite_differs(execution, made_by):
    count, wrong = wrong_tflite(execution, INTEGERS / "tflite.npz", made_by)
    assert wrong == []
    assert count >= 30


@EXECUTIONS
def test_no_element_in_int16_or_in_dynamic_range_differs(execution):
    assert wrong_tflite(execution, INTEGERS / "litert.npz", "ref") == (75, [])


# Random files of one operation, from the file on. The optimised kernels have another logistic function and tanh of
# int16 where scales are powers of two.
UNKNOWN = {"ref": (), "opt": ("LOGISTIC/int16", "TANH/int16"), "xnn": ("LOGISTIC/int16", "TANH/int16")}


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    """The network of a TFLite file's bytes, read once for all executions of it."""
    path = tmp_path_factory.mktemp("loaded") / "one.tflite"

    @cache
    def load(data):
        path.write_bytes(data)
        return refnet.load(path)

    return load


@pytest.mark.parametrize(("execution", "made_by"), [(loops, "ref"), *((fast, name) for name in UNKNOWN)])
def test_no_element_of_a_random_file_of_one_operation_differs(execution, made_by, loaded):
    wrong = []
    found = operations_in(INTEGERS / "random.npz")
    for tag, arrays in found:
        if made_by in arrays["sets"] and not tag.startswith(UNKNOWN[made_by]):
            y = from_file(loaded, arrays, execution, SETS[made_by])
            wrong += [tag] if different(y, arrays.get(made_by, arrays["ref"])) else []
    assert wrong == []
    assert len(found) >= 100


def from_file(loaded, arrays, execution, kernels):
    """What refnet makes of a file of one operation; by the rule alone, where a network is none of one operation."""
    given = [arrays[key] for key in sorted(arrays) if key.startswith("in")]
    file = tflite_file.read(arrays["model"].tobytes())
    op = file.operations[0].op
    floats = "float32" in (file.tensors[file.inputs[0]].dtype, file.tensors[file.operations[0].outputs[0]].dtype)
    if len(given) > 1 or op == "SPACE_TO_BATCH_ND" or floats:
        ((_, y),) = tflite_file.run(file, execution.KERNELS[kernels], dict(zip(file.inputs, given, strict=True)))
        return y
    net = loaded(arrays["model"].tobytes()).under(kernels)
    *_, (_, y) = net.steps(np.ascontiguousarray(np.moveaxis(given[0], -1, 1)), execution)
    y = getattr(y, "values", y)
    return np.moveaxis(y, 1, -1).reshape(arrays["ref"].shape)


@EXECUTIONS
def test_no_element_of_an_operation_of_onnxruntime_differs(execution):
    assert wrong_onnx(execution, INTEGERS / "onnxruntime.npz") == (22, [])


@EXECUTIONS
def test_no_element_of_an_operation_of_pytorch_differs(execution):
    assert wrong_torch(execution, INTEGERS / "torch.npz") == (26, [])


@pytest.mark.parametrize("made_by", SETS)
def test_no_element_of_all_shared_operations_of_tflite_differs(made_by):
    count, wrong = wrong_tflite(fast, shared("goldens", "integers", "tflite_ops.npz"), made_by)
    assert wrong == []
    assert count == {"tflm": 163}.get(made_by, 291)


def test_no_element_of_all_shared_operations_of_onnxruntime_differs():
    assert wrong_onnx(fast, shared("goldens", "integers", "onnx_ops.npz")) == (64, [])


def test_no_element_of_all_shared_operations_of_pytorch_differs():
    assert wrong_torch(fast, shared("goldens", "integers", "torch_ops.npz")) == (135, [])
