"""What happens to the weights of files, and to no port."""
