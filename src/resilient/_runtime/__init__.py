"""The few real effects: sleep, wait in line, limit time; for threads, asyncio and trio."""
