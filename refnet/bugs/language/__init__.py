"""What bugs are written in: changes of a segment or of a layer's arrays, and the parts where they are made."""
