"""Cases that do not pass, and why: each must keep failing until it is taken out of here."""

from __future__ import annotations

H11 = "the parser of our clients' HTTP/1.1 refuses a transfer coding that it does not know: there is no answer to store"
HIDDEN = "our clients' connections read interim answers and tell nobody"
POISON = "the origin sends more than it declared, and the clients' pool reuses the connection with the rest still in it"
BY_RFC = "RFC 9111 4.3.2 compares the date of the request with Date where there is no Last-Modified: that is a 200"

SHARED: dict[str, str] = {
    "drops-transfer-encoding": H11,
    "102-passed-on": HIDDEN,
    "103-passed-on": HIDDEN,
    "interim-not-stored": HIDDEN,
    "interim-fields-not-stored": HIDDEN,
    "304-keeps-content-length": POISON,
    "if-modified-since-without-last-modified": BY_RFC,
}

PRIVATE: dict[str, str] = {
    "drops-transfer-encoding": H11,
    "304-keeps-content-length": POISON,
}
