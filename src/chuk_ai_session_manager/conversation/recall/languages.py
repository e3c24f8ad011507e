"""Languages: the language of a text, the words of it that are not searched, and the stems of words."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from importlib import import_module
from typing import TypeAlias

from .english import english_stem

Stem: TypeAlias = Callable[[str], str]
"""Returns the stem of a word in lower case."""

ENGLISH = "english"

# The commonest words of each language. They show the language of a text, and are not searched.
_STOP_WORDS = {
    ENGLISH: """
        a about above after again against all also am an and any are aren as at be because been before being
        below between both but by can cannot could couldn d did didn do does doesn doing don down during each
        else ever few for from further get gets got had hadn has hasn have haven having he her here hers
        herself him himself his how however i if in into is isn it its itself just let like ll m may me might
        more most must mustn my myself needn no nor not now of off ok okay on once only or other our ours
        ourselves out over own re s said say same shall shan she should shouldn so some such t than that the
        their theirs them themselves then there these they this those through to too under until up upon us
        ve very was wasn we were weren what when where whether which while who whom whose why will with
        within without won would wouldn yes yet you your yours yourself yourselves""",
    "german": """
        aber alle als also am an auch auf aus bei bin bis bist da damit dann das dass dem den denn der des
        dessen dich die dies diese diesem diesen dieser dieses dir doch dort du durch ein eine einem einen
        einer eines er es etwas euch für gab gibt habe haben hat hatte hatten hier hin ich ihm ihn ihnen ihr
        ihre ihrem ihren ihrer im in ins ist ja jede jeder kann kein keine können man mehr mein meine meinem
        meinen meiner mich mir mit nach nicht noch nun nur ob oder ohne schon sehr sein seine seinem seinen
        seiner sich sie sind so über um und uns unser unsere unter vom von vor wann war waren warum was wegen
        weil welche welchem welchen welcher welches wenn wer werde werden wie wieder wir wird wo wurde wurden
        zu zum zur""",
    "french": """
        ai alors as au aux avait avant avec avez avons c ce cela ces cet cette ceux chez comme comment d dans
        de depuis des donc du elle elles en est et étaient était être eu fait il ils j je l la le les leur
        leurs lui m ma mais me même mes moi mon n ne nos notre nous on ont ou où par pas pour pourquoi qu
        quand que quel quelle quelles quels qui quoi s sa sans se sera ses si son sont sous sur t ta te tes
        toi ton tu un une vos votre vous y""",
    "spanish": """
        a al algo como cómo con cuál cuáles cuándo cuando cuánto de del desde donde dónde dos el él ella
        ellas ellos en entre era eran es esa ese eso esta está están estas este esto estos fue ha había han
        hasta hay la las le les lo los me mi mis más muy no nos nosotros nuestra nuestro o os para pero por
        porque qué que quien quién se ser si sí sin sobre son su sus también te tengo tiene tu tus un una
        uno unos y ya yo""",
    "portuguese": """
        a ao aos as às até com como da das de dela dele depois do dos e é ela elas ele eles em entre era
        essa esse esta está estava este eu foi foram há isso isto já lhe mais mas me meu meus minha minhas
        muito na não nas nem no nos nós nossa nosso num numa o onde os ou para pela pelo por porque qual
        quando quanto que quem são se sem ser seu seus só sua suas também te tem têm tenho um uma você
        vocês""",
    "italian": """
        a ad agli ai al alla alle anche c che chi ci come con cosa cui d da dai dal dalla dei del della delle
        dello di dove e è ed era erano essere fra fu gli ha hai hanno ho i il in io l la le lei li lo loro
        lui ma mi mia mie miei mio ne nei nel nella non noi nostra nostro o per perché più quale quali quando
        quanto quella quello questa queste questi questo qui se sei si sia siamo sono sta su sua sue sui sul
        sulla suo tra tu tua tuo un una uno vi voi""",
    "dutch": """
        aan al als bij daar dan dat de der deze die dit doen door dus een en er ge geen had heb hebben heeft
        hem het hier hij hoe hun ik in is ja je jij jouw kan kon kunnen maar me meer men met mij mijn naar
        niet nog nu of om omdat ons onze ook op over te tot u uit uw van veel voor waar waarom wanneer want
        waren was wat we wel welke werd wie wij wil worden wordt zal ze zei zich zij zijn zo zonder zou""",
    "swedish": """
        alla att av blev bli blir de dem den denna deras dess det detta dig din dina ditt du där efter ej
        eller en er ett från för ha hade han har henne hennes hon honom hur här i icke ingen inom inte jag
        ju kan kunde man med mellan men mig min mina mitt mot mycket ni nu när någon något några och om oss
        på sedan sig sin sina sitt ska skulle som så till under upp ut vad var vara varför vart vem vi vid
        vilka vilken är över""",
    "danish": """
        af alle at blev bliver da de dem den denne der deres det dette dig din disse dog du efter eller en
        end er et for fra få ham han hans har havde have hende hendes her hos hun hvad hvem hvis hvor hvorfor
        hvornår i ikke ind jeg jer kan kunne man mange med meget men mig min mine mit mod ned noget nogle nu
        når og også om op os over på sig sin skal skulle som sådan til ud under var vi vil ville vores være
        været""",
    "norwegian": """
        alle at av ble bli blir både da de deg dem den denne der deres det dette din disse du eller en er et
        etter for fordi fra før ha hadde han har henne hennes her hos hun hva hvem hver hvilken hvis hvor
        hvorfor i ikke ingen inn jeg kan kom kunne man mange med meg men mer min mine mitt mot mye nå når og
        også om opp oss over på seg selv sin sitt skal skulle slik som så til ut var vi vil ville vår være
        vært""",
    "finnish": """
        ei eivät emme en entä ette että hän hänen he heidän ja jo joka jos jotka jotta kanssa keitä kenen
        koska kuin kuinka kuka kun me meidän mikä miksi millä milloin minkä minun minä missä mitä mukaan
        mutta myös ne niin nyt näin nämä oli olin olivat olla olen olet olemme on onko ovat se sekä sen
        siitä sinun sinä sitä tai te tämä tämän vai vaikka vain voi""",
    "turkish": """
        acaba ama ancak bana bazı belki ben beni benim bir biz bizim bu bunu bunun çok çünkü da daha de
        değil diye en gibi hem hep her hiç için ile ise kadar kez ki kim mı mi mu mü nasıl ne neden nerede
        niçin o olan olarak oldu ona onu onun sana sen senin siz şey şu tüm ve veya var ya yani yok""",
    "polish": """
        ale bardzo bez być był była było były bo by chyba ci co czy czyli dla do dlaczego gdy gdzie go i ich
        ile im ja jak jaka jaki jakie jako jego jej jest jeszcze jestem już kiedy kto która które który lub
        ma mam mi mnie moja moje może mój my na nam nas nasz nie nim o od on ona oni ono po pod ponieważ
        przed przez przy są się sobie swoje ta tak tam te tego tej ten to tu twój tych tylko tym u w we
        więc wszystko z za ze że""",
    "russian": """
        а без был была были было быть в вам вас весь во вот все всё вы где да для до его ее её если есть еще
        ещё же за и из или им их к как какая какие какой ко когда который кто ли мне мой моя мы на нам нас
        наш не него нет ни но о об он она они оно от по под почему при с себя сейчас со так также там тебя
        то того тоже только ты у уже чем что чтобы эта эти это этот я""",
}
# Before an Arabic pronoun, feminine words ("my car") end in another letter, which the stemmer keeps.
_POSSESSED = "(?<=\\w\\w)\u062a(?:\u064a|\u0643|\u0647|\u0647\u0627|\u0646\u0627|\u0643\u0645|\u0647\u0645)$"

_BIT = {name: 1 << number for number, name in enumerate(_STOP_WORDS)}
_ENGLISH_BIT = _BIT[ENGLISH]

# Which language a word of another script is taken for, by the script's first and last character.
_BY_SCRIPT = (
    ("\u0370", "\u03ff", "greek"),
    ("\u0400", "\u052f", "russian"),
    ("\u0530", "\u058f", "armenian"),
    ("\u0600", "\u06ff", "arabic"),
    ("\u0900", "\u097f", "hindi"),
    ("\u0b80", "\u0bff", "tamil"),
)
_CODES = {
    "ar": "arabic", "ca": "catalan", "cs": "czech", "da": "danish", "de": "german", "el": "greek",
    "en": ENGLISH, "es": "spanish", "et": "estonian", "eu": "basque", "fa": "persian", "fi": "finnish",
    "fr": "french", "ga": "irish", "hi": "hindi", "hu": "hungarian", "hy": "armenian", "id": "indonesian",
    "it": "italian", "lt": "lithuanian", "nb": "norwegian", "ne": "nepali", "nl": "dutch",
    "no": "norwegian", "pl": "polish", "pt": "portuguese", "ro": "romanian", "ru": "russian",
    "sr": "serbian", "sv": "swedish", "ta": "tamil", "tr": "turkish", "yi": "yiddish",
}  # fmt: skip


@lru_cache(maxsize=1)
def _masks() -> dict[str, int]:
    """For each stop word, its languages as bits."""
    masks: dict[str, int] = {}
    for language, words in _STOP_WORDS.items():
        for word in words.split():
            masks[word] = masks.get(word, 0) | _BIT[language]
    return masks


def is_stop_word(word: str, language: str) -> bool:
    """Whether a word in lower case is a stop word of a language."""
    return bool(_masks().get(word, 0) & _BIT.get(language, 0))


def language_of(words: Sequence[str], before: str) -> str:
    """The language of a text.

    Args:
        words: the text's, in lower case.
        before: the language of what was said before it: a text of few words is in that one.
    """
    masks = _masks()
    found = [mask for word in words if (mask := masks.get(word))]
    own = _BIT.get(before, _ENGLISH_BIT)
    if all(mask & own for mask in found):
        return before
    counts = {name: sum(1 for mask in found if mask & bit) for name, bit in _BIT.items()}
    best = max(counts, key=counts.__getitem__)
    return best if counts[best] >= 2 and counts[best] > counts.get(before, 0) else before  # noqa: PLR2004


def language_named(name: str) -> str | None:
    """The name of a language's stemmer, for a name or a two-letter code; `None` for others."""
    plain = name.strip().casefold()
    found = _CODES.get(plain[:2]) if plain[2:3] in {"", "-", "_"} else plain
    return found if found in {*_CODES.values()} else None


def language_by_script(word: str) -> str | None:
    """The language that a word's script shows; `None` for Latin letters, which many languages use."""
    first = word[0]
    return next((name for start, end, name in _BY_SCRIPT if start <= first <= end), None)


@lru_cache(maxsize=64)
def stemmer_of(language: str) -> Stem:
    """The function for the stems of a language: the Snowball project's algorithm; for English, Porter's.

    Of a language without one, words are their own stems.
    """
    if language == ENGLISH:
        return english_stem
    snowball = import_module("snowballstemmer")  # imported late, because it is slow and seldom needed
    if language not in snowball.algorithms():
        return str
    stem: Stem = snowball.stemmer(language).stemWord
    if language == "arabic":
        return lambda word: stem(re.sub(_POSSESSED, "\u0629", word))
    return stem
