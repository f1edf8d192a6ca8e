"""Test cases as JUnit XML, which every CI system reads."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple
from xml.etree import ElementTree

from refnet.text import plain, plain_lines

__all__ = ["JUNIT_MARK", "JUnitCase", "suite"]

JUNIT_MARK = b"<testsuite"  # what tells a file of test cases from other XML


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
    made = ElementTree.Element("testsuite", name=plain(name))
    failures = 0
    for each in cases:
        case = ElementTree.SubElement(made, "testcase", classname=plain(classname), name=plain(each.name), time="0")
        if each.failure:
            failures += 1
            failure = ElementTree.SubElement(case, "failure", type=plain(each.failure))
            failure.set("message", plain(each.message))
            failure.text = plain_lines(each.text)
        else:
            ElementTree.SubElement(case, "system-out").text = plain(each.message)
    for key, count in (("tests", len(made)), ("failures", failures), ("errors", 0), ("skipped", 0)):
        made.set(key, str(count))
    suites = ElementTree.Element("testsuites")
    suites.append(made)
    ElementTree.indent(suites)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(suites, encoding="unicode") + "\n"
