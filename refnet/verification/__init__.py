"""Is this file still the network that it came from? Structure, values, behaviour and health of one or two files.

`sides` pairs two files, `structure` compares their graphs, `values` their arrays (with `layers`, `roundings` and
`kinds`), `behaviour` what they compute; `health` looks at one file. `verifying` puts all of it together and `report`
says it. Nothing is read or recognised here: that is `files.checkpoint`.
"""
