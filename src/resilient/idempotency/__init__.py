"""Writes that happen once: keys for those who call, and the server side for those who are called."""
