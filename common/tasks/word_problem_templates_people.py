"""Templates of word problems: journeys, clubs and homes."""

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

PEOPLE: tuple[Template, ...] = (
    template(
        "ferry",
        "A ferry leaves with {start} passengers. At the island {off} passengers get off and {on} "
        "get on. Every passenger then on board pays {fare} coins. How many coins are paid?",
        {
            "start": minuend(42, 30, 60),
            "off": subtrahend(15, 8, 25),
            "on": growing(9, 5, 30),
            "fare": fixed_range(2, 2, 6),
        },
        line("stayed", "start-off", "On board stay {} passengers."),
        line("aboard", "stayed+on", "Then there are {} passengers."),
        line("paid", "aboard*fare", "They pay {} coins."),
    ),
    template(
        "choir",
        "A choir has {sopranos} sopranos, {altos} altos and {basses} basses. It sits in rows of "
        "{row} chairs, all of them taken. How many rows are there?",
        {
            "sopranos": growing(18, 10, 30),
            "altos": growing(14, 10, 30),
            "basses": growing(13, 10, 30),
            "row": fixed_range(5, 3, 7),
        },
        line("women", "sopranos+altos", "There are {} sopranos and altos."),
        line("singers", "women+basses", "The choir has {} singers."),
        line("rows", "singers/row", "They fill {} rows."),
    ),
    template(
        "stamps",
        "Lena has {lena} stamps and Paul has {paul} stamps fewer. How many stamps do the two have "
        "together?",
        {"lena": minuend(37, 25, 60), "paul": subtrahend(12, 5, 20)},
        line("his", "lena-paul", "Paul has {} stamps."),
        line("together", "lena+his", "Together they have {} stamps."),
    ),
    template(
        "hikers",
        "A hiker walks {first} metres up to a hut, then {factor} times that way along a ridge, and "
        "{last} metres down to a lake. How many metres does she walk?",
        {
            "first": growing(30, 15, 50),
            "factor": fixed_range(2, 2, 5),
            "last": growing(45, 15, 60),
        },
        line("ridge", "first*factor", "Along the ridge she walks {} metres."),
        line("before", "first+ridge", "Up to there these are {} metres."),
        line("walked", "before+last", "In all she walks {} metres."),
    ),
    template(
        "library",
        "A library owns {novels} novels and {comics} comics. Readers have borrowed {borrowed} "
        "books, and the others stand on {shelves} shelves with the same number on each. How many "
        "books stand on a shelf?",
        {
            "novels": minuend(52, 30, 70),
            "comics": growing(28, 10, 40),
            "borrowed": subtrahend(20, 10, 29),
            "shelves": fixed_range(6, 3, 8),
        },
        line("owned", "novels+comics", "The library owns {} books."),
        line("there", "owned-borrowed", "In the library are {} books."),
        line("shelf", "there/shelves", "A shelf holds {} books."),
    ),
    template(
        "savings",
        "Nadia saves {monthly} pounds a month for {months} months and gets {gift} pounds from her "
        "aunt. She then buys a tent for {tent} pounds. How many pounds are left?",
        {
            "monthly": minuend(15, 10, 30),
            "months": fixed_range(6, 5, 9),
            "gift": growing(20, 10, 40),
            "tent": minuend(75, 30, 50),
        },
        line("saved", "monthly*months", "Nadia saves {} pounds."),
        line("purse", "saved+gift", "With the gift she has {} pounds."),
        line("left", "purse-tent", "She has {} pounds left."),
    ),
    template(
        "marbles",
        "Ivo has {ivo} marbles and wins {won} more. He keeps {kept} marbles and shares the others "
        "equally among {friends} friends. How many marbles does each friend get?",
        {
            "ivo": minuend(35, 25, 50),
            "won": growing(19, 10, 30),
            "kept": subtrahend(12, 8, 24),
            "friends": fixed_range(3, 2, 6),
        },
        line("owned", "ivo+won", "Ivo has {} marbles."),
        line("given", "owned-kept", "He gives away {} marbles."),
        line("each", "given/friends", "Each friend gets {} marbles."),
    ),
    template(
        "reading",
        "A book has {pages} pages. Samir has read {read} pages. He wants to finish it in {days} "
        "days with the same number of pages on each. How many pages are that a day?",
        {
            "pages": minuend(96, 60, 120),
            "read": subtrahend(33, 12, 50),
            "days": fixed_range(7, 3, 9),
        },
        line("left", "pages-read", "There are {} pages left."),
        line("daily", "left/days", "He reads {} pages a day."),
    ),
    template(
        "concert",
        "A hall has {hall} seats, and {percent}% of them are sold. The box office then sells "
        "{more} seats. How many seats are free?",
        {
            "hall": minuend(80, 50, 99),
            "percent": fixed_range(50, 10, 60, grid=10),
            "more": subtrahend(9, 4, 18),
        },
        line("sold", "hall*percent/100", "In advance {} seats are sold."),
        line("unsold", "hall-sold", "There are {} seats left."),
        line("free", "unsold-more", "Then {} seats are free."),
    ),
    template(
        "relay",
        "In a school {classes} classes run. Each class runs {rounds} rounds on Friday and {extra} "
        "rounds on Saturday. How many rounds are run in all?",
        {
            "classes": fixed_range(5, 3, 9),
            "rounds": growing(24, 12, 40),
            "extra": growing(11, 6, 30),
        },
        line("both", "rounds+extra", "Each class runs {} rounds."),
        line("rounds_run", "classes*both", "All classes run {} rounds."),
    ),
    template(
        "camp",
        "A camp has {tents} tents for {places} people each. So far {girls} girls and {boys} boys "
        "have come. How many more people can sleep in the tents?",
        {
            "tents": fixed_range(8, 6, 9),
            "places": minuend(12, 10, 20),
            "girls": growing(27, 12, 30),
            "boys": growing(24, 12, 29),
        },
        line("room", "tents*places", "The tents have room for {} people."),
        line("came", "girls+boys", "So far {} people have come."),
        line("more", "room-came", "There is room for {} more."),
    ),
    template(
        "aquarium",
        "Two aquariums hold {large} and {small} litres. Both are emptied with a bucket of {bucket} "
        "litres, full every time. How many more buckets does the larger one take?",
        {
            "large": minuend(72, 50, 99),
            "small": subtrahend(40, 12, 48),
            "bucket": fixed_range(8, 2, 8),
        },
        line("difference", "large-small", "The larger one holds {} litres more."),
        line("buckets", "difference/bucket", "That takes {} buckets more."),
    ),
    template(
        "puzzle",
        "Vera and Tom build a puzzle. Vera places {vera} pieces, Tom places {tom} pieces fewer "
        "than Vera. The puzzle has {factor} times as many pieces as both have placed. How many "
        "pieces does the puzzle have?",
        {
            "vera": minuend(28, 20, 45),
            "tom": subtrahend(6, 4, 15),
            "factor": fixed_range(3, 2, 5),
        },
        line("his", "vera-tom", "Tom places {} pieces."),
        line("placed", "vera+his", "Both have placed {} pieces."),
        line("pieces", "placed*factor", "The puzzle has {} pieces."),
    ),
)
