"""Dataset runs: how often is a network right? Knows neither the command line nor, but for one module, Dask."""
