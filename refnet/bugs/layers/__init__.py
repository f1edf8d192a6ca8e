"""Bugs of what a network computes, layer by layer, and of what it returns."""
