"""One graph, read in many ways: each module has one function per operation, spelled as the operation is."""
