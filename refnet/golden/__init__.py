"""Golden tensors: judging a candidate's against them, and finding out why one is wrong."""
