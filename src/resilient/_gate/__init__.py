"""The gate that every pipeline has: what operators hold, asked before each attempt."""
