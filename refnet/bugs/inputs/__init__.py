"""Bugs of what goes into a network: pixels, pictures and their preprocessing."""
