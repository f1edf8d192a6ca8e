"""Right answers to the exercises as short programs, whose slips of one step are what readers write instead."""
