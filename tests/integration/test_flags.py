"""Flags that are named in help, hints and error texts: each is one that the program takes."""
import os
import re
import subprocess

import pytest

from client import PARLEY
from conftest import PARLEYD

ROOT = os.path.join(os.path.dirname(__file__), "..", "..")
LOAD = os.path.join(os.path.dirname(PARLEYD), "load")
FLAG = re.compile(r"--[a-z][a-z-]*[a-z]")


def help_of(*words):
    done = subprocess.run([*words, "--help"], capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stderr) == (0, ""), words
    return done.stdout


def taken(text):
    """The flags that a help lists: each begins its line, or stands behind its key."""
    return set(re.findall(r"^ +(?:\S.*\()?(--[a-z-]+)", text, re.M))


def flags_of(program):
    if program == "parley":
        commands = [[name] for name in re.findall(r"^  (\w+) ", help_of(PARLEY), re.M)]
        commands += re.findall(r"^  parley (conversation) (\w+)", help_of(PARLEY, "conversation"), re.M)
        assert len(commands) >= 14
        return set().union(*(taken(help_of(PARLEY, *words)) for words in commands))
    return taken(help_of(PARLEYD if program == "parleyd" else LOAD))


def strings(folder):
    """All string literals of a folder's sources, neighbours joined, with their file."""
    for path, _, names in os.walk(os.path.join(ROOT, folder)):
        for name in names:
            if name.endswith((".c", ".h")):
                with open(os.path.join(path, name), encoding="utf-8") as f:
                    code = re.sub(r"/\*.*?\*/", "", f.read(), flags=re.S)
                code = re.sub(r'"\s*(?:PRI\w+\s*)?"', "", code)
                for text in re.findall(r'"((?:[^"\\\n]|\\.)*)"', code):
                    yield name, text


@pytest.mark.parametrize("folder, programs", [("src", ["parleyd", "parley"]), ("net", ["parleyd"]), ("storage", ["parleyd"]),
                                              ("tools", ["parley"]), ("bench", ["load", "parleyd"])])
def test_every_flag_that_a_text_names_exists(folder, programs):
    known = {"--help", "--version", "--config", "--check-config"}.union(*map(flags_of, programs))
    assert len(known) > 10
    named = {(name, flag) for name, text in strings(folder) for flag in FLAG.findall(text)}
    assert {(name, flag) for name, flag in named if flag not in known} == set()
