"""What pictures are drawn with: shapes, axes, matrices in colours."""
