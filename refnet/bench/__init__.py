"""How fast refnet is beside other runtimes on this machine, with the same weights."""
