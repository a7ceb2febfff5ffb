"""The graph allocator: what is alive together lies side by side, and what is done makes room."""

from __future__ import annotations

from compiler.engines.llama_cpp.memory.graphs.allocator import Node, buffer_bytes


def test_a_chain_needs_two_tensors_at_once() -> None:
    """Each is freed when the next is computed."""
    first = Node(1024)
    second = Node(1024, sources=(first,))
    third = Node(1024, sources=(second,))
    assert buffer_bytes([first, second, third, Node(1024, sources=(third,))]) == 2048


def test_an_elementwise_operation_overwrites_what_nobody_else_reads() -> None:
    """A residual that is read later is not overwritten."""
    operand = Node(1024, ("a",))
    assert buffer_bytes([operand, Node(1024, ("a",), (operand,), overwrites=True)]) == 1024
    shared = Node(1024, ("a",))
    changed = Node(1024, ("a",), (shared,), overwrites=True)
    assert buffer_bytes([shared, changed, Node(1024, ("a",), (changed, shared), overwrites=True)]) == 2048


def test_a_view_keeps_its_tensor() -> None:
    """The memory is given back when the last view has been read."""
    whole = Node(1024)
    part = Node(0, (), (whole,), viewed=whole)
    reader = Node(1024, sources=(part,))
    after = Node(1024, sources=(reader,))
    assert buffer_bytes([whole, part, reader, after]) == 2048


def test_the_smallest_hole_that_is_large_enough_is_filled() -> None:
    """Holes of 1 and 2 KiB; what needs 1 KiB leaves the larger one whole for what needs 2."""
    small, wall, large, end = Node(1024), Node(128), Node(2048), Node(128)
    users = [Node(0, sources=(small,)), Node(0, sources=(large,))]
    late = [Node(1024), Node(2048)]
    keeper = Node(128, sources=(wall, end, *late))
    assert buffer_bytes([small, wall, large, end, *users, *late, keeper]) == 1024 + 128 + 2048 + 128 + 128


def test_sizes_are_rounded_up_as_cuda_aligns() -> None:
    """Two tensors of 4 bytes take 128 each."""
    one = Node(4)
    assert buffer_bytes([one, Node(4, sources=(one,))]) == 256
