"""Chat that looks like the log of a busy help channel, made anew from a seed: nothing of a real one is kept here.

Like a real log it has one conversation after the other, times of whole minutes, hundreds of people of whom a few write most,
names with odd characters, lines addressed to somebody, the same short line again and again, and now and then a long one."""
import random

SYLLABLES = "ba ko mi ren tu sol va dex ol qui zor fa ne pip lu gra".split()
WORDS = ("the a to it is and that you in what how do have for not with this on can my try but just if get no need install "
         "kernel driver disk mount boot sudo apt package works error again reboot screen network card file folder root "
         "version upgrade terminal yesterday maybe grüße naïve señor привет 日本語").split()
SHORT = ["ok", "yes", "no", "thanks", "hi all", "lol", ":)", "?", "brb", "\\o/", "<3", "/join #help", "100% sure", "…", "🙂", " x "]


def people(rng, count):
    names = set()
    while len(names) < count:
        name = "".join(rng.choice(SYLLABLES) for _ in range(rng.randint(1, 3)))
        names.add(rng.choice(["%s", "%s", "%s_", "|%s|", "%s^away", "[%s]", "%s`", "{%s}", "%s\\", "%s-1"]) % name)
    return sorted(names)


def text(rng, names):
    dice = rng.random()
    if dice < 0.12:
        return rng.choice(SHORT)
    words = " ".join(rng.choice(WORDS) for _ in range(min(100, int(rng.expovariate(1 / 8)) + 1)))
    if dice < 0.45:
        return "%s: %s" % (rng.choice(names), words)
    if dice < 0.5:
        return 'see http://example.org/%s?q=%s&x="1"#top' % (rng.choice(WORDS), rng.randrange(10**6))
    return words


def lines(conversations=6, messages=6000, seed=2004):
    rng = random.Random(seed)
    everybody = people(rng, 900)
    for c in range(conversations):
        here = rng.sample(everybody, 330 if c == 0 else 130)  # more than one creation takes; as usual
        day, minute = 1 + c, 0
        for _ in range(messages // conversations):
            minute += rng.random() < 0.3
            yield {"conversation": "help-2004-11-%02d" % day,
                   "time": "2004-11-%02dT%02d:%02d:00Z" % (day, 8 + minute // 60, minute % 60),
                   "sender": here[int(len(here) * rng.random() ** 1.5)], "text": text(rng, here)}
