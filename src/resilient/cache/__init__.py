"""An HTTP cache for the transports: RFC 9111, RFC 5861 and RFC 9211."""

from resilient.cache.config import HttpCache

__all__ = ["HttpCache"]
