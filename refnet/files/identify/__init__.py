"""Which network is this file? By the names and shapes of its arrays, or by the structure that it tells.

`names` finds the networks whose weights a file holds, strict both ways. `structure` aligns a graph that a file tells
with the networks that refnet knows, and says in `differences` where it is another.
"""
