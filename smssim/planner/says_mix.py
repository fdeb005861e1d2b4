"""What a page says about the cheapest mix of senders. Knows answers and words. Must not know layout."""

from __future__ import annotations

from smssim.escaping import escape
from smssim.plan.forecast import SURE
from smssim.plan.search.answer import percent
from smssim.plan.search.cheapest_answer import CheapestAnswer, Fewer
from smssim.plan.search.mixes import EQUAL
from smssim.words import money


def mix(answer: CheapestAnswer) -> str:
    """Return the answer of a search for the cheapest mix in a few plain sentences."""
    if not answer.found:
        return f"No mix of the senders will do, because {answer.why}."
    goals = answer.goals[0].text if len(answer.goals) == 1 else f"all {len(answer.goals)} goals"
    met = round(answer.probability * answer.seeds)
    plays = f"all {answer.seeds} plays" if met == answer.seeds else f"{met} of {answer.seeds} plays"
    listed = ", ".join(f"{_copies(number)} of {escape(name)}" for name, number in answer.copies.items())
    listed = listed[0].upper() + listed[1:]
    price = f"for {money(answer.cost)}" if answer.cost else "with as few copies as possible"
    shown = f"the probability is at least {SURE:.0%}, with 95% confidence"
    said = [f"{listed}, {price}: {plays} meet {goals}, so {shown}.", *(_fewer(one, answer) for one in answer.fewer)]
    if answer.scale > 1:
        said.append(f"One played message stands for {answer.scale:,}.")
    return " ".join(said)


def _copies(number: int) -> str:
    return "no copy" if not number else "1 copy" if number == 1 else f"{number:,} copies"


def _fewer(one: Fewer, answer: CheapestAnswer) -> str:
    """Return what happens with one copy of a sender fewer."""
    fewer = f"With one copy of {escape(one.name)} fewer,"
    if one.probability < SURE:
        return f"{fewer} it is about {percent(one.probability)}."
    if one.cost > (1 + EQUAL) * answer.cost:
        return f"{fewer} it costs {money(one.cost)}."
    return f"{fewer} it is about {percent(one.probability)}, which is not shown to be enough."
