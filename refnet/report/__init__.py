"""Facts as text, HTML, JSON and JUnit XML: what the other rooms find is worded here and nowhere else."""
