"""What is written behind: the same bytes in blocks of one size, and errors of either side."""

from __future__ import annotations

import threading

import pytest

from repro.oci.behind import BLOCK, Behind


@pytest.mark.parametrize("pieces", [[], [1], [BLOCK], [BLOCK - 1, 2], [512, 3 * BLOCK, 511], [7] * 99, [2 * BLOCK] * 9])
def test_blocks_do_not_depend_on_the_pieces(pieces):
    """All blocks but the last have one size, whatever the pieces were."""
    data = b"".join(bytes([number % 251]) * size for number, size in enumerate(pieces))
    taken = []
    with Behind(taken.append) as behind:
        start = 0
        for size in pieces:
            behind.write(memoryview(data)[start : start + size])
            start += size
    assert data == b"".join(taken)
    assert {BLOCK} >= {len(block) for block in taken[:-1]}
    assert all(len(block) <= BLOCK for block in taken)


def test_an_error_of_who_takes_reaches_who_writes():
    """It ends the writing, at the latest where the block ends; nothing is taken after it."""
    taken = []

    def take(block):
        taken.append(block)
        raise OSError("no room")

    with pytest.raises(OSError, match="no room"), Behind(take) as behind:
        for _ in range(50):
            behind.write(bytes(BLOCK))
    assert 1 == len(taken)
    with pytest.raises(OSError, match="no room"), Behind(take) as behind:
        behind.write(b"less than a block")


def test_an_error_of_who_writes_ends_the_thread():
    """What waits is not taken any more, and no thread is left."""
    gate, taken = threading.Event(), []
    before = threading.active_count()
    with pytest.raises(KeyboardInterrupt), Behind(lambda block: gate.wait(9) and taken.append(block)) as behind:
        behind.write(bytes(4 * BLOCK))
        threading.Timer(0.1, gate.set).start()
        raise KeyboardInterrupt
    assert 1 >= len(taken)
    gate.wait(9)
    assert before >= threading.active_count() - 1
