"""Two graphs side by side: which unit of the one is which of the other, and every way in which they differ.

Recognition gives a file's graph the names of a known network by it, and says what makes it another; verification holds
two files against each other with it. Differences are values; `report.differences` words them.
"""
