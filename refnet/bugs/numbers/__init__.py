"""Bugs of arithmetic: short formats and sums that leave them."""
