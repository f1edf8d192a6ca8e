"""Test cases as JUnit XML, which every CI system reads."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple
from xml.etree import ElementTree

__all__ = ["JUnitCase", "suite"]

_ILLEGAL = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # what XML 1.0 cannot hold


class JUnitCase(NamedTuple):
    """One thing that holds or does not.

    Attributes
    ----------
    name : what
    failure : the kind of failure, '' where it holds
    message : in one line
    text : more lines
    """

    name: str
    failure: str
    message: str
    text: str = ""


def suite(name: str, classname: str, cases: Iterable[JUnitCase]) -> str:
    """One suite of cases, as a document."""
    made = ElementTree.Element("testsuite", name=_legal(name))
    failures = 0
    for each in cases:
        case = ElementTree.SubElement(made, "testcase", classname=_legal(classname), name=_legal(each.name), time="0")
        if each.failure:
            failures += 1
            failure = ElementTree.SubElement(case, "failure", type=_legal(each.failure))
            failure.set("message", _legal(each.message))
            failure.text = _legal(each.text)
        else:
            ElementTree.SubElement(case, "system-out").text = _legal(each.message)
    for key, count in (("tests", len(made)), ("failures", failures), ("errors", 0), ("skipped", 0)):
        made.set(key, str(count))
    suites = ElementTree.Element("testsuites")
    suites.append(made)
    ElementTree.indent(suites)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(suites, encoding="unicode") + "\n"


def _legal(text: str) -> str:
    return _ILLEGAL.sub("\ufffd", text)
