"""The text that meters weave around calls and attempts; `_weave.template` says what it may contain."""

from __future__ import annotations

__all__ = ["ATTEMPT", "CALL"]

# Two locals of the woven function are known to both templates: `tries_00` counts the attempts; `until_00` is
# when the first one ended if it was good, False if the last one raised, else None.
# A call in flight is an object in a set, so that an exception from a signal handler cannot leave one behind.
CALL = """
token_ = object()
tries_00 = 0
until_00 = None
around_ = watching_()                                       #: rescued
watch_ = watcher_(around_, name_)                           #: rescued
started_ = now()
try:
    enter_(token_)
    look_(watch_)                                           #: rescued
    <inner>
    look_(around_)                                          #: rescued
    leave_(token_)
except BaseException as error:
    leave_(token_)
    if meter_.failed(error, now() - started_, tries_00):    #: rescued
        look_(around_)                                      #: rescued
    meter_.failed(error, now() - started_, tries_00)        #: !rescued
    raise
if until_00:                                                #: !judged & !rescued | streamed & !rescued
if until_00 and not watch_.rescued:                         #: !judged & rescued | streamed & rescued
    done_(until_00 - started_)                              #: !judged | streamed
else:                                                       #: !judged | streamed
    meter_.ended(now() - started_, tries_00, until_00)  #: !judged & !streamed & !rescued
    meter_.ended(now() - started_, tries_00, until_00, watch_.rescued)  #: !judged & !streamed & rescued
    meter_.ended(now() - started_, tries_00, until_00, False, exchange.verdict)  #: streamed & !rescued
    meter_.ended(now() - started_, tries_00, until_00, watch_.rescued, exchange.verdict)  #: streamed & rescued
meter_.returned(result, now() - started_, tries_00, until_00)                  #: judged & !streamed & !rescued
meter_.returned(result, now() - started_, tries_00, until_00, watch_.rescued)  #: judged & !streamed & rescued
if len(ended_) > 4096:
    tidy_()
"""

ATTEMPT = """
tries_00 += 1                                               #: !inner
tried_ = now()
try:
    <inner>
except BaseException as error:
    until_00 = False                                        #: !inner
    attempt_.failed(error, now() - tried_, tries_00)        #: !inner
    attempt_.failed(error, now() - tried_)                  #: inner
    raise
if tries_00 == 1:                                           #: !judged & !streamed & !inner
if tries_00 == 1 and not exchange.bad:                      #: streamed & !inner
    until_00 = now()                                        #: !judged & !inner | streamed & !inner
    spent_(until_00 - tried_)                               #: !judged & !inner | streamed & !inner
else:                                                       #: !judged & !inner | streamed & !inner
    until_00 = None                                         #: !judged & !inner | streamed & !inner
    attempt_.ended(now() - tried_, tries_00)                #: !judged & !streamed & !inner
    attempt_.ended(now() - tried_, tries_00, exchange.verdict)      #: streamed & !inner
attempt_.ended(now() - tried_)                              #: !judged & !streamed & inner
attempt_.ended(now() - tried_, None, exchange.verdict)      #: streamed & inner
until_00 = None                                             #: judged & !streamed & !inner
attempt_.returned(result, now() - tried_, tries_00)         #: judged & !streamed & !inner
attempt_.returned(result, now() - tried_)                   #: judged & !streamed & inner
"""
