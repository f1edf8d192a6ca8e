"""Bugs of memory: orders of axes and channels, indices, buffers, tails, and how results are stored."""
