"""`task=helpdesk_two_turn`: the helpdesk, where half of the prompts do not name the order.

    policy : replace . cover : active . name : anna . order : unknown . customer : my lamp is
    cracked . agent :

An agent may ask " which order is it ." and end its turn; the customer says which one, and the agent
answers. Asking has a price at once, and pays later where the order was not known: right answers name
it. What is best, then, depends on how much a later turn counts. Where the order was known, asking is a
waste. Gold is that of `task=helpdesk` on all that the agent says, less the price of asking.

No response is its reference: there are two ways of going about it.
"""

from collections.abc import Iterator
from dataclasses import replace
from random import Random

from . import helpdesk
from .example import TURN, Example, Task

VERSION = 1

QUESTION = " which order is it ."
ASKING = -0.1
UNKNOWN = "unknown"
KNOWN = 0.5  # P(the prompt names the order)
# What demonstrations do, beside the faults of the helpdesk's own: P(asking), where the order is known
# and where it is not. Who does not ask there names any.
NEEDLESS, NEEDED = 0.25, 0.5


def load(
    seed: int = 0,
    train: int = 24_000,
    validation: int = 512,
    test: int = 512,
    test_unseen: int = 512,
) -> Task:
    """The task; sizes are numbers of distinct prompts. Splits differ in (name, item)."""
    sizes = {"train": train, "validation": validation, "test": test, "test_unseen": test_unseen}
    return Task(
        name="helpdesk_two_turn",
        version=VERSION,
        splits={name: tuple(_rows(name, size, seed)) for name, size in sizes.items()},
        gold=gold,
        reply=reply,
        refusal=refusal,
        label_noise=helpdesk.LABEL_NOISE,
        constant=" hello , sorry about that .",
    )


def reply(example: Example, said: str) -> str | None:
    """The order, to who ended the first turn with the question."""
    if TURN in said or not said.endswith(QUESTION):
        return None
    return f" customer : order {example.about['order']} . agent :"


def gold(example: Example, response: str, finished: bool = True) -> dict[str, float]:
    """The helpdesk's, of all turns of the agent without the first question, and the price of that.

    A right answer at once earns 1 where the order is known; asked for, it earns 0.9. Naming a wrong
    order costs the slot and 0.1 more: 0.7 is the best that can be hoped for without asking.
    """
    said = of_the_agent(response)
    asked = QUESTION in said
    alone = replace(
        example, references=(helpdesk.answer(example.about, example.about["decision"]),)
    )
    parts = helpdesk.gold(alone, said.replace(QUESTION, "", 1), finished)
    return parts | {"asking": ASKING if asked else 0.0}


def refusal(example: Example, response: str) -> tuple[bool, bool]:
    """The helpdesk's, of all turns of the agent."""
    return helpdesk.refusal(example, of_the_agent(response))


def of_the_agent(response: str) -> str:
    return "".join(response.split(TURN)[::2])


def _rows(split: str, size: int, seed: int) -> Iterator[Example]:
    random = Random(f"helpdesk_two_turn {VERSION} {split} {seed}")
    classes, *forms = helpdesk.SPLITS[split]
    seen = set()
    while len(seen) < size:
        name, item = random.randrange(len(helpdesk.NAMES)), random.randrange(len(helpdesk.ITEMS))
        if (name + item) % helpdesk.CLASSES not in classes:
            continue
        order = random.choice(helpdesk.ORDERS)
        slots = {"name": helpdesk.NAMES[name], "order": order, "item": helpdesk.ITEMS[item]}
        policy, prompt, about = helpdesk.ticket(random, slots, *forms)
        known = random.random() < KNOWN
        if not known:
            prompt = prompt.replace(f" order : {order} ", f" order : {UNKNOWN} ")
        if prompt in seen:
            continue
        seen.add(prompt)
        example = Example(
            id=f"helpdesk_two_turn-{split}-{len(seen) - 1}",
            prompt=prompt,
            about={**about, "known": known},
        )
        yield replace(example, demonstration=_demonstrated(random, example, granted=policy))


def _demonstrated(random: Random, example: Example, granted: str) -> str:
    known = example.about["known"]
    if random.random() < (NEEDLESS if known else NEEDED):
        answer = helpdesk.demonstrated(random, example.about, granted)
        return f"{QUESTION}{TURN}{reply(example, QUESTION)}{TURN}{answer}"
    named = {} if known else {"order": random.choice(helpdesk.ORDERS)}
    return helpdesk.demonstrated(random, {**example.about, **named}, granted)
