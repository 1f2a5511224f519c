"""`task=helpdesk`: answer a customer as the policy and the customer's cover say.

    policy : replace . cover : active . name : anna . order : falcon . customer : my lamp is
    cracked . agent :

Its reference is " hello anna , sorry about the lamp . we will replace order falcon ." What is right
depends on the problem: what broke is treated as the policy says and what does not fit is
exchanged, both under cover only and refused otherwise; what did not arrive is sent again; danger is
always escalated; a question is no complaint. Every sentence is generated from a seed.
"""

from collections.abc import Iterator, Mapping, Sequence
from random import Random

from .example import Example, Task

VERSION = 1
LABEL_NOISE = 0.15  # τ: see `Task.label_noise`

NAMES = """anna ben carla david emma farid grace hugo irene jonas karin lena marta nadia omar paula
quinn rosa simon tara ulla victor wanda yusuf zoe adam bella oscar dora felix gina henry amir clara
dmitri elsa""".split()
ORDERS = """falcon heron robin raven eagle swan otter tiger zebra panda koala camel bison moose hare
badger fox lynx whale salmon oak maple cedar willow birch aspen olive lemon ginger pepper saffron
amber coral pearl ruby topaz opal copper silver cobalt""".split()
ITEMS = """lamp radio kettle clock chair table mirror ladder bicycle tent jacket camera printer
heater blender toaster drill helmet guitar drum carpet basket bottle cable candle fan fork hammer
iron keyboard mattress monitor oven phone piano pump saw scooter sofa stove""".split()

POLICIES = ("repair", "replace", "refund")  # the action for what broke
COVERS = {"active": True, "gold": True, "ended": False, "none": False}
PROBLEMS = {  # kind of message -> what is wrong
    "broken": ("broken", "cracked", "faulty", "dented", "leaking", "torn"),
    "unfit": ("too small", "too large", "too heavy", "too loud"),
    "missing": ("late", "missing", "delayed", "lost"),
    "danger": ("burning", "smoking", "sparking", "melting"),
    "question": ("",),
}
KINDS = ("broken", "broken", "broken", "unfit", "missing", "danger", "question")  # drawn evenly
ACTIONS = (*POLICIES, "exchange", "resend", "escalate", "trace")
REFUSAL = "refuse"

COMPLAINTS = (
    "my {item} is {problem}",
    "the {item} you sent is {problem}",
    "hello , my new {item} is {problem} , please help",
)
QUESTIONS = ("where is my {item}", "when do i get the {item}", "hello , where is my new {item}")
UNSEEN_COMPLAINTS = (  # in `test_unseen` alone
    "i bought a {item} from you and it is {problem}",
    "it is {problem} , this {item} of mine",
)
UNSEEN_QUESTIONS = ("can you tell me where the {item} is now", "i still wait for that {item}")
FILLERS = ("have a nice day", "we are always happy to help")

# What demonstrations do wrong, each a decision at one word: P(no greeting), P(no apology or
# thanks), P(any action where one is due), P(granting what is to be refused), P(closing with a
# filler). Granting wrongly exceeds a half: what is most usual there is not what is right, and
# preferences teach more than sharpness.
NO_GREETING, NO_COURTESY, WRONG_ACTION, WRONGLY_GRANTED, FILLER = 0.2, 0.2, 0.15, 0.55, 0.55

RIGHT_ACTION, OTHER_ACTION = 0.4, -0.3
REFUSED, GRANTED = 0.4, -0.4  # where a refusal is due
SLOTS = {"name": 0.1, "item": 0.1, "order": 0.2}  # said as the context has them
WRONG_SLOT = -0.1  # said otherwise
GREETING = COURTESY = 0.1
WRONG_COURTESY = -0.1  # an apology to a question, or thanks for a complaint
UNCLEAR = -0.25  # a clause outside the language of agents, or one without its end
REPEATED = -0.2  # a second greeting, courtesy, decision or filler of the same words
WORD = -0.04  # a word or mark beyond the length of the reference
UNFINISHED = -0.25  # the length limit cut the response

CLASSES = 8  # of name, order and item together, which keep the splits apart
SPLITS = {  # name -> classes, forms of complaints, forms of questions
    "train": (range(6), COMPLAINTS, QUESTIONS),
    "validation": (range(6, 7), COMPLAINTS, QUESTIONS),
    "test": (range(7, 8), COMPLAINTS, QUESTIONS),
    "test_unseen": (range(7, 8), UNSEEN_COMPLAINTS, UNSEEN_QUESTIONS),
}


def load(
    seed: int = 0,
    train: int = 24_000,
    validation: int = 512,
    test: int = 512,
    test_unseen: int = 512,
) -> Task:
    """The task; sizes are numbers of distinct prompts. Splits differ in (name, order, item)."""
    sizes = {"train": train, "validation": validation, "test": test, "test_unseen": test_unseen}
    splits = {name: tuple(_rows(name, size, seed)) for name, size in sizes.items()}
    return Task(
        name="helpdesk",
        version=VERSION,
        splits=splits,
        gold=gold,
        repair=repair,
        refusal=refusal,
        label_noise=LABEL_NOISE,
        constant=" hello , sorry about that .",
    )


def decision(kind: str, policy: str, cover: str) -> str:
    """The right action, or a refusal."""
    if kind in ("broken", "unfit") and not COVERS[cover]:
        return REFUSAL
    by_kind = {"unfit": "exchange", "missing": "resend", "danger": "escalate", "question": "trace"}
    return by_kind.get(kind, policy)


def gold(example: Example, response: str, finished: bool = True) -> dict[str, float]:
    """The right decision, slots and politeness, minus what is unclear, repeated or too long.

    A reference earns 1 and the empty answer 0. Only the first greeting, courtesy and decision
    count; a filler costs its length.
    """
    about = example.about
    *clauses, rest = [clause.split() for clause in response.replace(",", ".").split(".")]
    parts = dict.fromkeys(("action", "refusal", "slots", "politeness"), 0.0)
    unclear, repeated, heard = int(bool(rest)), 0, set()
    for clause in clauses:
        said = _understood(clause)
        if said is None:
            unclear += 1
            continue
        kind, what, slots = said
        if kind in heard:
            repeated += 1
            continue
        heard.add(kind)
        if kind == "greeting":
            parts["politeness"] += GREETING
        elif kind == "courtesy":
            due = "thanks" if about["kind"] == "question" else "sorry"
            parts["politeness"] += COURTESY if what == due else WRONG_COURTESY
        elif kind == "decision" and about["decision"] == REFUSAL:
            parts["refusal"] = REFUSED if what == REFUSAL else GRANTED
        elif kind == "decision":
            parts["action"] = RIGHT_ACTION if what == about["decision"] else OTHER_ACTION
        for slot, value in slots.items():
            parts["slots"] += SLOTS[slot] if value == about[slot] else WRONG_SLOT
    extra = len(response.split()) - len(example.references[0].split())
    return parts | {
        "unclear": UNCLEAR * unclear,
        "repeated": REPEATED * repeated,
        "length": WORD * max(0, extra),
        "unfinished": 0.0 if finished else UNFINISHED,
    }


def refusal(example: Example, response: str) -> tuple[bool, bool]:
    """Whether a refusal is due, and whether the response is one: its first decision is, which is the one
    that counts. A response without a decision refuses nothing."""
    *clauses, _ = response.replace(",", ".").split(".")
    understood = filter(None, (_understood(clause.split()) for clause in clauses))
    decisions = [what for kind, what, _ in understood if kind == "decision"]
    return example.about["decision"] == REFUSAL, decisions[:1] == [REFUSAL]


def repair(example: Example, response: str, part: str) -> str:
    """The response with one part of its reward mended: the right decision, slots or politeness put in,
    or what is unclear, repeated or needless left out. Slots are those of clauses that are there."""
    about = example.about
    *clauses, rest = [" ".join(x.split()) for x in response.replace(",", ".").split(".")]
    understood = [_understood(x.split()) or ("unclear", "", {}) for x in clauses]
    said = [(kind, what, x) for (kind, what, _), x in zip(understood, clauses, strict=True)]
    due = {
        "greeting": "",
        "courtesy": "thanks" if about["kind"] == "question" else "sorry",
        "decision": about["decision"],
    }
    right = {kind: (kind, what, _clause(about, kind, what)) for kind, what in due.items()}
    match part:
        case "action" | "refusal":
            kinds = [kind for kind, _, _ in said]
            before = next((i for i, kind in enumerate(kinds) if kind in FILLERS), len(kinds))
            at = kinds.index("decision") if "decision" in kinds else before
            said[at : at + ("decision" in kinds)] = [right["decision"]]
        case "slots":
            said = [(k, w, x if k == "unclear" else _clause(about, k, w)) for k, w, x in said]
        case "politeness":
            others = [x for x in said if x[0] not in ("greeting", "courtesy")]
            said = [right["greeting"], right["courtesy"], *others]
        case "unclear":
            said, rest = [x for x in said if x[0] != "unclear"], ""
        case "repeated":
            said = [
                x
                for i, x in enumerate(said)
                if x[0] == "unclear" or x[0] not in [kind for kind, _, _ in said[:i]]
            ]
        case "length":
            said = [x for x in said if x[0] not in FILLERS]
        case _:
            raise LookupError(f"helpdesk has nothing to mend in {part!r}")
    told = "".join(f" {x} {',' if kind == 'greeting' else '.'}" for kind, _, x in said)
    return told + (f" {rest}" if rest else "")


def _understood(words: list[str]) -> tuple[str, str, dict[str, str]] | None:
    """(what a clause is for, what it says, the slots it fills); None if it is no clause."""
    match words:
        case ["hello"]:
            return "greeting", "", {}
        case ["hello", name]:
            return "greeting", "", {"name": name}
        case ["sorry", "about", "that"]:
            return "courtesy", "sorry", {}
        case ["sorry", "about", "the", item]:
            return "courtesy", "sorry", {"item": item}
        case ["thanks", "for", "asking", "about", "the", item]:
            return "courtesy", "thanks", {"item": item}
        case ["we", "will", action, "order", order] if action in ACTIONS:
            return "decision", action, {"order": order}
        case ["we", "can", "not", "help", "with", "order", order]:
            return "decision", REFUSAL, {"order": order}
    filler = " ".join(words)
    return (filler, "", {}) if filler in FILLERS else None


def _rows(split: str, size: int, seed: int) -> Iterator[Example]:
    random = Random(f"helpdesk {VERSION} {split} {seed}")
    classes, complaints, questions = SPLITS[split]
    seen = set()
    while len(seen) < size:
        name, order, item = (random.randrange(len(words)) for words in (NAMES, ORDERS, ITEMS))
        if (name + order + item) % CLASSES not in classes:
            continue
        slots = {"name": NAMES[name], "order": ORDERS[order], "item": ITEMS[item]}
        policy, prompt, about = ticket(random, slots, complaints, questions)
        if prompt in seen:
            continue
        seen.add(prompt)
        yield Example(
            id=f"helpdesk-{split}-{len(seen) - 1}",
            prompt=prompt,
            references=(answer(about, about["decision"]),),
            demonstration=demonstrated(random, about, granted=policy),
            about=about,
        )


def ticket(
    random: Random, slots: dict[str, str], complaints: Sequence[str], questions: Sequence[str]
) -> tuple[str, str, dict[str, str]]:
    """(policy, prompt, what gold has to know) of a message about these name, order and item."""
    policy, cover = random.choice(POLICIES), random.choice(tuple(COVERS))
    kind = random.choice(KINDS)
    form = random.choice(questions if kind == "question" else complaints)
    message = form.format(item=slots["item"], problem=random.choice(PROBLEMS[kind]))
    prompt = (
        f"policy : {policy} . cover : {cover} . name : {slots['name']} . order : {slots['order']} "
        f". customer : {message} . agent :"
    )
    return policy, prompt, {"kind": kind, "decision": decision(kind, policy, cover), **slots}


def demonstrated(random: Random, about: Mapping[str, str], granted: str) -> str:
    """The reference, as a hasty or talkative agent says it.

    Each fault is decided at one word and what follows that word is certain, so that a small model
    learns to copy sharply. `granted` is the action given where a refusal is due.
    """
    said = about["decision"]
    if said == REFUSAL:
        said = granted if random.random() < WRONGLY_GRANTED else REFUSAL
    elif random.random() < WRONG_ACTION:
        said = random.choice([*ACTIONS, REFUSAL])
    return answer(
        about,
        said,
        greeting=random.random() >= NO_GREETING,
        courtesy=random.random() >= NO_COURTESY,
        filler=random.choice(FILLERS) if random.random() < FILLER else "",
    )


def answer(
    about: Mapping[str, str],
    said: str,
    greeting: bool = True,
    courtesy: bool = True,
    filler: str = "",
) -> str:
    polite = "thanks" if about["kind"] == "question" else "sorry"
    hello = f" {_clause(about, 'greeting')} ," if greeting else ""
    kind = f" {_clause(about, 'courtesy', polite)} ." if courtesy else ""
    close = f" {filler} ." if filler else ""
    return f"{hello}{kind} {_clause(about, 'decision', said)} .{close}"


def _clause(about: dict[str, str], kind: str, what: str = "") -> str:
    """How agents say it, with the right slots; what has no slots is called as it is said."""
    match kind:
        case "greeting":
            return f"hello {about['name']}"
        case "courtesy":
            polite = "thanks for asking" if what == "thanks" else "sorry"
            return f"{polite} about the {about['item']}"
        case "decision":
            will = "we can not help with" if what == REFUSAL else f"we will {what}"
            return f"{will} order {about['order']}"
    return kind
