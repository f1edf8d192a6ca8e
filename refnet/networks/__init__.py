"""What the networks are: the papers' tables, the vendors' dialects, and the graphs that they make."""
