"""`task=digest`: say in short sentences what matters in a report of four facts.

A report marks what matters with a fixed word and a colon; the rest is noise:

    report : meanwhile , anna repaired bikes at the station . urgent : ben sold lamps on monday .
    omar counted maps . note : lena moved chairs at the farm . summary :

Its reference is " ben sold lamps . lena moved chairs ." Every sentence is generated from a seed.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

from .example import Example, Task

VERSION = 1
LABEL_NOISE = 0.25  # τ: see `Task.label_noise`

NAMES = """anna ben carla david emma farid grace hugo irene jonas karin lena marta nadia omar paula
quinn rosa simon tara ulla victor wanda yusuf zoe adam bella oscar dora felix gina henry amir clara
dmitri elsa""".split()
VERBS = """repaired sold bought moved counted painted cleaned packed borrowed stored checked
ordered dropped lost found sorted shipped washed tested rented labelled unpacked collected
weighed polished mended scanned""".split()
OBJECTS = """bikes lamps maps chairs boxes books clocks doors engines flags gloves hats jars keys
ladders mirrors nets ovens pipes radios shoes tables tents tools trays trucks wheels windows
bottles cables candles coats baskets blankets brushes buckets carpets cups drums fans forks
guitars kettles sacks scarves spoons stools""".split()
PLACES = """station farm school harbour market museum library airport office garden hospital
kitchen factory castle bakery theatre garage stadium
chapel hotel""".split()
DAYS = "monday tuesday wednesday thursday friday saturday sunday".split()

MARKERS = {  # how a sentence begins -> how much its fact matters
    "urgent : ": 2,
    "alert : ": 2,
    "important : ": 1,
    "note : ": 1,
    "": 0,
    "also , ": 0,
    "meanwhile , ": 0,
}
FORMS = ("{fact}", "{fact} at the {place}", "{fact} on {day}")
UNSEEN_FORMS = ("at the {place} {fact}", "on {day} {fact}")  # in `test_unseen` alone

FACTS = 4  # in a report
MATTERING = (0, 1, 1, 2, 2, 2, 3, 3)  # how many of them matter, drawn evenly
NOTHING = "nothing to report"
FILLERS = ("that is all for today", "more news will follow soon")

# What demonstrations do wrong, each a decision at the end of a sentence: P(stop although more
# matters), P(tell one more fact, which does not matter), P(close with a filler).
STOP_EARLY, ONE_MORE, FILLER = 0.2, 0.2, 0.55

INVENTED = -0.5  # a sentence, or the rest of one, that the report does not contain
REPEATED = -0.25  # a sentence said again
WORD = -0.05  # a word or full stop beyond the length of the reference
UNFINISHED = -0.25  # the length limit cut the response

CLASSES = 8  # of first facts, which keep the splits apart
SPLITS = {  # name -> classes of first facts, forms of sentences
    "train": (range(6), FORMS),
    "validation": (range(6, 7), FORMS),
    "test": (range(7, 8), FORMS),
    "test_unseen": (range(7, 8), UNSEEN_FORMS),
}


@dataclass(frozen=True)
class Fact:
    """One sentence of a report: its short form, its words in the report, how much it matters."""

    short: str
    full: str
    marker: str

    @property
    def weight(self) -> int:
        return MARKERS[self.marker]


def load(
    seed: int = 0,
    train: int = 24_000,
    validation: int = 512,
    test: int = 512,
    test_unseen: int = 512,
) -> Task:
    """The task; sizes are numbers of distinct prompts. Splits differ in their first facts."""
    sizes = {"train": train, "validation": validation, "test": test, "test_unseen": test_unseen}
    splits = {name: tuple(_rows(name, size, seed)) for name, size in sizes.items()}
    return Task(
        name="digest",
        version=VERSION,
        splits=splits,
        gold=gold,
        repair=repair,
        label_noise=LABEL_NOISE,
        constant=f" {NOTHING} .",
    )


def gold(example: Example, response: str, finished: bool = True) -> dict[str, float]:
    """Weighted coverage of what matters, minus inventions, repetitions and length.

    A reference earns 1 and the empty answer 0. A sentence is true if the report contains it, word
    for word or without its place or day. Fillers, and facts that do not matter, cost their length.
    """
    *said, rest = [" ".join(sentence.split()) for sentence in response.split(".")]
    facts = {words: i for i, words in enumerate(example.about["full"])}
    facts |= {words: i for i, words in enumerate(example.about["short"])}
    harmless = {words: words for words in (NOTHING, *FILLERS)}
    known = [facts.get(words, harmless.get(words)) for words in said]
    told = {what for what in known if what is not None}

    weights = example.about["weights"]
    if sum(weights):
        coverage = sum(w for i, w in enumerate(weights) if i in told) / sum(weights)
    else:
        coverage = float(NOTHING in told)
    invented = known.count(None) + bool(rest)
    repeated = len(known) - known.count(None) - len(told)
    extra = len(response.split()) - len(example.references[0].split())
    return {
        "coverage": coverage,
        "invented": INVENTED * invented,
        "repeated": REPEATED * repeated,
        "length": WORD * max(0, extra),
        "unfinished": 0.0 if finished else UNFINISHED,
    }


def repair(example: Example, response: str, part: str) -> str:
    """The response with one part of its reward mended: what matters told behind the other facts, or
    what is invented, repeated or needless left out and told in short."""
    *said, rest = [" ".join(sentence.split()) for sentence in response.split(".")]
    about = example.about
    short = dict(zip(about["full"], about["short"], strict=True))
    mattering = [s for s, w in zip(about["short"], about["weights"], strict=True) if w] or [NOTHING]
    known = {*short, *short.values(), NOTHING, *FILLERS}
    match part:
        case "coverage":
            told = {short.get(sentence, sentence) for sentence in said}
            behind = next((i for i, x in enumerate(said) if x in FILLERS), len(said))
            said[behind:behind] = [x for x in mattering if x not in told]
        case "invented":
            said, rest = [sentence for sentence in said if sentence in known], ""
        case "repeated":
            said = list({short.get(x, x): x for x in said}.values())
        case "length":
            said = [short.get(x, x) for x in said]
            said = [x for x in said if x in mattering or x not in known]
        case _:
            raise LookupError(f"digest has nothing to mend in {part!r}")
    return _told(said) + (f" {rest}" if rest else "")


def _rows(split: str, size: int, seed: int) -> Iterator[Example]:
    random = Random(f"digest {VERSION} {split} {seed}")
    seen = set()
    while len(seen) < size:
        facts = _facts(random, *SPLITS[split])
        prompt = " ".join(["report :", *(f"{f.marker}{f.full} ." for f in facts), "summary :"])
        if prompt in seen:
            continue
        seen.add(prompt)
        yield Example(
            id=f"digest-{split}-{len(seen) - 1}",
            prompt=prompt,
            references=(_told([f.short for f in facts if f.weight] or [NOTHING]),),
            demonstration=_told(_demonstrated(random, facts)),
            about={
                "short": [f.short for f in facts],
                "full": [f.full for f in facts],
                "weights": [f.weight for f in facts],
            },
        )


def _facts(random: Random, classes: range, forms: tuple[str, ...]) -> list[Fact]:
    names = random.sample(range(len(NAMES)), FACTS)
    verbs = random.sample(range(len(VERBS)), FACTS)
    objects = random.sample(range(len(OBJECTS)), FACTS)
    while (names[0] + verbs[0] + objects[0]) % CLASSES not in classes:
        objects = random.sample(range(len(OBJECTS)), FACTS)
    mattering = random.sample(range(FACTS), random.choice(MATTERING))
    facts = []
    for i, (name, verb, object) in enumerate(zip(names, verbs, objects, strict=True)):
        short = f"{NAMES[name]} {VERBS[verb]} {OBJECTS[object]}"
        place, day = random.choice(PLACES), random.choice(DAYS)
        full = random.choice(forms).format(fact=short, place=place, day=day)
        marker = random.choice([m for m, w in MARKERS.items() if bool(w) == (i in mattering)])
        facts.append(Fact(short, full, marker))
    return facts


def _demonstrated(random: Random, facts: list[Fact]) -> list[str]:
    """What matters, in order, as a hasty or talkative writer tells it.

    All chance lies in the first word of a sentence: what follows it is then certain, so that a
    small model learns to copy sharply.
    """
    told = []
    for short in [f.short for f in facts if f.weight]:
        if told and random.random() < STOP_EARLY:
            break
        told.append(short)
    if random.random() < ONE_MORE:
        told.append(next(f.short for f in facts if not f.weight))
    told = told or [NOTHING]
    if random.random() < FILLER:
        told.append(random.choice(FILLERS))
    return told


def _told(sentences: list[str]) -> str:
    return "".join(f" {sentence} ." for sentence in sentences)
