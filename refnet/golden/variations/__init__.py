"""The bugs of `golden.hypotheses`, each as a function from a segment to the other ways of running it."""
