"""Who is next, and how much a client may hold."""

import threading

from roc.server.turns import Shares, Turns, Whose, in_turn


def filled(turns, *clients):
    """Puts items named client, request, number: "a1x3" is three images of the first request of client a."""
    for client in clients:
        name, count = client.split("x")
        for i in range(int(count)):
            turns.put(Whose(name[0], name), f"{name}.{i}")


def taken(turns, count):
    return [turns.take()[1] for _ in range(count)]


def test_clients_in_turn_and_their_requests_in_turn():
    turns = Turns(100)
    filled(turns, "a1x4", "a2x2", "b1x3")
    assert taken(turns, 9) == ["a1.0", "b1.0", "a2.0", "b1.1", "a1.1", "b1.2", "a2.1", "a1.2", "a1.3"]
    filled(turns, "a1x1", "c1x1")
    assert turns.take()[1] == "c1.0" and len(turns) == 1


def test_what_is_held_counts_until_it_is_given_back():
    turns = Turns(100)
    filled(turns, "a1x3", "b1x3")
    assert taken(turns, 2) == ["a1.0", "b1.0"]
    turns.give_back(Whose("b", "b1"))
    assert taken(turns, 2) == ["b1.1", "a1.1"] and turns.held == 3
    filled(turns, "b2x1")
    assert turns.comes_first(Whose("b", "b1")) and turns.comes_first(Whose("a", "a1"))
    assert turns.take()[1] == "b2.0" and not turns.comes_first(Whose("b", "b1"))


def test_nothing_is_taken_while_too_much_is_held():
    turns = Turns(1)
    filled(turns, "a1x2")
    first = turns.take()
    got = []
    thread = threading.Thread(target=lambda: got.append(turns.take()), daemon=True)
    thread.start()
    thread.join(0.1)
    assert thread.is_alive() and not got
    turns.give_back(first[0])
    thread.join(5)
    assert got[0][1] == "a1.1"
    thread = threading.Thread(target=lambda: got.append(turns.take()), daemon=True)
    thread.start()
    turns.close()
    thread.join(5)
    assert got[1] is None


def test_in_turn():
    items = ["a1.0", "a1.1", "a1.2", "b1.0", "a2.0", "b2.0"]
    assert in_turn(items, lambda item: Whose(item[0], item[:2])) == ["a1.0", "b1.0", "a2.0", "b2.0", "a1.1", "a1.2"]


def test_one_client_leaves_something_for_others():
    shares = Shares(100)
    while shares.fits("a", 5):
        shares.add("a", 5)
    assert shares.total == 75 and shares.fits("b", 25) and not shares.fits("b", 26)
    shares.add("b", 15)
    assert not shares.fits("a", 1) and shares.fits("b", 5)
    shares.add("a", -75)
    assert shares.total == 15 and shares.fits("a", 85) and not shares._held["a"]
