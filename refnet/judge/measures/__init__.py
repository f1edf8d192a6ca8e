"""How far a tensor is from what it should be, and how far it may be."""
