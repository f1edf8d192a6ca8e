"""How weights and images come in and go out."""
