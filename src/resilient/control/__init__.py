"""The control directory: what operators want, kept where every process of the host sees it."""
