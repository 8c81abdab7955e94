"""The bounded shelf against a naive list, and the races that the list cannot show."""

from __future__ import annotations

import sys
import threading
from random import Random

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from resilient._machines.sieve import Node, Sieve


class Naive:
    """What is kept, oldest first, as one reads it in the paper: a queue, a hand, marks."""

    def __init__(self, most, room):
        self.most, self.room = most, room
        self.queue = []
        self.hand = 0
        self.evicted = self.expired = 0

    def find(self, key):
        return next((node for node in self.queue if node["key"] == key), None)

    def remove(self, node):
        place = self.queue.index(node)
        del self.queue[place]
        if place < self.hand:
            self.hand -= 1
        if self.hand >= len(self.queue):  # past the newest: it begins anew, whoever comes meanwhile
            self.hand = 0

    def evict(self):
        while True:
            if self.hand >= len(self.queue):
                self.hand = 0
            node = self.queue[self.hand]
            if not node["visited"]:
                self.remove(node)
                self.evicted += 1
                return
            node["visited"] = False
            self.hand += 1

    def put(self, key, size, end, now):
        known = self.find(key)
        if known:
            self.remove(known)
        if self.room is not None and size > self.room:
            return False
        while self.queue and self.queue[0]["end"] <= now:
            self.remove(self.queue[0])
            self.expired += 1
        while len(self.queue) >= self.most or (self.room is not None and self.bytes + size > self.room):
            self.evict()
        visited = known is not None and known["visited"]
        self.queue.append({"key": key, "size": size, "end": end, "visited": visited})
        return True

    @property
    def bytes(self):
        return sum(node["size"] for node in self.queue)


class SieveModel(RuleBasedStateMachine):
    """Puts, hits, drops and time, side by side with the naive list."""

    @initialize(most=st.integers(1, 6), room=st.none() | st.integers(5, 40))
    def begin(self, most, room):
        self.sieve, self.naive = Sieve(most, room), Naive(most, room)
        self.now = 0.0
        self.hits = 0

    @rule(key=st.integers(0, 12), size=st.integers(1, 12), lasts=st.integers(1, 20))
    def put(self, key, size, lasts):
        node = Node(key, self.now + lasts, size)
        assert self.sieve.put(node, self.now) == self.naive.put(key, size, self.now + lasts, self.now)

    @rule(first=st.integers(20, 90), many=st.integers(1, 8), lasts=st.integers(10, 40))
    def put_many(self, first, many, lasts):
        """More at once, so that the hand gets around."""
        for key in range(first, first + many):
            self.put(key, 2, lasts)

    @rule(key=st.integers(0, 12))
    def hit(self, key):
        node, model = self.sieve.entries.get(key), self.naive.find(key)
        assert (node is None) == (model is None)
        if node is not None:
            node.hits += 1
            model["visited"] = True
            self.hits += 1

    @rule()
    def hit_the_oldest(self):
        if self.naive.queue:
            self.hit(self.naive.queue[0]["key"])

    @rule()
    def wait_for_the_end_of_the_oldest(self):
        if self.naive.queue:
            self.now = max(self.now, self.naive.queue[0]["end"])

    @rule(key=st.integers(0, 12))
    def drop(self, key):
        node, model = self.sieve.entries.get(key), self.naive.find(key)
        if node is not None:
            assert self.sieve.drop(node)
            assert not self.sieve.drop(node)
            self.naive.remove(model)

    @rule(seconds=st.integers(0, 15))
    def wait(self, seconds):
        self.now += seconds

    @rule()
    def renew(self):
        """A forked child keeps what it has, in the order of its ends, with nothing marked."""
        self.sieve.renew()
        self.naive.hand = 0
        order = [node.key for node in self.sieve.nodes()]
        self.naive.queue.sort(key=lambda node: order.index(node["key"]))
        assert [node["end"] for node in self.naive.queue] == sorted(node["end"] for node in self.naive.queue)
        for model in self.naive.queue:
            model["visited"] = False

    @rule(really=st.integers(0, 3))
    def clear(self, really):
        if really:
            return
        assert self.sieve.clear() == len(self.naive.queue)
        self.naive.queue, self.naive.hand = [], 0

    @invariant()
    def they_are_the_same(self):
        if not hasattr(self, "sieve"):
            return
        assert [node.key for node in self.sieve.nodes()] == [node["key"] for node in self.naive.queue]
        assert set(self.sieve.entries) == {node["key"] for node in self.naive.queue}
        assert self.sieve.size == self.naive.bytes
        assert len(self.sieve) == len(self.naive.queue) <= self.naive.most
        assert self.sieve.hits == self.hits
        assert (self.sieve.evicted, self.sieve.expired) == (self.naive.evicted, self.naive.expired)


TestSieveModel = SieveModel.TestCase
TestSieveModel.settings = settings(max_examples=150, stateful_step_count=60)


def test_what_is_used_stays_and_what_is_not_goes():
    sieve = Sieve(3, None)
    for key in "abc":
        sieve.put(Node(key, 100.0, 1), 0.0)
    sieve.entries["a"].hits += 1
    sieve.put(Node("d", 100.0, 1), 0.0)
    assert set(sieve.entries) == {"a", "c", "d"}


def test_what_is_over_goes_before_anything_that_is_not():
    sieve = Sieve(3, None)
    for key, end in (("a", 100.0), ("b", 5.0), ("c", 100.0)):
        sieve.put(Node(key, end, 1), 0.0)
    sieve.entries["b"].hits += 1
    sieve.drop(sieve.entries["a"])
    sieve.put(Node("d", 100.0, 1), 6.0)
    assert set(sieve.entries) == {"c", "d"}
    assert (sieve.evicted, sieve.expired) == (0, 1)


def test_what_is_too_large_is_not_kept_and_takes_its_outdated_self_along():
    sieve = Sieve(3, 10)
    sieve.put(Node("a", 100.0, 5), 0.0)
    sieve.put(Node("b", 100.0, 5), 0.0)
    assert not sieve.put(Node("a", 100.0, 11), 0.0)
    assert set(sieve.entries) == {"b"}
    assert sieve.size == 5


def test_everything_used_all_the_time_does_not_hold_up_an_eviction():
    class Busy(Node):
        """Is hit whenever somebody looks."""

        __slots__ = ()

        @property
        def hits(self):
            self.seen = -1
            return 0

        @hits.setter
        def hits(self, value):
            pass

    sieve = Sieve(2, None)
    for key in "abcd":
        sieve.put(Busy(key, 100.0, 1), 0.0)
    assert len(sieve) == 2


def test_what_was_cleared_or_linked_anew_is_no_longer_anybodys_to_unlink():
    sieve = Sieve(3, None)
    old = [Node(key, 100.0, 1) for key in "abc"]
    for node in old:
        sieve.put(node, 0.0)
    sieve.clear()
    sieve.put(Node("d", 100.0, 1), 0.0)
    for node in old:
        assert not sieve.drop(node)
    assert ([node.key for node in sieve.nodes()], sieve.size, len(sieve)) == (["d"], 1, 1)


def test_nodes_that_lost_their_links_are_linked_anew():
    sieve = Sieve(3, None)
    for key in range(7):
        sieve.entries[key] = Node(key, 100.0, 1)  # as if a signal handler had raised just then
    for key in range(10, 14):
        sieve.put(Node(key, 100.0, 1), 0.0)
    assert len(sieve.entries) == 3
    assert len(sieve) == 3


def test_an_equal_key_is_kept_as_the_object_that_came_first():
    sieve = Sieve(3, None)
    first, second = (1, "key"), tuple([1, "key"])  # noqa: C409 -- two objects
    sieve.put(Node(first, 100.0, 1), 0.0)
    node = Node(second, 100.0, 1)
    sieve.put(node, 0.0)
    assert node.key is first


def test_a_child_has_a_lock_of_its_own():
    sieve = Sieve(3, None)
    sieve._lock.acquire()  # by a thread of the parent's that is not here
    sieve.renew()
    assert sieve.put(Node("a", 100.0, 1), 0.0)


def test_keys_whose_comparison_uses_the_shelf_are_compared_outside_of_its_lock():
    sieve = Sieve(2, None)

    class Key:
        def __hash__(self):
            return 1

        def __eq__(self, other):
            sieve.put(Node("other", 100.0, 1), 0.0)
            return self is other

    for _ in range(5):
        sieve.put(Node(Key(), 100.0, 1), 0.0)
    assert len(sieve) <= 2


def test_a_crowd_keeps_the_bounds_and_loses_count_of_nothing():
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    sieve, faults = Sieve(20, 100), []

    def work(seed):
        order = Random(seed)
        try:
            for step in range(3000):
                key = order.randrange(60)
                node = sieve.entries.get(key)
                if node is not None:
                    node.hits += 1
                if order.random() < 0.5:
                    sieve.put(Node(key, step + order.randrange(1, 300), order.randrange(1, 8)), float(step))
                elif node is not None and order.random() < 0.3:
                    sieve.drop(node)
                assert len(sieve) <= 20
                assert sieve.size <= 100
        except BaseException as error:
            faults.append(error)

    try:
        crowd = [threading.Thread(target=work, args=(seed,)) for seed in range(6)]
        for each in crowd:
            each.start()
        for each in crowd:
            each.join(50)
    finally:
        sys.setswitchinterval(interval)
    assert faults == []
    nodes = list(sieve.nodes())
    assert sieve.size == sum(node.size for node in nodes)
    assert len(sieve) == len(nodes)
    linked = {id(node) for node in nodes}
    assert all(id(node) in linked for node in sieve.entries.values()), "what is found can be evicted"
