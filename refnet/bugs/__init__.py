"""The bugs that networks have: one catalogue, replayed, matched and injected."""
