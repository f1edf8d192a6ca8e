"""What is said of a pair of files as a whole."""

from __future__ import annotations

from dataclasses import replace

from exporting import checkpoint, network

from refnet.verification import verify
from refnet.verification.array_findings import ArrayFinding
from refnet.verification.behaviour import Behaviour
from refnet.verification.roundings import Rounding
from refnet.verification.sides import pair


def verified(**fields):
    graph, params = network("v2")
    file = checkpoint(graph, params)
    made = verify.Verified(file, pair(file, file), (), (), Behaviour(), (), ("folded",))
    return replace(made, **fields)


def test_two_files_are_the_same_but_for_what_needs_to_be_allowed():
    half = ArrayFinding("a.w", "folded+float16", needs=("folded", "float16"))
    wrong = ArrayFinding("b.w", "stale", True, needs=("int8",))
    assert verified().holds
    found = verified(values=(half,))
    assert (found.needs, found.unmeant, found.faults, found.holds) == (("float16", "folded"), ("float16",), [], False)
    assert verified(values=(half,), allowed=("folded", "float16")).holds
    found = verified(values=(wrong,))  # of what is wrong nothing needs to be allowed
    assert (found.needs, found.faults, found.holds) == ((), [wrong], False)


def test_a_run_that_differs_though_everything_holds_is_strange():
    off = Behaviour(verdicts={"a": "wrong"})
    assert verified(behaviour=off).strange
    assert not verified(behaviour=off).holds
    assert not verified(behaviour=off, values=(ArrayFinding("b.w", "stale", True),)).strange
    assert not verified(behaviour=Behaviour(verdicts={"a": "rounding"})).strange


def test_the_shortest_format_of_any_tensor_that_is_not_wrong_is_what_a_copy_was_rounded_to():
    def rounded(*needs, fault=False):
        return ArrayFinding("a.w", "", fault, needs)

    assert verify._short((rounded("folded"),)) == ""
    assert verify._short((rounded("float16"), rounded("folded"))) == "float16"
    assert verify._short((rounded("float16"), rounded("bfloat16"))) == "bfloat16"
    assert verify._short((rounded("float16"), rounded("folded", "int8"))) == "int8"
    assert verify._short((rounded("int8", fault=True), rounded("float16"))) == "float16"


def test_biases_that_were_moved_are_those_that_fit_with_a_constant():
    moved = Rounding(("folded",), "moved", {}, lambda made: made)
    found = (
        ArrayFinding("a.b", "folded", rounding=moved),
        ArrayFinding("b.b", "stale", True, rounding=moved),
        ArrayFinding("c.b", "folded", rounding=moved._replace(form="float")),
        ArrayFinding("d.b", "bit-equal"),
    )
    assert verify._moved(found) == {"a.b"}
