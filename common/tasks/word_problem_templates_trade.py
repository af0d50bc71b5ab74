"""Templates of word problems: farms, workshops and shops."""

from __future__ import annotations

from common.tasks.word_problem_lines import (
    fixed_range,
    growing,
    line,
    minuend,
    subtrahend,
    template,
)
from common.tasks.word_problems import Template

TRADE: tuple[Template, ...] = (
    template(
        "orchard",
        "Mira picks {morning} pears before noon and {evening} pears after noon. She packs all of "
        "them into crates of {crate} pears. How many crates does she fill?",
        {
            "morning": growing(26, 12, 48),
            "evening": growing(22, 12, 48),
            "crate": fixed_range(6, 3, 9),
        },
        line("picked", "morning+evening", "Mira picks {} pears."),
        line("crates", "picked/crate", "They fill {} crates."),
    ),
    template(
        "bakery",
        "Otto's bakery bakes {loaves} loaves and gives {gifts} of them to a shelter. The others "
        "are sold for {price} euros each. How many euros does the bakery take in?",
        {
            "loaves": minuend(40, 30, 60),
            "gifts": subtrahend(8, 5, 15),
            "price": fixed_range(3, 2, 6),
        },
        line("sold", "loaves-gifts", "The bakery sells {} loaves."),
        line("income", "sold*price", "It takes in {} euros."),
    ),
    template(
        "pottery",
        "A pottery fires {shelves} shelves of bowls with {bowls} bowls on each shelf. In the kiln "
        "{broken} bowls crack. How many bowls are whole?",
        {
            "shelves": fixed_range(4, 3, 8),
            "bowls": growing(18, 12, 30),
            "broken": growing(5, 3, 12),
        },
        line("fired", "shelves*bowls", "The pottery fires {} bowls."),
        line("good", "fired-broken", "Of these {} bowls are whole."),
    ),
    template(
        "beekeeper",
        "A beekeeper fills {acacia} jars with acacia honey and {factor} times as many jars with "
        "clover honey. She sells {sold} jars at the fair. How many jars does she keep?",
        {
            "acacia": minuend(16, 10, 24),
            "factor": fixed_range(3, 2, 5),
            "sold": subtrahend(20, 8, 24),
        },
        line("clover", "acacia*factor", "She fills {} jars with clover honey."),
        line("filled", "acacia+clover", "In all there are {} jars."),
        line("left", "filled-sold", "After the fair she has {} jars."),
    ),
    template(
        "printer",
        "A print shop has an order for {ordered} posters. It prints {first} posters on Monday and "
        "{second} posters on Tuesday. The missing posters are shared equally among {presses} "
        "presses. How many posters does each press print?",
        {
            "ordered": minuend(90, 60, 99),
            "first": subtrahend(24, 12, 25),
            "second": subtrahend(30, 12, 25),
            "presses": fixed_range(4, 2, 6),
        },
        line("printed", "first+second", "By Tuesday {} posters are printed."),
        line("missing", "ordered-printed", "There are {} posters missing."),
        line("each", "missing/presses", "Each press prints {} posters."),
    ),
    template(
        "tiles",
        "A tiler buys {boxes} boxes of {tiles} tiles. He already has {stock} tiles, and the floor "
        "takes {floor} tiles. How many tiles are left over?",
        {
            "boxes": fixed_range(5, 4, 8),
            "tiles": minuend(20, 15, 30),
            "stock": growing(12, 6, 20),
            "floor": minuend(64, 30, 60),
        },
        line("bought", "boxes*tiles", "He buys {} tiles."),
        line("owned", "bought+stock", "He has {} tiles."),
        line("spare", "owned-floor", "He has {} tiles left over."),
    ),
    template(
        "fishery",
        "A trout farm sells {restaurants} trout to restaurants and {market} trout at the market, "
        "each for {price} francs. Feed costs {feed} francs. How many francs remain?",
        {
            "restaurants": minuend(25, 15, 40),
            "market": minuend(19, 15, 40),
            "price": fixed_range(4, 3, 7),
            "feed": minuend(70, 30, 75),
        },
        line("sold", "restaurants+market", "The farm sells {} trout."),
        line("income", "sold*price", "It is paid {} francs."),
        line("profit", "income-feed", "After the feed {} francs remain."),
    ),
    template(
        "seeds",
        "A nursery sows {seeds} seeds and {percent}% of them sprout. The seedlings are planted in "
        "{rows} rows of equal length. How many seedlings stand in a row?",
        {
            "seeds": growing(60, 20, 90),
            "percent": fixed_range(80, 20, 80, grid=20),
            "rows": fixed_range(4, 2, 4),
        },
        line("sprouted", "seeds*percent/100", "There are {} seedlings."),
        line("row", "sprouted/rows", "A row has {} seedlings."),
    ),
    template(
        "weaver",
        "Three weavers make {anna}, {bela} and {cora} metres of cloth. All the cloth is cut into "
        "pieces of {piece} metres. How many pieces are there?",
        {
            "anna": growing(14, 8, 30),
            "bela": growing(21, 8, 30),
            "cora": growing(17, 8, 30),
            "piece": fixed_range(4, 2, 6),
        },
        line("cloth", "anna+bela+cora", "They make {} metres of cloth."),
        line("pieces", "cloth/piece", "That gives {} pieces."),
    ),
    template(
        "dairy",
        "A dairy gets {cows} litres of milk from cows and {goats} litres from goats. It uses "
        "{used} litres for cheese and fills the remaining milk into cans of {can} litres. How many "
        "cans are filled?",
        {
            "cows": minuend(45, 30, 60),
            "goats": growing(15, 10, 30),
            "used": subtrahend(20, 10, 29),
            "can": fixed_range(5, 3, 8),
        },
        line("milk", "cows+goats", "The dairy gets {} litres."),
        line("rest", "milk-used", "After the cheese {} litres remain."),
        line("cans", "rest/can", "They fill {} cans."),
    ),
    template(
        "mill",
        "A mill grinds {daily} sacks of flour every day, Sundays included. After a week it has "
        "delivered {delivered} sacks. How many sacks are still in the mill?",
        {"daily": minuend(12, 8, 20), "delivered": growing(50, 20, 55)},
        line("ground", "daily*7", "In a week the mill grinds {} sacks."),
        line("still", "ground-delivered", "There are {} sacks in the mill."),
    ),
    template(
        "candles",
        "Jonas has {wax} grams of wax and buys {more} grams. A candle takes {each} grams. He sells "
        "every candle for {price} crowns. How many crowns does he earn?",
        {
            "wax": growing(34, 20, 60),
            "more": growing(20, 10, 40),
            "each": fixed_range(6, 4, 9),
            "price": fixed_range(5, 2, 7),
        },
        line("grams", "wax+more", "Jonas has {} grams of wax."),
        line("made", "grams/each", "He makes {} candles."),
        line("earned", "made*price", "He earns {} crowns."),
    ),
    template(
        "bicycles",
        "A workshop has {stock} spokes. It repairs {wheels} wheels with {spokes} spokes each and "
        "then receives {received} new spokes. How many spokes does it have?",
        {
            "stock": minuend(80, 60, 99),
            "wheels": fixed_range(4, 2, 4),
            "spokes": subtrahend(9, 6, 14),
            "received": growing(30, 10, 50),
        },
        line("needed", "wheels*spokes", "The repairs take {} spokes."),
        line("after", "stock-needed", "After them there are {} spokes."),
        line("final", "after+received", "Then the workshop has {} spokes."),
    ),
)
