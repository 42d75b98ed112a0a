"""The ledger finds what it is for."""
import pytest

from ledger import Ledger


def history_of(stream, count):
    return [{"id": str(100 + n), "seq": n + 1, "sender": stream.user, **stream.command(n)} for n in range(count)]


@pytest.fixture
def known():
    ledger = Ledger()
    stream = ledger.stream("ann", "c" * 32)
    stream.count = 10
    for n in range(8):  # the last two were not answered
        ledger.ack(stream, n, {"id": str(100 + n), "seq": n + 1})
    return ledger, stream


def faults(ledger, stream, history):
    ledger.compare(stream.conversation, history)
    return set(ledger.faults)


@pytest.mark.parametrize("count", [8, 9, 10])
def test_what_was_not_answered_may_be_there_or_not(known, count):
    assert faults(*known, history_of(known[1], count)) == set()


def test_a_lost_end_is_found(known):
    assert faults(*known, history_of(known[1], 7)) == {"lost"}


def test_a_hole_is_found(known):
    history = history_of(known[1], 10)
    del history[4]
    assert faults(*known, history) == {"lost", "gaps"}


def test_a_double_is_found(known):
    history = history_of(known[1], 8)
    history.append({**history[7], "id": "108", "seq": 9})
    assert {"doubled"} <= faults(*known, history)


def test_another_order_is_found(known):
    history = history_of(known[1], 10)
    for key in ("client_msg_id", "body"):
        history[8][key], history[9][key] = history[9][key], history[8][key]
    assert faults(*known, history) == {"reordered"}


def test_another_body_is_found(known):
    history = history_of(known[1], 8)
    history[3]["body"] += "?"
    assert {"changed"} <= faults(*known, history)


def test_another_answer_to_a_retry_is_found(known):
    ledger, stream = known
    ledger.ack(stream, 2, {"id": "555", "seq": 9})
    assert set(ledger.faults) == {"changed"}


def test_what_was_fenced_is_never_there(known):
    ledger, stream = known
    ledger.fence(stream, 9, "500")
    assert faults(ledger, stream, history_of(stream, 9)) == set()
    assert faults(ledger, stream, history_of(stream, 10)) == {"fenced"}


@pytest.mark.parametrize("fate", [
    lambda ledger, stream: ledger.fence(stream, 3, "500"),  # it was acknowledged
    lambda ledger, stream: (ledger.fence(stream, 9), ledger.ack(stream, 9, {"id": "109", "seq": 10})),
    lambda ledger, stream: (ledger.fence(stream, 9, "500"), ledger.fence(stream, 9, "501"))])
def test_another_fate_is_found(known, fate):
    ledger, stream = known
    fate(ledger, stream)
    assert set(ledger.faults) == {"fenced"}


def test_the_same_fate_again_is_none(known):
    ledger, stream = known
    for event in (None, "500", "500", None):
        ledger.fence(stream, 9, event)
    assert not ledger.faults


def test_a_receipt_that_goes_back_is_found():
    ledger = Ledger()
    receipt = ledger.receipt("ann", "c")
    receipt.asked, receipt.least = 9, 4
    for read in (4, 7, 7, 9):
        ledger.compare_receipt("ann", "c", read)
    assert not ledger.faults
    ledger.compare_receipt("ann", "c", 8)  # nobody acknowledged 9, but it was seen
    assert set(ledger.faults) == {"receipts"}


def test_a_receipt_that_nobody_gave_is_found():
    ledger = Ledger()
    ledger.receipt("ann", "c").asked = 3
    ledger.compare_receipt("ann", "c", 4)
    assert set(ledger.faults) == {"receipts"}
