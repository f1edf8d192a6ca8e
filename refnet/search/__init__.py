"""What a network costs on a device, and networks that cost less: latency, and what needs no machine."""
