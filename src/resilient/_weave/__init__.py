"""Templates in, one function out: the fast paths of a pipeline, woven."""
