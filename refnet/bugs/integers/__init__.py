"""What ports of integer kernels get wrong."""
