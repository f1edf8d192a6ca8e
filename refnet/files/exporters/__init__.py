"""A network -> a vendor's graph: one module for each format. They know no network and no vendor's names of weights."""
