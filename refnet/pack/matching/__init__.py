"""Which of a candidate's tensors is which node: by names, order, shapes and content."""
