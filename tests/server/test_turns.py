"""Requests take turns at the decoding processes."""

import asyncio

from roc.server.turns import Turns


def test_each_request_in_turn():
    done = []

    async def one(turns, whose):
        async with turns.turn(whose):
            await asyncio.sleep(0)
            done.append(whose)

    async def all_of_it():
        turns = Turns(2)
        tasks = [asyncio.create_task(one(turns, whose)) for whose in "aaaaaabbbc"]
        await asyncio.sleep(0)
        tasks[-2].cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert "".join(done) == "aabacbaaa"
        # A request cancelled just as its turn came passes the turn on.
        turns = Turns(1)
        held = turns.turn("a")
        await held.__aenter__()
        late, last = asyncio.create_task(one(turns, "late")), asyncio.create_task(one(turns, "last"))
        await asyncio.sleep(0)
        await held.__aexit__(None, None, None)
        late.cancel()
        await asyncio.wait_for(last, 5)
        assert turns._free == 1 and late.cancelled() and done[-1] == "last"

    asyncio.run(all_of_it())
