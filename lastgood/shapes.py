"""Shapes of secrets: what a key, a token or a password in a text looks like.

Two uses: `found` says where content that is to be stored for good holds what looks like a secret (known
shapes, values given to a secret's name, and long random words), and `masked` takes the known shapes out of
any text, where a random word that is none does no harm.
"""

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

#: what is told apart, as people call it, by the shape that its issuer gives it: marks without one of which it
#: can't be there (looking for them costs a hundredth), and an expression; `it` is the secret in it
_SHAPES = tuple(
    (what, marks.split("|"), re.compile(shape))
    for what, marks, shape in (
        ("a private key", "PRIVATE KEY", (r"-----BEGIN (?:[A-Z0-9]+ ){0,3}PRIVATE KEY(?: BLOCK)?-----"
         r"(?:[^-]|-(?!----)){0,20000}(?:-----END (?:[A-Z0-9]+ ){0,3}PRIVATE KEY(?: BLOCK)?-----)?")),
        ("an access key of AWS", "AKIA|ASIA", r"(?<![A-Za-z0-9])(?:AKIA|ASIA)[A-Z2-7]{16}(?![A-Za-z0-9])"),
        ("a token of GitHub", "ghp_|gho_|ghu_|ghs_|ghr_|github_pat_",
         r"(?<![A-Za-z0-9])(?:gh[pousr]_[A-Za-z0-9]{36,255}|github_pat_[A-Za-z0-9_]{40,255})"),
        ("a token of GitLab", "glpat-", r"(?<![A-Za-z0-9])glpat-[A-Za-z0-9_-]{20,60}"),
        ("a token of Slack", "xox|xapp-", r"(?<![A-Za-z0-9])(?:xox[abeoprs]-|xapp-)[A-Za-z0-9-]{10,250}"),
        ("a webhook of Slack", "hooks.slack.com",
         r"hooks\.slack\.com/(?:services|workflows|triggers)/[A-Za-z0-9/_+-]{20,200}"),
        ("an API key", "sk-|sk_|rk-|rk_",
         r"(?<![A-Za-z0-9])[sr]k[-_](?=[A-Za-z_-]{0,60}[0-9])[A-Za-z0-9_-]{20,250}"),
        ("a key of Google", "AIza|GOCSPX-|ya29.",
         r"(?<![A-Za-z0-9])(?:AIza[A-Za-z0-9_-]{35}|GOCSPX-[A-Za-z0-9_-]{20,40}|ya29\.[A-Za-z0-9_-]{20,400})"),
        ("a signed token (JWT)", "eyJ", (r"(?<![A-Za-z0-9])eyJ[A-Za-z0-9_-]{8,2000}\.eyJ[A-Za-z0-9_-]{8,4000}"
         r"\.[A-Za-z0-9_-]{8,1000}")),
        ("a token of a package registry", "npm_|pypi-",
         r"(?<![A-Za-z0-9])(?:npm_[A-Za-z0-9]{36}|pypi-AgEI[A-Za-z0-9_-]{40,300})"),
        ("a key of SendGrid", "SG.", r"(?<![A-Za-z0-9])SG\.[A-Za-z0-9_-]{16,30}\.[A-Za-z0-9_-]{30,60}"),
        ("a token of Hugging Face", "hf_", r"(?<![A-Za-z0-9])hf_[A-Za-z0-9]{30,50}(?![A-Za-z0-9])"),
        ("a key of Azure", "AccountKey=|AccessKey=|AccessSignature=",
         r"(?:AccountKey|SharedAccessKey|SharedAccessSignature)=[A-Za-z0-9+/%=]{30,200}"),
        ("an age key", "AGE-SECRET", r"AGE-SECRET-KEY-1[A-Z0-9]{50,70}"),
        ("an access token of lastgood", "lgt_", r"lgt_[0-9a-f]{12}_[A-Za-z0-9_-]{43}"),
        ("a bearer token", "earer |EARER |asic |ASIC ", (r"(?:[Bb]earer|BEARER|[Bb]asic|BASIC) +"
         r"(?P<it>(?=[A-Za-z._~+/-]{0,400}[0-9])[A-Za-z0-9._~+/-]{16,4000}=*)")),
        ("a password in a URL", "://", (r"://(?P<it>[^\s/:@'\"<>{}$%]{0,100}"
         r":(?![^@\s]{0,3}[{$<*])[^\s/@'\"<>]{3,200})@(?=[A-Za-z0-9\[])")),
    )
)  # fmt: skip
#: a value that is given to a secret's name: `password: ...`, `"api_key": "..."`, `TOKEN=...`
_GIVEN = re.compile(
    r"(?i)(?<![a-z0-9])(?P<name>(?:[a-z0-9]{1,30}[_.-]){0,4}(?:password|passwd|passphrase|secret|api[_-]?key|apikey|"
    r"access[_-]?key|secret[_-]?key|private[_-]?key|auth[_-]?token|access[_-]?token|client[_-]?secret|token))"
    r"[\"']?\s{0,3}[:=]\s{0,3}[\"']?(?P<value>[^\s\"',;{}\[\]<>()]{8,200})"
)
#: what stands where a secret would, and is none
_NO_VALUE = re.compile(
    r"(?i)env:|file:|\$|%|\*|x{4}|\.\.\.|your|example|changeme|placeholder|redacted|secret:|none|null|true|false"
)
_RANDOM = re.compile(r"(?<![A-Za-z0-9+/_=-])[A-Za-z0-9+/_-]{32,128}={0,2}(?![A-Za-z0-9+/_=-])")
#: bits a character, from which a long word is random, and of a value that is given to a secret's name
_RANDOM_BITS, _GIVEN_BITS = 4.3, 2.5
#: a line that holds this holds no secret, whatever it looks like
ALLOWED = "lastgood: no secret"
#: characters of its line before and after a find that are looked at for it
_NEAR = 400


@dataclass(frozen=True, slots=True)
class Shape:
    """What looks like a secret in a text."""

    #: what it looks like, in words: `a token of GitHub`
    what: str
    #: from and to, in characters
    start: int
    end: int


def known(text: str) -> list[Shape]:
    """What has the shape of a known kind of secret, in order; of two that overlap, the first."""
    hits: list[Shape] = []
    for what, marks, shape in _SHAPES:
        if any(mark in text for mark in marks):
            it = "it" if "it" in shape.groupindex else 0
            hits += [Shape(what, hit.start(it), hit.end(it)) for hit in shape.finditer(text)]
    return _apart(hits)


def _apart(hits: Iterable[Shape]) -> list[Shape]:
    apart: list[Shape] = []
    for hit in sorted(hits, key=lambda hit: (hit.start, -hit.end)):
        if not apart or hit.start >= apart[-1].end:
            apart.append(hit)
    return apart


def found(text: str) -> list[Shape]:
    """Everything in a text that looks like a secret; what stands on a line with `ALLOWED` does not count."""
    hits = (*known(text), *_given(text), *_random(text))
    return [shape for shape in _apart(hits) if not _is_allowed(text, shape)]


def _is_allowed(text: str, shape: Shape) -> bool:
    before = text[max(0, shape.start - _NEAR) : shape.start].rpartition("\n")[2]
    return ALLOWED in before or ALLOWED in text[shape.end : shape.end + _NEAR].partition("\n")[0]


def _given(text: str) -> Iterator[Shape]:
    for hit in _GIVEN.finditer(text):
        value = hit["value"]
        mixed = any(sign.isdigit() for sign in value) and any(sign.isalpha() for sign in value)
        if mixed and not _NO_VALUE.match(value) and bits(value) >= _GIVEN_BITS:
            yield Shape(f"the value of {hit['name']}", hit.start("value"), hit.end("value"))


def _random(text: str) -> Iterator[Shape]:
    for hit in _RANDOM.finditer(text):
        word = hit[0]
        # a path or a sentence of names is made of short or plain pieces; a random word holds a long mixed one
        longest = max(re.split(r"[/_+=-]", word), key=len)
        mixed = all(any(map(kind, longest)) for kind in (str.isdigit, str.isupper, str.islower))
        if mixed and len(longest) >= 16 and bits(word) >= _RANDOM_BITS:
            yield Shape("a long random word", hit.start(), hit.end())


def bits(word: str) -> float:
    """Shannon's entropy of a word's characters, bits a character."""
    return -sum(n / len(word) * math.log2(n / len(word)) for n in Counter(word).values())


def masked(text: str, mask: str = "[secret]") -> str:
    """A text without what has the shape of a known kind of secret."""
    pieces, place = [], 0
    for shape in known(text):
        pieces += [text[place : shape.start], mask]
        place = shape.end
    return "".join(pieces) + text[place:] if pieces else text


__all__ = ["ALLOWED", "Shape", "bits", "found", "known", "masked"]
