"""The golden pack: its format, written and read, and a candidate's tensors matched to its nodes."""
