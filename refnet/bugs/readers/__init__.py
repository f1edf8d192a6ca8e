"""Slips of readers who write a layer for the first time."""
