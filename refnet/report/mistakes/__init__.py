"""Mistakes in words: of ports, of files and of readers, and errors that no bug explains."""
