"""Exercises: a reader's function on random legal cases, against the definition, with its mistake named.

A reader writes one operation, or one block. It is run on cases that are drawn small first, held to `readings.loops`
within what rounding explains, and where it is wrong the catalogue of bugs is replayed to see which of them gives the
reader's answers on all cases. This room makes facts; `report.exercises` words them.
"""
