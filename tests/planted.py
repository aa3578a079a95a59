"""Twenty secrets to plant: made up, in the shape of their issuers, and whole nowhere in this file."""

_RANDOM, _KEY = "q7Zt3Kx9Vb2Lm8Wd5Rf1Hs6Yc4Np0Ga", "PRIVATE " + "KEY"

#: name: secret
PLANTED = {
    "aws": "AKI" + "AQ7ZT3KX5VB2LM2WD",
    "github": "gh" + "p_" + (_RANDOM + "abcdef")[:36],
    "github_fine": "github" + "_pat_" + _RANDOM + "_" + _RANDOM,
    "gitlab": "glp" + "at-" + _RANDOM[:20],
    "slack": "xox" + "b-123456789012-" + _RANDOM,
    "slack_hook": "https://hooks.sl" + "ack.com/services/T0AB12CD3/B0EF45GH6/" + _RANDOM[:24],
    "stripe": "sk_" + "live_" + _RANDOM,
    "openai": "sk-" + "proj-" + _RANDOM,
    "anthropic": "sk-" + "ant-api03-" + _RANDOM,
    "langfuse": "sk-" + "lf-1f0c2b3a-4d5e-6f70-8192-a3b4c5d6e7f8",
    "google": "AI" + "za" + (_RANDOM + "wxyz")[:35],
    "jwt": "ey" + "JhbGciOiJIUzI1NiJ9.ey" + "JzdWIiOiIxMjM0NTY3ODkwIn0." + _RANDOM,
    "npm": "np" + "m_" + (_RANDOM + "abcdef")[:36],
    "pypi": "py" + "pi-AgEI" + _RANDOM + _RANDOM,
    "sendgrid": "S" + "G." + _RANDOM[:22] + "." + (_RANDOM + _RANDOM)[:43],
    "hugging_face": "h" + "f_" + (_RANDOM + "abcdef")[:34],
    "database": "postgresql://ana:" + "Sup3rS3cret" + "@db.example.com/shop",
    "bearer": "Bear" + "er " + _RANDOM,
    "private_key": f"-----BEGIN RSA {_KEY}-----\n{_RANDOM * 4}\n-----END RSA {_KEY}-----",
    "lastgood": "lg" + "t_0123456789ab_" + (_RANDOM + _RANDOM)[:43],
}
#: the part of each that is secret: what must be found nowhere
CORES = {
    name: {"database": "Sup3rS3cret", "bearer": _RANDOM, "private_key": _RANDOM * 4}.get(name, secret)
    for name, secret in PLANTED.items()
}
