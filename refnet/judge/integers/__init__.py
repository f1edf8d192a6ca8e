"""Ports of quantised networks: integers on the port's own integers."""
