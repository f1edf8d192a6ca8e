"""Why a tensor is wrong: what is tried, in which order, within which budget."""
