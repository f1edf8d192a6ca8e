"""What a candidate's tensors are: their names, numbers and formats, before any of them is judged."""
