"""The Unicode version that text is normalised under: 14.0, that of the oldest Python that runs lastgood.

Every Python brings its own Unicode tables, and a code point that is new in them may combine or reorder
where an older Python leaves it alone. Then the same text would hash to two ids. A code point that Unicode
14 does not assign is therefore left alone by every Python, and normalisation works on the text between.
Unicode's stability policy holds all other code points: https://www.unicode.org/policies/stability_policy.html
"""

import re
import unicodedata
from functools import cache

#: ranges of code points (hexadecimal) that Unicode 14 leaves unassigned, each drawn out over assigned
#: neighbours that normalisation never touches, which makes 194 of 707; printed by Python 3.11's unicodedata
_UNASSIGNED = """
378-379 380-383 38b 38d 3a2 530-590 5c8-5cf 5eb-5ee 5f5-5ff 70e 74b-7bf 7fb-7fc 82e-83f 85c-897 984-992 9a9
9b1-9bb 9c5-9c6 9c9-9ca 9cf-9d6 9d8-9db 9de 9e4-9e5 9ff-a12 a29 a31 a34 a37 a3a-a3b a3d-a4a a4e-a58 a5d
a5f-abb ac6-aca ace-b12 b29-b3b b45-b46 b49-b4a b4e-b54 b58-b5b b5e-b91 b96-bbd bc3-bc5 bc9 bce-bd6 bd8-c3b
c45 c49 c4e-c54 c57-cbb cc5 cc9 cce-cd4 cd7-d11 d45 d49 d50-d53 d64-dc9 dcb-dce dd5-dd7 de0-e00 e3b-e3e
e5c-ea6 ebe-ec7 ece-eff f48 f6d-f70 f98 fbd fcd-fff 10c6-10cf 1249-135c 137d-16ff 1716-171e 1737-177f
17de-187f 18ab-192f 193c-19dd 1a1c-1a5f 1a7d-1a7e 1a8a-1aaf 1acf-1aff 1b4d-1b4f 1b7f 1bf4-1bfb 1c38-1ccf
1cfb-1cff 1f16-1f17 1f1e-1f1f 1f46-1f47 1f4e-1f4f 1f58 1f5a 1f5c 1f5e 1f7e-1f7f 1fb5 1fc5 1fd4-1fd5 1fdc
1ff0-1ff1 1ff5 1fff 2065-20cf 20f1-20ff 218c-218f 2427-245f 2b74-2b96 2cf4-2d7e 2d97-2ddf 2e5e-2fff 3040
3097-3098 3100-321f a48d-a63f a6f8-a7f1 a82d-a87f a8c6-a8df a954-a97f a9ce-aa5b aac3-aada aaf7-ab6f
abee-abff d7a4-d7ff fa6e-fa6f fada-fb1c fb37 fb3d fb3f fb42 fb45 fbc3-fe1f fe53-101cf 101fe-102df
102fc-1034f 1037b-10a0b 10a14-10a37 10a3b-10a3e 10a49-10abf 10ae7-10cf9 10d28-10eaa 10eae-10f2f 10f5a-10f6f
10f8a-10fff 1104e-11051 11076-1107e 110c3-110ff 11135-1114f 11177-1117f 111e0-11212 1123f-112af 112eb-1133a
11345-11346 11349-1134a 1134e-11356 11358-11365 1136d-1136f 11375-113ff 1145c 11462-1147f 114c8-1157f
115b6-115b7 115de-115ff 11645-1167f 116ba-1171c 1172c-117ff 1183c-11917 11936 11939-1193a 11947-119d9
119e5-119ff 11a48-11a4f 11aa3-11c37 11c46-11d3e 11d48-11d92 11d99-16aef 16af6-16aff 16b46-16fef 16ff2-1bc9b
1bca4-1d128 1d1eb-1d1ff 1d246-1dfff 1e007 1e019-1e01a 1e022 1e025 1e02b-1e12f 1e13e-1e28f 1e2af-1e2bf
1e2fa-1e8c6 1e8d7-1e8ff 1e94c-1ffff 2a6e0-2f7ff 2fa1e-10ffff
"""


@cache
def _touched() -> re.Pattern[str]:
    ranges = (piece.split("-") for piece in _UNASSIGNED.split())
    spans = (f"{chr(int(first, 16))}-{chr(int((last or [first])[0], 16))}" for first, *last in ranges)
    return re.compile(f"[^{''.join(spans)}]+")


def normalise(text: str) -> str:
    """`text` in Unicode normalisation form C of Unicode 14, the same on every Python."""
    return _touched().sub(lambda run: unicodedata.normalize("NFC", run.group()), text)
