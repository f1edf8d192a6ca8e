"""A candidate judged against its reference, segment by segment, and why a segment is wrong."""
