"""Cases that do not pass, and why: each must keep failing until it is taken out of here."""

from __future__ import annotations

H11 = "the parser of our clients' HTTP/1.1 refuses a transfer coding that it does not know: there is no answer to store"
HIDDEN = "our clients' connections read interim answers and tell nobody"
BY_DATE = "RFC 9111 4.3.2 compares the request's date with Date where there is no Last-Modified: that is a 200"
LANGUAGE = "which language a request gets by its weights is for the origin to choose: it may have another one by now"
SHORT = "the origin sent a byte less than it said: what was asked for is not all there"
NO_TAG = "without a strong validator parts must not be combined (RFC 9111 3.4), so none is asked for"
IDENTITY = "an answer that sets a cookie is where an identity begins; a private cache keeps each one's answers apart"
ASKED = "a request with max-age=0 gets a fresh answer, also where the stored one says that it never changes"

EVERYWHERE: dict[str, str] = {
    "drops-transfer-encoding": H11,
    "vary-language-by-weight": LANGUAGE,
    "end-of-part": SHORT,
    "last-byte-of-part": SHORT,
    "part-is-completed": NO_TAG,
}

SHARED: dict[str, str] = {
    **EVERYWHERE,
    "102-passed-on": HIDDEN,
    "103-passed-on": HIDDEN,
    "interim-not-stored": HIDDEN,
    "interim-fields-not-stored": HIDDEN,
    "if-modified-since-without-last-modified": BY_DATE,
}

PRIVATE: dict[str, str] = {
    **EVERYWHERE,
    "stores-set-cookie": IDENTITY,
    "set-cookie-reused-while-fresh": IDENTITY,
    "reused-for-a-request-with-cookie": IDENTITY,
    "immutable-reused-at-reload": ASKED,
}
