"""English word lists behind the statistics of style, and what else can be told from a word by itself."""

from __future__ import annotations

import re

__all__ = ["STOP_WORDS", "WORD_LISTS", "is_content", "is_contraction", "is_latinate"]


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Name of the statistic -> its words, in lower case. A word may be in several lists. Contractions are written with a
# plain apostrophe, and once more without, where the result is no other word.
WORD_LISTS: dict[str, frozenset[str]] = {
    "first_person_singular": _words("i me my mine myself i'm i've i'd i'll im ive"),
    "first_person_plural": _words("we us our ours ourselves we're we've we'd we'll"),
    "second_person": _words("you your yours yourself yourselves you're you've you'd you'll youre u ur"),
    "third_person": _words(
        "he him his himself she her hers herself they them their theirs themselves "
        "he's he'd he'll she's she'd she'll they're they've they'd they'll theyre"
    ),
    "reasons": _words(
        "because cause causes caused since therefore thus hence so why reason reasons consequently accordingly "
        "thereby due result results leads"
    ),
    "negations": _words(
        "no not never none nobody nothing nowhere neither nor cannot without can't don't doesn't didn't won't wouldn't "
        "couldn't shouldn't isn't aren't wasn't weren't haven't hasn't hadn't ain't mustn't needn't "
        "cant dont doesnt didnt wont wouldnt couldnt shouldnt isnt arent wasnt werent havent hasnt hadnt aint"
    ),
    "hedges": _words(
        "may might maybe perhaps possibly probably could seem seems seemed appear appears apparently suggest suggests "
        "likely unlikely somewhat rather fairly relatively sometimes often usually generally typically roughly "
        "approximately guess think believe suppose feel assume depends tend tends opinion arguably presumably"
    ),
    "boosters": _words(
        "certainly definitely absolutely clearly obviously surely undoubtedly indeed really very truly totally "
        "completely entirely utterly extremely highly strongly incredibly exactly simply literally fact"
    ),
    "obligations": _words("should must ought need needs needed have shall required necessary supposed"),
    "contrasts": _words(
        "but however although though despite nevertheless nonetheless whereas while yet instead otherwise conversely "
        "contrary unlike regardless"
    ),
    "additions": _words(
        "also moreover furthermore additionally besides first firstly second secondly third thirdly finally lastly "
        "next then addition further another plus overall conclusion summary"
    ),
    "examples": _words(
        "example examples instance eg like such including includes namely specifically particularly especially "
        "imagine consider say"
    ),
    "courtesies": _words(
        "please thanks thank sorry welcome appreciate kindly hello hi hey dear glad apologies apologise apologize "
        "regards congratulations cheers pleasure wish wishes"
    ),
    "positive_words": _words(
        "good great best better love loved loves nice wonderful excellent beautiful happy happiness enjoy enjoyed fun "
        "useful helpful help helps benefit benefits beneficial right success successful healthy safe amazing perfect "
        "important easy easily improve improves strong effective valuable respect freedom peace hope fantastic awesome "
        "brilliant lovely delicious positive advantage advantages"
    ),
    "negative_words": _words(
        "bad worse worst wrong hate hated hates evil stupid terrible horrible awful sad harm harms harmful hurt hurts "
        "dangerous danger useless problem problems fail fails failure poor poorly ugly disgusting pain painful kill "
        "kills killed killing murder death dead die dies sick disease difficult hard risk risky violence violent waste "
        "crime abuse abused ridiculous silly idiot idiots dumb lousy negative disadvantage lie lies damage"
    ),
    "evidence": _words(
        "percent study studies studied research researchers statistics evidence data survey according scientists "
        "scientific science report reports reported shown proven prove proves proof source sources "
        "hundred thousand million millions billion billions"
    ),
    "informal_words": _words(
        "lol yeah yea yep nope ok okay gonna wanna gotta kinda sorta stuff guy guys kid kids dude wow haha hell crap "
        "damn omg btw plz pls cuz coz ya nah cool awesome u ur r ppl lot lots bunch pretty super anyway"
    ),
    "spelling_slips": _words(
        "im ive youre youve theyre theyve dont cant wont doesnt didnt isnt arent wasnt werent havent hasnt hadnt "
        "wouldnt couldnt shouldnt aint thats whats theres wheres heres alot"
    ),
}

STOP_WORDS = _words(
    "a about above after again against all am an and any are as at be because been before being below between both but "
    "by can could did do does doing down during each few for from further had has have having he her here hers herself "
    "him himself his how i if in into is it its itself just me more most my myself no nor not now of off on once only "
    "or other our ours ourselves out over own same she should so some such than that the their theirs them themselves "
    "then there these they this those through to too under until up very was we were what when where which while who "
    "whom why will with would you your yours yourself yourselves"
)

_CONTRACTION = re.compile(
    r".+(?:n't|'re|'ve|'ll|'d|'m)|(?:it|that|he|she|what|let|there|here|who|where|how|when|why)'s"
)
_LATINATE = re.compile(
    r".{3,}(?:[ts]ions?|ments?|it(?:y|ies)|[ae]nces?|isms?|[ai]ble|ives?|ous|ical(?:ly)?|ates?|i[sz]es?|if(?:y|ies))"
)


def is_contraction(word: str) -> bool:
    """Whether a word is a contraction such as ``don't`` (a possessive such as ``Ann's`` is none)."""
    return "'" in word and _CONTRACTION.fullmatch(word) is not None


def is_latinate(word: str) -> bool:
    """Whether a word ends as learned words of Latin origin do, such as ``consideration``."""
    return len(word) > 6 and _LATINATE.fullmatch(word) is not None


def is_content(word: str) -> bool:
    """Whether a word carries meaning by itself: three letters or more, and no stop word."""
    return len(word) > 2 and word not in STOP_WORDS and "'" not in word
